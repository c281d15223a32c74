package postgres_test

import (
	"crypto/rand"
	"testing"

	"github.com/upbeat-go/upbeat/internal/testserver"
	"github.com/upbeat-go/upbeat/store/postgres"
	"github.com/upbeat-go/upbeat/store/storetest"
)

// TestDB_RequestConformance runs the suite in two ways of talking to the server. The third is that behind PgBouncer.
func TestDB_RequestConformance(t *testing.T) {
	t.Parallel()
	for _, mode := range modes() {
		if mode == "exec" {
			continue
		}
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			dsn := withSetting(t, testserver.DatabaseURL(t), "default_query_exec_mode", mode)
			storetest.RunRequests(t, func(t *testing.T) storetest.RequestStore {
				t.Helper()
				return openAt(t, dsn, postgres.Config{PoolSize: 6, Schema: `Fleet "état" {schema} $1 ` + rand.Text()})
			})
		})
	}
}
