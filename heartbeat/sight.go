package heartbeat

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	canaryEvery = 2 * time.Second
	canaryLimit = 6 * time.Second // without a canary's return a path is blind; with canaryEvery it is seen within 10s
	spansKept   = 256
	maxDoubts   = 5 // paths that a reason names
)

// sight knows whether the monitor hears what is said, and since when: a path is trusted for as long as what is
// published for it comes back on it.
type sight struct {
	id    string       // of this monitor, in its tokens
	until atomic.Int64 // no time from here on was blind; the largest number while blind

	mu      sync.Mutex
	paths   map[string]*earPath // guarded by mu
	sent    []time.Duration     // guarded by mu; when canary number i+first was sent
	first   int                 // guarded by mu
	failure string              // guarded by mu; why the last canary could not be sent
	clear   bool                // guarded by mu; all paths are proved
	told    bool                // guarded by mu; that it is not clear was said
	reason  string              // guarded by mu; why it is not clear, by the last look
	from    time.Duration       // guarded by mu; since when it has been clear, or may not have been
	spans   []span              // guarded by mu; the blind times, in order
}

type earPath struct {
	up     bool
	proved time.Duration // when the newest canary that came back was sent
	ever   bool          // proved holds a time
	broke  bool          // since the last look, after having been proved: it may be proved again before the next
	sound  time.Duration // until when it was, if broke
	why    string
}

// doubt takes back what is proved of a path.
func (p *earPath) doubt(why string, from time.Duration) {
	if p.ever && !p.broke {
		p.broke, p.sound = true, min(p.proved, from)
	}
	p.ever, p.why = false, orDefault(why, p.why)
}

// span is a time during which the monitor could not hear.
type span struct{ from, to time.Duration }

// newSight returns a sight that has yet to be proved, or, without anything to prove it by, one that trusts.
func newSight(provable bool) *sight {
	s := &sight{id: strconv.FormatUint(rand.Uint64(), 36), paths: map[string]*earPath{}, clear: !provable}
	if provable {
		s.until.Store(math.MaxInt64)
	}
	return s
}

// token returns what to send as the next canary.
func (s *sight) token(now time.Duration) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent = append(s.sent, now)
	if len(s.sent) > 16 {
		s.sent = s.sent[1:]
		s.first++
	}
	return fmt.Sprintf("%s.%d", s.id, s.first+len(s.sent)-1)
}

// heard notes that a canary came back. Those of other monitors, and old ones, prove nothing.
func (s *sight) heard(name, token string) {
	id, number, _ := strings.Cut(token, ".")
	n, err := strconv.Atoi(number)
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.paths[name]
	if id != s.id || err != nil || n < s.first || n >= s.first+len(s.sent) || p == nil {
		return
	}
	p.proved, p.ever = max(p.proved, s.sent[n-s.first]), true
}

// path notes that a path was subscribed, which is to be proved, or lost.
func (s *sight) path(name string, up bool, why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.paths[name]
	if p == nil {
		p = &earPath{}
		s.paths[name] = p
	}
	p.up = up
	p.doubt(why, p.proved)
}

func (s *sight) gone(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.paths, name)
}

func (s *sight) sending(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failure = ""
	if err != nil {
		s.failure = ": " + oneLine(err.Error(), maxReason)
	}
}

// unprove takes back all trust, as after a time during which this process stood still.
func (s *sight) unprove(why string, from time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.paths {
		p.proved = min(p.proved, from)
		p.doubt(why, from)
	}
	s.sent, s.first = nil, s.first+len(s.sent) // what is on its way proves nothing of now
}

// look says whether all paths can be trusted now. The event is what there is to tell, if anything.
func (s *sight) look(now time.Duration) (trusted bool, e Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	why, from := s.doubtLocked(now)
	s.reason = why
	switch {
	case why == "" && !s.clear:
		s.markLocked(span{s.from, now})
		e = Event{Kind: EventSighted, Why: fmt.Sprintf("everything is heard again, after %v", (now - s.from).Round(time.Second/10))}
		s.clear, s.told, s.from = true, false, now
		s.until.Store(int64(now))
	case why != "" && s.clear:
		s.clear, s.told, s.from = false, true, max(from, s.from)
		s.until.Store(math.MaxInt64)
		e = Event{Kind: EventBlind, Why: why}
	case why != "" && !s.told && now-s.from >= canaryLimit:
		s.told = true
		e = Event{Kind: EventBlind, Why: why}
	}
	return s.clear, e
}

// doubtLocked returns why the monitor may not hear everything, path by path, and since when; "" when it does. What broke
// is doubted by one look at least.
func (s *sight) doubtLocked(now time.Duration) (why string, from time.Duration) {
	if len(s.paths) == 0 {
		return "no subscription yet" + s.failure, now
	}
	from = now
	var doubts []string
	for _, name := range slices.Sorted(maps.Keys(s.paths)) {
		p := s.paths[name]
		sound := p.proved
		if p.broke {
			sound = p.sound
		}
		switch {
		case !p.up:
			doubts = append(doubts, name+" is lost: "+oneLine(p.why, maxReason))
		case !p.ever && p.why != "":
			doubts = append(doubts, name+" has yet to be proved: "+oneLine(p.why, maxReason))
		case !p.ever:
			doubts = append(doubts, name+" has yet to be proved")
		case now-p.proved >= canaryLimit:
			doubts = append(doubts, fmt.Sprintf("what was published %v ago has not come back on %s", (now-p.proved).Round(time.Second/10), name))
		case p.broke:
			doubts = append(doubts, name+" was lost for a moment: "+oneLine(p.why, maxReason))
		default:
			continue
		}
		if sound > 0 {
			from = min(from, sound)
		}
		p.broke = false
	}
	if len(doubts) == 0 {
		return "", now
	}
	if more := len(doubts) - maxDoubts; more > 0 {
		doubts = append(doubts[:maxDoubts], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(doubts, "; ") + s.failure, from
}

// stoodStill notes that nothing was heard for a while that is over.
func (s *sight) stoodStill(blind span) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.markLocked(blind)
	s.from = max(s.from, blind.to)
	if s.clear {
		s.until.Store(int64(blind.to))
	}
}

func (s *sight) markLocked(blind span) {
	s.spans = append(s.spans, blind)
	if len(s.spans) > spansKept {
		s.spans = s.spans[1:]
		s.spans[0].from = math.MinInt64 // what can no longer be told is unknown
	}
}

// since returns the time from which on everything was heard, when it is now.
func (s *sight) since() (from time.Duration, trusted bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.from, s.clear
}

// why returns what the last look doubted.
func (s *sight) why() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reason
}

// blind returns the parts of a time that were blind, in order.
func (s *sight) blind(from, to time.Duration) (parts []span) {
	if time.Duration(s.until.Load()) <= from {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	cut := func(b span) {
		if b = (span{max(b.from, from), min(b.to, to)}); b.from < b.to {
			parts = append(parts, b)
		}
	}
	for _, b := range s.spans {
		cut(b)
	}
	if !s.clear {
		cut(span{s.from, to})
	}
	return parts
}
