package heartbeat_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/heartbeat"
)

// ether is a broker that does what a test tells it.
type ether struct {
	mu      sync.Mutex
	ear     heartbeat.Sink
	ready   chan struct{}
	paths   []string
	kept    map[string]heartbeat.Kept // by instance
	refused error                     // of second opinions
	asked   []string
	sweep   []heartbeat.Kept
}

func newEther() *ether {
	return &ether{ready: make(chan struct{}), kept: map[string]heartbeat.Kept{}, paths: []string{"redis"}}
}

func (e *ether) Listen(ctx context.Context, ear heartbeat.Sink) {
	e.mu.Lock()
	e.ear = ear
	for _, path := range e.paths {
		ear.Path(path, true, "")
	}
	e.mu.Unlock()
	close(e.ready)
	<-ctx.Done()
}

func (e *ether) Canary(_ context.Context, token string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ear == (heartbeat.Sink{}) {
		return nil
	}
	for _, path := range e.paths {
		e.ear.Canary(path, token)
	}
	return nil
}

func (e *ether) Newest(_ context.Context, _, instances []string) ([]heartbeat.Kept, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := make([]heartbeat.Kept, len(instances))
	for i, instance := range instances {
		e.asked = append(e.asked, instance)
		all[i] = e.kept[instance]
	}
	return all, e.refused
}

func (e *ether) Sweep(_ context.Context, yield func(heartbeat.Kept) bool) error {
	for _, kept := range e.sweep {
		yield(kept)
	}
	return nil
}

func (e *ether) set(change func(*ether)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	change(e)
}

// onEther runs a monitor on e in the background of a synctest bubble, and returns how to see what it has told so far.
func onEther(t *testing.T, e *ether, cfg heartbeat.MonitorConfig) (*heartbeat.Monitor, func() []heartbeat.Event) {
	t.Helper()
	mon, err := heartbeat.NewWatching(e, cfg)
	require.NoError(t, err)
	told := follow(t, mon)
	return mon, told
}

func follow(t *testing.T, mon *heartbeat.Monitor) func() []heartbeat.Event {
	t.Helper()
	told, _ := runFor(t, mon)
	return told
}

// runFor is follow with a way to end Run before the test ends.
func runFor(t *testing.T, mon *heartbeat.Monitor) (told func() []heartbeat.Event, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var mu sync.Mutex
	var all []heartbeat.Event
	var wg sync.WaitGroup
	events := mon.Events(ctx)
	wg.Go(func() {
		for event := range events {
			mu.Lock()
			all = append(all, event)
			mu.Unlock()
		}
	})
	var failure error
	wg.Go(func() { failure = mon.Run(ctx) })
	stop = func() {
		cancel()
		wg.Wait()
		require.NoError(t, failure)
	}
	t.Cleanup(stop)
	return func() []heartbeat.Event {
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		told := all
		all = nil
		return told
	}, stop
}

func kinds(events []heartbeat.Event) []heartbeat.EventKind {
	var all []heartbeat.EventKind
	for _, e := range events {
		all = append(all, e.Kind)
	}
	return all
}

// fleet returns the payload of beat count of instance i.
func fleet(tb testing.TB, i int, count uint64, edit ...func(*heartbeat.Beat)) []byte {
	tb.Helper()
	return encode(tb, func(b *heartbeat.Beat) {
		b.Instance, b.Count, b.Uptime = fmt.Sprintf("i%d", i), count, time.Duration(count-1)*time.Minute
		for _, e := range edit {
			e(b)
		}
	})
}

func (e *ether) heard() heartbeat.Sink {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.ear
}
