package main

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/internal/testserver"
)

func TestFault_RedisRestartsWithItsData(t *testing.T) {
	t.Parallel()
	server := testserver.StartRedis(t, testserver.RedisConfig{Args: []string{"--appendonly", "yes", "--appendfsync", "always"}})
	w := newWorld(t, server.URL(), testserver.DatabaseURL(t))
	p := w.start()
	stopLoad := w.load()
	for range testserver.Times(2, 50) {
		w.handles(p, 200)
		server.Kill()
		server.Start()
	}
	w.handles(p, 200)
	stopLoad()
	w.drained(p)
	require.Zero(t, w.complete(), "what is lost and what is dead")
	require.Zero(t, p.stats().Consumer.Lost)
	p.stop()
}

// handles waits until the program has handled so many more messages.
func (w *world) handles(p *program, more uint64) {
	w.t.Helper()
	before := p.stats().Consumer.MessageCount
	w.await("for messages to be handled", func() bool { return p.stats().Consumer.MessageCount >= before+more }, p)
}

// Here the server forgets everything, at a moment when the program holds some messages, as the database is away, and has not read others: what it
// holds it stores all the same, what it had not read is lost, and nothing else.
func TestFault_RedisForgets(t *testing.T) {
	t.Parallel()
	for name, forget := range map[string]func(*world, *testserver.Redis){
		"restart": func(_ *world, server *testserver.Redis) { server.Kill(); server.Start() },
		"flush":   func(w *world, _ *testserver.Redis) { require.NoError(w.t, w.rdb.FlushAll(w.t.Context()).Err()) },
		"eviction": func(w *world, _ *testserver.Redis) {
			// Whatever is least recently used goes, which is the stream as a whole once nobody reads it any more.
			junk := strings.Repeat("x", 1<<20)
			require.NoError(w.t, w.rdb.ConfigSet(w.t.Context(), "maxmemory-policy", "allkeys-lru").Err())
			require.NoError(w.t, w.rdb.ConfigSet(w.t.Context(), "maxmemory", "24mb").Err())
			for i := 0; w.rdb.Exists(w.t.Context(), w.stream).Val() == 1; i++ {
				require.Less(w.t, i, 1000)
				_ = w.rdb.Set(w.t.Context(), "junk:"+strconv.Itoa(i), junk, 0).Err()
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := testserver.StartRedis(t, testserver.RedisConfig{})
			db := testserver.StartPostgres(t, testserver.PostgresConfig{})
			w := newWorld(t, server.URL(), db.DSN())
			p := w.start("-lease", "10s", "-timeout", "300ms")
			w.sendBeats(500)
			w.drained(p)
			db.Pause()
			w.sendBeats(1000)
			w.await("for intake to pause", func() bool { return p.stats().Consumer.Outage }, p)
			for range 3 { // the read that was waiting takes a part of it
				w.sendBeats(1000)
			}
			waiting, pending := w.backlog()
			unread := waiting - pending
			require.NotZero(t, pending)
			require.NotZero(t, unread)
			forget(w, server)
			db.Resume()
			for range 5 {
				w.sendBeats(100)
			}
			w.drained(p)
			services := w.stored()
			require.EqualValues(t, unread, len(w.missing(services)))
			require.EqualValues(t, int64(len(w.confirmed()))-unread, len(services))
			require.Contains(t, p.stderr.String(), "the consumer group was gone")
			require.EqualValues(t, 1, p.stats().Consumer.Gaps, "what nobody had read is told of")
			p.stop()
		})
	}
}

// What the old master had confirmed and not passed on is lost, as replication doesn't wait; nothing else is.
func TestFault_RedisFailsOver(t *testing.T) {
	t.Parallel()
	servers := testserver.StartSentinel(t, testserver.SentinelConfig{})
	rdb := redis.NewFailoverClient(&redis.FailoverOptions{MasterName: servers.MasterName, SentinelAddrs: servers.Addrs(), MaxRetries: -1})
	t.Cleanup(func() { _ = rdb.Close() })
	dsn := testserver.DatabaseURL(t)
	w := worldOf(t, rdb, dsn, "REDIS_ADDRS="+strings.Join(servers.Addrs(), ","), "REDIS_MASTER_NAME="+servers.MasterName, "DATABASE_URL="+dsn)
	p := w.start()
	stopLoad := w.load()
	replicated := map[string]bool{}
	for range testserver.Times(1, 20) {
		w.await("for a replica that is in sync", func() bool { return rdb.Wait(t.Context(), 1, time.Second).Val() == 1 }, p)
		w.handles(p, 200)
		for _, id := range w.confirmed()[:len(w.confirmed())-100] { // the rest may be on its way to the replica
			replicated[id] = true
		}
		old := servers.Master()
		old.Kill()
		servers.AwaitMaster(old)
		w.handles(p, 200)
		old.Start()
	}
	stopLoad()
	w.drained(p)
	stored := w.stored()
	lost := w.missing(stored)
	for _, id := range lost {
		require.False(t, replicated[id], id)
	}
	t.Logf("%d confirmed, %d unknown, %d stored, %d lost by the servers", len(w.confirmed()), w.unknown, len(stored), len(lost))
	require.LessOrEqual(t, len(stored), len(w.confirmed())+w.unknown-len(lost))
	p.stop()
}

// The network between the program and Redis breaks in ways that no side is told of.
func TestFault_NetworkToRedis(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func(*testserver.Proxy){
		"black hole":      (*testserver.Proxy).BlackHole,
		"half-open":       (*testserver.Proxy).HalfOpen,
		"replies dropped": (*testserver.Proxy).DropReplies,
		"refused":         (*testserver.Proxy).Refuse,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := testserver.RedisURL(t)
			opts, err := redis.ParseURL(url)
			require.NoError(t, err)
			proxy := testserver.StartProxy(t, opts.Addr)
			w := newWorld(t, url, testserver.DatabaseURL(t))
			w.env = append(w.env, "REDIS_URL=redis://"+proxy.Addr())
			p := w.start()
			stopLoad := w.load()
			for range testserver.Times(1, 30) {
				w.handles(p, 200)
				fail(proxy)
				<-time.After(2 * time.Second) // longer than the socket timeout and the lease
				proxy.Pass()
			}
			w.handles(p, 200)
			stopLoad()
			w.drained(p)
			require.Zero(t, w.complete())
			p.stop()
		})
	}
}
