package heartbeat_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/heartbeat"
)

func TestCollectEvery_KeepsItsOwnPaceAndSaysTheAge(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var b broker
		pub := b.publisher(t, heartbeat.Config{Jitter: noJitter})
		calls := 0
		require.NoError(t, pub.CollectEvery("rows", 5*time.Minute, func(ctx context.Context) (any, error) {
			calls++
			select {
			case <-time.After(20 * time.Second): // longer than any beat has
				return calls, nil
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
		}))
		stop := start(t, pub)
		<-time.After(11*time.Minute + 30*time.Second)
		require.NoError(t, stop())
		beats := b.beats(t)
		require.Equal(t, "no value within 1s", beats[0].CollectorErrors["rows"])
		require.Equal(t, 3, calls, "at 0, 5 and 10 minutes")
		for i, want := range []string{1: "1", 2: "1", 5: "1", 6: "2", 10: "2", 11: "3"} {
			if want != "" {
				value, _ := beats[i].Field("rows")
				require.Equal(t, want, string(value), "beat %d", i)
			}
		}
		require.Equal(t, map[string]time.Duration{"rows": 40 * time.Second}, beats[1].Ages)
		require.Equal(t, map[string]time.Duration{"rows": 4*time.Minute + 40*time.Second}, beats[5].Ages)
		require.Equal(t, map[string]time.Duration{"rows": 40 * time.Second}, beats[6].Ages)
		for _, gap := range b.gaps()[1:10] {
			require.Equal(t, time.Minute, gap, "no beat waits for it")
		}
	})
}

func TestCollectEvery_OldNewsIsNoGoodNews(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var b broker
		pub := b.publisher(t, heartbeat.Config{Jitter: noJitter})
		release := make(chan struct{})
		var hang, fail atomic.Bool
		require.NoError(t, pub.CollectEvery("check", 2*time.Minute, func(context.Context) (any, error) {
			if hang.Load() {
				<-release
			}
			if fail.Load() {
				return nil, errDown
			}
			return "fine", nil
		}))
		stop := start(t, pub)
		<-time.After(time.Minute + time.Second)
		_, found := b.last(t).Field("check")
		require.True(t, found, "the first beat waits for it")
		hang.Store(true) // from the run at 2 minutes on
		<-time.After(4 * time.Minute)
		_, found = b.last(t).Field("check")
		require.True(t, found, "a run may take its time")
		<-time.After(3 * time.Minute)
		_, found = b.last(t).Field("check")
		require.False(t, found)
		require.Contains(t, b.last(t).CollectorErrors["check"], "has not returned")

		hang.Store(false)
		close(release)
		<-time.After(2 * time.Minute)
		_, found = b.last(t).Field("check")
		require.True(t, found)
		fail.Store(true)
		<-time.After(3 * time.Minute)
		_, found = b.last(t).Field("check")
		require.False(t, found, "a failure counts at once")
		require.Equal(t, errDown.Error(), b.last(t).CollectorErrors["check"])
		require.NoError(t, stop())
	})
}

func TestCollectEvery_EndsWithTheGoodbye(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var b broker
		pub := b.publisher(t, heartbeat.Config{})
		cause := make(chan error, 1)
		require.NoError(t, pub.CollectEvery("slow", time.Hour, func(ctx context.Context) (any, error) {
			<-ctx.Done()
			cause <- context.Cause(ctx)
			return nil, ctx.Err()
		}))
		stop := start(t, pub)
		<-time.After(5 * time.Minute)
		begun := time.Now()
		require.NoError(t, stop())
		require.Equal(t, begun, time.Now())
		require.ErrorContains(t, <-cause, "said goodbye")
	})
}

func TestCollectEvery_RefusesNonsense(t *testing.T) {
	t.Parallel()
	var b broker
	pub := b.publisher(t, heartbeat.Config{})
	for _, every := range []time.Duration{-1, 0, time.Millisecond, 25 * time.Hour} {
		require.ErrorContains(t, pub.CollectEvery("x", every, constant(1)), `cadence of collector "x" is `+every.String()+": want 1s to 24h0m0s")
	}
	require.ErrorContains(t, pub.CollectEvery("upbeat", time.Minute, constant(1)), "every beat has")
}

func TestBeat_CarriesWhatSendersSay(t *testing.T) {
	t.Parallel()
	beat, err := heartbeat.ParseBeat([]byte(`{"service_name":"s","instance_id":"i","upbeat":{"stuck_seconds":{"fetch":130.5,"a\nb":1},
		"ages_seconds":{"rows":-3},"container":{"memory_usage_mb":60,"memory_limit_mb":200}}}`))
	require.NoError(t, err)
	require.Equal(t, map[string]time.Duration{"fetch": 130500 * time.Millisecond}, beat.Stuck)
	require.Equal(t, map[string]time.Duration{"rows": 0}, beat.Ages)
	require.Equal(t, &heartbeat.Container{MemoryMB: 60, MemoryLimitMB: 200}, beat.Container)

	payload, err := beat.MarshalJSON()
	require.NoError(t, err)
	again, err := heartbeat.ParseBeat(payload)
	require.NoError(t, err)
	require.Equal(t, beat.Stuck, again.Stuck)
	require.Equal(t, beat.Ages, again.Ages)
	require.Equal(t, beat.Container, again.Container)

	beat, err = heartbeat.ParseBeat([]byte(`{"service_name":"s","instance_id":"i","upbeat":{"stuck_seconds":[1],"ages_seconds":"x","container":7}}`))
	require.NoError(t, err, "a beat is no worse for what can't be read")
	require.Nil(t, beat.Stuck)
	require.Nil(t, beat.Ages)
	require.Nil(t, beat.Container)
}
