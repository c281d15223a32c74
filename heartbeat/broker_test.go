package heartbeat_test

import (
	"bytes"
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/heartbeat"
)

// broker stands in for Redis, so that time can be simulated.
type broker struct {
	mu   sync.Mutex
	raw  [][]byte
	at   []time.Time
	fail error         // what publish returns
	hang chan struct{} // publish waits for it, whatever its context says
}

func (b *broker) publish(_ context.Context, payload []byte) error {
	b.mu.Lock()
	b.raw = append(b.raw, bytes.Clone(payload))
	b.at = append(b.at, time.Now())
	fail, hang := b.fail, b.hang
	b.mu.Unlock()
	if hang != nil {
		<-hang
	}
	return fail
}

// set changes how the broker behaves from now on.
func (b *broker) set(fail error, hang chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fail, b.hang = fail, hang
}

func (b *broker) beats(t *testing.T) []heartbeat.Beat {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	var beats []heartbeat.Beat
	for _, raw := range b.raw {
		beat, err := heartbeat.ParseBeat(raw)
		require.NoError(t, err, "%s", raw)
		beats = append(beats, beat)
	}
	return beats
}

func (b *broker) last(t *testing.T) heartbeat.Beat {
	t.Helper()
	beats := b.beats(t)
	require.NotEmpty(t, beats)
	return beats[len(beats)-1]
}

func (b *broker) times() []time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.at)
}

// gaps are the times between one beat and the next.
func (b *broker) gaps() []time.Duration {
	at := b.times()
	var gaps []time.Duration
	for i := 1; i < len(at); i++ {
		gaps = append(gaps, at[i].Sub(at[i-1]))
	}
	return gaps
}

// publisher returns one that beats to this broker.
func (b *broker) publisher(t *testing.T, cfg heartbeat.Config) *heartbeat.Publisher {
	t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	pub, err := heartbeat.NewSimulated(b.publish, idleProcess, "geocoding", cfg)
	require.NoError(t, err)
	return pub
}

// contained returns a publisher that runs in a made-up container.
func (b *broker) contained(t *testing.T, read func() heartbeat.ContainerUsage) *heartbeat.Publisher {
	t.Helper()
	pub, err := heartbeat.NewContained(b.publish, read, heartbeat.Config{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	return pub
}

func idleProcess(context.Context) (heartbeat.Usage, error) {
	return heartbeat.NewUsage(100<<20, time.Second), nil
}

// start runs the publisher until stop is called, which returns what Run did.
func start(t *testing.T, pub *heartbeat.Publisher) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() { result <- pub.Run(ctx) }()
	return func() error {
		cancel()
		return <-result
	}
}

// journal is a log to look into.
type journal struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.Write(p)
}

func (j *journal) logger() *slog.Logger { return slog.New(slog.NewTextHandler(j, nil)) }

// count returns how many lines contain text.
func (j *journal) count(text string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Count(j.buf.String(), text)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.String()
}

func constant(v any) func(context.Context) (any, error) {
	return func(context.Context) (any, error) { return v, nil }
}
