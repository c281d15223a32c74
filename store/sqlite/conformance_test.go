package sqlite_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/store/sqlite"
	"github.com/upbeat-go/upbeat/store/storetest"
)

func openAt(tb testing.TB, path string, cfg sqlite.Config) *sqlite.DB {
	tb.Helper()
	db, err := sqlite.Open(tb.Context(), path, cfg)
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, db.Close()) })
	return db
}

func TestDB_Conformance(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) storetest.Store {
		t.Helper()
		return openAt(t, filepath.Join(t.TempDir(), "upbeat.db"), sqlite.Config{})
	})
}

func TestDB_HealthConformance(t *testing.T) {
	t.Parallel()
	storetest.RunHealth(t, func(t *testing.T) storetest.HealthStore {
		t.Helper()
		return openAt(t, filepath.Join(t.TempDir(), "upbeat.db"), sqlite.Config{})
	})
}

func TestDB_RequestConformance(t *testing.T) {
	t.Parallel()
	storetest.RunRequests(t, func(t *testing.T) storetest.RequestStore {
		t.Helper()
		return openAt(t, filepath.Join(t.TempDir(), "upbeat.db"), sqlite.Config{})
	})
}
