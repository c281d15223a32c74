package queuecontract_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/internal/testserver"
	"github.com/upbeat-go/upbeat/queue"
	"github.com/upbeat-go/upbeat/queue/queuetest"
	"github.com/upbeat-go/upbeat/store/postgres"
	"github.com/upbeat-go/upbeat/store/sqlite"
)

var (
	_ queue.Tracker = (*postgres.DB)(nil)
	_ queue.Tracker = (*sqlite.DB)(nil)
)

func TestPostgres_IsATracker(t *testing.T) {
	t.Parallel()
	db, err := postgres.Open(t.Context(), testserver.DatabaseURL(t), postgres.Config{})
	require.NoError(t, err)
	t.Cleanup(db.Close)
	require.NoError(t, db.Migrate(t.Context()))
	queuetest.TestTracker(t, db)
}

func TestSQLite_IsATracker(t *testing.T) {
	t.Parallel()
	db, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "queue.db"), sqlite.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	require.NoError(t, db.Migrate(t.Context()))
	queuetest.TestTracker(t, db)
}
