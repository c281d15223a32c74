package redisstream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/upbeat-go/upbeat/consumer"
)

// tenure is what a source has to do with an exclusive stream.
type tenure uint8

const (
	away    tenure = iota // others may read it
	held                  // it alone reads it
	leaving               // it reads no more, and lets go once what it read is settled
	lost                  // others may read it although it still has messages of it, which are to be cancelled
)

// seat is an exclusive stream. Its lane belongs to the reader or, while busy, to whoever made it so.
type seat struct {
	*lane
	tenure  tenure
	sure    time.Time // when the newest sign that it is held was asked for
	ready   bool      // there may be something to read
	busy    bool
	unwatch context.CancelFunc // of a busy lane that is waited for
	err     error              // of that waiting
	told    bool               // the consumer knows that it is lost
}

// shift decides who reads which exclusive stream. It takes a right that it can't be sure of for lost before it is: all consumers
// of a group go by the server's clock, each of them by less of it than the server.
type shift struct {
	src  *Source
	bell chan struct{} // filled when a seat is ready

	start   sync.Once
	end     context.CancelFunc // nil before start
	running sync.WaitGroup

	mu    sync.Mutex
	seats []*seat
	next  int // to read
}

func newShift(s *Source) *shift {
	h := &shift{src: s, bell: make(chan struct{}, 1)}
	for _, l := range s.lanes {
		h.seats = append(h.seats, &seat{lane: l})
	}
	return h
}

// receive returns what one of the streams has.
func (h *shift) receive(ctx context.Context, credit consumer.Credit) ([]consumer.Raw, error) {
	h.start.Do(func() {
		life, end := context.WithCancel(context.WithoutCancel(ctx))
		h.end = end
		h.running.Go(func() { h.manage(life) })
	})
	expired := time.After(h.src.cfg.Block)
	for {
		if s, err := h.pick(); err != nil {
			return nil, fmt.Errorf("redisstream: wait for %s: %w", s.stream, err)
		} else if s != nil {
			if raws, err := h.read(ctx, s, credit); err != nil || len(raws) > 0 {
				return raws, err
			}
			continue
		}
		select {
		case <-h.bell:
		case <-expired:
			return nil, nil
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// pick returns the next stream that may have something, now busy, or one for which waiting has failed.
func (h *shift) pick() (*seat, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.expireLocked()
	for range h.seats {
		s := h.seats[h.next%len(h.seats)]
		h.next++
		if s.tenure != held || !s.ready || s.busy {
			continue
		}
		err := s.err
		if s.err = nil; err == nil {
			s.busy = true
		}
		return s, err
	}
	return nil, nil
}

func (h *shift) read(ctx context.Context, s *seat, credit consumer.Credit) ([]consumer.Raw, error) {
	entries, err := s.read(ctx, s.affordable(credit))
	if err != nil {
		s.grouped = false
		s.resumed, s.resume = false, entryID{} // what came with a reply that is lost comes before all that is new
		s.failed()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	s.busy = false
	h.expireLocked()
	switch {
	case isFenced(err):
		h.loseLocked(s)
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("redisstream: read %s: %w", s.stream, err)
	case s.tenure == lost || s.tenure == away:
		return nil, nil // the next owner takes up all that is pending, in its order
	case len(entries) == 0:
		h.watchLocked(s) //nolint:contextcheck // the watch outlasts this call
		return nil, nil
	default:
		return s.deliver(entries), nil
	}
}

// watchLocked waits for entries in a stream that has none.
func (h *shift) watchLocked(s *seat) {
	s.ready = false
	if s.tenure != held {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.busy, s.unwatch = true, cancel
	h.running.Go(func() {
		defer cancel()
		err := s.watch(ctx)
		if err != nil {
			s.grouped = false
			s.hangUp()
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		s.busy, s.unwatch, s.ready, s.err = false, nil, true, err
		h.ring()
	})
}

func (h *shift) ring() {
	select {
	case h.bell <- struct{}{}:
	default:
	}
}

// lost returns the messages that were held of streams that were lost since the last call.
func (h *shift) lost() (ids []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.expireLocked()
	for _, s := range h.seats {
		if s.tenure == lost && !s.told {
			s.told = true
			for _, id := range s.ledger.drop() {
				ids = append(ids, s.messageID(id))
			}
		}
	}
	return ids
}

// expireLocked takes for lost what was not confirmed for two thirds of a lease: the consumer asks for it every third.
func (h *shift) expireLocked() {
	for _, s := range h.seats {
		if (s.tenure == held || s.tenure == leaving) && time.Since(s.sure) > h.src.cfg.Lease*2/3 {
			h.loseLocked(s)
		}
	}
}

func (h *shift) loseLocked(s *seat) {
	h.src.cfg.Logger.Warn("redisstream: lost an exclusive stream: its handlers are cancelled", "stream", s.stream, "group", h.src.cfg.Group)
	s.tenure, s.told = lost, false
	h.stopLocked(s)
}

// stopLocked ends the reading of a stream.
func (h *shift) stopLocked(s *seat) {
	if s.unwatch != nil {
		s.unwatch()
	}
}

func (h *shift) gainLocked(s *seat, since time.Time) {
	s.tenure, s.sure, s.ready, s.err = held, since, true, nil
	s.grouped, s.resumed, s.resume, s.cursor = false, false, entryID{}, searchEnd
	s.ledger.unpark() // others may have had it meanwhile
	h.ring()
}

// freeLocked tells whether nothing of the stream is with the consumer or on its way to it.
func (s *seat) freeLocked() bool { return !s.busy && s.ledger.outside() == 0 }

// close lets go of all streams.
func (h *shift) close(ctx context.Context) error {
	h.start.Do(func() {}) // it is too late for that
	if h.end == nil {
		return nil
	}
	h.end()
	h.mu.Lock()
	seats := slices.Clone(h.seats)
	for _, s := range seats {
		h.stopLocked(s)
		s.tenure = away
	}
	h.mu.Unlock()
	done := make(chan struct{})
	go func() {
		h.running.Wait()
		close(done)
	}()
	select {
	case <-done:
		return h.yield(ctx, seats, true)
	case <-ctx.Done():
		return errors.Join(h.yield(ctx, seats, true), context.Cause(ctx))
	}
}
