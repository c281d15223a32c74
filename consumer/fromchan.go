package consumer

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"time"
)

// ChanSource is a Source over a channel, made by [FromChan]. Its methods are for the consumer to call, apart from Done.
type ChanSource struct {
	ch    <-chan Raw
	wake  chan struct{} // filled when there may be something in again, or nothing is left
	empty chan struct{} // closed when ch is, and everything that came from it is settled

	mu       sync.Mutex
	received int
	ended    bool                   // ch is closed
	parked   int                    // timers that will add to again
	again    []*delivery            // to be delivered again, oldest first
	lent     map[*delivery]struct{} // with the consumer
}

// mostAgain bounds the memory for what is to come again.
const mostAgain = 10_000

// delivery is one message on its way through the consumer, and the Raw.Token of it.
type delivery struct{ raw Raw }

// FromChan returns a source of what comes through ch, for events that begin in this process and for tests. A message needs nothing but a
// Payload: where ID is "" it is the number of the message, and a zero At becomes the time of receipt. Token is overwritten.
//
// Messages wait in ch until there is credit for them, so who sends waits for the handlers. What is to come again is kept in memory and comes
// before what is new; while 10,000 messages wait for that, nothing new is taken. When ch is closed nothing more comes; Run goes on until its
// context ends, and [ChanSource.Done] says when all is settled.
//
// Nothing survives the process. What a consumer gave back or left unsettled goes to the next one that is given the same source, one at a
// time. No dead letters are kept: Config.DeadLetter is required. A handler that changes a payload changes it for the next attempt, too.
func FromChan(ch <-chan Raw) *ChanSource {
	return &ChanSource{ch: ch, wake: make(chan struct{}, 1), empty: make(chan struct{}), lent: map[*delivery]struct{}{}}
}

// Done is closed once the channel is closed and all of its messages are acked or dead.
func (s *ChanSource) Done() <-chan struct{} { return s.empty }

// Receive waits for messages.
func (s *ChanSource) Receive(ctx context.Context, credit Credit) ([]Raw, error) {
	if s.ch == nil {
		return nil, errors.New("consumer: the channel of FromChan is nil")
	}
	for ctx.Err() == nil {
		raws, in := s.take(credit)
		if len(raws) > 0 {
			return raws, nil
		}
		select {
		case m, open := <-in:
			s.arrived(m, open)
		case <-s.wake:
		case <-ctx.Done():
		}
	}
	return nil, context.Cause(ctx)
}

// take returns what is there, and where to wait for more.
func (s *ChanSource) take(credit Credit) (raws []Raw, in <-chan Raw) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hungryLocked() {
		in = s.ch
	}
	for bytes := int64(0); len(raws) < credit.Count && bytes < credit.Bytes; {
		if len(s.again) == 0 && !s.pollLocked() {
			break
		}
		d := s.again[0]
		s.again[0], s.again = nil, s.again[1:]
		s.lent[d] = struct{}{}
		raws = append(raws, d.raw)
		bytes += int64(len(d.raw.Payload))
	}
	return raws, in
}

func (s *ChanSource) hungryLocked() bool { return !s.ended && s.parked+len(s.again) < mostAgain }

// pollLocked takes one message from the channel, if there is one.
func (s *ChanSource) pollLocked() bool {
	if !s.hungryLocked() {
		return false
	}
	select {
	case m, open := <-s.ch:
		s.arrivedLocked(m, open)
		return open
	default:
		return false
	}
}

func (s *ChanSource) arrived(m Raw, open bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.arrivedLocked(m, open)
}

func (s *ChanSource) arrivedLocked(m Raw, open bool) {
	if !open {
		s.ended = true
		s.finishLocked()
		return
	}
	s.received++
	if m.ID == "" {
		m.ID = strconv.Itoa(s.received)
	}
	if m.At.IsZero() {
		m.At = time.Now()
	}
	m.Attempt = max(1, m.Attempt)
	d := &delivery{raw: m}
	d.raw.Token = d
	s.again = append(s.again, d)
}

// Settle takes note of the outcomes. It never fails.
func (s *ChanSource) Settle(_ context.Context, outcomes []Outcome) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range outcomes {
		d, _ := o.Token.(*delivery)
		if _, lent := s.lent[d]; !lent {
			continue // settled before
		}
		delete(s.lent, d)
		if o.Kind == Retry || o.Kind == Release {
			s.returnLocked(d, o)
		}
	}
	s.finishLocked()
	return nil
}

// returnLocked has the message come again, as another delivery: a late repetition of the outcome must not meet it.
func (s *ChanSource) returnLocked(d *delivery, o Outcome) {
	next := &delivery{raw: d.raw}
	next.raw.Token = next
	if o.Kind == Retry {
		next.raw.Attempt++
	}
	if o.After <= 0 {
		s.againLocked(next)
		return
	}
	s.parked++
	time.AfterFunc(o.After, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.parked--
		s.againLocked(next)
	})
}

func (s *ChanSource) againLocked(d *delivery) {
	s.again = append(s.again, d)
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// finishLocked closes empty when nothing is left, once.
func (s *ChanSource) finishLocked() {
	if !s.ended || s.parked+len(s.again)+len(s.lent) > 0 {
		return
	}
	select {
	case <-s.empty:
	default:
		close(s.empty)
	}
}

// Lag is how many messages wait in the channel's buffer and to come again.
func (s *ChanSource) Lag(context.Context) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return int64(len(s.ch) + len(s.again) + s.parked), nil
}

// Close keeps what the consumer did not settle for the next one.
func (s *ChanSource) Close(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for d := range s.lent {
		delete(s.lent, d)
		s.returnLocked(d, Outcome{Kind: Release})
	}
	return nil
}
