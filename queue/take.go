package queue

// nextLocked returns the line whose turn it is, or nil if all are empty.
func (s *shard[T, R]) nextLocked() *fifo[entry[T, R]] {
	for _, r := range s.out.ranks {
		if r.priority > 0 && r.line.len > 0 {
			return &r.line
		}
	}
	if s.out.line.len == 0 && !s.swapLocked() {
		for _, r := range s.out.ranks {
			if r.line.len > 0 {
				return &r.line
			}
		}
		s.tellLeft(false)
		return nil
	}
	return &s.out.line
}

// swapLocked gives the workers what the producers have brought, and those the empty line.
func (s *shard[T, R]) swapLocked() bool {
	if !s.has.Load() {
		return false
	}
	s.in.Lock()
	s.out.line.swap(&s.in.line)
	s.in.some = false
	s.has.Store(false)
	s.in.Unlock()
	s.tellLeft(true)
	return s.out.line.len > 0
}

// top is the highest priority of a job in line, or less than any if there is none.
func (s *shard[T, R]) top() int16 {
	s.out.Lock()
	defer s.out.Unlock()
	for _, r := range s.out.ranks {
		if r.line.len > 0 && r.priority > 0 {
			return r.priority
		}
	}
	if s.out.line.len > 0 || s.has.Load() {
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
	line := s.nextLocked()
	for line != nil && s.skipLocked(w, line) {
		line = s.nextLocked()
	}
	if line == nil {
		s.out.Unlock()
		return false
	}
	w.load(s, line.front())
	s.leaveLocked(line)
	s.out.tally.active++
	s.out.drain.taken(w.searching, line.len == 0 && !s.has.Load())
	s.out.Unlock()
	s.tellRoom()
	return true
}

// skipLocked removes the first job in line if it was cancelled.
func (s *shard[T, R]) skipLocked(w *worker[T, R], line *fifo[entry[T, R]]) bool {
	e := line.front()
	if e.ticket == nil || e.ticket.begin(w.queue.work) {
		return false
	}
	s.advanceLocked(e.lane)
	s.out.dead--
	s.leaveLocked(line)
	return true
}

// leaveLocked removes the first job in line.
func (s *shard[T, R]) leaveLocked(line *fifo[entry[T, R]]) {
	if line != &s.out.line {
		s.ranked.Add(-1)
	}
	line.drop()
	s.out.taken++
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
		s.in.held--
	}
}
