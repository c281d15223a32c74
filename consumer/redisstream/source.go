package redisstream

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/upbeat-go/upbeat/consumer"
	"github.com/upbeat-go/upbeat/internal/redislink"
)

// Source reads streams for a consumer. Its methods are for that consumer to call.
type Source struct {
	rdb   redis.UniversalClient
	cfg   Config
	lanes []*lane
	idle  chan *lane // those that nobody reads from
	shift *shift     // nil unless Config.Exclusive
	lost  atomic.Int64
	gaps  gaps
	ended atomic.Bool // closed
}

// What the consumer may ask of it.
var (
	_ consumer.Source      = (*Source)(nil)
	_ consumer.Parallel    = (*Source)(nil)
	_ consumer.Leaser      = (*Source)(nil)
	_ consumer.Lagger      = (*Source)(nil)
	_ consumer.LossCounter = (*Source)(nil)
	_ consumer.GapCounter  = (*Source)(nil)
	_ consumer.DeadKeeper  = (*Source)(nil)
	_ consumer.Closer      = (*Source)(nil)
)

// New returns a source. It neither connects nor starts anything. rdb stays the caller's, and has to stay open for as long as the consumer runs.
func New(rdb redis.UniversalClient, cfg Config) (*Source, error) {
	cfg, err := cfg.withDefaults()
	cluster, wrong := inCluster(rdb)
	if err = errors.Join(err, wrong); cluster {
		err = errors.Join(err, checkTags(cfg.Streams))
	}
	if err != nil {
		return nil, err
	}
	s := &Source{rdb: rdb, cfg: cfg, idle: make(chan *lane, len(cfg.Streams))}
	for _, stream := range cfg.Streams {
		l := newLane(s, stream, sibling(stream, cluster, "dead"))
		if cfg.Exclusive {
			l.owner, l.members = sibling(stream, cluster, "owner:"+cfg.Group), sibling(stream, cluster, "members:"+cfg.Group)
		}
		s.lanes = append(s.lanes, l)
		s.idle <- l
	}
	if cfg.Exclusive {
		s.shift = newShift(s)
	}
	return s, nil
}

// inCluster says whether rdb is a client of a cluster, and what is wrong with it.
func inCluster(rdb redis.UniversalClient) (yes bool, err error) {
	if redislink.IsNil(rdb) {
		return false, errors.New("redisstream: client is nil: want a *redis.Client or a *redis.ClusterClient")
	}
	switch rdb.(type) {
	case *redis.Client:
		return false, nil
	case *redis.ClusterClient:
		return true, nil
	default:
		return false, fmt.Errorf("redisstream: client is a %T: want a *redis.Client or a *redis.ClusterClient", rdb)
	}
}

// sibling is the name of another key that belongs to the stream: in a cluster it is in the same slot.
func sibling(stream string, cluster bool, what string) string {
	if cluster && !strings.Contains(stream, "{") {
		return "{" + stream + "}:" + what
	}
	return stream + ":" + what
}

// checkTags refuses names with braces that are no hash tag: no other key could be made to lie in their slot.
func checkTags(streams []string) error {
	for _, stream := range streams {
		_, rest, opened := strings.Cut(stream, "{")
		tag, _, closed := strings.Cut(rest, "}")
		if hasTag := opened && closed && tag != ""; !hasTag && strings.ContainsAny(stream, "{}") {
			return fmt.Errorf("redisstream: Config.Streams has %q: want, in a cluster, no braces other than around a hash tag", stream)
		}
	}
	return nil
}

// Readers is the number of streams, or 1 where these are exclusive: several readers would not queue them in their order.
func (s *Source) Readers() int {
	if s.shift != nil {
		return 1
	}
	return len(s.lanes)
}

var errClosed = errors.New("redisstream: this source was closed by the consumer that had it: every consumer wants a new one")

// Receive reads from the stream that was not read from for the longest time.
func (s *Source) Receive(ctx context.Context, credit consumer.Credit) ([]consumer.Raw, error) {
	if s.ended.Load() {
		return nil, errClosed
	}
	if s.shift != nil {
		return s.shift.receive(ctx, credit)
	}
	select {
	case l := <-s.idle:
		defer func() { s.idle <- l }()
		return l.receive(ctx, credit)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Lease is that of the Config.
func (s *Source) Lease() time.Duration { return s.cfg.Lease }

// Extend renews the leases that began some time ago. Of exclusive streams it returns what was held of those that were lost.
func (s *Source) Extend(ctx context.Context) (lost []string, err error) {
	if s.shift != nil {
		return s.shift.lost(), nil
	}
	for _, l := range s.lanes {
		ids, failed := l.extend(ctx)
		lost, err = append(lost, ids...), errors.Join(err, failed)
	}
	return lost, err
}

// Lag is the number of entries that were not delivered to the group yet. It is unknown (-1) before Redis 7, and after entries in the
// middle of a stream were deleted. Where it isn't zero it may be too high after failovers: Redis before 7.4 doesn't tell its replicas all of it.
func (s *Source) Lag(ctx context.Context) (int64, error) {
	total := int64(0)
	for _, l := range s.lanes {
		group, err := l.group(ctx)
		switch {
		case err != nil:
			return 0, err
		case group == nil, group.Lag < 0:
			return -1, nil
		case group.Lag == 0 && group.EntriesRead == 0 && group.LastDeliveredID != "0-0":
			return -1, nil // an old server, that has neither number
		}
		if group.Lag > 0 {
			next, err := s.rdb.XRangeN(ctx, l.stream, "("+group.LastDeliveredID, "+", 1).Result()
			if err != nil {
				return 0, fmt.Errorf("look at the stream: %w", err)
			}
			if len(next) == 0 {
				continue // before Redis 7.4 the number of a new master may be too high for ever: https://github.com/redis/redis/pull/12898
			}
		}
		total += group.Lag
	}
	return total, nil
}

// Lost counts entries that were delivered once and then trimmed or deleted before they were done.
func (s *Source) Lost() int64 { return s.lost.Load() }

// KeepsDead names the streams with the dead letters.
func (s *Source) KeepsDead() string {
	names := make([]string, len(s.lanes))
	for i, l := range s.lanes {
		names[i] = l.dead
	}
	return strings.Join(names, ", ")
}

// Close ends the connections and takes this consumer out of the groups in which it has nothing pending.
func (s *Source) Close(ctx context.Context) error {
	s.ended.Store(true)
	var errs []error
	if s.shift != nil {
		errs = append(errs, s.shift.close(ctx))
	}
	for range s.lanes {
		select {
		case l := <-s.idle:
			errs = append(errs, l.close(ctx))
		default: // a read that ignores its context, which the consumer reports
		}
	}
	return errors.Join(errs...)
}
