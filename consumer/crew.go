package consumer

import "sync"

const maxConcurrency = 100_000

// crew are the workers. Safe for concurrent use.
type crew[T any] struct {
	mu      sync.Mutex
	wanted  int
	workers map[*worker[T]]struct{}
	hire    func(*worker[T]) // nil while Run is not at work
}

func (c *crew[T]) all() []*worker[T] {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make([]*worker[T], 0, len(c.workers))
	for w := range c.workers {
		all = append(all, w)
	}
	return all
}

func (c *crew[T]) size() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.wanted
}

// openCrew hires as many as are wanted.
func (c *Consumer[T]) openCrew(hire func(*worker[T])) {
	c.crew.mu.Lock()
	defer c.crew.mu.Unlock()
	c.crew.hire = hire
	c.hireLocked(c.crew.wanted)
}

func (c *Consumer[T]) closeCrew() {
	c.crew.mu.Lock()
	defer c.crew.mu.Unlock()
	c.crew.hire = nil
}

func (c *Consumer[T]) hireLocked(n int) {
	for range n {
		w := &worker[T]{c: c}
		c.crew.workers[w] = struct{}{}
		c.crew.hire(w)
	}
}

func (c *Consumer[T]) left(w *worker[T]) {
	c.crew.mu.Lock()
	defer c.crew.mu.Unlock()
	delete(c.crew.workers, w)
}

// SetConcurrency changes how many handlers run at once, from 1 to 100,000: Config.Concurrency is what it is at first. More start at
// once; what is too many ends when its handler returns, and no handler is cancelled. Config.MaxInFlight stays as it is. It doesn't
// block, and fails only for a number outside of those bounds.
func (c *Consumer[T]) SetConcurrency(n int) error {
	if err := within("Concurrency", n, 1, maxConcurrency, "leave it"); err != nil {
		return err
	}
	c.crew.mu.Lock()
	defer c.crew.mu.Unlock()
	more := n - c.crew.wanted
	c.crew.wanted = n
	switch {
	case c.crew.hire == nil: // Run hires
	case more > 0:
		c.hireLocked(more)
	default:
		c.queue.dismiss(-more)
	}
	return nil
}
