package heartbeat_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/heartbeat"
	"github.com/upbeat-go/upbeat/internal/testserver"
)

// cell is the resolution of the oracle. All that happens in its world happens a quarter of a second beside the
// monitor's looks, so that their order is certain.
const cell = 250 * time.Millisecond

// oracle keeps all that ever happened to one instance, and to the monitor's ears, and sums it up from the beginning
// each time that it is asked.
type oracle struct {
	beats []oracleBeat
	died  []time.Duration // when its death was told
	blind []deafSpan
}

type oracleBeat struct {
	at    time.Duration
	phase heartbeat.Phase
}

// deafSpan is a time that the monitor was blind in, and when it said so: what it has accounted for before stays.
type deafSpan struct{ from, to, told time.Duration }

// uptime returns what was up, down and unknown since a moment, as Window's documentation has it, as of the newest beat.
func (o *oracle) uptime(since time.Duration) (up, down, unknown time.Duration) {
	for i := 1; i < len(o.beats); i++ {
		from, to := o.beats[i-1].at, o.beats[i].at
		if to <= since || o.beats[i-1].phase == heartbeat.PhaseStopped {
			continue
		}
		quiet := to - from - o.blindness(from, to)
		isDown := o.beats[i-1].phase == heartbeat.PhaseStuck || quiet >= 3*time.Minute
		pieces := []time.Duration{from}
		for _, at := range o.died {
			if from < at && at <= to {
				isDown, pieces = true, append(pieces, at)
			}
		}
		for i, end := range append(pieces[1:], to) {
			begin := max(pieces[i], since)
			blind := o.blindness(begin, end)
			unknown += blind
			if isDown {
				down += max(end-begin-blind, 0)
			} else {
				up += max(end-begin-blind, 0)
			}
		}
	}
	return up, down, unknown
}

// said returns for how long there was anything to say since a moment: not before the first beat, nor after goodbyes.
func (o *oracle) said(since, now time.Duration) (sum time.Duration) {
	for i, b := range o.beats {
		to := now
		if i+1 < len(o.beats) {
			to = o.beats[i+1].at
		}
		if b.phase != heartbeat.PhaseStopped {
			sum += max(to-max(b.at, since), 0)
		}
	}
	return sum
}

func (o *oracle) blindness(from, to time.Duration) (sum time.Duration) {
	for _, b := range o.blind {
		if b.told <= to {
			sum += max(min(b.to, to)-max(b.from, from), 0)
		}
	}
	return sum
}

// provedEther notes when canaries came back.
type provedEther struct {
	*ether
	began  time.Time
	proved []time.Duration
}

func (e *provedEther) Canary(ctx context.Context, token string) error {
	e.set(func(inner *ether) {
		if len(inner.paths) > 0 {
			e.proved = append(e.proved, time.Since(e.began))
		}
	})
	return e.ether.Canary(ctx, token)
}

// lifetime is one instance's random life under one monitor whose ears come and go.
type lifetime struct {
	t       *testing.T
	random  *rand.Rand
	ether   *provedEther
	mon     *heartbeat.Monitor
	told    func() []heartbeat.Event
	oracle  oracle
	window  time.Duration
	count   uint64
	phase   heartbeat.Phase
	next    time.Duration // when it beats next
	turns   time.Duration // when the monitor's ears change next
	deaf    bool
	compare int
}

func (l *lifetime) now() time.Duration { return time.Since(l.ether.began) }

func (l *lifetime) between(low, high time.Duration) time.Duration {
	return low + time.Duration(l.random.Int64N(int64((high-low)/(2*cell))))*2*cell
}

// turn makes the monitor deaf, or hear again.
func (l *lifetime) turn() {
	l.deaf = !l.deaf
	l.ether.set(func(e *ether) {
		if e.paths = []string{"redis"}; l.deaf {
			e.paths = nil
		}
	})
	l.turns = l.now() + l.between(time.Second, 3*time.Minute)
	if !l.deaf && l.random.IntN(2) == 0 {
		l.turns += time.Hour
	}
}

// beat sends one, which is heard if anything is, and plans the next.
func (l *lifetime) beat() {
	l.count++
	switch l.next = l.now() + l.between(30*time.Second, time.Minute); l.random.IntN(40) {
	case 0, 1:
		l.phase = heartbeat.PhaseStuck
	case 2:
		l.phase = heartbeat.PhaseStopped
		l.next += l.between(0, 30*time.Minute)
	case 3, 4, 5: // dies, or nearly
		l.next += l.between(0, 10*time.Minute)
	default:
		l.phase = heartbeat.PhaseRunning
	}
	if !l.deaf {
		l.ether.heard().Message(fleet(l.t, 1, l.count, func(b *heartbeat.Beat) { b.Phase = l.phase }))
		l.oracle.beats = append(l.oracle.beats, oracleBeat{l.now(), l.phase})
		l.check()
	}
}

// follow takes in what the monitor told.
func (l *lifetime) follow() {
	for _, e := range l.told() {
		at := e.At.Sub(l.ether.began)
		switch blind := l.oracle.blind; e.Kind {
		case heartbeat.EventDead:
			l.oracle.died = append(l.oracle.died, at)
		case heartbeat.EventBlind:
			proved := l.ether.proved
			for proved[len(proved)-1] > at-6*time.Second { // came back in the moment in which that was told
				proved = proved[:len(proved)-1]
			}
			from := proved[len(proved)-1]
			if len(blind) > 0 {
				from = max(from, blind[len(blind)-1].to)
			}
			l.oracle.blind = append(l.oracle.blind, deafSpan{from, 1 << 62, at})
		case heartbeat.EventSighted:
			if len(blind) > 0 {
				blind[len(blind)-1].to = at
			}
		}
	}
}

// check compares at a moment at which nothing is in doubt: that of a beat.
func (l *lifetime) check() {
	l.compare++
	slot, now, got := l.window/8, l.now(), only(l.t, l.mon).Window
	since := (now/slot - 7) * slot
	up, down, unknown := l.oracle.uptime(since)
	// Each change of what is counted is known to a tick, and not all of them in the same direction.
	slack := float64(l.window/480_000) * 20
	at := fmt.Sprintf("at %v, beat %d, window %+v", now, l.count, got)
	require.InDelta(l.t, up, got.Up, slack, "up %v %s", up, at)
	require.InDelta(l.t, down, got.Down, slack, "down %v %s", down, at)
	require.InDelta(l.t, unknown, got.Unknown, slack, "unknown %v %s", unknown, at)
	if ratio, known := got.Ratio(); known {
		require.InDelta(l.t, float64(got.Up)/float64(got.Up+got.Down), ratio, 1e-9)
	}
}

// checkSum compares at any moment: what is known and what is not are the whole together.
func (l *lifetime) checkSum() {
	slot, now, got := l.window/8, l.now(), only(l.t, l.mon).Window
	require.InDelta(l.t, l.oracle.said((now/slot-7)*slot, now), got.Up+got.Down+got.Unknown,
		float64(l.window/480_000)*4+float64(cell), "at %v: %+v", now, got)
}

func TestMonitor_UptimeIsThatOfAnOracle(t *testing.T) {
	t.Parallel()
	for seed := range uint64(testserver.Times(4, 100)) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				window := []time.Duration{10 * time.Minute, 2 * time.Hour, 24 * time.Hour}[seed%3]
				l := &lifetime{
					t: t, random: rand.New(rand.NewPCG(seed, 3)), ether: &provedEther{ether: newEther(), began: time.Now()},
					window: window, phase: heartbeat.PhaseRunning,
				}
				mon, err := heartbeat.NewWatching(l.ether, heartbeat.MonitorConfig{Window: window, Flapping: -1, MassShare: -1, Forget: -1, Logger: slog.New(slog.DiscardHandler)})
				require.NoError(t, err)
				l.mon, l.told = mon, follow(t, mon)
				<-time.After(cell)
				l.next, l.turns = 5*time.Second, 10*time.Minute
				for l.now() < 6*time.Hour {
					<-time.After(2 * cell)
					l.follow()
					if l.now() >= l.turns {
						l.turn()
					}
					if l.now() >= l.next {
						l.beat()
					}
					if len(l.oracle.beats) > 0 && l.random.IntN(200) == 0 {
						l.checkSum()
					}
				}
				require.Greater(t, l.compare, 150)
				require.NotEmpty(t, l.oracle.died)
				require.Greater(t, len(l.oracle.blind), 3)
			})
		})
	}
}

func TestMonitor_WindowHoldsNoMoreThanItself(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		mon := newMonitor(t, heartbeat.MonitorConfig{Window: 10 * time.Minute})
		for count := range uint64(5) {
			require.NoError(t, mon.Observe(fleet(t, 1, count+1), 0))
			<-time.After(time.Duration(count) * 47 * time.Minute)
			down := only(t, mon).Window.Down
			require.LessOrEqual(t, down, 10*time.Minute)
			require.True(t, count == 0 || down >= 8*time.Minute, "%v of a silence of hours", down)
		}
	})
}
