package redisblock

import (
	"context"
	"time"
)

// wake is the watch over one Do: it ends the blocked command when the context ends.
type wake struct {
	disarm  func() bool
	replied context.CancelFunc
	done    chan struct{}
	severed bool // written before done is closed
}

func (c *Conn) wakeAfter(ctx context.Context) *wake {
	waiting, replied := context.WithCancel(context.WithoutCancel(ctx))
	w := &wake{replied: replied, done: make(chan struct{})}
	l := c.link
	w.disarm = context.AfterFunc(ctx, func() {
		defer close(w.done)
		w.severed = c.wakeUntil(waiting, l)
	})
	return w
}

// stop is called when the reply is there. It tells whether the connection had been severed, and returns when nothing of the watch runs any more.
func (w *wake) stop() (severed bool) {
	w.replied()
	if w.disarm() {
		return false
	}
	<-w.done
	return w.severed
}

// wakeUntil asks the server to end the command until the reply is there, and severs the connection if it never comes. Once is not
// enough: the request travels on another connection and may arrive before the command does.
func (c *Conn) wakeUntil(waiting context.Context, l *link) (severed bool) {
	ctx, cancel := context.WithTimeout(waiting, grace)
	defer cancel()
	for pause := time.Millisecond; ; pause = min(2*pause, 8*time.Millisecond) {
		if l.id != 0 {
			c.waker.ClientUnblock(ctx, l.id)
		} else {
			c.waker.Ping(ctx)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			if waiting.Err() != nil {
				return false
			}
			l.Sever()
			return true
		}
	}
}
