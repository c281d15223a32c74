package postgres_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
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

// TestDB_CopyIsFaithful sends rows that end at, before and behind the limits of buffers.
func TestDB_CopyIsFaithful(t *testing.T) {
	t.Parallel()
	db := migrated(t, testserver.DatabaseURL(t), postgres.Config{})
	var msgs []store.Message
	for i := range 400 {
		m := beat("a", int64(i), start.Add(time.Duration(i)*time.Microsecond))
		switch i % 4 {
		case 0:
			m.Payload = json.RawMessage(`"` + strings.Repeat("x", 65_400+i) + `"`)
		case 1:
			m.Payload = nil
		case 2:
			m.Payload, m.Channel, m.Count = json.RawMessage(`"é\u0000`+strings.Repeat("ü", i)+`"`), "état", -m.Count
		}
		msgs = append(msgs, m)
	}
	msgs[7].Payload = json.RawMessage(`"` + strings.Repeat("y", store.MaxPayloadBytes-2) + `"`)
	n, err := db.Record(t.Context(), msgs)
	require.NoError(t, err)
	require.Equal(t, len(msgs), n)
	page, err := db.Messages(t.Context(), store.MessageQuery{Limit: 1000})
	require.NoError(t, err)
	require.Len(t, page.Messages, len(msgs))
	for i, e := range slices.Backward(page.Messages) {
		want := msgs[len(msgs)-1-i]
		require.True(t, want.At.Equal(e.At))
		require.Equal(t, want.Count, e.Count)
		require.Equal(t, string(want.Payload), string(e.Payload))
		require.Equal(t, want.Channel+want.ID+want.Service+want.Instance+want.Status, e.Channel+e.ID+e.Service+e.Instance+e.Status)
	}
}

// TestCopyReader_EndsWhenItIsClosed holds what Record needs when pgx returns while its goroutine goes on reading.
func TestCopyReader_EndsWhenItIsClosed(t *testing.T) {
	t.Parallel()
	msgs := beats("a", 5)
	pointers := make([]*store.Message, len(msgs))
	for i := range msgs {
		pointers[i] = &msgs[i]
	}
	whole, _ := postgres.NewCopyReader(pointers)
	all, err := io.ReadAll(whole)
	require.NoError(t, err)
	for _, size := range []int{1, 7, 300} { // however it is read, it is the same
		r, _ := postgres.NewCopyReader(pointers)
		var got []byte
		for part := make([]byte, size); err == nil; {
			var n int
			n, err = r.Read(part)
			got = append(got, part[:n]...)
		}
		require.ErrorIs(t, err, io.EOF)
		require.Equal(t, all, got)
		err = nil
	}

	r, end := postgres.NewCopyReader(pointers)
	_, err = r.Read(make([]byte, 100))
	require.NoError(t, err)
	end()
	clear(pointers) // it would find nothing there
	n, err := r.Read(make([]byte, 1000))
	require.Zero(t, n)
	require.ErrorIs(t, err, io.EOF)
	end()
}

// TestDB_CopyMeetsDuplicates records batches of which nothing, a part or all is stored, in turns.
func TestDB_CopyMeetsDuplicates(t *testing.T) {
	t.Parallel()
	dsn := testserver.DatabaseURL(t)
	db := migrated(t, dsn, postgres.Config{})
	conn := connect(t, dsn)
	msgs := beats("a", 30_000)
	stored := 0
	for i := 0; i+1000 <= len(msgs); i += 1000 {
		for _, part := range [][]store.Message{msgs[i+300 : i+600], msgs[i : i+1000], msgs[i : i+1000]} {
			n, err := db.Record(t.Context(), part)
			require.NoError(t, err)
			stored += n
		}
		require.Equal(t, i+1000, stored)
	}
	require.Equal(t, len(msgs), number(t, conn, "SELECT count(*) FROM health_messages"))
	require.EqualValues(t, len(msgs), db.Stats().Recorded)
	services, err := db.Services(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, len(msgs)-1, services[0].Instances[0].Count)
}

// TestDB_ReplayTroublesTheServerOnce holds that what is stored already isn't found out by an error each time.
func TestDB_ReplayTroublesTheServerOnce(t *testing.T) {
	t.Parallel()
	msgs := beats("a", 20_000)
	requests := make([]store.Request, 400)
	for i := range requests {
		requests[i] = store.Request{Queue: "q", ID: fmt.Sprint(i), Status: store.RequestQueued}
	}
	for name, write := range map[string]func(db *postgres.DB) error{
		"record": func(db *postgres.DB) (err error) {
			for batch := range slices.Chunk(msgs, 500) {
				_, failed := db.Record(t.Context(), batch)
				err = errors.Join(err, failed)
			}
			return err
		},
		"accept": func(db *postgres.DB) (err error) {
			for batch := range slices.Chunk(requests, 10) {
				_, failed := db.Accept(t.Context(), "a", batch)
				err = errors.Join(err, failed)
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dsn := testserver.DatabaseURL(t)
			db := migrated(t, dsn, postgres.Config{PoolSize: 1})
			rollbacks := func() int {
				return number(t, connect(t, dsn), "SELECT xact_rollback FROM pg_stat_database WHERE datname = current_database()")
			}
			before := rollbacks()
			require.NoError(t, write(db))
			require.NoError(t, write(db))
			db.Close()
			require.Eventually(t, func() bool { return rollbacks() > before }, 10*time.Second, 10*time.Millisecond)
			require.Equal(t, before+1, rollbacks())
		})
	}
}

// TestDB_CopyOfTheSameAtOnce has many writers record the same batch at the same moment: they collide, and all of them succeed.
func TestDB_CopyOfTheSameAtOnce(t *testing.T) {
	t.Parallel()
	dsn := testserver.DatabaseURL(t)
	const writers = 6
	var inserted atomic.Int64
	msgs := beats("a", 10*1000)
	var dbs []*postgres.DB
	for range writers {
		dbs = append(dbs, migrated(t, dsn, postgres.Config{}))
	}
	for batch := range slices.Chunk(msgs, 1000) {
		var wg sync.WaitGroup
		for _, db := range dbs {
			wg.Go(func() {
				n, err := db.Record(t.Context(), batch)
				assert.NoError(t, err)
				inserted.Add(int64(n))
			})
		}
		wg.Wait()
	}
	require.EqualValues(t, len(msgs), inserted.Load())
}

// TestDB_CancelledCopyLeavesTheBatchAlone changes the batch as soon as Record has returned, under the race detector.
func TestDB_CancelledCopyLeavesTheBatchAlone(t *testing.T) {
	t.Parallel()
	pg := testserver.StartPostgres(t, testserver.PostgresConfig{})
	proxy := testserver.StartProxy(t, pg.Addr())
	db := migrated(t, strings.Replace(pg.DSN(), pg.Addr(), proxy.Addr(), 1), postgres.Config{})
	for _, size := range []int{50, 5000} {
		for i := range 20 {
			msgs := beats(fmt.Sprint("host-", size, i), size)
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*time.Millisecond)
			if i%5 == 4 {
				go proxy.Reset()
			}
			_, err := db.Record(ctx, msgs)
			for j := range msgs {
				msgs[j].ID = "changed"
				copy(msgs[j].Payload, "changed")
			}
			cancel()
			if err != nil {
				require.True(t, store.IsTransient(err), "%v", err)
			}
		}
	}
	conn := connect(t, pg.DSN())
	require.Zero(t, number(t, conn, "SELECT count(*) FROM health_messages WHERE message_id = 'changed' OR payload LIKE 'changed%'"))
}
