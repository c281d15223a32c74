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

	// buryScript adds a dead letter to KEYS[2] and acks the entry ARGV[3]: ARGV[5…] are as many arguments as ARGV[4] says that tell of its death, and
	// then its fields as they were handed out, for when it isn't in the stream any more. Neither has what an earlier death told. When it is called again, the
	// entry isn't pending any more. But neither is one that was trimmed, or whose group is gone: nobody knows then, and a second letter is
	// better than none.
	buryScript = `
local p = redis.pcall('XPENDING', KEYS[1], ARGV[1], ARGV[3], ARGV[3], 1)
local entry = redis.call('XRANGE', KEYS[1], ARGV[3], ARGV[3])[1]
if not p.err then
  if p[1] and p[1][2] ~= ARGV[2] then
    return 0
  end
  if not p[1] and entry then
    return 0
  end
end
local ours = 4 + tonumber(ARGV[4])
local fields, letter = entry and entry[2] or {unpack(ARGV, ours + 1)}, {}
for i = 1, #fields, 2 do
  if string.sub(fields[i], 1, 7) ~= 'upbeat_' then
    letter[#letter + 1] = fields[i]
    letter[#letter + 1] = fields[i + 1]
  end
end
for i = 5, ours do letter[#letter + 1] = ARGV[i] end
redis.call('XADD', KEYS[2], '*', unpack(letter))
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

	// fence begins a script that only the owner of the stream may run: KEYS[2] says who that is, if the stream is exclusive.
	fence = `
if KEYS[2] and redis.call('GET', KEYS[2]) ~= ARGV[2] then
  return redis.error_reply('NOTOWNER somebody else reads this stream')
end
`

	// ackScript acks the entries ARGV[3…].
	ackScript = fence + `
return redis.call('XACK', KEYS[1], ARGV[1], unpack(ARGV, 3))`

	// freshScript reads ARGV[3] entries at most that nobody was given yet. Without any, it says up to where they were given.
	freshScript = fence + `
local r = redis.call('XREADGROUP', 'GROUP', ARGV[1], ARGV[2], 'COUNT', ARGV[3], 'STREAMS', KEYS[1], '>')
local list, last = {}, ''
if r then
  for i, e in ipairs(r[1][2]) do list[i] = {e[1], 1, e[2]} end
  return {last, 0, list}
end
for _, g in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local of = {}
  for i = 1, #g, 2 do of[g[i]] = g[i+1] end
  if of.name == ARGV[1] then last = of['last-delivered-id'] end
end
return {last, 0, list}`

	// lookScript signs ARGV[1] on for the stream, for ARGV[2] milliseconds, and keeps what it owns. It returns the owner and all who
	// signed on. KEYS are those of the owner and of the members.
	lookScript = `
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('ZADD', KEYS[2], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now - ARGV[2])
redis.call('PEXPIRE', KEYS[2], ARGV[2])
local owner = redis.call('GET', KEYS[1])
if owner == ARGV[1] then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return {owner or '', redis.call('ZRANGE', KEYS[2], 0, -1)}`

	// yieldScript lets go of what ARGV[1] owns, and signs it off if ARGV[2] is 1.
	yieldScript = `
if ARGV[2] == '1' then
  redis.call('ZREM', KEYS[2], ARGV[1])
end
if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0`

	// reclaimScript takes over what was idle for ARGV[3] milliseconds, from the cursor ARGV[4] on, ARGV[5] at most. Redis from
	// 7 drops entries without data by itself and tells which.
	reclaimScript = fence + `
local r = redis.call('XAUTOCLAIM', KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4], 'COUNT', ARGV[5], 'JUSTID')
local ids = r[2]
` + found + `
if r[3] then
  gone = gone + #r[3]
end
return {r[1], gone, list}`

	// takeUpScript begins new leases for the entries of the consumer ARGV[5], or of all, from the id ARGV[3] on, ARGV[4] at most.
	takeUpScript = fence + `
local next, ids = '', {}
for i, p in ipairs(redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[3], '+', ARGV[4], unpack(ARGV, 5))) do
  next, ids[i] = p[1], p[1]
  redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, p[1], 'RETRYCOUNT', p[4], 'JUSTID')
end
` + found + `
return {next, gone, list}`

	// replayScript moves the letters ARGV[2…] from KEYS[2] to KEYS[1], without the fields that tell of their death but for one. It returns how many, and
	// the ids of those that have more than ARGV[1] names and values, which stay.
	replayScript = `
local moved, wide = 0, {}
for n = 2, #ARGV do
  local id = ARGV[n]
  local letter = redis.call('XRANGE', KEYS[2], id, id)[1]
  if letter and #letter[2] > tonumber(ARGV[1]) then
    wide[#wide + 1] = id
  elseif letter then
    local entry, as = {}, ''
    for i = 1, #letter[2], 2 do
      local name, value = letter[2][i], letter[2][i+1]
      if string.sub(name, 1, 7) ~= 'upbeat_' then
        entry[#entry + 1] = name
        entry[#entry + 1] = value
      elseif name == 'upbeat_id' then
        as = value
      end
    end
    redis.call('XADD', KEYS[1], '*', 'upbeat_replayed', as, unpack(entry))
    redis.call('XDEL', KEYS[2], id)
    moved = moved + 1
  end
end
return {moved, wide}`

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

// keys are those of the scripts that begin with a fence.
func (l *lane) keys() []string {
	if l.owner == "" {
		return []string{l.stream}
	}
	return []string{l.stream, l.owner}
}

// isFenced tells whether somebody else owns the stream by now.
func isFenced(err error) bool { return redis.HasErrorPrefix(err, "NOTOWNER") }

// scriptSize is how many entries one script works on: Redis serves nobody else meanwhile.
const scriptSize = 500

func chunks[E any](all []E) iter.Seq[[]E] { return slices.Chunk(all, scriptSize) }

// eval runs a script on the stream. The whole script is sent each time, as none of them runs often.
func (l *lane) eval(ctx context.Context, script string, args ...any) *redis.Cmd {
	keys := l.keys()
	all := make([]any, 0, 3+len(keys)+len(args))
	all = append(all, "eval", script, len(keys))
	for _, key := range keys {
		all = append(all, key)
	}
	cmd := redis.NewCmd(ctx, append(all, args...)...)
	cmd.SetFirstKeyPos(3)
	_ = l.src.rdb.Process(ctx, onceScript{cmd})
	return cmd
}

// onceScript isn't repeated by the client: what the lost reply had would come after what the next one has, and much later.
type onceScript struct{ *redis.Cmd }

// NoRetry is asked by the client.
func (onceScript) NoRetry() bool { return true }
