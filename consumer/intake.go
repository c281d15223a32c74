package consumer

import "context"

// chunk is how many messages share an allocation: one that is kept for long keeps no more than these alive.
const chunk = 16

// read receives until ctx ends, as credit allows.
func (c *Consumer[T]) read(ctx context.Context) {
	trouble := episode{log: c.log, what: "receive messages"}
	for {
		credit, ok := c.budget.reserve()
		if !ok {
			return
		}
		raws, err := c.receive(ctx, credit)
		c.accept(raws, credit)
		if err == nil {
			trouble.over()
		} else if !trouble.wait(ctx, err) {
			return
		}
	}
}

func (c *Consumer[T]) receive(ctx context.Context, credit Credit) (raws []Raw, err error) {
	defer recovered(&err)
	return c.src.Receive(ctx, credit)
}

// accept queues what was received and gives back what is left of its credit.
func (c *Consumer[T]) accept(raws []Raw, reserved Credit) {
	received := Credit{Count: len(raws)}
	messages := make([]*Message[T], 0, len(raws))
	for len(raws) > 0 {
		together := make([]Message[T], min(chunk, len(raws)))
		for i := range together {
			m := &together[i]
			m.Raw = raws[i]
			m.Attempt = max(1, m.Attempt)
			m.size = int64(len(m.Payload))
			m.key = c.key(&m.Raw)
			received.Bytes += m.size
			messages = append(messages, m)
		}
		raws = raws[len(together):]
	}
	c.budget.spend(reserved, received)
	if len(messages) > 0 && !c.queue.push(messages...) {
		c.giveBack(messages)
	}
}

// key asks Config.Key. A panic there counts as "".
func (c *Consumer[T]) key(m *Raw) (key string) {
	if c.cfg.Key == nil {
		return ""
	}
	var panicked error
	defer recovered(&panicked)
	return c.cfg.Key(m)
}

// giveBack releases what was never started.
func (c *Consumer[T]) giveBack(messages []*Message[T]) {
	outcomes := make([]Outcome, len(messages))
	for i, m := range messages {
		outcomes[i] = Outcome{Raw: &m.Raw, Kind: Release}
	}
	c.settle(outcomes)
}
