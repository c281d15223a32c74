package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/consumer/redisstream"
	"github.com/upbeat-go/upbeat/internal/testserver"
)

// At full load, with the limits that a consumer has by default and the collector told of its limit, the program stays small, ten minutes long. Of what is resident,
// some 16 MB are the program's own file. Without GOMEMLIMIT the heap may be twice of what is in use.
func TestMemory_AtFullLoad(t *testing.T) {
	t.Parallel()
	const limit = 50 << 20
	w := newWorld(t, testserver.StartRedis(t, testserver.RedisConfig{}).URL(), testserver.StartPostgres(t, testserver.PostgresConfig{}).DSN())
	w.env = append(w.env, "GOMEMLIMIT=30MiB")
	w.overload()
	p := w.start("-lease", "1m", "-backoff", "1s", "-timeout", "30s")
	seconds := testserver.Times(15, 600)
	var resident []int
	for tick := time.Tick(100 * time.Millisecond); len(resident) < 10*seconds; <-tick {
		resident = append(resident, p.resident())
		if n := len(resident); n%600 == 0 {
			t.Logf("after %d s: %.1f MB, %d messages", n/10, float64(resident[n-1])/(1<<20), p.stats().Consumer.MessageCount)
			w.forget()
		}
	}
	first, last := peak(resident[:len(resident)/3]), peak(resident[len(resident)*2/3:])
	handled := p.stats().Consumer.MessageCount
	t.Logf("%d messages/s, resident at most %.1f MB in the first third and %.1f MB in the last", int(handled)/seconds, float64(first)/(1<<20), float64(last)/(1<<20))
	require.Greater(t, int(handled), seconds*1000, "the test is void without load")
	require.Less(t, peak(resident), limit)
	if seconds > 60 {
		require.Less(t, last, first+first/20, "it grows")
	}
	p.stop()
}

func peak(values []int) (most int) {
	for _, v := range values {
		most = max(most, v)
	}
	return most
}

// resident is the resident memory of the program, in bytes.
func (p *program) resident() int {
	p.w.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	require.NoError(p.w.t, err, "%s", p.stderr)
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	kilobytes, err := strconv.Atoi(strings.Fields(rest)[0])
	require.NoError(p.w.t, err)
	return kilobytes * 1024
}

// overload keeps more messages in the stream than can be handled, until the test ends.
func (w *world) overload() {
	w.t.Helper()
	const backlog = 50_000
	batch := make([]redisstream.Outgoing, 1000)
	for i := range batch {
		batch[i].Payload = beat(i)
	}
	producer, err := redisstream.NewProducer(w.rdb, redisstream.ProducerConfig{Stream: w.stream, MaxLen: 4 * backlog})
	require.NoError(w.t, err)
	ctx := w.t.Context()
	ended := make(chan struct{})
	w.t.Cleanup(func() { <-ended })
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			groups, err := w.rdb.XInfoGroups(ctx, w.stream).Result()
			if err == nil && len(groups) > 0 && groups[0].Lag > backlog {
				<-time.After(5 * time.Millisecond)
				continue
			}
			_, _ = producer.Send(ctx, batch...)
		}
	}()
}

// forget empties the log, which ten minutes would fill a disk with.
func (w *world) forget() {
	w.t.Helper()
	conn, err := pgx.Connect(w.t.Context(), w.dsn)
	require.NoError(w.t, err)
	defer conn.Close(w.t.Context())
	_, err = conn.Exec(w.t.Context(), "TRUNCATE health_messages")
	require.NoError(w.t, err)
}
