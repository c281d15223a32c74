package heartbeat_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/upbeat-go/upbeat/heartbeat"
)

const (
	simStep     = 500 * time.Millisecond
	simInterval = time.Minute
	simLoss     = 0.05
)

// world is a broker, a fleet of senders and the ways in which they fail. It moves in steps, on fake time.
type world struct {
	random *rand.Rand
	epoch  time.Time

	mu       sync.Mutex
	ear      heartbeat.Sink
	heard    []func()      // waits for the observer to go on
	fleet    []*sender     // by number
	due      [][]int       // senders by the step at which they have something to do, a ring
	step     int           // the present
	down     time.Duration // the broker is down until
	deaf     time.Duration // the subscription is half open until
	full     time.Duration // the broker has no memory left until: it passes messages on and keeps nothing
	pausing  time.Duration // the observer stands still until
	cut      time.Duration // nobody reaches the broker until
	troubles []trouble     // that the monitor is to declare
	goodbyes map[string]time.Duration

	subscribed bool
	protect    protection
	graves     []*sender // the dead, and those who were
}

// protection says what of the monitor's ways to doubt itself is left on.
type protection struct{ sight, opinion, hold bool }

type trouble struct {
	what     string
	from, to time.Duration
}

// sender is one instance.
type sender struct {
	name       string
	run, count int
	paused     time.Duration // until
	dead       bool
	kept       []byte
	keptAt     time.Duration
	said       time.Duration // when a beat last reached the broker
	late       time.Duration // as that beat said
	lateHeard  time.Duration // as the newest said that was delivered, should that one be lost and its copy, too
	arrived    time.Duration // when the observer could take it in
	heard      time.Duration // when a beat was last delivered, for plain thresholds, and their verdict
	plain      heartbeat.State
	born       time.Duration
	nextAt     time.Duration
	stopped    bool
	met        bool          // a beat of this life was delivered
	clock      time.Duration // how wrong its clock is
}

func newWorld(seed uint64, senders int, p protection) *world {
	w := &world{
		random: rand.New(rand.NewPCG(seed, 7)), epoch: time.Now(), due: make([][]int, 1<<13),
		goodbyes: map[string]time.Duration{}, protect: p, subscribed: true,
	}
	for i := range senders {
		w.fleet = append(w.fleet, &sender{name: fmt.Sprintf("i%d", i), run: 1})
		w.plan(i, time.Duration(w.random.Int64N(int64(simInterval))))
	}
	return w
}

func (w *world) now() time.Duration { return time.Since(w.epoch) }

// plan has a sender act after d.
func (w *world) plan(i int, d time.Duration) {
	steps := max(int(d/simStep), 1)
	w.fleet[i].nextAt = w.now() + time.Duration(steps)*simStep
	at := (w.step + min(steps, len(w.due)-1)) % len(w.due)
	w.due[at] = append(w.due[at], i)
}

// run lets time pass.
func (w *world) run(length time.Duration) {
	for w.now() < length {
		<-time.After(simStep)
		w.mu.Lock()
		w.step++
		w.disturb()
		slot := w.step % len(w.due)
		acting := w.due[slot]
		w.due[slot] = nil
		for _, i := range acting {
			w.act(i)
		}
		w.flush()
		w.mu.Unlock()
	}
}

// often says yes once in d on average.
func (w *world) often(d time.Duration) bool { return w.random.Int64N(int64(d/simStep)) == 0 }

func (w *world) between(a, b time.Duration) time.Duration {
	return a + time.Duration(w.random.Int64N(int64(b-a)))
}

// disturb makes and ends the troubles of the broker and the observer.
func (w *world) disturb() {
	now := w.now()
	calm := now > max(w.down, w.deaf, w.pausing, w.cut)+6*time.Minute
	trouble := -1
	if calm && w.often(15*time.Minute) {
		trouble = w.random.IntN(4)
	}
	switch trouble {
	case 0:
		w.down = now + w.between(time.Second, 4*time.Minute)
		w.note("broker down", now, w.down)
		w.tellPath(false, "connection reset")
		if w.random.IntN(2) == 0 {
			for _, s := range w.fleet {
				s.kept = nil
			}
		}
	case 1:
		w.deaf = now + w.between(30*time.Second, 5*time.Minute)
		w.note("half open", now, w.deaf)
		if w.random.IntN(2) == 0 {
			w.full = w.deaf
		}
	case 2:
		w.pausing = now + 30*time.Second
		w.note("observer paused", w.pausing, w.pausing)
	case 3:
		w.cut = now + w.between(3*time.Minute, 6*time.Minute)
	}
	switch {
	case now >= w.down && now >= w.deaf && !w.subscribed:
		w.tellPath(true, "")
	case now >= w.deaf && w.deaf > 0 && now < w.deaf+simStep:
		w.tellPath(false, "no answer to PING")
	}
}

func (w *world) note(what string, from, to time.Duration) {
	w.troubles = append(w.troubles, trouble{what, from, to})
}

func (w *world) tellPath(up bool, why string) {
	w.subscribed = up
	if w.protect.sight {
		w.heard = append(w.heard, func() { w.ear.Path("p", up, why) })
	}
}

// flush delivers what has arrived, unless the observer stands still.
func (w *world) flush() {
	if w.now() < w.pausing {
		return
	}
	for _, deliver := range w.heard {
		deliver()
	}
	w.heard = w.heard[:0]
}

// act is a sender's turn: it beats, pauses, dies, leaves or comes back.
func (w *world) act(i int) {
	s, now := w.fleet[i], w.now()
	switch {
	case now < s.nextAt-simStep/2:
		w.plan(i, s.nextAt-now)
	case s.dead || s.stopped:
		s.dead, s.stopped, s.met, s.count, s.born = false, false, false, 0, now
		s.run++
		w.beat(s, heartbeat.PhaseRunning, 0)
		w.plan(i, simInterval)
	case w.random.IntN(1500) == 0:
		s.dead = true
		if s.met { // or nobody could miss it
			w.graves = append(w.graves, s)
		}
		w.plan(i, 20*time.Minute)
	case w.random.IntN(1499) == 0:
		s.stopped = true
		w.beat(s, heartbeat.PhaseStopped, 0)
		w.plan(i, w.between(time.Minute, 20*time.Minute))
	case w.random.IntN(200) == 0 && s.paused < now:
		s.paused = now + 30*time.Second
		w.plan(i, 30*time.Second)
	default:
		late := time.Duration(0)
		if s.paused > 0 && now >= s.paused && now-s.paused < simInterval/2 {
			late = 30 * time.Second
		}
		if w.random.IntN(500) == 0 {
			s.clock = w.between(-1000*time.Hour, 1000*time.Hour)
		}
		w.beat(s, heartbeat.PhaseRunning, late)
		w.plan(i, w.between(simInterval*9/10, simInterval))
	}
}

// beat sends one, if it gets through.
func (w *world) beat(s *sender, phase heartbeat.Phase, late time.Duration) {
	s.count++
	now := w.now()
	if now < w.down || now < w.cut {
		return
	}
	payload := s.payload(now, phase, late)
	s.said, s.late, s.arrived = now, late, max(now, w.pausing)
	if now >= w.full {
		s.kept, s.keptAt = payload, now
	}
	if w.random.Float64() < simLoss || !w.subscribed || now < w.deaf {
		return
	}
	if now < w.pausing && w.random.IntN(2) == 0 {
		return // the queue was full
	}
	s.heard, s.met, s.lateHeard = now, true, late
	if phase == heartbeat.PhaseStopped {
		w.goodbyes[s.name] = max(now, w.pausing)
		s.heard = 0
	}
	w.heard = append(w.heard, func() { w.ear.Message(payload) })
}

// payload is written by hand: there are tens of millions of them.
func (s *sender) payload(now time.Duration, phase heartbeat.Phase, late time.Duration) []byte {
	b := make([]byte, 0, 320)
	b = append(append(b, `{"service_name":"s","instance_id":"`...), s.name...)
	b = time.Now().Add(s.clock).UTC().AppendFormat(append(b, `","timestamp":"`...), "2006-01-02T15:04:05.000000-07:00")
	b = strconv.AppendFloat(append(b, `","uptime_seconds":`...), (now - s.born).Seconds(), 'f', 3, 64)
	b = strconv.AppendInt(append(b, `,"heartbeat_count":`...), int64(s.count), 10)
	b = append(append(b, `,"memory_usage_mb":1,"cpu_usage_percent":2,"upbeat":{"v":1,"interval_seconds":60,"state":"`...), phase...)
	b = strconv.AppendFloat(append(b, `","tick_late_seconds":`...), late.Seconds(), 'f', -1, 64)
	b = strconv.AppendInt(append(b, `,"run":"r`...), int64(s.run), 10)
	return append(b, `","retain_seconds":600}}`...)
}

var errUnreachable = errors.New("connection refused")

func (w *world) named(instance string) *sender {
	n, err := strconv.Atoi(instance[1:])
	if err != nil {
		panic(err)
	}
	return w.fleet[n]
}

// Listen, Canary, Newest and Sweep are the broker as the monitor sees it.
func (w *world) Listen(ctx context.Context, ear heartbeat.Sink) {
	w.mu.Lock()
	w.ear = ear
	ear.Path("p", true, "")
	w.mu.Unlock()
	<-ctx.Done()
}

// Canary comes back when the subscription hears.
func (w *world) Canary(_ context.Context, token string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch now := w.now(); {
	case w.ear == (heartbeat.Sink{}):
		return nil
	case !w.protect.sight:
	case now < w.down:
		return errUnreachable
	case !w.subscribed || now < w.deaf:
		return nil
	}
	w.heard = append(w.heard, func() { w.ear.Canary("p", token) })
	return nil
}

// Newest answers from the kept beats.
func (w *world) Newest(_ context.Context, _, instances []string) ([]heartbeat.Kept, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.now()
	all := make([]heartbeat.Kept, len(instances))
	switch {
	case !w.protect.opinion:
		return all, nil
	case now < w.down:
		return nil, errUnreachable
	}
	for i, name := range instances {
		if s := w.named(name); now-s.keptAt < 10*time.Minute {
			all[i] = heartbeat.Kept{Payload: s.kept, Age: now - s.keptAt}
		}
	}
	return all, nil
}

// Sweep finds nothing: nobody beat before the monitor began.
func (w *world) Sweep(context.Context, func(heartbeat.Kept) bool) error { return nil }

// pause holds the observer up while it stands still.
func (w *world) pause() {
	w.mu.Lock()
	left := w.pausing - w.now()
	w.mu.Unlock()
	if left > 0 {
		<-time.After(left)
	}
}
