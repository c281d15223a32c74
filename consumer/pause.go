package consumer

// reason is why something is held up. Several may be at once.
type reason uint8

const (
	byOutage reason = 1 << iota // nobody gets through to the other side
	byUser                      // Pause was called
	byDeaths                    // too many dead letters
)

// with returns r with one reason more, or less.
func (r reason) with(one reason, on bool) reason {
	if on {
		return r | one
	}
	return r &^ one
}

// Pause lets the handlers that run return, and starts no others; nothing more is received. What is held stays held, its leases are extended. It
// doesn't block, and may be called before Run and more than once.
func (c *Consumer[T]) Pause() { c.setPaused(true) }

// Resume ends a Pause. It doesn't block, and does nothing without one.
func (c *Consumer[T]) Resume() { c.setPaused(false) }

func (c *Consumer[T]) setPaused(on bool) {
	if c.paused.Swap(on) == on {
		return
	}
	c.budget.hold(byUser, on)
	c.queue.hold(byUser, on)
	if on {
		c.log.Info("consumer: paused")
	} else {
		c.log.Info("consumer: resumed")
	}
}
