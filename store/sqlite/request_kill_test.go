package sqlite_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/internal/testserver"
	"github.com/upbeat-go/upbeat/store"
	"github.com/upbeat-go/upbeat/store/sqlite"
)

// requestsChildEnv names the file in which the test binary, started as a child, accepts and finishes requests until it is killed.
const requestsChildEnv = "UPBEAT_TEST_SQLITE_REQUESTS_CHILD"

// workForEver prints the ID of each request once it is accepted, and once it is finished.
func workForEver(path string) error {
	ctx := context.Background()
	db, err := sqlite.Open(ctx, path, sqlite.Config{})
	if err != nil {
		return err
	}
	owner := fmt.Sprint("process-", os.Getpid())
	if _, err := db.Hold(ctx, "orders", owner, time.Millisecond); err != nil {
		return err
	}
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for n := 0; ; n++ {
				r := store.Request{Queue: "orders", ID: fmt.Sprintf("%s/%d/%d", owner, w, n), Status: store.RequestQueued}
				if _, err := db.Accept(ctx, owner, []store.Request{r}); err != nil {
					return
				}
				fmt.Fprintln(os.Stdout, "accepted", r.ID)
				r.Status = store.RequestCompleted
				if _, err := db.Transition(ctx, owner, []store.Request{r}); err != nil {
					return
				}
				fmt.Fprintln(os.Stdout, "finished", r.ID)
			}
		})
	}
	wg.Wait()
	return nil
}

// TestDB_KillOfTheWorker kills processes that accept and finish requests: what each said is so, and a successor gets exactly what was
// not finished.
func TestDB_KillOfTheWorker(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.db")
	db := openAt(t, path, sqlite.Config{})
	require.NoError(t, db.Migrate(t.Context()))
	said := map[string]string{}
	for range testserver.Times(2, 100) {
		child := exec.CommandContext(t.Context(), os.Args[0])
		child.Env = append(os.Environ(), requestsChildEnv+"="+path)
		output, err := child.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, child.Start())
		lines := bufio.NewScanner(output)
		for n := 0; lines.Scan(); n++ {
			what, id, _ := strings.Cut(lines.Text(), " ")
			said[id] = what
			if n == 100 {
				require.NoError(t, child.Process.Kill())
			}
		}
		require.Error(t, child.Wait())
	}
	left := number(t, connect(t, path), "SELECT count(*) FROM requests WHERE finished_at IS NULL")
	_, err := db.Hold(t.Context(), "orders", "successor", time.Hour)
	require.NoError(t, err)
	taken, err := db.Unfinished(t.Context(), "orders", "successor", 10_000)
	require.NoError(t, err)
	require.Len(t, taken, left)
	for _, r := range taken {
		require.NotEqual(t, "finished", said[r.ID])
	}
	for id, what := range said {
		r, found, err := db.Request(t.Context(), "orders", id)
		require.NoError(t, err)
		require.True(t, found, "%s was accepted", id)
		if what == "finished" {
			require.Equal(t, store.RequestCompleted, r.Status)
		}
	}
}
