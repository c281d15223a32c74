package consumertest_test

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/upbeat-go/upbeat/consumer"
	"github.com/upbeat-go/upbeat/consumer/consumertest"
)

var errBroker = errors.New("the broker can't be reached")

const lease = 2 * time.Second

// broker keeps the contract, but for its fault.
type broker struct {
	fault string

	mu         sync.Mutex
	items      []*item
	published  int
	dead       [][]byte
	lost       int64
	down, mute bool
	ahead      time.Duration // of its clock
}

// item is a message at the broker.
type item struct {
	raw    consumer.Raw
	holder *source // whom it is lent to
	until  time.Time
	due    time.Time
	serial int // of its deliveries
	done   bool
	gone   bool // trimmed
}

// source is one that reads from the broker.
type source struct {
	*broker
	readers int
	held    map[*item]int // with the serial of the delivery
	one     chan struct{} // a mutex for which fake time goes on
}

// delivery is the Raw.Token.
type delivery struct {
	*item
	serial int
}

func (b *broker) harness() consumertest.Harness {
	set := func(flag *bool) func() func() {
		return func() func() {
			b.locked(func() { *flag = true })
			return func() { b.locked(func() { *flag = false }) }
		}
	}
	open := func(readers int) consumer.Source {
		return &source{broker: b, readers: readers, held: map[*item]int{}, one: make(chan struct{}, 1)}
	}
	return consumertest.Harness{
		Open: func() consumer.Source { return open(1) }, OpenMany: func() consumer.Source { return open(3) },
		Publish: b.publish, Dead: func() [][]byte { return b.dead }, Break: set(&b.down), LoseReplies: set(&b.mute), Patience: 10 * time.Second,
		Trim: func() {
			b.locked(func() {
				for _, i := range b.items {
					i.gone = true
				}
			})
		},
		Evict: func() { b.locked(func() { b.items = nil }) },
		Jump:  func() { b.locked(func() { b.ahead = time.Hour }) },
	}
}

func (b *broker) locked(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
}

func (b *broker) publish(payloads ...[]byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range payloads {
		b.published++
		id := strconv.Itoa(b.published)
		if b.fault == "IDs repeat" {
			id = strconv.Itoa(b.published % 100)
		}
		b.items = append(b.items, &item{raw: consumer.Raw{ID: id, At: time.Now().Add(b.ahead), Attempt: 1, Payload: p}})
	}
}

func (b *broker) now() time.Time {
	if b.fault == "leases are those of the wall clock" {
		return time.Now().Add(b.ahead)
	}
	return time.Now()
}

func (s *source) Readers() int         { return s.readers }
func (s *source) Lease() time.Duration { return lease }
func (s *source) KeepsDead() string    { return "memory" }

func (s *source) Lost() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lost
}

func (s *source) Lag(context.Context) (n int64, _ error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, i := range s.items {
		if !i.done && (i.serial == 0 || s.fault == "the lag has what is held") {
			n++
		}
	}
	return n, nil
}

func (s *source) Receive(ctx context.Context, credit consumer.Credit) ([]consumer.Raw, error) {
	if s.fault == "Settle waits for Receive" {
		s.one <- struct{}{}
		defer func() { <-s.one }()
	}
	for {
		raws, answered, err := s.take(credit)
		switch {
		case err != nil || answered && len(raws) > 0:
			return raws, err
		case !answered, s.fault == "Receive ignores its context":
			wait := time.After(time.Minute)
			if s.fault == "Receive ignores its context" {
				ctx = context.Background()
			}
			select {
			case <-wait:
			case <-ctx.Done():
			}
			return nil, errBroker
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return nil, nil
		}
	}
}

func (s *source) take(credit consumer.Credit) (raws []consumer.Raw, answered bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return nil, true, errBroker
	}
	var ready []*item
	for _, i := range s.items {
		if s.fault == "a pause stops all" && !i.done && time.Now().Before(i.due) {
			return nil, true, nil
		}
		if s.availableLocked(i) {
			ready = append(ready, i)
		}
	}
	if s.fault == "Receive waits for a batch" && len(ready) < 10 {
		return nil, true, nil
	}
	bytes := int64(0)
	for _, i := range ready {
		bytes += int64(len(i.raw.Payload))
		switch {
		case len(raws) >= credit.Count && s.fault != "the count is ignored":
		case bytes > credit.Bytes && (len(raws) > 0 || s.fault == "none fits") && s.fault != "the bytes are ignored":
		default:
			raws = append(raws, s.lendLocked(i))
		}
	}
	if s.mute {
		if s.fault == "what was not answered is done" {
			for _, r := range raws {
				r.Token.(*delivery).done = true
			}
		}
		clear(s.held)
		return nil, false, nil
	}
	return raws, true, nil
}

func (s *source) availableLocked(i *item) bool {
	_, held := s.held[i]
	switch {
	case i.done, i.gone, time.Now().Before(i.due):
		return false
	case s.fault == "each reader gets all" && s.readers > 1:
		return !held || i.serial < 2
	case s.fault == "each comes twice" && i.serial == 1:
		return true
	default:
		return i.holder == nil || !s.now().Before(i.until) && (!held || s.ahead > 0)
	}
}

func (s *source) lendLocked(i *item) consumer.Raw {
	i.serial++
	i.holder, i.until = s, s.now().Add(lease)
	s.held[i] = i.serial
	raw := i.raw
	raw.Token = &delivery{i, i.serial}
	switch s.fault {
	case "payloads are strings of C":
		for n, c := range raw.Payload {
			if c == 0 {
				raw.Payload = raw.Payload[:n]
				break
			}
		}
	case "the time is that of the delivery":
		raw.At = time.Now()
	case "a delivery is an attempt":
		raw.Attempt = i.serial
	case "attempts are the consumer's":
		if i.serial == 2 {
			raw.Attempt = 1
		}
	}
	return raw
}

func (s *source) Close(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.held {
		i.done = i.done || s.fault == "Close forgets"
		if i.holder == s {
			i.holder = nil
		}
	}
	return nil
}
