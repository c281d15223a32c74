package redispubsub

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/upbeat-go/upbeat/consumer"
	"github.com/upbeat-go/upbeat/internal/redislink"
	"github.com/upbeat-go/upbeat/internal/redissub"
)

// Source listens for a consumer. Its methods are for that consumer to call, apart from Stats.
type Source struct {
	cfg    Config
	sub    *redissub.Subscription
	ch     chan consumer.Raw    // what waits
	memory *consumer.ChanSource // over ch
	name   string               // begins the IDs of messages that have none of their own

	listening context.Context // ends with the subscription
	hush      context.CancelFunc
	starting  sync.Once
	ended     chan struct{} // closed when nothing more is added to ch
	closed    atomic.Bool

	waiting atomic.Int64  // bytes in ch
	room    chan struct{} // filled when something was taken from ch

	counts  counts
	tracker tracker // of what is heard
}

// What the consumer may ask of it.
var (
	_ consumer.Source      = (*Source)(nil)
	_ consumer.Lagger      = (*Source)(nil)
	_ consumer.LossCounter = (*Source)(nil)
	_ consumer.GapCounter  = (*Source)(nil)
	_ consumer.Closer      = (*Source)(nil)
)

// New returns a source. It neither connects nor starts anything. rdb stays the caller's, and has to stay open for as long as the consumer runs.
func New(rdb redis.UniversalClient, cfg Config) (*Source, error) {
	if redislink.IsNil(rdb) {
		return nil, errors.New("redispubsub: client is nil: want a *redis.Client or a *redis.ClusterClient")
	}
	cfg, err := cfg.withDefaults()
	s := &Source{cfg: cfg, name: strings.ToLower(rand.Text()[:12]), ended: make(chan struct{}), room: make(chan struct{}, 1)}
	var wrong error
	s.sub, wrong = redissub.New(rdb, redissub.Config{
		Channels: cfg.Channels, Patterns: cfg.Patterns, Message: s.hear, Up: s.up, Down: s.down,
		Ping: cfg.Ping, Timeout: cfg.Timeout, MaxBytes: cfg.MaxMessage,
	})
	if err = errors.Join(err, wrong); err != nil {
		return nil, err
	}
	s.ch = make(chan consumer.Raw, cfg.Buffer)
	s.memory = consumer.FromChan(s.ch)
	s.listening, s.hush = context.WithCancel(context.Background())
	return s, nil
}

var errClosed = errors.New("redispubsub: this source was closed by the consumer that had it: every consumer wants a new one")

// Receive returns what was heard.
func (s *Source) Receive(ctx context.Context, credit consumer.Credit) ([]consumer.Raw, error) {
	if s.closed.Load() {
		return nil, errClosed
	}
	s.starting.Do(func() { go s.listen() })
	raws, err := s.memory.Receive(ctx, credit)
	for i := range raws {
		s.taken(&raws[i])
	}
	return raws, err
}

// Settle takes note of the outcomes. It never fails.
func (s *Source) Settle(ctx context.Context, outcomes []consumer.Outcome) error {
	return s.memory.Settle(ctx, outcomes)
}

// Lag is how many messages wait here.
func (s *Source) Lag(ctx context.Context) (int64, error) { return s.memory.Lag(ctx) }

// Close ends the subscription, and counts as lost what waits.
func (s *Source) Close(ctx context.Context) error {
	s.closed.Store(true)
	s.quiet()
	select {
	case <-s.ended:
	case <-ctx.Done():
		return fmt.Errorf("redispubsub: end the subscription: %w", context.Cause(ctx))
	}
	_ = s.memory.Close(ctx)
	if left, _ := s.memory.Lag(ctx); left > 0 && !s.counts.closed.Swap(true) {
		s.counts.dropped.Add(left)
		s.cfg.Logger.Warn("redispubsub: messages that were heard and not handled are lost with the end of the consumer", "count", left)
	}
	return nil
}

// quiet lets nothing more be heard.
func (s *Source) quiet() {
	s.hush()
	s.starting.Do(func() { s.end() })
}

func (s *Source) listen() {
	defer s.end()
	if err := s.sub.Run(s.listening); err != nil {
		s.cfg.Logger.Warn("redispubsub: end the subscription", "error", err)
	}
}

func (s *Source) end() {
	close(s.ch)
	close(s.ended)
}

// hear takes one message over. Called by the goroutine of the subscription alone.
func (s *Source) hear(m redissub.Message) {
	if m.Omitted > 0 {
		s.counts.omitted.Add(1)
		return
	}
	h := &headers{channel: string(m.Channel), pattern: string(m.Pattern)}
	raw := consumer.Raw{At: time.Now(), Payload: append([]byte{}, m.Payload...), Headers: h}
	if id, ok := identify(raw.Payload); ok {
		raw.ID, h.named = id.String(), true
		s.counts.missed.Add(s.tracker.note(id))
	} else {
		raw.ID = fmt.Sprintf("%s-%d", s.name, s.counts.heard.Load()+1)
	}
	s.counts.heard.Add(1)
	s.enqueue(raw)
}

// enqueue adds to what waits, or does what Config.Overflow says.
func (s *Source) enqueue(raw consumer.Raw) {
	size := int64(len(raw.Payload))
	for {
		if waiting := s.waiting.Load(); waiting == 0 || waiting+size <= s.cfg.BufferBytes {
			s.waiting.Add(size)
			select {
			case s.ch <- raw:
				return
			default:
				s.waiting.Add(-size)
			}
		}
		switch s.cfg.Overflow {
		case DropOldest:
			select {
			case oldest := <-s.ch:
				s.waiting.Add(-int64(len(oldest.Payload)))
				s.drop()
			default: // somebody is taking it
				if !s.roomComes() {
					return
				}
			}
		case DropNewest:
			s.drop()
			return
		case Wait:
			if !s.roomComes() {
				return
			}
		}
	}
}

// roomComes waits for something to be taken. If the source is closed instead, the message that needed the room is dropped.
func (s *Source) roomComes() bool {
	select {
	case <-s.room:
		return true
	case <-s.listening.Done():
		s.drop()
		return false
	}
}

func (s *Source) drop() {
	if s.counts.dropped.Add(1) == 1 {
		s.cfg.Logger.Warn("redispubsub: messages are dropped, as the consumer is slower than those who publish: see Stats")
	}
}

// taken frees the room of a message that is delivered for the first time.
func (s *Source) taken(raw *consumer.Raw) {
	h, ok := raw.Headers.(*headers)
	if !ok || h.taken {
		return
	}
	h.taken = true
	s.waiting.Add(-int64(len(raw.Payload)))
	select {
	case s.room <- struct{}{}:
	default:
	}
}

// headers are those of a message.
type headers struct {
	channel, pattern string
	named            bool // the ID is the sender's
	taken            bool // it doesn't wait any more; for the goroutine that receives
}

// Header returns "channel" and "pattern".
func (h *headers) Header(name string) string {
	switch name {
	case "channel":
		return h.channel
	case "pattern":
		return h.pattern
	default:
		return ""
	}
}
