//go:build linux

package postgres_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/internal/testserver"
	"github.com/upbeat-go/upbeat/store"
	"github.com/upbeat-go/upbeat/store/postgres"
)

// TestDB_FullDisk has the log on a file system of a few megabytes. What doesn't fit is refused as a whole and stays the caller's, who
// may try it again; what was stored is there, and all goes on when there is room.
func TestDB_FullDisk(t *testing.T) {
	t.Parallel()
	pg := testserver.StartPostgres(t, testserver.PostgresConfig{})
	conn := connect(t, pg.DSN())
	dir := tmpfs(t, 16<<20, pg.PID())
	if _, err := conn.Exec(t.Context(), fmt.Sprintf("CREATE TABLESPACE small LOCATION '%s'", dir)); err != nil {
		t.Skipf("the server can't use %s: %v", dir, err)
	}
	t.Cleanup(pg.Stop) // before the file system goes
	execute(t, conn, "CREATE DATABASE small TABLESPACE small")
	db := migrated(t, strings.Replace(pg.DSN(), "/postgres?", "/small?", 1), postgres.Config{})
	inSmall := connect(t, strings.Replace(pg.DSN(), "/postgres?", "/small?", 1))
	execute(t, inSmall, "CREATE TABLE ballast AS SELECT repeat('x', 1000) AS x FROM generate_series(1, 2000)")

	stored, full := 0, false
	for i := 0; i < 1000 && !full; i++ {
		batch := beats(fmt.Sprint("host-", i), []int{50, 500}[i%2])
		n, err := db.Record(t.Context(), batch)
		stored += n
		if err != nil {
			full = true
			require.True(t, store.IsTransient(err), "%v", err)
			require.ErrorContains(t, err, "53100")
			require.Zero(t, n)
			require.Equal(t, stored, number(t, inSmall, "SELECT count(*) FROM health_messages"))
			execute(t, inSmall, "DROP TABLE ballast")
			n, err := db.Record(t.Context(), batch)
			require.NoError(t, err)
			require.Len(t, batch, n)
			stored += n
		}
	}
	require.True(t, full)
	require.Equal(t, stored, number(t, inSmall, "SELECT count(*) FROM health_messages"))
}

// tmpfs mounts a file system of a size for the test, where that is allowed, and gives it to the user of a process.
func tmpfs(t *testing.T, size, pid int) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can mount a small file system")
	}
	dir, err := os.MkdirTemp("/tmp", "upbeat-small-disk-") //nolint:usetesting // other users can't enter those of the test
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.Remove(dir) })
	if out, err := exec.CommandContext(t.Context(), "mount", "-t", "tmpfs", "-o", fmt.Sprintf("size=%d,mode=777", size), "tmpfs", dir).CombinedOutput(); err != nil {
		t.Skipf("no small file system can be mounted: %s", out)
	}
	t.Cleanup(func() { _ = exec.Command("umount", "-l", dir).Run() })
	process, err := os.Stat(fmt.Sprint("/proc/", pid))
	require.NoError(t, err)
	require.NoError(t, os.Chown(dir, int(process.Sys().(*syscall.Stat_t).Uid), -1))
	return dir
}
