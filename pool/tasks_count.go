package pool

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"
)

// Add adds to a counter and returns the total. It is counted at most once: after an error that left the outcome open it may or may not
// have been, and another Add may count it twice. AddOnce has no such doubt.
func (t Tasks) Add(ctx context.Context, counter string, delta int64) (int64, error) {
	if err := t.check(nameOf("counter", counter)); err != nil {
		return 0, err
	}
	total, err := t.rdb.IncrBy(ctx, t.countKey(counter), delta).Result()
	return total, t.failed("counter", counter, err)
}

// AddOnce adds to a counter, unless that was done for the id already in the time that ids are remembered, a millisecond or more. It
// returns the total in either case. It may be repeated within that time, and repeats itself after a lost reply if that time is longer
// than a minute. Each id takes some 100 bytes of the server's memory until it is forgotten.
func (t Tasks) AddOnce(ctx context.Context, counter, id string, delta int64, remember time.Duration) (int64, error) {
	if err := t.check(nameOf("counter", counter), nameOf("id", id), positive("remember", remember)); err != nil {
		return 0, err
	}
	if remember > mostRetryBudget {
		ctx = Idempotent(ctx)
	}
	key := t.countKey(counter)
	total, err := addOnce.Run(ctx, t.rdb, []string{key, key + ":once:" + id}, delta, remember.Milliseconds()).Int64()
	return total, t.failed("counter", counter, err)
}

// Total returns what a counter has come to, 0 if nothing was added.
func (t Tasks) Total(ctx context.Context, counter string) (int64, error) {
	if err := t.check(nameOf("counter", counter)); err != nil {
		return 0, err
	}
	total, err := t.rdb.Get(ctx, t.countKey(counter)).Int64()
	if errors.Is(err, redis.Nil) {
		return 0, nil
	}
	return total, t.failed("counter", counter, err)
}

func (t Tasks) countKey(counter string) string { return t.Prefix + ":count:{" + counter + "}" }

// addOnce remembers the id last: an INCRBY that fails ends the script. The total is read, as a number would lose digits in Lua.
var addOnce = redis.NewScript(`
if redis.call('EXISTS', KEYS[2]) == 0 then
  redis.call('INCRBY', KEYS[1], ARGV[1])
  redis.call('SET', KEYS[2], 1, 'PX', ARGV[2])
end
return redis.call('GET', KEYS[1]) or '0'`)
