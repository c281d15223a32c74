package pool

import (
	"context"

	"github.com/redis/go-redis/v9"
)

// isRepeatable tells whether a second run of the command does no harm.
func isRepeatable(ctx context.Context, cmd redis.Cmder) bool {
	declared, _ := ctx.Value(idempotentKey{}).(bool)
	return declared || reads[cmd.Name()]
}

// isHandshake tells whether the command sets up a connection: go-redis sends what it needs for that through the hooks of the client.
func isHandshake(cmd redis.Cmder) bool {
	switch cmd.Name() {
	case "hello", "auth", "select", "readonly", "client":
		return true
	default:
		return false
	}
}

// reads are the commands that Redis flags as readonly, but for XREAD (whose "$" means another place the second time) and containers
// that have writing commands too; and those that have no key and change nothing.
var reads = setOf(
	"bitcount", "bitfield_ro", "bitpos", "dbsize", "dump", "eval_ro", "evalsha_ro", "exists", "expiretime", "fcall_ro",
	"geodist", "geohash", "geopos", "georadius_ro", "georadiusbymember_ro", "geosearch", "get", "getbit", "getrange",
	"hexists", "hget", "hgetall", "hkeys", "hlen", "hmget", "hrandfield", "hscan", "hstrlen", "hvals", "keys", "lcs", "lindex", "llen",
	"lolwut", "lpos", "lrange", "mget", "pexpiretime", "pfcount", "pttl", "randomkey", "scan", "scard", "sdiff", "sinter", "sintercard",
	"sismember", "smembers", "smismember", "sort_ro", "srandmember", "sscan", "strlen", "substr", "sunion", "ttl", "type",
	"xlen", "xpending", "xrange", "xrevrange", "zcard", "zcount", "zdiff", "zinter", "zintercard", "zlexcount", "zmscore", "zrandmember",
	"zrange", "zrangebylex", "zrangebyscore", "zrank", "zrevrange", "zrevrangebylex", "zrevrangebyscore", "zrevrank", "zscan", "zscore",
	"zunion",
	"command", "echo", "info", "lastsave", "ping", "role", "time",
)

func setOf(names ...string) map[string]bool {
	set := make(map[string]bool, len(names))
	for _, name := range names {
		set[name] = true
	}
	return set
}
