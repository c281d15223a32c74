package redispubsub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/upbeat-go/upbeat/consumer"
)

// BridgeConfig says what goes where. From and Stream are required.
type BridgeConfig struct {
	// From is what to listen to.
	From Config
	// Stream is what the messages are added to, in the form that package redisstream reads: with the fields "payload", "channel" and "id".
	Stream string
	// MaxLen is about how many entries the stream keeps: what nobody has read is trimmed, too. 0 means all of them.
	MaxLen int64
	// Window is for how long a message is remembered, so that no other bridge adds it once more: longer than a bridge may be held up. Redis needs
	// about 150 bytes for each message of that time. 0 means 10 min.
	Window time.Duration
	// DrainTimeout is how long Run goes on, after its context has ended, to add what was heard. 0 means 5 s, negative not at all.
	DrainTimeout time.Duration
}

// Bridge adds what is published to a stream, for senders that can only PUBLISH. Run two of them on different machines: each message that at least one
// of them hears is added once, and both are seldom deaf at the same time.
//
// A message that says which one it is (see the package's comment) is known by that. Any other one is known by its channel and its bytes: when the
// same bytes are published on the same channel again within BridgeConfig.Window, that is taken for the same message. So let senders count, or put the
// time into what they send.
//
// While Redis can't be written to, what was heard waits within the bounds of From. All methods are safe for concurrent use.
type Bridge struct {
	cfg    BridgeConfig
	rdb    redis.UniversalClient
	src    *Source
	reader *consumer.Consumer[[]byte]
	seen   string // the key of what was added within the window

	added, repeated atomic.Int64
}

// BridgeStats is a snapshot of a bridge.
type BridgeStats struct {
	Stats
	// Added is how many messages this bridge added to the stream.
	Added int64 `json:"added"`
	// Repeated is how many of those that it heard were there already.
	Repeated int64 `json:"repeated"`
	// Waiting is how many it has heard and not yet added.
	Waiting int64 `json:"waiting"`
	// Outage is true while the stream can't be written to.
	Outage bool `json:"outage"`
}

const (
	bridgeBatch = 200       // messages of one script: Redis serves nobody else meanwhile
	bridgeBytes = 256 << 10 // and their payload, but for one that is larger
)

// NewBridge returns a bridge. It neither connects nor starts anything. rdb stays the caller's, and has to stay open for as long as Run goes on.
func NewBridge(rdb redis.UniversalClient, cfg BridgeConfig) (*Bridge, error) {
	cfg.Window = cmp.Or(cfg.Window, 10*time.Minute)
	cfg.DrainTimeout = max(0, cmp.Or(cfg.DrainTimeout, 5*time.Second))
	if cfg.From.Logger == nil {
		cfg.From.Logger = slog.Default()
	}
	src, err := New(rdb, cfg.From)
	err = errors.Join(err, cfg.check())
	if err != nil {
		return nil, err
	}
	b := &Bridge{cfg: cfg, rdb: rdb, src: src, seen: beside(cfg.Stream, "seen")}
	b.reader, err = consumer.NewBatch(src, b.add, consumer.Config{
		Concurrency: 1, BatchSize: bridgeBatch, MaxInFlight: 4 * bridgeBatch, MinBackoff: 100 * time.Millisecond, MaxBackoff: 3 * time.Second,
		IsTransient:  func(error) bool { return true }, // no message is to blame for what Redis refuses
		DeadLetter:   func(context.Context, []consumer.DeadLetter) error { return nil },
		DrainTimeout: 2 * time.Second, Logger: cfg.From.Logger,
	})
	if err != nil {
		return nil, err
	}
	return b, nil
}

func (c BridgeConfig) check() error {
	var errs []error
	if c.Stream == "" || strings.ContainsAny(c.Stream, "{}") && !tagged(c.Stream) {
		errs = append(errs, fmt.Errorf("redispubsub: BridgeConfig.Stream is %q: want a name without braces, other than around a hash tag", c.Stream))
	}
	if c.MaxLen < 0 {
		errs = append(errs, fmt.Errorf("redispubsub: BridgeConfig.MaxLen is %d: want at least 1, or 0 to keep all", c.MaxLen))
	}
	if c.Window < time.Second || c.Window > 24*time.Hour {
		errs = append(errs, fmt.Errorf("redispubsub: BridgeConfig.Window is %v: want 1s to 24h, or 0 for 10m", c.Window))
	}
	return errors.Join(errs...)
}

// beside is the name of another key in the slot of stream.
func beside(stream, what string) string {
	if tagged(stream) {
		return stream + ":" + what
	}
	return "{" + stream + "}:" + what
}

func tagged(stream string) bool {
	_, rest, opened := strings.Cut(stream, "{")
	tag, _, closed := strings.Cut(rest, "}")
	return opened && closed && tag != ""
}

// Run adds what it hears until ctx ends. Then it hears no more, adds what is left and returns nil; or an error if that was not possible in
// BridgeConfig.DrainTimeout, or if something still runs. It blocks and may be called once.
func (b *Bridge) Run(ctx context.Context) error {
	reading, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var err error
	var running sync.WaitGroup
	running.Go(func() { err = b.reader.Run(reading) })
	<-ctx.Done()
	b.src.quiet()
	left := int64(0)
	select {
	case <-b.src.memory.Done():
	case <-time.After(b.cfg.DrainTimeout):
		left = b.waiting() //nolint:contextcheck // it asks under one of its own: this one has ended
	}
	stop()
	running.Wait()
	if left > 0 {
		err = errors.Join(fmt.Errorf("redispubsub: %d messages were heard and not added to %s in %v", left, b.cfg.Stream, b.cfg.DrainTimeout), err)
	}
	return err
}

// Stats returns how the bridge is doing. It doesn't block.
func (b *Bridge) Stats() BridgeStats {
	return BridgeStats{
		Stats: b.src.Stats(), Added: b.added.Load(), Repeated: b.repeated.Load(), Waiting: b.waiting(), Outage: b.reader.Stats().Outage,
	}
}

func (b *Bridge) waiting() int64 {
	lag, _ := b.src.memory.Lag(context.Background())
	return lag + int64(b.reader.Stats().InFlight)
}

// addScript adds the messages of ARGV[3…] (id, channel, payload) that are not in KEYS[2] to the stream KEYS[1], about ARGV[2] entries long unless that
// is 0, and remembers them for ARGV[1] milliseconds. It returns how many that were. The entry
// comes before the mark, as a mark without its entry would be a loss.
const addScript = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now - ARGV[1])
local added = 0
for i = 3, #ARGV, 3 do
  if not redis.call('ZSCORE', KEYS[2], ARGV[i]) then
    local fields = {'*', 'channel', ARGV[i+1], 'payload', ARGV[i+2], 'id', ARGV[i]}
    if ARGV[2] == '0' then
      redis.call('XADD', KEYS[1], unpack(fields))
    else
      redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], unpack(fields))
    end
    redis.call('ZADD', KEYS[2], now, ARGV[i])
    added = added + 1
  end
end
redis.call('PEXPIRE', KEYS[2], ARGV[1])
return added`

// add is the handler: what it can't add is handed over again.
func (b *Bridge) add(ctx context.Context, batch []*consumer.Message[[]byte]) error {
	for len(batch) > 0 {
		args := []any{b.cfg.Window.Milliseconds(), b.cfg.MaxLen}
		n, bytes := 0, 0
		for ; n < len(batch) && (n == 0 || bytes+len(batch[n].Value) <= bridgeBytes); n++ {
			m := batch[n]
			bytes += len(m.Value)
			args = append(args, messageID(&m.Raw), m.Header("channel"), m.Value)
		}
		added, err := b.rdb.Eval(ctx, addScript, []string{b.cfg.Stream, b.seen}, args...).Int64()
		if err != nil {
			return fmt.Errorf("redispubsub: add to %s: %w", b.cfg.Stream, err)
		}
		b.added.Add(added)
		b.repeated.Add(int64(n) - added)
		batch = batch[n:]
	}
	return nil
}

// messageID is the same in all bridges.
func messageID(m *consumer.Raw) string {
	if h, ok := m.Headers.(*headers); ok && h.named {
		return m.ID
	}
	return hash([]byte(m.Header("channel")), m.Payload)
}
