package main

import (
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/internal/testserver"
)

// While the database is away, for longer than all quick tries, nothing becomes a dead letter, and all of it is stored afterwards: what was malformed in the
// meantime, as a letter.
func TestFault_PostgresIsAway(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]struct{ away, back func(*testserver.Postgres) }{
		"stopped": {func(s *testserver.Postgres) { s.Stop() }, func(s *testserver.Postgres) { s.Start() }},
		"killed":  {func(s *testserver.Postgres) { s.Kill() }, func(s *testserver.Postgres) { s.Start() }},
		"stalled": {func(s *testserver.Postgres) { s.Pause() }, func(s *testserver.Postgres) { s.Resume() }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := testserver.StartPostgres(t, testserver.PostgresConfig{Durable: true})
			w := newWorld(t, testserver.RedisURL(t), db.DSN())
			p := w.start("-timeout", "500ms")
			stopLoad := w.load()
			cycles := testserver.Times(1, 50)
			for range cycles {
				w.handles(p, 200)
				fail.away(db)
				w.await("for the outage to be noticed", func() bool { return p.stats().Consumer.Outage }, p)
				require.Equal(t, http.StatusServiceUnavailable, p.healthz())
				require.NoError(t, w.send([]byte("no beat")))
				<-time.After(time.Second)
				fail.back(db)
				w.await("for the outage to end", func() bool { return !p.stats().Consumer.Outage }, p)
			}
			w.handles(p, 200)
			stopLoad()
			w.drained(p)
			require.Equal(t, cycles, w.complete())
			require.EqualValues(t, cycles, p.stats().Consumer.Dead)
			p.stop()
		})
	}
}

// A restart that the quick tries bridge is no outage at all.
func TestFault_PostgresRestarts(t *testing.T) {
	t.Parallel()
	db := testserver.StartPostgres(t, testserver.PostgresConfig{Durable: true})
	w := newWorld(t, testserver.RedisURL(t), db.DSN())
	p := w.start("-backoff", "1s")
	stopLoad := w.load()
	for range testserver.Times(1, 50) {
		w.handles(p, 200)
		db.Restart()
	}
	w.handles(p, 200)
	stopLoad()
	w.drained(p)
	require.Zero(t, w.complete())
	require.NotContains(t, p.stderr.String(), "the other side can't be reached")
	p.stop()
}

func TestFault_NetworkToPostgres(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func(*testserver.Proxy){
		"black hole":      (*testserver.Proxy).BlackHole,
		"half-open":       (*testserver.Proxy).HalfOpen,
		"replies dropped": (*testserver.Proxy).DropReplies, // commits that nobody hears of
		"refused":         (*testserver.Proxy).Refuse,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dsn := testserver.DatabaseURL(t)
			through, err := url.Parse(dsn)
			require.NoError(t, err)
			proxy := testserver.StartProxy(t, through.Host)
			through.Host = proxy.Addr()
			w := newWorld(t, testserver.RedisURL(t), dsn)
			w.env = append(w.env, "DATABASE_URL="+through.String())
			p := w.start("-timeout", "300ms")
			stopLoad := w.load()
			for range testserver.Times(1, 30) {
				w.handles(p, 200)
				fail(proxy)
				if name == "half-open" {
					// Briefly: pgx holds on to a dead connection for fifteen seconds, and this is to leave some to work with.
					w.await("for calls to hang", func() bool { return p.stats().Consumer.Active > 0 }, p)
				} else {
					w.await("for the outage to be noticed", func() bool { return p.stats().Consumer.Outage }, p)
				}
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
