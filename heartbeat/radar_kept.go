package heartbeat

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/upbeat-go/upbeat/internal/redissub"
)

const (
	// keptBatch bounds the memory of one trip: that many beats of MaxBeatBytes.
	keptBatch = 64
	scanCount = 1000
	// keptTimeout bounds one trip of a sweep.
	keptTimeout = 10 * time.Second
)

// newest asks in trips of keptBatch; a Cluster client sends each to the nodes concerned, side by side.
func (r *radar) newest(ctx context.Context, of []instanceKey) ([]retained, error) {
	keys := make([]string, len(of))
	for i, key := range of {
		keys[i] = strings.NewReplacer("{service}", key.service, "{instance}", key.instance).Replace(r.template)
	}
	all := make([]retained, 0, len(keys))
	for batch := range slices.Chunk(keys, keptBatch) {
		kept, err := ask(ctx, r, func() ([]retained, error) { return r.fetch(ctx, batch) })
		if err != nil {
			return nil, err
		}
		all = append(all, kept...)
	}
	return all, nil
}

// sweep looks through the nodes one after another, so that it costs each of them and this process little at a time. A
// key that moves meanwhile may come twice, which is harmless, or not at all: its sender will be heard.
func (r *radar) sweep(ctx context.Context, yield func(retained) bool) error {
	nodes, err := trip(ctx, r, func(ctx context.Context) ([]*redis.Client, error) { return redissub.Masters(ctx, r.rdb) })
	if err != nil {
		return err
	}
	for _, node := range nodes {
		if more, err := r.sweepNode(ctx, node, yield); err != nil || !more {
			return err
		}
	}
	return nil
}

func (r *radar) sweepNode(ctx context.Context, node *redis.Client, yield func(retained) bool) (more bool, err error) {
	type page struct {
		keys []string
		next uint64
	}
	match := pattern(r.template)
	for next := uint64(0); ; {
		found, err := trip(ctx, r, func(ctx context.Context) (p page, err error) {
			p.keys, p.next, err = node.Scan(ctx, next, match, scanCount).Result()
			return p, err
		})
		if err != nil {
			return false, fmt.Errorf("heartbeat: look for beats kept at %s: %w", match, missingRight(err, "scan", match, "+scan"))
		}
		for batch := range slices.Chunk(found.keys, keptBatch) {
			kept, err := trip(ctx, r, func(ctx context.Context) ([]retained, error) { return r.fetch(ctx, batch) })
			if err != nil {
				return false, err
			}
			for _, beat := range kept {
				if beat.found && !yield(beat) {
					return false, nil
				}
			}
		}
		if next = found.next; next == 0 {
			return true, nil
		}
	}
}

// trip asks within a time of its own.
func trip[T any](ctx context.Context, r *radar, f func(ctx context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, keptTimeout)
	defer cancel()
	return ask(ctx, r, func() (T, error) { return f(ctx) })
}

// fetch reads beats and how long they have to live, in one pipeline; in Cluster that is one for each node concerned, side by
// side. In this order: a beat that is set in between has the older one taken for as young as itself, and its sender
// lives all the same.
func (r *radar) fetch(ctx context.Context, keys []string) ([]retained, error) {
	texts, left := make([]*redis.StringCmd, len(keys)), make([]*redis.Cmd, len(keys))
	pipe := r.rdb.Pipeline()
	for i, key := range keys {
		texts[i] = pipe.GetRange(ctx, key, 0, MaxBeatBytes) // a byte more than a beat may have
		left[i] = pipe.Do(ctx, "pttl", key)                 // in milliseconds; the typed command makes durations of its codes
	}
	_, _ = pipe.Exec(ctx) // each command has its error
	kept := make([]retained, len(keys))
	for i := range keys {
		text, err := texts[i].Bytes()
		ms, errLeft := left[i].Int64()
		if redis.HasErrorPrefix(err, "WRONGTYPE") {
			continue // nobody's beat
		}
		if err := cmp.Or(err, errLeft); err != nil {
			return nil, fmt.Errorf("heartbeat: read the beats kept: %w", missingRight(err, "getrange", r.template, "+getrange +pttl %R~"+pattern(r.template)))
		}
		kept[i] = keptBeat(text, ms)
	}
	return kept, nil
}

// keptBeat works out the age of a beat from the time that its key has left to live, and from how long it had when it
// was set. One that doesn't say that, or has longer to live than it says, has no age that could be known, and proves
// nothing: it could be as old as its key.
func keptBeat(payload []byte, left int64) retained {
	var beat struct {
		Ours struct {
			Retain float64 `json:"retain_seconds"`
		} `json:"upbeat"`
	}
	if left < 0 || len(payload) > MaxBeatBytes || json.Unmarshal(payload, &beat) != nil {
		return retained{}
	}
	age := beat.Ours.Retain - float64(left)/1000
	if beat.Ours.Retain <= 0 || age < -1 || age > math.MaxInt32 {
		return retained{}
	}
	return retained{payload: payload, age: time.Duration(max(age, 0) * float64(time.Second)), found: true}
}
