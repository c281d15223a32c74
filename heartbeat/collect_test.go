package heartbeat_test

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/heartbeat"
)

type node struct{ Next *node }

// marshaler is a value whose encoding is code of the user.
type marshaler func() ([]byte, error)

func (m marshaler) MarshalJSON() ([]byte, error) { return m() }

// badError is an error that as a nil pointer can't say what it is: a common slip of the pen.
type badError struct{ text string }

func (e *badError) Error() string { return e.text }

func TestCollector_FailureCostsOnlyItsField(t *testing.T) {
	t.Parallel()
	circle := &node{}
	circle.Next = circle
	var nothing any
	tests := map[string]struct {
		collect func(context.Context) (any, error)
		reason  string
	}{
		"error":    {func(context.Context) (any, error) { return 1, errDown }, "connection refused"},
		"panic":    {func(context.Context) (any, error) { panic("boom") }, "panic: boom"},
		"nilpanic": {func(context.Context) (any, error) { panic(nothing) }, "panic"},
		"nilerror": {func(context.Context) (any, error) { return 1, (*badError)(nil) }, "nil pointer"},
		"goexit":   {func(context.Context) (any, error) { runtime.Goexit(); return 1, nil }, "ended its goroutine"},
		"NaN":      {constant(math.NaN()), "unsupported value"},
		"infinity": {constant([]any{1, math.Inf(1)}), "unsupported value"},
		"channel":  {constant(make(chan int)), "unsupported type"},
		"function": {constant(func() {}), "unsupported type"},
		"circle":   {constant(circle), "cycle"},
		"huge":     {constant(strings.Repeat("x", 16<<10)), "left out"},
		"invalid":  {constant(marshaler(func() ([]byte, error) { return []byte(`{"a":`), nil })), "unexpected end"},
		"marshal":  {constant(marshaler(func() ([]byte, error) { panic("in MarshalJSON") })), "in MarshalJSON"},
		"nilmarsh": {constant(marshaler(func() ([]byte, error) { return nil, (*badError)(nil) })), "nil pointer"},
		"hang":     {func(context.Context) (any, error) { <-time.After(time.Hour); return 1, nil }, "no value within 1s"},
		"slow": {func(ctx context.Context) (any, error) {
			<-ctx.Done()
			return nil, context.Cause(ctx)
		}, "no value within 1s"},
		"ugly": {func(context.Context) (any, error) {
			return nil, fmt.Errorf("\x1b[31m%s\nsecond line", strings.Repeat("é", 90))
		}, "?[31mé"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				beatWithBroken(t, tt.collect, tt.reason)
				<-time.After(time.Hour) // until the one that hangs has returned
			})
		})
	}
}

// beatWithBroken sends three beats with a collector that fails and two that do not.
func beatWithBroken(t *testing.T, broken func(context.Context) (any, error), reason string) {
	t.Helper()
	var (
		b   broker
		log journal
	)
	pub := b.publisher(t, heartbeat.Config{Logger: log.logger()})
	require.NoError(t, pub.Collect("broken", broken))
	require.NoError(t, pub.Collect("after", constant("fine")))
	require.NoError(t, pub.Collect("zero", constant(nil)))
	for range 3 {
		require.NoError(t, pub.Beat(t.Context()))
	}
	beat := b.beats(t)[0]
	_, found := beat.Field("broken")
	require.False(t, found)
	require.Contains(t, beat.CollectorErrors["broken"], reason)
	require.LessOrEqual(t, len(beat.CollectorErrors["broken"]), 100)
	require.Len(t, beat.CollectorErrors, 1)
	fine, _ := beat.Field("after")
	require.JSONEq(t, `"fine"`, string(fine))
	null, _ := beat.Field("zero")
	require.Equal(t, "null", string(null))
	require.Equal(t, 1, log.count("level=WARN"), "once per episode: %s", &log)
	require.Equal(t, b.last(t).CollectorErrors, pub.Stats().CollectorErrors)
}

func TestCollector_HangingIsNotCalledAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var (
			b     broker
			log   journal
			calls atomic.Int64
		)
		pub := b.publisher(t, heartbeat.Config{Jitter: noJitter, Logger: log.logger()})
		release := make(chan struct{})
		require.NoError(t, pub.Collect("db", func(context.Context) (any, error) {
			<-release
			return calls.Add(1), nil
		}))
		stop := start(t, pub)
		<-time.After(3*time.Minute + 30*time.Second)
		require.Equal(t, []time.Duration{time.Minute - time.Second, time.Minute, time.Minute}, b.gaps(), "only the first waits for it")
		require.Equal(t, "skipped: the run begun 3m0s ago has not returned", b.last(t).CollectorErrors["db"])

		close(release)
		<-time.After(time.Minute)
		require.NoError(t, stop())
		require.EqualValues(t, 2, calls.Load(), "the one that hung, and one after it had returned")
		beats := b.beats(t)
		value, _ := beats[len(beats)-2].Field("db")
		require.Equal(t, "2", string(value), "a late value is not news")
		require.Equal(t, 1, log.count("collector works again"), "%s", &log)
	})
}

func TestCollector_AllRunSideBySide(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var b broker
		pub := b.publisher(t, heartbeat.Config{})
		for i := range 50 {
			require.NoError(t, pub.Collect(fmt.Sprintf("slow_%d", i), func(context.Context) (any, error) {
				<-time.After(900 * time.Millisecond)
				return i, nil
			}))
		}
		begun := time.Now()
		require.NoError(t, pub.Beat(t.Context()))
		require.Equal(t, 900*time.Millisecond, time.Since(begun))
		beat := b.last(t)
		require.Empty(t, beat.CollectorErrors)
		var names []string
		for name := range beat.Fields() {
			names = append(names, name)
		}
		require.Len(t, names, 50)
		require.True(t, slices.IsSorted(names))
	})
}

func TestCollector_LargestIsLeftOut(t *testing.T) {
	t.Parallel()
	var b broker
	pub := b.publisher(t, heartbeat.Config{MaxBytes: 100})
	for name, size := range map[string]int{"a": 90, "b": 40, "c": 30, "d": 20} {
		require.NoError(t, pub.Collect(name, constant(strings.Repeat("x", size-2))))
	}
	require.NoError(t, pub.Beat(t.Context()))
	beat := b.last(t)
	var names []string
	for name := range beat.Fields() {
		names = append(names, name)
	}
	require.Equal(t, []string{"b", "c", "d"}, names)
	require.Contains(t, beat.CollectorErrors["a"], "its 90 bytes exceed")
}

func TestCollector_NamesThatAreRefused(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ name, reason string }{
		"core":         {"heartbeat_count", "every beat has"},
		"core shouted": {"Heartbeat_Count", "every beat has"},
		"reserved":     {"upbeat", "every beat has"},
		"empty":        {"", "empty"},
		"control":      {"a\x1b[31m", "U+001B"},
		"newline":      {"a\nb", "U+000A"},
		"bidi":         {"a\u202eb", "U+202E"},
		"quote":        {`a"b`, "want none of"},
		"long":         {strings.Repeat("n", 65), "at most 64"},
		"not UTF-8":    {"a\xff", "UTF-8"},
		"taken":        {"queue_size", "already"},
	}
	var b broker
	pub := b.publisher(t, heartbeat.Config{})
	require.NoError(t, pub.Collect("queue_size", constant(1)))
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.ErrorContains(t, pub.Collect(tt.name, constant(1)), tt.reason)
		})
	}
	require.ErrorContains(t, pub.Collect("nothing", nil), "no function")
}

func TestCollector_AddedWhileRunning(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var b broker
		pub := b.publisher(t, heartbeat.Config{Interval: 100 * time.Millisecond, MaxFields: 20})
		stop := start(t, pub)
		for i := range 20 {
			require.NoError(t, pub.Collect(fmt.Sprintf("f%d", i), constant(i)))
			require.NoError(t, pub.Beat(t.Context()))
			_, found := b.last(t).Field(fmt.Sprintf("f%d", i))
			require.True(t, found)
			<-time.After(90 * time.Millisecond)
		}
		require.ErrorContains(t, pub.Collect("one_more", constant(1)), "Config.MaxFields is 20")
		require.NoError(t, stop())
	})
}

func TestPublisher_LargestBeatCanBeRead(t *testing.T) {
	t.Parallel()
	var b broker
	pub := b.publisher(t, heartbeat.Config{MaxFields: 128, MaxBytes: 32 << 10})
	require.NoError(t, pub.Collect("big", constant(strings.Repeat("x", 32<<10-2))))
	for i := range 127 {
		name := fmt.Sprintf("%064d", i)
		require.NoError(t, pub.Collect(name, func(context.Context) (any, error) {
			return nil, fmt.Errorf("%s", strings.Repeat("<", 1000))
		}))
	}
	require.NoError(t, pub.Beat(t.Context()))
	require.Greater(t, len(b.raw[0]), 100<<10)
	beat := b.last(t)
	require.Len(t, beat.CollectorErrors, 127)
	value, _ := beat.Field("big")
	require.Equal(t, 32<<10, len(bytes.TrimSpace(value)))
}
