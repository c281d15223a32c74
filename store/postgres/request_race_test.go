package postgres_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/internal/testserver"
	"github.com/upbeat-go/upbeat/store"
	"github.com/upbeat-go/upbeat/store/postgres"
)

// TestDB_AcceptAtTheMomentOfTheEnd takes an ID again while the transaction that finishes it is under way: the request isn't there any more
// when it is looked for among the open ones, and was not finished when the looking began.
func TestDB_AcceptAtTheMomentOfTheEnd(t *testing.T) {
	t.Parallel()
	for _, isolation := range []string{"read uncommitted", "serializable"} {
		t.Run(isolation, func(t *testing.T) {
			t.Parallel()
			dsn := testserver.DatabaseURL(t)
			conn := connect(t, dsn)
			execute(t, conn, fmt.Sprintf("ALTER DATABASE %s SET default_transaction_isolation = '%s'", conn.Config().Database, isolation))
			db := migrated(t, dsn, postgres.Config{})
			_, err := db.Accept(t.Context(), "a", []store.Request{request("1")})
			require.NoError(t, err)

			ending := connect(t, dsn)
			execute(t, ending, "BEGIN")
			const columns = "queue, id, owner, accepted_at, key, priority, status, worker, attempts, processing_ns"
			execute(t, ending, "WITH gone AS (DELETE FROM open_requests RETURNING *) INSERT INTO finished_requests ("+columns+") SELECT "+columns+" FROM gone")
			type outcome struct {
				known []store.Request
				err   error
			}
			done := make(chan outcome, 1)
			go func() {
				known, err := db.Accept(t.Context(), "b", []store.Request{request("1")})
				done <- outcome{known, err}
			}()
			watcher := connect(t, dsn)
			require.Eventually(t, func() bool {
				return number(t, watcher, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'") == 1
			}, 10*time.Second, time.Millisecond)
			execute(t, ending, "COMMIT")
			got := <-done
			require.NoError(t, got.err)
			require.Len(t, got.known, 1)
			require.Equal(t, "a", got.known[0].Owner)
			require.Zero(t, number(t, watcher, "SELECT count(*) FROM open_requests"))
		})
	}
}
