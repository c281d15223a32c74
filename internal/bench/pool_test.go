//go:build unix

package bench_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/rueidis"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/pool"
)

// BenchmarkPool_Overhead is what a command costs before and after its round trip: a hook at the very inside answers in
// its place, so the difference between the rows is what this library adds. cpu-ns/op is processor time, which a busy machine doesn't blur.
func BenchmarkPool_Overhead(b *testing.B) {
	clients := map[string]redis.UniversalClient{"upbeat": openPool(b).Standard(), "bare": bareRedis(b)}
	for _, name := range []string{"upbeat", "bare"} {
		rdb := clients[name]
		rdb.AddHook(shortcut{})
		b.Run("GET/"+name, func(b *testing.B) { timed(b, func(ctx context.Context) error { return rdb.Get(ctx, "k").Err() }) })
		b.Run("pipeline of 100/"+name, func(b *testing.B) { timed(b, func(ctx context.Context) error { return pipeline(ctx, rdb) }) })
		b.Run("parallel GET/"+name, func(b *testing.B) {
			ctx := b.Context()
			b.ReportAllocs()
			b.SetParallelism(32)
			before := processorTime(b)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					_ = rdb.Get(ctx, "k").Err()
				}
			})
			b.ReportMetric(float64((processorTime(b)-before).Nanoseconds())/float64(b.N), "cpu-ns/op")
		})
	}
}

type shortcut struct{}

func (shortcut) DialHook(next redis.DialHook) redis.DialHook { return next }

func (shortcut) ProcessHook(redis.ProcessHook) redis.ProcessHook {
	return func(context.Context, redis.Cmder) error { return nil }
}

func (shortcut) ProcessPipelineHook(redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(context.Context, []redis.Cmder) error { return nil }
}

func pipeline(ctx context.Context, rdb redis.UniversalClient) error {
	_, err := rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for range 100 {
			p.Get(ctx, "k")
		}
		return nil
	})
	return err
}

// BenchmarkPool_Peer is a command and its reply, over a Unix socket to a peer in this process that does nothing else.
func BenchmarkPool_Peer(b *testing.B) {
	clients := map[string]redis.UniversalClient{"upbeat": openPool(b).Standard(), "bare": bareRedis(b)}
	for _, name := range []string{"upbeat", "bare"} {
		rdb := clients[name]
		each := map[string]func(context.Context) error{
			"GET":             func(ctx context.Context) error { return rdb.Get(ctx, "k").Err() },
			"SET":             func(ctx context.Context) error { return rdb.Set(ctx, "k", "v", 0).Err() },
			"pipeline of 100": func(ctx context.Context) error { return pipeline(ctx, rdb) },
		}
		for _, what := range []string{"GET", "SET", "pipeline of 100"} {
			b.Run(what+"/"+name, func(b *testing.B) { timed(b, each[what]) })
		}
	}
	addr := respPeer(b)
	rue, err := rueidis.NewClient(rueidis.ClientOption{
		InitAddress: []string{addr}, DisableCache: true, DisableAutoPipelining: true, ForceSingleClient: true, ClientSetInfo: rueidis.DisableClientSetInfo,
		DialCtxFn: func(ctx context.Context, _ string, d *net.Dialer, _ *tls.Config) (net.Conn, error) {
			return d.DialContext(ctx, "unix", addr)
		},
	})
	require.NoError(b, err)
	b.Cleanup(rue.Close)
	b.Run("GET/rueidis", func(b *testing.B) {
		timed(b, func(ctx context.Context) error { return rue.Do(ctx, rue.B().Get().Key("k").Build()).Error() })
	})
	b.Run("SET/rueidis", func(b *testing.B) {
		timed(b, func(ctx context.Context) error { return rue.Do(ctx, rue.B().Set().Key("k").Value("v").Build()).Error() })
	})
	b.Run("pipeline of 100/rueidis", func(b *testing.B) {
		timed(b, func(ctx context.Context) error {
			cmds := make(rueidis.Commands, 100)
			for i := range cmds {
				cmds[i] = rue.B().Get().Key("k").Build()
			}
			return rue.DoMulti(ctx, cmds...)[99].Error()
		})
	})
}

func timed(b *testing.B, run func(context.Context) error) {
	b.Helper()
	ctx := b.Context()
	perBeat(b, func() error { return run(ctx) })
}

func openPool(b *testing.B) *pool.Clients {
	b.Helper()
	c, err := pool.Open(b.Context(), pool.Config{Addr: respPeer(b), Logger: slog.New(slog.DiscardHandler)})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, c.Close()) })
	return c
}

func bareRedis(b *testing.B) *redis.Client {
	b.Helper()
	rdb := redis.NewClient(&redis.Options{
		Addr: respPeer(b), Network: "unix", PoolSize: 50, ReadTimeout: 30 * time.Second, WriteTimeout: 30 * time.Second, DisableIdentity: true,
	})
	b.Cleanup(func() { require.NoError(b, rdb.Close()) })
	return rdb
}

// respPeer answers SET with OK and everything else with a short string, at the path that it returns.
func respPeer(b *testing.B) string {
	b.Helper()
	ln, err := net.Listen("unix", b.TempDir()+"/s")
	require.NoError(b, err)
	b.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go answer(c)
		}
	}()
	return ln.Addr().String()
}

func answer(c net.Conn) {
	defer func() { _ = c.Close() }()
	r, w := bufio.NewReaderSize(c, 64<<10), bufio.NewWriterSize(c, 64<<10)
	number := func() (int, bool) {
		line, err := r.ReadSlice('\n')
		if err != nil || len(line) < 4 {
			return 0, false
		}
		n, err := strconv.Atoi(string(line[1 : len(line)-2]))
		return n, err == nil
	}
	for {
		words, ok := number()
		if !ok {
			return
		}
		var first byte
		for i := range words {
			size, ok := number()
			if !ok {
				return
			}
			word, err := r.Peek(size + 2)
			if err != nil {
				return
			}
			if i == 0 {
				first = word[0] | 0x20
				if strings.EqualFold(string(word[:size]), "hello") {
					first = 'h'
				}
			}
			_, _ = r.Discard(size + 2)
		}
		switch first {
		case 'h':
			_, _ = io.WriteString(w, "%3\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$5\r\n7.0.0\r\n$5\r\nproto\r\n:3\r\n")
		case 's', 'p':
			_, _ = io.WriteString(w, "+OK\r\n")
		default:
			_, _ = io.WriteString(w, "$1\r\nv\r\n")
		}
		if r.Buffered() == 0 && w.Flush() != nil {
			return
		}
	}
}
