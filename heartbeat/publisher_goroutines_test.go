package heartbeat_test

import (
	"context"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/heartbeat"
)

// Not in parallel: it looks at all goroutines of the process.
func TestPublisher_Goroutines(t *testing.T) { //nolint:paralleltest // see above
	synctest.Test(t, func(t *testing.T) {
		publishing := make(chan []string, 10)
		pub, err := heartbeat.NewSimulated(func(context.Context, []byte) error {
			publishing <- ownGoroutines()
			return nil
		}, func(context.Context) (heartbeat.Usage, error) { return heartbeat.Usage{}, nil }, "s", heartbeat.Config{})
		require.NoError(t, err)
		require.NoError(t, pub.Collect("queue_size", constant(7)))
		require.Empty(t, ownGoroutines(), "before Run")
		stop := start(t, pub)
		synctest.Wait()
		during := <-publishing
		require.Len(t, during, 2, "Run and the trip:\n%s", strings.Join(during, "\n\n"))
		between := ownGoroutines()
		require.Len(t, between, 1, "Run alone:\n%s", strings.Join(between, "\n\n"))
		<-time.After(time.Minute)
		require.NoError(t, stop())
		require.Empty(t, ownGoroutines(), "after Run")
	})
}

var ownFrame = regexp.MustCompile(`upbeat/heartbeat\.`)

// ownGoroutines returns the stacks of those that the package is at work in.
func ownGoroutines() (all []string) {
	buf := make([]byte, 1<<20)
	buf = buf[:runtime.Stack(buf, true)]
	for stack := range strings.SplitSeq(string(buf), "\n\n") {
		if ownFrame.MatchString(stack) {
			all = append(all, stack)
		}
	}
	return all
}

// What was under way when the goodbye was sent may come after it, and would be what Redis keeps.
func TestPublisher_GoodbyeIsTheLastWord(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var b broker
		pub := b.publisher(t, heartbeat.Config{})
		release := make(chan struct{})
		b.set(nil, release)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- pub.Run(ctx) }()
		synctest.Wait()
		b.set(nil, nil)
		cancel()
		synctest.Wait()
		require.Equal(t, []heartbeat.Phase{heartbeat.PhaseRunning, heartbeat.PhaseStopped}, phasesOf(b.beats(t)), "not held up")
		require.Empty(t, ended)
		<-time.After(time.Second)
		close(release)
		require.NoError(t, <-ended)
		require.Equal(t, []heartbeat.Phase{heartbeat.PhaseRunning, heartbeat.PhaseStopped, heartbeat.PhaseStopped}, phasesOf(b.beats(t)))
		require.EqualValues(t, 3, b.last(t).Count)
	})
}

func phasesOf(beats []heartbeat.Beat) (all []heartbeat.Phase) {
	for _, b := range beats {
		all = append(all, b.Phase)
	}
	return all
}
