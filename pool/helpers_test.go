package pool_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/internal/testserver"
	"github.com/upbeat-go/upbeat/pool"
)

var errStop = errors.New("the caller has had enough")

// shared is the Config of the server that all tests share.
func shared(t *testing.T) pool.Config {
	t.Helper()
	return pool.Config{URL: testserver.RedisURL(t)}
}

func sharedAddr(t *testing.T) string {
	t.Helper()
	u, err := url.Parse(testserver.RedisURL(t))
	require.NoError(t, err)
	return u.Host
}

func open(t *testing.T, cfg pool.Config) *pool.Clients {
	t.Helper()
	cfg.Logger = slog.New(slog.DiscardHandler)
	c, err := pool.Open(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

func key(t *testing.T) string {
	t.Helper()
	return fmt.Sprintf("pool:{%s:%x}", t.Name(), rand.Uint64())
}

// awaitBlocked returns when so many connections with the name are blocked on the server.
func awaitBlocked(t *testing.T, rdb redis.UniversalClient, name string, n int) {
	t.Helper()
	awaitBlockedField(t, rdb, "name="+name, n)
}

func awaitBlockedField(t *testing.T, rdb redis.UniversalClient, field string, n int) {
	t.Helper()
	require.Eventually(t, func() bool {
		list, err := rdb.ClientList(t.Context()).Result()
		return err == nil && len(blockedLines(list, field)) == n
	}, 20*time.Second, 5*time.Millisecond)
}

func blockedLines(list, field string) (blocked []string) {
	for line := range strings.Lines(list) {
		if strings.Contains(line, " "+field+" ") && strings.Contains(line, " flags=b ") {
			blocked = append(blocked, line)
		}
	}
	return blocked
}

// record keeps what is logged.
type record struct {
	mu   sync.Mutex
	text strings.Builder
}

func (r *record) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(p)
}

func (r *record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

func (r *record) logger() *slog.Logger { return slog.New(slog.NewTextHandler(r, nil)) }

func cancelWhen(t *testing.T, condition func()) context.Context {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		condition()
		cancel(errStop)
	})
	t.Cleanup(wg.Wait)
	return ctx
}
