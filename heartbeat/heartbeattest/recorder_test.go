package heartbeattest_test

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/heartbeat"
	"github.com/upbeat-go/upbeat/heartbeat/heartbeattest"
)

func newRecorder(t *testing.T) *heartbeattest.Recorder {
	t.Helper()
	rec := heartbeattest.NewRecorder()
	t.Cleanup(func() { require.NoError(t, rec.Close()) })
	return rec
}

func TestRecorder_KeepsWhatAPublisherSends(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		rec := newRecorder(t)
		pub, err := heartbeat.NewPublisher(rec.Client(), "geocoding", heartbeat.Config{
			Instance: "a1", Jitter: -1, Channels: []string{heartbeat.DefaultChannel, heartbeat.ShortChannel}, Stream: "log",
		})
		require.NoError(t, err)
		pending := 10
		require.NoError(t, pub.Collect("pending", func(context.Context) (any, error) { pending++; return pending, nil }))
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { _ = pub.Run(ctx) })
		<-time.After(5*time.Minute + time.Second)

		beats := rec.Beats()
		require.Len(t, beats, 6, "each once, whatever the number of channels")
		for i, beat := range beats {
			require.Equal(t, []any{"geocoding", "a1", uint64(i + 1)}, []any{beat.Service, beat.Instance, beat.Count})
			require.Equal(t, time.Duration(i)*time.Minute, beat.Uptime, "on simulated time")
		}
		last, _ := beats[5].Field("pending")
		require.Equal(t, "16", string(last))
		for _, channel := range []string{"health:service:geocoding:heartbeat", "heartbeat:service:geocoding"} {
			require.Len(t, rec.Messages(channel), 6)
		}
		require.Empty(t, rec.Messages("health:service:other:heartbeat"))
		require.Equal(t, rec.Messages("heartbeat:service:geocoding")[5], rec.Retained("health:last:geocoding:a1"), "the newest")
		require.Nil(t, rec.Retained("health:last:geocoding:b2"))
		require.Equal(t, 6, rec.Streamed("log"), "one entry for each beat")
		require.Zero(t, rec.Streamed("other"))

		cancel()
		wg.Wait()
		require.Equal(t, heartbeat.PhaseStopped, rec.Beats()[6].Phase)
	})
}

func TestRecorder_GivesCopies(t *testing.T) {
	t.Parallel()
	rec := newRecorder(t)
	pub, err := heartbeat.NewPublisher(rec.Client(), "s", heartbeat.Config{Instance: "i"})
	require.NoError(t, err)
	require.NoError(t, pub.Beat(t.Context()))
	clear(rec.Messages("health:service:s:heartbeat")[0])
	clear(rec.Retained("health:last:s:i"))
	for _, payload := range [][]byte{rec.Messages("health:service:s:heartbeat")[0], rec.Retained("health:last:s:i")} {
		_, err := heartbeat.ParseBeat(payload)
		require.NoError(t, err)
	}
}

func TestRecorder_KeepsWhatAManagerSends(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		rec := newRecorder(t)
		m, err := heartbeat.NewManager(rec.Client(), "geofence", heartbeat.ManagerConfig{Config: heartbeat.Config{Jitter: -1}})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { _ = m.Run(ctx) })
		<-time.After(5*time.Minute + time.Second)
		require.Len(t, rec.Beats(), 6, "status and metrics are no beats")
		require.Len(t, rec.Messages("health:service:geofence:status"), 11)
		require.Len(t, rec.Messages("health:service:geofence:metrics"), 1)
		var status struct{ Status string }
		require.NoError(t, json.Unmarshal(rec.Messages("health:service:geofence:status")[10], &status))
		require.Equal(t, "healthy", status.Status)
		cancel()
		wg.Wait()
	})
}

func TestRecorder_Fail(t *testing.T) {
	t.Parallel()
	rec := newRecorder(t)
	pub, err := heartbeat.NewPublisher(rec.Client(), "s", heartbeat.Config{Instance: "i", Stream: "log"})
	require.NoError(t, err)
	require.NoError(t, pub.Beat(t.Context()))
	kept := rec.Retained("health:last:s:i")
	lost := errors.New("the cable is cut")
	rec.Fail(lost)
	require.ErrorIs(t, pub.Beat(t.Context()), lost)
	require.Len(t, rec.Beats(), 1, "what fails is not recorded")
	require.Equal(t, kept, rec.Retained("health:last:s:i"))
	require.Equal(t, 1, rec.Streamed("log"))
	rec.Fail(nil)
	require.NoError(t, pub.Beat(t.Context()))
	require.Len(t, rec.Beats(), 2)
	require.EqualValues(t, 3, rec.Beats()[1].Count, "the lost one was counted by its sender")
	require.EqualValues(t, 1, pub.Stats().Failed)
}

func TestRecorder_TakesNothingElse(t *testing.T) {
	t.Parallel()
	rec := heartbeattest.NewRecorder()
	pub, err := heartbeat.NewPublisher(rec.Client(), "s", heartbeat.Config{})
	require.NoError(t, err)
	require.NoError(t, pub.Beat(t.Context()))
	const says = "what publishers and managers send, and nothing else"
	require.ErrorContains(t, rec.Client().Get(t.Context(), "k").Err(), says)
	require.ErrorContains(t, rec.Client().Ping(t.Context()).Err(), says)
	require.ErrorContains(t, rec.Client().HSet(t.Context(), "k", "f", 1).Err(), says)
	pipe := rec.Client().Pipeline()
	pipe.Del(t.Context(), "k")
	_, err = pipe.Exec(t.Context())
	require.ErrorContains(t, err, says)
	sub := rec.Client().Subscribe(t.Context(), "c")
	_, err = sub.Receive(t.Context())
	require.ErrorContains(t, err, says)
	require.NoError(t, sub.Close())
	require.NoError(t, rec.Close())
	require.Len(t, rec.Beats(), 1, "what was recorded stays")
}

func TestRecorder_SideBySide(t *testing.T) {
	t.Parallel()
	rec := newRecorder(t)
	var wg sync.WaitGroup
	for range 8 {
		pub, err := heartbeat.NewPublisher(rec.Client(), "s", heartbeat.Config{})
		require.NoError(t, err)
		wg.Go(func() {
			for range 20 {
				_ = pub.Beat(t.Context())
				_ = rec.Beats()
			}
		})
	}
	wg.Wait()
	require.Len(t, rec.Beats(), 160)
}
