package postgres_test

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/internal/testserver"
	"github.com/upbeat-go/upbeat/store"
	"github.com/upbeat-go/upbeat/store/postgres"
)

const writerBatch = 300

// writerBatchAt is the nth batch of the process that is killed: the same whenever it is asked for.
func writerBatchAt(n int, origin int64) []store.Message {
	msgs := make([]store.Message, writerBatch)
	for i := range msgs {
		count := n*writerBatch + i
		msgs[i] = beat("writer", int64(count), time.UnixMicro(origin+int64(count)))
		msgs[i].Alert = &store.AlertChange{Name: fmt.Sprint("alert ", i)}
	}
	return msgs
}

// TestWriterProcess is that process, and does nothing elsewhere. It tells of each batch that is acknowledged.
func TestWriterProcess(t *testing.T) {
	dsn := os.Getenv("UPBEAT_TEST_WRITER")
	if dsn == "" {
		return // TestDB_KillOfTheWriter runs it
	}
	start, first, _ := strings.Cut(os.Getenv("UPBEAT_TEST_START"), " ")
	origin, err := strconv.ParseInt(start, 10, 64)
	require.NoError(t, err)
	n, err := strconv.Atoi(first)
	require.NoError(t, err)
	db := openAt(t, dsn, postgres.Config{})
	for ; ; n++ {
		_, err = db.Record(t.Context(), writerBatchAt(n, origin))
		require.NoError(t, err)
		_, err = fmt.Fprintln(os.Stdout, "acknowledged", n)
		require.NoError(t, err)
	}
}

// TestDB_KillOfTheWriter kills the writing process in the middle: each batch is there wholly or not at all, what was acknowledged
// is, and a replay of everything counts nothing twice.
func TestDB_KillOfTheWriter(t *testing.T) {
	t.Parallel()
	dsn := testserver.DatabaseURL(t)
	db := migrated(t, dsn, postgres.Config{})
	conn := connect(t, dsn)
	origin := time.Now().Add(-time.Hour).UnixMicro()
	acknowledged := -1
	for range testserver.Times(3, 100) {
		writer := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestWriterProcess$")
		writer.Env = append(os.Environ(), "UPBEAT_TEST_WRITER="+dsn, fmt.Sprintf("UPBEAT_TEST_START=%d %d", origin, acknowledged+1))
		out, err := writer.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, writer.Start())
		lines := bufio.NewScanner(out)
		for told := range 5 + rand.IntN(10) {
			require.True(t, lines.Scan(), "the writer ended by itself after %d batches", told)
			if n, found := strings.CutPrefix(lines.Text(), "acknowledged "); found {
				acknowledged, err = strconv.Atoi(n)
				require.NoError(t, err)
			}
		}
		<-time.After(rand.N(5 * time.Millisecond)) // somewhere within a batch
		require.NoError(t, writer.Process.Kill())
		for lines.Scan() {
			if n, found := strings.CutPrefix(lines.Text(), "acknowledged "); found {
				acknowledged, err = strconv.Atoi(n)
				require.NoError(t, err)
			}
		}
		require.Error(t, writer.Wait())
	}
	require.Eventually(t, func() bool { // the server notices a while later, at most at the end of the statement
		return number(t, conn, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND state <> 'idle'") == 0
	}, 10*time.Second, time.Millisecond)
	stored := number(t, conn, "SELECT count(*) FROM health_messages")
	require.Zero(t, stored%writerBatch, "no batch is there in part")
	require.GreaterOrEqual(t, stored, (acknowledged+1)*writerBatch)
	batches := stored / writerBatch
	require.Equal(t, batches*writerBatch, number(t, conn, "SELECT count(*) FROM health_messages WHERE heartbeat_count < $1", batches*writerBatch))
	for n := range batches {
		fresh, err := db.Record(t.Context(), writerBatchAt(n, origin))
		require.NoError(t, err)
		require.Zero(t, fresh)
	}
	require.Equal(t, writerBatch, number(t, conn, "SELECT count(*) FROM health_alerts WHERE raise_count = $1", batches))
	services, err := db.Services(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, batches*writerBatch-1, services[0].Instances[0].Count)
}

// TestDB_SerializationStorm runs on a server that is told to make all transactions serializable, with many writers of the same
// instances and alerts. What gives up is transient, and comes to the same when it is repeated.
func TestDB_SerializationStorm(t *testing.T) {
	t.Parallel()
	dsn := testserver.DatabaseURL(t)
	strict := withSetting(t, dsn, "default_transaction_isolation", "serializable")
	var dbs []*postgres.DB
	for range 3 {
		dbs = append(dbs, migrated(t, strict, postgres.Config{}))
	}
	var inserted atomic.Int64
	var wg sync.WaitGroup
	const writers, rounds, distinct = 6, 15, 150
	for w := range writers {
		db := dbs[w%len(dbs)]
		wg.Go(func() {
			for round := range rounds {
				size := []int{5, distinct}[(w+round)%2] // by statement, and by COPY
				var batch []store.Message
				for i := range size {
					m := beat(fmt.Sprint("host-", i%10), int64(round*distinct+i), start.Add(time.Duration(round*distinct+i)*time.Millisecond))
					if i%20 == 0 {
						m.Alert = &store.AlertChange{Name: "alert"}
					}
					batch = append(batch, m)
				}
				rand.Shuffle(len(batch), func(i, j int) { batch[i], batch[j] = batch[j], batch[i] })
				for {
					n, err := db.Record(t.Context(), batch)
					if err == nil {
						inserted.Add(int64(n))
						break
					}
					if !assert.True(t, store.IsTransient(err), "%v", err) {
						return
					}
				}
			}
		})
	}
	wg.Wait()
	conn := connect(t, dsn)
	require.EqualValues(t, inserted.Load(), number(t, conn, "SELECT count(*) FROM health_messages"))
	require.Equal(t, number(t, conn, "SELECT count(*) FROM health_messages WHERE heartbeat_count % 150 % 20 = 0"),
		number(t, conn, "SELECT sum(raise_count)::int FROM health_alerts"))
}
