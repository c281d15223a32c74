package heartbeat_test

import (
	"fmt"
	"strconv"
	"time"

	"github.com/upbeat-go/upbeat/heartbeat"
)

// verdicts is what a detector said of a world, judged by what was true.
type verdicts struct {
	name                            string
	falseDead, falseStale, goodbyes int
	troubles                        int           // that blinded the monitor
	blind                           time.Duration // as it said itself
	delays                          []time.Duration
	// wrong are its false deaths; the others are what it should have said and did not, or said too late.
	wrong, lateDeath, lateGoodbye, lateBlind []string
}

func (v *verdicts) add(o verdicts) {
	v.name = o.name
	v.falseDead, v.falseStale = v.falseDead+o.falseDead, v.falseStale+o.falseStale
	v.goodbyes, v.troubles, v.blind = v.goodbyes+o.goodbyes, v.troubles+o.troubles, v.blind+o.blind
	v.delays = append(v.delays, o.delays...)
	v.wrong, v.lateDeath = append(v.wrong, o.wrong...), append(v.lateDeath, o.lateDeath...)
	v.lateGoodbye, v.lateBlind = append(v.lateGoodbye, o.lateGoodbye...), append(v.lateBlind, o.lateBlind...)
}

// judge follows one world: it holds what the monitor says against what is true at that moment.
type judge struct {
	w       *world
	v       verdicts
	clear   time.Duration // since when neither blind nor held
	blindAt time.Duration // since when blind, 0 when not
	held    bool
	seen    map[life]bool // deaths that were noticed, and are not settled yet
}

// life is one of an instance's.
type life struct {
	name string
	run  int
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
		if s := j.w.named(e.Instance); !s.dead && !s.stopped && now-s.said < 90*time.Second {
			j.v.falseStale++
		}
	case heartbeat.EventDead:
		s := j.w.named(e.Instance)
		if !s.dead && !s.stopped {
			j.v.falseDead++
			j.v.wrong = append(j.v.wrong, fmt.Sprintf("%s at %v, beat at %v, clear since %v: %s", e.Instance, now, s.said, j.clear, e.Why))
		} else if s.dead {
			j.seen[life{s.name, s.run}] = true
			j.v.delays = append(j.v.delays, now-s.said)
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

// audit looks each second for what is overdue.
func (j *judge) audit(length time.Duration) {
	for j.w.now() < length-simStep {
		<-time.After(time.Second)
		j.w.mu.Lock()
		now := j.w.now()
		for _, t := range j.w.troubles {
			if now-t.from > 10*time.Second && now < t.to {
				j.v.lateBlind = append(j.v.lateBlind, t.what+" not declared")
				j.w.troubles = nil
				break
			}
		}
		if j.blindAt == 0 && !j.held && now > j.w.pausing+time.Second {
			j.settleDeaths(now)
		}
		j.w.mu.Unlock()
	}
}

// settleDeaths looks for the dead that are overdue: each is to be seen within its threshold and a second. The threshold
// counts from when the observer could take the last beat in, and begins again, as [heartbeat.MonitorConfig] says, when it can see again.
func (j *judge) settleDeaths(now time.Duration) {
	waiting := j.w.graves[:0]
	for _, s := range j.w.graves {
		of, late := life{s.name, s.run}, max(s.late, s.lateHeard)
		switch {
		case !s.dead: // it was raised first
		case now < max(s.arrived+late+180*time.Second, j.clear+late+90*time.Second)+time.Second:
			waiting = append(waiting, s)
		case !j.seen[of]:
			j.v.lateDeath = append(j.v.lateDeath, fmt.Sprintf("%s of %v: last beat at %v, clear since %v, now %v", of.name, of.run, s.said, j.clear, now))
		default:
			delete(j.seen, of)
		}
	}
	clear(j.w.graves[len(waiting):])
	j.w.graves = waiting
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
		now := p.w.now()
		for _, s := range p.w.fleet {
			if s.heard == 0 {
				s.plain = heartbeat.Unknown
				continue
			}
			state := heartbeat.Thresholds{}.Judge(now - s.heard)
			if state == s.plain {
				continue
			}
			s.plain = state
			switch {
			case s.stopped:
			case s.dead && state == heartbeat.Dead:
				p.v.delays = append(p.v.delays, now-s.said)
			case s.dead:
			case state == heartbeat.Dead:
				p.v.falseDead++
			case state == heartbeat.Stale && now-s.said < 90*time.Second:
				p.v.falseStale++
			}
		}
		p.w.mu.Unlock()
	}
}

const verdictsHead = "detector                  false dead  false stale  deaths seen  longest wait  deaths late  goodbyes late  blind late  said blind"

func (v *verdicts) row() string {
	late := func(of []string) string {
		if v.name == plainName {
			return "-" // it promises nothing
		}
		return strconv.Itoa(len(of))
	}
	var longest time.Duration
	for _, d := range v.delays {
		longest = max(longest, d)
	}
	return fmt.Sprintf("%-24s %11d %12d %12d %13v %12s %14s %11s %11v", v.name, v.falseDead, v.falseStale, len(v.delays), longest.Round(time.Second),
		late(v.lateDeath), late(v.lateGoodbye), late(v.lateBlind), v.blind.Round(time.Second))
}
