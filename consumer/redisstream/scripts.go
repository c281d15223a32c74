package redisstream

import (
	"context"
	"iter"
	"slices"

	"github.com/redis/go-redis/v9"
)

// Each script works on one stream, KEYS[1]; ARGV begins with the group and the consumer. A claim always states the delivery count: it is
// the number of attempts, and no claim is one.
const (
	// extendScript begins a new lease for the entries of ARGV[3…] and returns those that another consumer has. One that isn't
	// pending any more has been acked in the meantime.
	extendScript = `
local stolen = {}
for i = 3, #ARGV do
  local p = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[i], ARGV[i], 1)[1]
  if p and p[2] == ARGV[2] then
    redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[i], 'RETRYCOUNT', p[4], 'JUSTID')
  elseif p then
    stolen[#stolen + 1] = ARGV[i]
  end
end
return stolen`

	// giveBackScript sets the idle time and the attempts of entries that are this consumer's: ARGV[3…] are id, milliseconds, count.
	// It returns how many have no data any more: they can't be delivered again.
	giveBackScript = `
local gone = 0
for i = 3, #ARGV, 3 do
  local p = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[i], ARGV[i], 1)[1]
  if p and p[2] == ARGV[2] then
    redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[i], 'IDLE', ARGV[i+1], 'RETRYCOUNT', ARGV[i+2], 'JUSTID')
  end
  if not redis.call('XRANGE', KEYS[1], ARGV[i], ARGV[i])[1] then
    redis.call('XACK', KEYS[1], ARGV[1], ARGV[i])
    gone = gone + 1
  end
end
return gone`

	// buryScript adds a dead letter with the fields of ARGV[4…] to KEYS[2] and acks the entry ARGV[3]. When it is called again, the
	// entry isn't pending any more. But neither is one that was trimmed, or whose group is gone: nobody knows then, and a second letter is
	// better than none.
	buryScript = `
local p = redis.pcall('XPENDING', KEYS[1], ARGV[1], ARGV[3], ARGV[3], 1)
if not p.err then
  if p[1] and p[1][2] ~= ARGV[2] then
    return 0
  end
  if not p[1] and redis.call('XRANGE', KEYS[1], ARGV[3], ARGV[3])[1] then
    return 0
  end
end
redis.call('XADD', KEYS[2], '*', unpack(ARGV, 4))
if not p.err then
  redis.call('XACK', KEYS[1], ARGV[1], ARGV[3])
end
return 1`

	// found ends both scripts that look for entries: it returns next, how many have no data any more, and id, attempts and
	// fields of the others.
	found = `
local gone, list = 0, {}
for _, id in ipairs(ids) do
  local entry = redis.call('XRANGE', KEYS[1], id, id)[1]
  local p = redis.call('XPENDING', KEYS[1], ARGV[1], id, id, 1)[1]
  if not entry then
    redis.call('XACK', KEYS[1], ARGV[1], id)
    gone = gone + 1
  elseif p then
    list[#list + 1] = {id, p[4], entry[2]}
  end
end
`

	// reclaimScript takes over what was idle for ARGV[3] milliseconds, from the cursor ARGV[4] on, ARGV[5] at most. Redis from
	// 7 drops entries without data by itself and tells which.
	reclaimScript = `
local r = redis.call('XAUTOCLAIM', KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4], 'COUNT', ARGV[5], 'JUSTID')
local ids = r[2]
` + found + `
if r[3] then
  gone = gone + #r[3]
end
return {r[1], gone, list}`

	// takeUpScript begins new leases for this consumer's own entries, from the id ARGV[3] on, ARGV[4] at most.
	takeUpScript = `
local next, ids = '', {}
for i, p in ipairs(redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[3], '+', ARGV[4], ARGV[2])) do
  next, ids[i] = p[1], p[1]
  redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, p[1], 'RETRYCOUNT', p[4], 'JUSTID')
end
` + found + `
return {next, gone, list}`

	// leaveScript removes this consumer if it has nothing pending, which would be lost with it.
	leaveScript = `
if #redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, ARGV[2]) == 0 then
  return redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
end
return 0`

	// sweepScript does so with all consumers that were idle for ARGV[3] milliseconds.
	sweepScript = `
for _, c in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local of = {}
  for i = 1, #c, 2 do of[c[i]] = c[i+1] end
  if of.pending == 0 and of.idle > tonumber(ARGV[3]) then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], of.name)
  end
end
return 0`
)

// scriptSize is how many entries one script works on: Redis serves nobody else meanwhile.
const scriptSize = 500

func chunks[E any](all []E) iter.Seq[[]E] { return slices.Chunk(all, scriptSize) }

// eval runs a script on the stream. The whole script is sent each time, as none of them runs often.
func (l *lane) eval(ctx context.Context, script string, args ...any) *redis.Cmd {
	return l.src.rdb.Eval(ctx, script, []string{l.stream}, args...)
}
