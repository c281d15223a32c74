package redisstream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/upbeat-go/upbeat/consumer"
	"github.com/upbeat-go/upbeat/internal/redisblock"
)

// firstBatch is what the first read asks for, before it is known how large entries are. It doubles with each read that was full.
const firstBatch = 16

// readBytes is how much payload one read asks for, about: go-redis gives a reply a fixed time, and a slow link has to carry it in that.
const readBytes = 4 << 20

// lane reads one stream. One goroutine at a time reads, while others settle and extend.
type lane struct {
	src          *Source
	stream, dead string
	owner        string // the key that says who may read the stream; "" unless that is exclusive
	members      string // the key with all who would
	ledger       ledger
	alarm        alarm

	// What follows belongs to the goroutine that reads.
	conn     *redisblock.Conn
	wire     wire
	grouped  bool      // the group is there, as far as is known
	doubt    string    // why entries may have been lost, until somebody has looked
	resumed  bool      // what this consumer had held under the same name is taken up
	resume   entryID   // from here on it isn't
	cursor   string    // where the search for entries to be delivered again goes on
	searched time.Time // when it began
	batch    int       // what a read asks for
	avgBytes int64     // of a payload, lately
	end      string    // of what the group was given, when the last read found nothing; of exclusive streams
}

func newLane(s *Source, stream, dead string) *lane {
	return &lane{
		src: s, stream: stream, dead: dead, ledger: ledger{keep: 2 * s.cfg.Lease, parked: map[string]time.Time{}},
		cursor: searchEnd, batch: min(firstBatch, s.cfg.Batch), avgBytes: 1,
	}
}

// receive returns what is there, in this order: what this consumer held when it was stopped, what is to be delivered again, what is new.
func (l *lane) receive(ctx context.Context, credit consumer.Credit) ([]consumer.Raw, error) {
	entries, err := l.read(ctx, l.affordable(credit))
	if err != nil {
		// Whatever it was: the node may be another one by now, and the group may be gone.
		l.grouped = false
		l.failed()
		return nil, fmt.Errorf("redisstream: read %s: %w", l.stream, err)
	}
	return l.deliver(entries), nil
}

func (l *lane) read(ctx context.Context, count int) (entries []item, err error) {
	if err := l.open(ctx); err != nil {
		return nil, err
	}
	if !l.resumed {
		if entries, err = l.takeUp(ctx, count); err != nil || len(entries) > 0 {
			return entries, err
		}
	}
	if l.cursor != searchEnd || l.alarm.due() {
		if entries, err = l.reclaim(ctx, count); err != nil || len(entries) > 0 {
			return entries, err
		}
	}
	if l.owner != "" {
		return l.fenced(ctx, count)
	}
	return l.fresh(ctx, count)
}

func (l *lane) open(ctx context.Context) error {
	if !l.grouped {
		if err := l.ensureGroup(ctx); err != nil {
			return err
		}
		l.grouped = true
		l.alarm.set(time.Now())
	}
	if l.conn != nil {
		return nil
	}
	node, err := redisblock.ClientFor(ctx, l.src.rdb, l.stream)
	if err != nil {
		return err
	}
	l.conn, err = redisblock.Open(ctx, node)
	return err
}

// failed hangs up, and has the next read ask for less: the reply may have been too much for the time that it was given.
func (l *lane) failed() {
	l.batch = max(1, l.batch/4)
	l.hangUp()
}

func (l *lane) hangUp() {
	if l.conn != nil {
		_ = l.conn.Close()
		l.conn = nil
	}
}

// fresh waits for entries that nobody was given yet.
func (l *lane) fresh(ctx context.Context, count int) ([]item, error) {
	waiting, interrupt := context.WithCancel(ctx)
	defer interrupt()
	block := l.alarm.wait(l.src.cfg.Block, interrupt)
	defer l.alarm.done()
	if block <= 0 {
		return nil, nil
	}
	var entries []item
	cfg := &l.src.cfg
	err := l.conn.Do(waiting, block, func(ctx context.Context, _ *redis.Conn, block time.Duration) (err error) {
		entries, err = l.wire.readGroup(ctx, l.conn.Socket(), cfg.Group, cfg.Consumer, l.stream, count, block)
		return err
	})
	switch {
	case err == nil:
		return l.note(entries), nil
	case errors.Is(err, redis.Nil), ctx.Err() == nil && waiting.Err() != nil:
		return nil, nil
	default:
		return nil, err
	}
}

// note takes note of the highest id.
func (l *lane) note(entries []item) []item {
	if len(entries) == 0 {
		return nil
	}
	if id, ok := parseID(entries[len(entries)-1].id); ok {
		l.ledger.delivered(id)
	}
	return entries
}

// affordable is how many entries are likely to fit into credit.
func (l *lane) affordable(credit consumer.Credit) int {
	fitting := max(1, min(credit.Bytes, readBytes)/l.avgBytes)
	return int(min(int64(credit.Count), int64(l.batch), fitting))
}

// deliver enters entries in the ledger and makes messages of them.
func (l *lane) deliver(entries []item) []consumer.Raw {
	if len(entries) == 0 {
		return nil
	}
	if len(entries) >= l.batch { // limited by nothing else
		l.batch = min(2*l.batch, l.src.cfg.Batch)
	}
	b := &batch{lane: l, entries: make([]entry, len(entries))}
	raws := make([]consumer.Raw, len(entries))
	bytes := int64(0)
	for i, e := range entries {
		b.entries[i] = entry{batch: b, id: e.id, fields: e.fields}
		payload := e.fields.get(l.src.cfg.Field)
		bytes += int64(len(payload))
		id, _ := parseID(e.id)
		raws[i] = consumer.Raw{
			ID: e.name, At: id.time(), Attempt: int(max(1, e.attempts)),
			Payload: payload, Headers: &b.entries[i], Token: &b.entries[i],
		}
	}
	clear(entries) // which a lane without news keeps for long
	l.ledger.add(b)
	mean := bytes / int64(len(entries))
	l.avgBytes = max(1, mean, (3*l.avgBytes+mean)/4) // up at once, down slowly
	return raws
}

func (l *lane) messageID(id string) string { return l.stream + "/" + id }

func (l *lane) close(ctx context.Context) error {
	l.hangUp()
	err := l.eval(ctx, leaveScript, l.src.cfg.Group, l.src.cfg.Consumer).Err()
	if err != nil && !isGroupGone(err) {
		return fmt.Errorf("redisstream: leave group %s of %s: %w", l.src.cfg.Group, l.stream, err)
	}
	return nil
}

// fenced returns entries that nobody was given yet, for as long as this consumer owns the stream.
func (l *lane) fenced(ctx context.Context, count int) ([]item, error) {
	end, entries, err := l.find(ctx, freshScript, count)
	if err != nil {
		return nil, err
	}
	l.end = end
	return l.note(entries), nil
}

// watch returns when there may be something that fenced would return, or when it is time to look.
func (l *lane) watch(ctx context.Context) error {
	waiting, interrupt := context.WithCancel(ctx)
	defer interrupt()
	block := l.alarm.wait(l.src.cfg.Block, interrupt)
	defer l.alarm.done()
	if block <= 0 {
		return nil
	}
	err := l.conn.Do(waiting, block, func(ctx context.Context, conn *redis.Conn, block time.Duration) error {
		return conn.XRead(ctx, &redis.XReadArgs{Streams: []string{l.stream, l.end}, Count: 1, Block: block}).Err()
	})
	if errors.Is(err, redis.Nil) || waiting.Err() != nil {
		return nil
	}
	return err
}
