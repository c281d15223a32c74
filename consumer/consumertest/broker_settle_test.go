package consumertest_test

import (
	"context"
	"time"

	"github.com/upbeat-go/upbeat/consumer"
)

func (s *source) Settle(ctx context.Context, outcomes []consumer.Outcome) error {
	if s.fault == "Settle waits for Receive" {
		s.one <- struct{}{}
		defer func() { <-s.one }()
	}
	if s.fault == "the slice is kept" {
		time.AfterFunc(time.Millisecond, func() { _ = s.store(outcomes) })
		return nil
	}
	s.mu.Lock()
	down, mute := s.down, s.mute
	s.mu.Unlock()
	switch {
	case down && s.fault == "Settle ignores its context":
		<-time.After(time.Minute)
		return errBroker
	case down && s.fault == "what was not stored is reported as stored":
		return nil
	case down:
		return errBroker
	}
	err := s.store(outcomes)
	if mute {
		<-ctx.Done()
		return errBroker
	}
	return err
}

func (s *source) store(outcomes []consumer.Outcome) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range outcomes {
		if s.fault == "the first outcome is that of all" {
			o.Kind = outcomes[0].Kind
		}
		d, ok := o.Token.(*delivery)
		if !ok {
			continue
		}
		if d.gone && s.fault == "what was trimmed can't be settled" || len(s.items) == 0 && s.fault == "what was evicted can't be settled" {
			return errBroker
		}
		s.storeLocked(d, o)
	}
	return nil
}

func (s *source) storeLocked(d *delivery, o consumer.Outcome) {
	i := d.item
	current := i.holder == s && s.held[i] == d.serial || s.fault == "a late outcome counts" && i.holder != nil
	counts := s.fault == "outcomes count each time" && i.holder == nil && o.Kind != consumer.Ack
	if !current && !counts {
		if o.Kind == consumer.Dead && s.fault == "the dead are kept each time" {
			s.dead = append(s.dead, i.raw.Payload)
		}
		return
	}
	delete(s.held, i)
	i.holder = nil
	if i.gone && o.Kind != consumer.Ack && s.fault != "what was trimmed isn't counted" {
		s.lost++
	}
	switch o.Kind {
	case consumer.Ack:
		i.done = s.fault != "an ack ends the lease alone"
		if !i.done {
			i.until, i.holder = s.now().Add(lease), s
		}
	case consumer.Dead:
		i.done = s.fault != "the dead come again"
		if s.fault != "the dead are gone" {
			s.dead = append(s.dead, i.raw.Payload)
		}
	case consumer.Retry:
		if s.fault != "a retry isn't counted" {
			i.raw.Attempt++
		}
		if s.fault != "a retry comes at once" {
			i.due = time.Now().Add(o.After)
		}
	case consumer.Release:
		if s.fault == "a release is counted" {
			i.raw.Attempt++
		}
		if s.fault != "a release comes at once" {
			i.due = time.Now().Add(o.After)
		}
	}
}

func (s *source) Extend(context.Context) (lost []string, _ error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.held {
		switch {
		case s.fault == "Extend does nothing":
		case i.holder == s || s.fault == "Extend steals back":
			i.holder, i.until = s, s.now().Add(lease)
		default:
			delete(s.held, i)
			if s.fault != "what is lost isn't told" {
				lost = append(lost, i.raw.ID)
			}
		}
	}
	return lost, nil
}
