package heartbeat_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/heartbeat"
)

// verdicts is what a detector said of a world, judged by what was true.
type verdicts struct {
	name                                  string
	falseDead, falseStale, deaths, missed int
	wrong, late, lateGoodbye, lateBlind   []string
	goodbyes, troubles                    int
	blind                                 time.Duration
}

// judge follows one world: it holds what the monitor says against what is true at that moment.
type judge struct {
	w       *world
	v       verdicts
	clear   time.Duration // since when neither blind nor held
	blindAt time.Duration // since when blind, 0 when not
	held    bool
	seen    map[string]bool // deaths that were noticed
}

// simulate lets a fleet live for a while under a monitor, and returns the verdicts of it, and those of plain
// thresholds on the same deliveries.
func simulate(t *testing.T, name string, seed uint64, senders int, length time.Duration, p protection) (full, plain verdicts) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(seed, senders, p)
		cfg := heartbeat.MonitorConfig{EventBuffer: 1_000_000, Logger: slog.New(slog.DiscardHandler), Flapping: -1}
		if !p.hold {
			cfg.MassShare = -1
		}
		mon, err := heartbeat.NewWatching(w, cfg)
		require.NoError(t, err)
		mon.Stretch(w.pause)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		j := &judge{w: w, v: verdicts{name: name}, seen: map[string]bool{}}
		events := mon.Events(ctx)
		wg.Go(func() {
			for e := range events {
				j.take(e)
			}
		})
		wg.Go(func() { _ = mon.Run(ctx) })
		naive := &plainThresholds{w: w, v: verdicts{name: "plain thresholds"}}
		wg.Go(func() { naive.run(length) })
		wg.Go(func() { j.audit(length) })
		w.run(length)
		cancel()
		wg.Wait()
		require.Zero(t, mon.Stats().Dropped)
		require.Zero(t, mon.Stats().Bad)
		full, plain = j.v, naive.v
	})
	return full, plain
}

func (j *judge) take(e heartbeat.Event) {
	j.w.mu.Lock()
	defer j.w.mu.Unlock()
	now := j.w.now()
	switch e.Kind {
	case heartbeat.EventBlind:
		j.blindAt = now
		j.declared(now)
	case heartbeat.EventSighted:
		j.v.blind += now - j.blindAt
		j.blindAt, j.clear = 0, now
	case heartbeat.EventMassSilence:
		j.held = true
	case heartbeat.EventMassOver:
		j.held, j.clear = false, now
	case heartbeat.EventStale:
		if s := j.sender(e.Instance); !s.dead && !s.stopped && now-s.said < 90*time.Second {
			j.v.falseStale++
		}
	case heartbeat.EventDead:
		if s := j.sender(e.Instance); !s.dead && !s.stopped {
			j.v.falseDead++
			j.v.wrong = append(j.v.wrong, fmt.Sprintf("%s at %v, beat at %v, clear since %v: %s", e.Instance, now, s.said, j.clear, e.Why))
		} else if s.dead {
			j.seen[fmt.Sprint(e.Instance, s.run)] = true
		}
	case heartbeat.EventStopped:
		if at, waiting := j.w.goodbyes[e.Instance]; waiting {
			j.v.goodbyes++
			delete(j.w.goodbyes, e.Instance)
			if now-at > time.Second {
				j.v.lateGoodbye = append(j.v.lateGoodbye, fmt.Sprintf("%s after %v", e.Instance, now-at))
			}
		}
	}
}

// declared settles the troubles that the monitor has noticed.
func (j *judge) declared(now time.Duration) {
	for _, t := range j.w.troubles {
		j.v.troubles++
		if now-t.from > 10*time.Second {
			j.v.lateBlind = append(j.v.lateBlind, fmt.Sprintf("%s after %v", t.what, now-t.from))
		}
	}
	j.w.troubles = nil
}

func (j *judge) sender(name string) *sender {
	var n int
	_, _ = fmt.Sscanf(name, "i%d", &n)
	return j.w.fleet[n]
}

// audit looks for the dead that are overdue: each is to be seen within its threshold, which begins again as far as
// [MonitorConfig] says when sight was regained, and a second.
func (j *judge) audit(length time.Duration) {
	counted := map[string]bool{}
	for j.w.now() < length-simStep {
		<-time.After(time.Second)
		j.w.mu.Lock()
		now := j.w.now()
		sighted := j.blindAt == 0 && !j.held && now > j.w.pausing+time.Second
		for _, t := range j.w.troubles {
			if now-t.from > 10*time.Second && now < t.to {
				j.v.lateBlind = append(j.v.lateBlind, fmt.Sprintf("%s not declared", t.what))
				j.w.troubles = nil
				break
			}
		}
		for _, s := range j.w.graves {
			if !s.dead || !sighted || now < max(s.arrived+s.late+180*time.Second, j.clear+s.late+90*time.Second)+time.Second {
				continue
			}
			life := fmt.Sprint(s.name, s.run)
			if counted[life] {
				continue
			}
			counted[life] = true
			j.v.deaths++
			if !j.seen[life] {
				j.v.missed++
				j.v.late = append(j.v.late, fmt.Sprintf("%s: last beat at %v, clear since %v, now %v", life, s.said, j.clear, now))
			}
		}
		j.w.mu.Unlock()
	}
}

// plainThresholds is a detector as most are: 90 and 180 seconds since the last delivery.
type plainThresholds struct {
	w *world
	v verdicts
}

func (p *plainThresholds) run(length time.Duration) {
	for p.w.now() < length-10*time.Second {
		<-time.After(10 * time.Second)
		p.w.mu.Lock()
		for _, s := range p.w.fleet {
			if s.heard == 0 {
				s.plain = heartbeat.Unknown
				continue
			}
			state := heartbeat.Thresholds{}.Judge(p.w.now() - s.heard)
			if state == s.plain {
				continue
			}
			s.plain = state
			gone := s.dead || s.stopped
			switch {
			case state == heartbeat.Dead && gone:
				p.v.deaths++
			case state == heartbeat.Dead:
				p.v.falseDead++
			case state == heartbeat.Stale && !gone && p.w.now()-s.said < 90*time.Second:
				p.v.falseStale++
			}
		}
		p.w.mu.Unlock()
	}
}

func (v verdicts) row() string {
	return fmt.Sprintf("%-26s %10d %11d %11d %12d %13d %12v",
		v.name, v.falseDead, v.falseStale, v.deaths, v.missed, len(v.lateGoodbye), v.blind.Round(time.Second))
}

const verdictsHead = "detector                   false dead false stale deaths seen  deaths late goodbyes late  blind time"

// TestSimulation_NoFalseDeaths is 10,000 hours of instances, and a million with UPBEAT_SOAK=1.
func TestSimulation_NoFalseDeaths(t *testing.T) {
	t.Parallel()
	senders, length, short := 2000, 5*time.Hour, 2*time.Hour
	if os.Getenv("UPBEAT_SOAK") != "" {
		senders, length, short = 10_000, 100*time.Hour, 10*time.Hour
	}
	all := protection{sight: true, opinion: true, hold: true}
	full, plain := simulate(t, "monitor", 1, senders, length, all)
	rows := []string{verdictsHead, full.row(), plain.row()}
	rows = append(rows, fmt.Sprintf("on the first %v of it:", short))
	for _, less := range []struct {
		name string
		p    protection
	}{
		{"without canary", protection{opinion: true, hold: true}},
		{"without second opinion", protection{sight: true, hold: true}},
		{"without mass hold", protection{sight: true, opinion: true}},
		{"with none of them", protection{}},
	} {
		v, _ := simulate(t, less.name, 1, senders/10, short, less.p)
		rows = append(rows, v.row())
	}
	t.Logf("%d instance-hours, %d troubles, %d goodbyes\n%s", senders*int(length.Hours()), full.troubles, full.goodbyes, strings.Join(rows, "\n"))
	require.Empty(t, full.wrong[:min(len(full.wrong), 5)])
	require.Empty(t, full.late)
	require.Empty(t, full.lateGoodbye)
	require.Empty(t, full.lateBlind)
	require.Positive(t, full.deaths)
	require.Positive(t, full.goodbyes)
	require.Positive(t, full.troubles)
	require.Positive(t, plain.falseDead, "or the trace has no troubles in it")
}
