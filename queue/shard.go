package queue

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// shard is one waiting line, and the account of what has come and gone. It has two sides with a mutex each, so that
// those who bring and those who take seldom meet: producers fill in.line, workers empty out.line, and a worker who finds
// that empty swaps the two. Nothing but the shard's own bookkeeping happens under either. Who needs both locks out first.
type shard[T, R any] struct {
	index    int
	capacity int
	common   *room         // for who waits for one in any
	ranked   *atomic.Int64 // of all shards: jobs in line that have a priority

	_  [64]byte // what producers write and what workers write lie on cache lines of their own
	in struct {
		sync.Mutex
		lined   int64 // jobs that ever got in line
		held    int64 // jobs in lanes, between attempts, guests, or being accepted by the tracker: they have a place, but aren't in line
		seen    int64 // out.taken + out.dead, as it was when the shard looked full
		timed   int   // how many more jobs to read the clock for in this second
		some    bool  // as has
		closed  bool
		dropped bool
		line    fifo[entry[T, R]]
		lanes   lanes[T, R]
		delayed map[*Ticket[R]]*attempt[T, R]
	}
	refused int64       // submissions; guarded by in
	room    room        // for who waits for a place in this shard
	has     atomic.Bool // in.line may have jobs; written under in, and seldom: not for each job

	_   [64]byte
	out struct {
		sync.Mutex
		taken int64 // jobs that ever left the line
		dead  int64 // jobs in line that were cancelled
		some  bool  // as left
		line  fifo[entry[T, R]]
		ranks []*rank[T, R] // jobs with a priority; the highest first
		drain drainRate
		tally tally
	}
	left atomic.Bool // out.line or out.ranks may have jobs; written under out, and seldom
	_    [64]byte
}

// entry is a job that waits.
type entry[T, R any] struct {
	payload  T
	ticket   *Ticket[R]    // nil where nobody asked for one
	lane     *lane[T, R]   // nil without a key
	queued   time.Duration // on the queue's clock; 0 if it wasn't read
	priority int16
	attempt  uint16 // failed attempts
	attempts uint16 // at most; 0 as configured
	timed    bool   // its times are measured
}

// extra says whether the job has more than a payload.
func (e *entry[T, R]) extra() bool {
	return e.ticket != nil || e.lane != nil || e.priority|int16(e.attempt|e.attempts) != 0
}

// rank is the line of one priority other than 0.
type rank[T, R any] struct {
	priority int16
	line     fifo[entry[T, R]]
}

// tally counts tasks by where they are.
type tally struct {
	active, done, failed, notRun, cancelled, expired, superseded, retried int64
}

func (t *tally) add(u *tally) {
	t.active += u.active
	t.done += u.done
	t.failed += u.failed
	t.notRun += u.notRun
	t.cancelled += u.cancelled
	t.expired += u.expired
	t.superseded += u.superseded
	t.retried += u.retried
}

func (t *tally) count(how outcome) {
	switch how {
	case counted:
	case done:
		t.done++
	case failed:
		t.failed++
	case cancelled:
		t.cancelled++
	case expired:
		t.expired++
	case superseded:
		t.superseded++
	case again:
		t.retried++
	}
}

// clockEvery is how many jobs share one look at the clock, once timedASecond have had one of their own.
const (
	clockEvery   = 64
	timedASecond = 1000
)

// ready says whether there may be jobs in line.
func (s *shard[T, R]) ready() bool { return s.left.Load() || s.has.Load() }

// depthLocked is how many jobs wait, under both locks.
func (s *shard[T, R]) depthLocked() int {
	return int(s.in.lined - s.out.taken - s.out.dead + s.in.held)
}

func (s *shard[T, R]) depth() int {
	s.out.Lock()
	defer s.out.Unlock()
	s.in.Lock()
	defer s.in.Unlock()
	return s.depthLocked()
}

// roomLocked is how many more jobs may come, as far as is known under in.
func (s *shard[T, R]) roomLocked() int {
	return s.capacity - int(s.in.lined+s.in.held-s.in.seen)
}

// lockIn locks in, and finds out first how many jobs have left if it seems that there is no room. out is locked already if ranked.
func (s *shard[T, R]) lockIn(ranked bool) {
	s.in.Lock()
	if s.roomLocked() > 0 {
		return
	}
	if !ranked {
		s.in.Unlock()
		s.out.Lock()
		s.in.Lock()
		defer s.out.Unlock()
	}
	s.in.seen = s.out.taken + s.out.dead
}

// stampLocked reads the clock for a job, if it is its turn.
func (s *shard[T, R]) stampLocked(e *entry[T, R], clock func() time.Duration) {
	if s.in.timed > 0 {
		s.in.timed--
	} else if s.in.lined%clockEvery != 0 {
		return
	}
	e.timed = true
	if e.queued == 0 {
		e.queued = clock()
	}
}

// pushPlain appends a job that has nothing but its payload. It reports false if that can't be: push tells why.
func (s *shard[T, R]) pushPlain(payload *T, clock func() time.Duration) bool {
	s.in.Lock()
	if s.in.closed || s.roomLocked() <= 0 {
		s.in.Unlock()
		return false
	}
	e := s.in.line.push()
	e.payload = *payload
	s.stampLocked(e, clock)
	s.in.lined++
	s.tellHas()
	s.in.Unlock()
	return true
}

func (s *shard[T, R]) tellHas() {
	if !s.in.some {
		s.in.some = true
		s.has.Store(true)
	}
}

func (s *shard[T, R]) tellLeft(some bool) {
	if s.out.some != some {
		s.out.some = some
		s.left.Store(some)
	}
}

// push appends a job, or returns ErrFull or ErrClosed as they are. reserved says that it has a place already.
func (s *shard[T, R]) push(e *entry[T, R], key string, reserved bool, clock func() time.Duration) error {
	if e.priority != 0 {
		s.out.Lock()
		defer s.out.Unlock()
	}
	s.lockIn(e.priority != 0)
	defer s.in.Unlock()
	switch {
	case reserved:
		s.in.held--
		if s.in.dropped {
			return ErrClosed
		}
	case s.in.closed:
		return ErrClosed
	case s.roomLocked() <= 0:
		return ErrFull
	}
	s.enterLocked(e, key, clock)
	return nil
}

// enterLocked puts a job in line, or behind others with its key. If it has a priority, out is locked, too.
func (s *shard[T, R]) enterLocked(e *entry[T, R], key string, clock func() time.Duration) {
	s.stampLocked(e, clock)
	if key != "" && s.in.lanes.enter(key, e) {
		s.in.held++
	} else {
		s.lineUpLocked(e)
	}
}

// lineUpLocked puts a job in line. If it has a priority, out is locked, too.
func (s *shard[T, R]) lineUpLocked(e *entry[T, R]) {
	s.in.lined++
	if e.priority == 0 {
		*s.in.line.push() = *e
		s.tellHas()
		return
	}
	*s.rankLocked(e.priority).push() = *e
	s.ranked.Add(1)
	s.tellLeft(true)
}

func (s *shard[T, R]) rankLocked(priority int16) *fifo[entry[T, R]] {
	i := 0
	for ; i < len(s.out.ranks) && s.out.ranks[i].priority >= priority; i++ {
		if s.out.ranks[i].priority == priority {
			return &s.out.ranks[i].line
		}
	}
	s.out.ranks = slices.Insert(s.out.ranks, i, &rank[T, R]{priority: priority})
	return &s.out.ranks[i].line
}

// reserve keeps up to n places for jobs that are being accepted, and returns their number.
func (s *shard[T, R]) reserve(n int) (int, error) {
	s.out.Lock()
	defer s.out.Unlock()
	s.in.Lock()
	defer s.in.Unlock()
	if s.in.closed {
		return 0, ErrClosed
	}
	s.in.seen = s.out.taken + s.out.dead
	n = max(0, min(n, s.roomLocked()))
	s.in.held += int64(n)
	return n, nil
}

// release gives back places that were reserved.
func (s *shard[T, R]) release(n int) {
	s.in.Lock()
	s.in.held -= int64(n)
	s.in.Unlock()
	for range n {
		s.tellRoom()
	}
}

// shut refuses all further jobs.
func (s *shard[T, R]) shut() {
	s.in.Lock()
	defer s.in.Unlock()
	s.in.closed = true
	s.room.close()
	s.common.close()
}

// full counts a refusal, and says when to come back.
func (s *shard[T, R]) full(now time.Duration) *FullError {
	s.out.Lock()
	defer s.out.Unlock()
	s.in.Lock()
	depth := s.depthLocked()
	s.refused++
	s.in.Unlock()
	return &FullError{Shard: s.index, Depth: depth, RetryAfter: s.out.drain.retryAfter(now, depth)}
}
