package heartbeat_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/heartbeat"
)

const noJitter = -1

var errDown = errors.New("connection refused")

func TestPublisher_BeatsAtOnceThenEveryInterval(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var b broker
		pub := b.publisher(t, heartbeat.Config{Jitter: noJitter})
		begun := time.Now()
		stop := start(t, pub)
		synctest.Wait()
		require.Len(t, b.beats(t), 1, "the first at once")
		require.Equal(t, begun, b.times()[0])

		<-time.After(5*time.Minute + time.Second)
		require.NoError(t, stop())
		beats := b.beats(t)
		require.Len(t, beats, 7, "at 0 to 5 minutes, and a goodbye")
		at := b.times()
		for i, beat := range beats[:6] {
			require.EqualValues(t, i+1, beat.Count)
			require.Equal(t, time.Duration(i)*time.Minute, at[i].Sub(begun))
			require.Equal(t, heartbeat.PhaseRunning, beat.Phase)
			require.Equal(t, time.Minute, beat.Interval)
			require.Equal(t, at[i].Sub(begun), beat.Uptime)
			require.True(t, beat.Time.Equal(at[i]))
			require.Zero(t, beat.TickLate)
		}
		require.Equal(t, heartbeat.PhaseStopped, beats[6].Phase)
		require.EqualValues(t, 7, beats[6].Count)
	})
}

func TestPublisher_JitterOnlyShortens(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var b broker
		stop := start(t, b.publisher(t, heartbeat.Config{Jitter: 0.5}))
		<-time.After(2 * time.Hour)
		require.NoError(t, stop())
		gaps := b.gaps()
		gaps = gaps[1 : len(gaps)-1] // without the random phase and the goodbye
		shortest, longest := gaps[0], gaps[0]
		for _, gap := range gaps {
			shortest, longest = min(shortest, gap), max(longest, gap)
		}
		require.LessOrEqual(t, longest, time.Minute)
		require.GreaterOrEqual(t, shortest, 30*time.Second)
		require.Greater(t, longest-shortest, 15*time.Second, "over two hours the waits use most of their range")
	})
}

func TestPublisher_StartsOnARandomPhase(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		fleet := make([]broker, 50)
		var stops []func() error
		for i := range fleet {
			stops = append(stops, start(t, fleet[i].publisher(t, heartbeat.Config{})))
		}
		<-time.After(time.Minute)
		earliest, latest := time.Minute, time.Duration(0)
		for i := range fleet {
			gap := fleet[i].gaps()[0]
			earliest, latest = min(earliest, gap), max(latest, gap)
		}
		require.Less(t, earliest, 25*time.Second)
		require.Greater(t, latest, 45*time.Second)
		for _, stop := range stops {
			require.NoError(t, stop())
		}
	})
}

func TestPublisher_FailureIsLoggedOncePerEpisode(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var (
			b   broker
			log journal
		)
		pub := b.publisher(t, heartbeat.Config{Jitter: noJitter, Logger: log.logger()})
		b.set(errDown, nil)
		stop := start(t, pub)
		<-time.After(4*time.Minute + time.Second)
		stats := pub.Stats()
		require.True(t, stats.Running)
		require.EqualValues(t, 5, stats.Failed)
		require.EqualValues(t, 5, stats.FailedInARow)
		require.Contains(t, stats.LastError, errDown.Error())
		require.Zero(t, stats.Published)
		require.Equal(t, 1, log.count("level=WARN"), "%s", &log)

		b.set(nil, nil)
		<-time.After(2 * time.Minute)
		require.Equal(t, 1, log.count("get through again"), "%s", &log)
		require.Equal(t, 1, log.count("failed=5"), "%s", &log)

		b.set(errDown, nil)
		<-time.After(2 * time.Minute)
		require.Equal(t, 2, log.count("level=WARN"), "a new episode: %s", &log)
		require.ErrorIs(t, stop(), errDown, "the goodbye did not get through either")

		stats = pub.Stats()
		require.False(t, stats.Running)
		require.EqualValues(t, 10, stats.Count)
		require.EqualValues(t, 2, stats.Published)
		require.EqualValues(t, 8, stats.Failed)
		require.EqualValues(t, 10, b.last(t).Count, "every attempt counts")
	})
}

func TestPublisher_HangingClientDelaysNoBeat(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var b broker
		pub := b.publisher(t, heartbeat.Config{Jitter: noJitter})
		release := make(chan struct{})
		b.set(nil, release)
		stop := start(t, pub)
		<-time.After(6*time.Minute + 30*time.Second)
		require.Equal(t, []time.Duration{time.Minute, time.Minute, time.Minute}, b.gaps(), "then four are out: no more")
		stats := pub.Stats()
		require.EqualValues(t, 7, stats.Failed)
		require.Contains(t, stats.LastError, "4 earlier calls")

		close(release)
		<-time.After(time.Minute)
		require.EqualValues(t, 1, pub.Stats().Published)
		require.NoError(t, stop())
	})
}

func TestPublisher_RunNamesWhatIsStuck(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var b broker
		pub := b.publisher(t, heartbeat.Config{DrainTimeout: 3 * time.Second})
		release := make(chan struct{})
		require.NoError(t, pub.Collect("deaf", func(context.Context) (any, error) {
			<-release
			return 1, nil
		}))
		stop := start(t, pub)
		<-time.After(5 * time.Second)
		b.set(nil, release)
		asked := time.Now()
		err := stop()
		require.Equal(t, 3*time.Second, time.Since(asked))
		require.ErrorContains(t, err, "goodbye has not been confirmed")
		require.ErrorContains(t, err, `collector "deaf"`)
		require.ErrorContains(t, err, "1 calls of the Redis client")
		close(release)
	})
}

func TestPublisher_RunWaitsForWhatItStarted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var b broker
		pub := b.publisher(t, heartbeat.Config{})
		returned := false
		require.NoError(t, pub.Collect("slow to notice", func(context.Context) (any, error) {
			<-time.After(4 * time.Second)
			returned = true
			return 1, nil
		}))
		stop := start(t, pub)
		synctest.Wait()
		require.NoError(t, stop())
		require.True(t, returned)
	})
}

func TestPublisher_GoodbyeDoesNotWaitForABeatInHand(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var (
			b   broker
			log journal
		)
		pub := b.publisher(t, heartbeat.Config{Logger: log.logger()})
		var asked int
		require.NoError(t, pub.Collect("slow", func(ctx context.Context) (any, error) {
			asked++
			<-ctx.Done()
			return nil, ctx.Err()
		}))
		begun := time.Now()
		stop := start(t, pub)
		synctest.Wait()
		require.NoError(t, stop())
		require.Equal(t, begun, time.Now(), "neither waited for")
		require.Equal(t, heartbeat.PhaseStopped, b.last(t).Phase)
		require.Equal(t, 1, asked, "a goodbye asks no collectors")
		require.Zero(t, log.count("get through"), "a cancelled beat is no trouble: %s", &log)
	})
}

func TestPublisher_BeatSendsOneNow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var b broker
		pub := b.publisher(t, heartbeat.Config{Instance: "pod-7"})
		require.NoError(t, pub.Beat(t.Context()), "without Run")
		require.Equal(t, "pod-7", pub.Instance())
		require.Equal(t, "pod-7", b.last(t).Instance)
		require.Equal(t, "geocoding", b.last(t).Service)

		pub.Drain()
		require.NoError(t, pub.Beat(t.Context()))
		require.Equal(t, heartbeat.PhaseDraining, b.last(t).Phase)

		b.set(errDown, nil)
		require.ErrorIs(t, pub.Beat(t.Context()), errDown)
		b.set(nil, nil)

		stop := start(t, pub)
		<-time.After(time.Second)
		require.Equal(t, heartbeat.PhaseDraining, b.last(t).Phase)
		require.NoError(t, stop())
		require.ErrorContains(t, pub.Beat(t.Context()), "said goodbye")
		require.Equal(t, heartbeat.PhaseStopped, b.last(t).Phase, "nothing follows a goodbye")
	})
}

func TestPublisher_BeatObeysItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var b broker
		pub := b.publisher(t, heartbeat.Config{})
		release := make(chan struct{})
		b.set(nil, release)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begun := time.Now()
		require.ErrorIs(t, pub.Beat(ctx), context.DeadlineExceeded)
		require.Equal(t, time.Second, time.Since(begun))
		require.ErrorContains(t, pub.Beat(t.Context()), "no answer within 10s")
		close(release)
	})
}

func TestPublisher_RunWorksOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var b broker
		pub := b.publisher(t, heartbeat.Config{})
		stop := start(t, pub)
		synctest.Wait()
		require.ErrorContains(t, pub.Run(t.Context()), "called before")
		require.NoError(t, stop())
		require.ErrorContains(t, pub.Run(t.Context()), "called before")
	})
}

func TestPublisher_PanickingClientIsAnError(t *testing.T) {
	t.Parallel()
	publish := func(context.Context, []byte) error { panic("hook") }
	pub, err := heartbeat.NewSimulated(publish, idleProcess, "geocoding", heartbeat.Config{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	err = pub.Beat(t.Context())
	require.ErrorContains(t, err, "panic: hook")
	require.ErrorContains(t, err, "publisher_test.go", "with its stack")
	require.NotContains(t, pub.Stats().LastError, "\n")
}

// slowLog is a log that takes its time, as one on a full disk does.
type slowLog struct {
	slog.Handler
	takes time.Duration
}

func (s slowLog) Handle(_ context.Context, r slog.Record) error {
	if r.Level >= slog.LevelWarn {
		<-time.After(s.takes)
	}
	return nil
}

func (s slowLog) Enabled(context.Context, slog.Level) bool { return true }
func (s slowLog) WithAttrs([]slog.Attr) slog.Handler       { return s }

func TestPublisher_ReportsLateTicks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var b broker
		pub := b.publisher(t, heartbeat.Config{Jitter: noJitter, Logger: slog.New(slowLog{takes: 90 * time.Second})})
		b.set(errDown, nil)
		stop := start(t, pub)
		<-time.After(89 * time.Second)
		b.set(nil, nil)
		<-time.After(62 * time.Second)
		require.NoError(t, stop())
		beats := b.beats(t)
		require.Len(t, beats, 4)
		require.Equal(t, 30*time.Second, beats[1].TickLate)
		require.Zero(t, beats[2].TickLate, "the next is planned from when this one began")
		require.Equal(t, []time.Duration{90 * time.Second, time.Minute, time.Second}, b.gaps())
	})
}

func TestPublisher_MeasuresTheProcess(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var (
			b       broker
			cpu     time.Duration
			failure error
		)
		read := func(context.Context) (heartbeat.Usage, error) {
			return heartbeat.NewUsage(156<<20+300<<10, cpu), failure
		}
		pub, err := heartbeat.NewSimulated(b.publish, read, "geocoding", heartbeat.Config{Logger: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		beat := func(after, used time.Duration) heartbeat.Beat {
			<-time.After(after)
			cpu += used
			require.NoError(t, pub.Beat(t.Context()))
			return b.last(t)
		}
		first := beat(0, 42*time.Second)
		require.InDelta(t, 156.3, first.MemoryMB, 0)
		require.Zero(t, first.CPUPercent, "there is nothing to compare with")
		require.InDelta(t, 25, beat(time.Minute, 15*time.Second).CPUPercent, 0, "of one core, since the last beat")
		require.InDelta(t, 200, beat(time.Minute, 2*time.Minute).CPUPercent, 0, "two cores")
		require.InDelta(t, 200, beat(time.Millisecond, 10*time.Millisecond).CPUPercent, 0, "too soon to tell")
		require.InDelta(t, 0, beat(time.Minute, 0).CPUPercent, 0.1)

		failure = errors.New("no /proc here")
		blind := beat(time.Minute, 0)
		require.Zero(t, blind.MemoryMB)
		require.Contains(t, blind.CollectorErrors["memory_usage_mb"], "no /proc here")
		require.Contains(t, blind.CollectorErrors["cpu_usage_percent"], "no /proc here")
	})
}

func TestReadUsage_ReadsThisProcess(t *testing.T) {
	t.Parallel()
	before, err := heartbeat.ReadUsage(t.Context())
	require.NoError(t, err)
	require.Greater(t, before.Resident(), uint64(1<<20))
	require.Eventually(t, func() bool {
		now, err := heartbeat.ReadUsage(t.Context())
		return err == nil && now.CPU() > before.CPU()
	}, 20*time.Second, time.Nanosecond, "asking takes processor time itself")
}

func TestPublisher_WireFormat(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var b broker
		pub := b.publisher(t, heartbeat.Config{Instance: "a1b2c3d4-e5f6-7890-abcd-ef1234567890"})
		require.NoError(t, pub.Collect("queue_size", constant(1380)))
		require.NoError(t, pub.Collect("api_status", constant("authenticated")))
		require.NoError(t, pub.Collect("cache", constant(map[string]any{"hits": 0.5, "<html>": nil})))
		require.NoError(t, pub.Collect("broken", func(context.Context) (any, error) { return nil, errDown }))
		<-time.After(time.Hour + 500*time.Millisecond)
		require.NoError(t, pub.Beat(t.Context()))
		got := regexp.MustCompile(`"run":"[A-Z2-7]{13}"`).ReplaceAll(b.raw[0], []byte(`"run":"RUN"`))
		golden(t, "publisher.golden", append(got, '\n'))
	})
}

// golden compares with a file, which UPDATE_GOLDEN=1 writes anew.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if os.Getenv("UPDATE_GOLDEN") != "" {
		require.NoError(t, os.WriteFile(path, got, 0o600))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), string(got))
}
