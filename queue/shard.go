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
	ranked   *atomic.Int64 // of all shards: jobs in line that have a priority

	in struct {
		sync.Mutex
		_       [56]byte     // a cache line of its own
		lined   atomic.Int64 // jobs that ever got in line; written under the mutex
		seen    int64        // taken - dead, as it was when the shard looked full
		timed   int          // how many more jobs to read the clock for in this second
		closed  bool
		dropped bool
		line    fifo[entry[T, R]]
		lanes   lanes[T, R]
		delayed map[*Ticket[R]]*attempt[T, R]
		room    []chan struct{} // of those who wait for room
	}
	held atomic.Int64 // jobs in lanes, between attempts or being accepted by the tracker: they have a place, but aren't in line
	keen atomic.Int32 // len(in.room)
	_    [64]byte
	out  struct {
		sync.Mutex
		line  fifo[entry[T, R]]
		ranks []*rank[T, R] // jobs with a priority; the highest first
		drain drainRate
		tally tally
	}
	taken atomic.Int64 // jobs that ever left the line; written under out
	dead  atomic.Int64 // jobs in line that were cancelled; written under out
	_     [64]byte
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

// ready is how many jobs are in line. Read without a mutex it may be too high, but not too low.
func (s *shard[T, R]) ready() int64 {
	taken := s.taken.Load()
	return s.in.lined.Load() - taken
}

// depth is how many jobs wait in all.
func (s *shard[T, R]) depth() int64 {
	left := s.taken.Load() + s.dead.Load()
	return s.in.lined.Load() - left + s.held.Load()
}

// hasRoomLocked says whether one more job may come.
func (s *shard[T, R]) hasRoomLocked() bool {
	inLine := s.in.lined.Load() + s.held.Load()
	if inLine-s.in.seen < int64(s.capacity) {
		return true
	}
	s.in.seen = s.taken.Load() + s.dead.Load()
	return inLine-s.in.seen < int64(s.capacity)
}

// push appends a job, or returns ErrFull or ErrClosed as they are. reserved says that it has a place already.
func (s *shard[T, R]) push(e *entry[T, R], key string, reserved bool, clock func() time.Duration) error {
	if e.priority != 0 {
		s.out.Lock()
		defer s.out.Unlock()
	}
	s.in.Lock()
	switch {
	case reserved:
		s.held.Add(-1)
		if s.in.dropped {
			s.in.Unlock()
			return ErrClosed
		}
	case s.in.closed:
		s.in.Unlock()
		return ErrClosed
	case !s.hasRoomLocked():
		s.in.Unlock()
		return ErrFull
	}
	if e.queued == 0 {
		if s.in.timed > 0 {
			s.in.timed--
			e.queued = clock()
		} else if s.in.lined.Load()%clockEvery == 0 {
			e.queued = clock()
		}
	}
	if key != "" && s.in.lanes.enter(key, e) {
		s.held.Add(1)
	} else {
		s.lineUpLocked(e)
	}
	s.in.Unlock()
	return nil
}

// lineUpLocked puts a job in line. If it has a priority, out is locked, too.
func (s *shard[T, R]) lineUpLocked(e *entry[T, R]) {
	if e.priority != 0 {
		*s.rankLocked(e.priority).push() = *e
		s.ranked.Add(1)
	} else {
		*s.in.line.push() = *e
	}
	s.in.lined.Store(s.in.lined.Load() + 1)
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

// nextLocked returns the line whose turn it is, or nil if all are empty.
func (s *shard[T, R]) nextLocked() *fifo[entry[T, R]] {
	for _, r := range s.out.ranks {
		if r.priority > 0 && r.line.len > 0 {
			return &r.line
		}
	}
	if s.out.line.len == 0 {
		s.in.Lock()
		s.out.line, s.in.line = s.in.line, s.out.line
		s.in.Unlock()
	}
	if s.out.line.len > 0 {
		return &s.out.line
	}
	for _, r := range s.out.ranks {
		if r.line.len > 0 {
			return &r.line
		}
	}
	return nil
}

// top is the highest priority of a job in line, or less than any if there is none.
func (s *shard[T, R]) top() int16 {
	s.out.Lock()
	defer s.out.Unlock()
	ranked := 0
	for _, r := range s.out.ranks {
		if r.line.len > 0 && r.priority > 0 {
			return r.priority
		}
		ranked += r.line.len
	}
	if s.ready() > int64(ranked) {
		return 0
	}
	for _, r := range s.out.ranks {
		if r.line.len > 0 {
			return r.priority
		}
	}
	return -maxPriority - 1
}

// take settles the worker's last task and hands it the next one. It reports false if there is none.
func (s *shard[T, R]) take(w *worker[T, R]) bool {
	s.out.Lock()
	s.settleLocked(w)
	for {
		line := s.nextLocked()
		if line == nil {
			s.out.Unlock()
			return false
		}
		e := line.front()
		cancelled := e.ticket != nil && !e.ticket.begin()
		if cancelled {
			s.advanceLocked(e.lane)
			s.dead.Add(-1)
		} else {
			w.load(s, e)
		}
		if e.priority != 0 {
			s.ranked.Add(-1)
		}
		line.drop()
		s.taken.Store(s.taken.Load() + 1)
		if cancelled {
			continue
		}
		s.out.drain.taken(w.searching, s.out.line.len == 0 && s.ready() == 0)
		s.out.tally.active++
		s.out.Unlock()
		if s.keen.Load() > 0 {
			s.tellRoom()
		}
		return true
	}
}

// settle counts the worker's last task and forgets it.
func (s *shard[T, R]) settle(w *worker[T, R]) {
	s.out.Lock()
	s.settleLocked(w)
	s.out.Unlock()
}

func (s *shard[T, R]) settleLocked(w *worker[T, R]) {
	t := &s.out.tally
	if w.outcome == counted {
		return
	}
	t.count(w.outcome)
	t.active--
	if w.entry.lane != nil && w.outcome != again {
		s.advanceLocked(w.entry.lane)
	}
	w.unload()
}

// advanceLocked lines up the next job of a lane, if there is a lane.
func (s *shard[T, R]) advanceLocked(of *lane[T, R]) {
	if of == nil {
		return
	}
	s.in.Lock()
	defer s.in.Unlock()
	var e entry[T, R]
	if s.in.lanes.next(of, &e) {
		s.lineUpLocked(&e)
		s.held.Add(-1)
	}
}

// reserve keeps n places for jobs that are being accepted, or as many as there are, and returns their number.
func (s *shard[T, R]) reserve(n int) (int, error) {
	s.in.Lock()
	defer s.in.Unlock()
	if s.in.closed {
		return 0, ErrClosed
	}
	if !s.hasRoomLocked() {
		return 0, ErrFull
	}
	s.in.seen = s.taken.Load() + s.dead.Load()
	n = min(n, s.capacity-int(s.in.lined.Load()+s.held.Load()-s.in.seen))
	s.held.Add(int64(n))
	return n, nil
}

// release gives back places that were reserved.
func (s *shard[T, R]) release(n int) {
	s.in.Lock()
	s.held.Add(int64(-n))
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
	for _, c := range s.in.room {
		close(c)
	}
	s.in.room = nil
	s.keen.Store(0)
}

func (s *shard[T, R]) full(now time.Duration) *FullError {
	s.out.Lock()
	defer s.out.Unlock()
	depth := int(s.depth())
	return &FullError{Shard: s.index, Depth: depth, RetryAfter: s.out.drain.retryAfter(now, depth)}
}
