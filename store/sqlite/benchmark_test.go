package sqlite_test

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/store"
	"github.com/upbeat-go/upbeat/store/sqlite"
)

func BenchmarkDB_Record(b *testing.B) {
	const size = 5000
	db, err := sqlite.Open(b.Context(), filepath.Join(b.TempDir(), "x.db"), sqlite.Config{})
	require.NoError(b, err)
	defer db.Close()
	require.NoError(b, db.Migrate(b.Context()))
	n := 0
	for b.Loop() {
		n++
		msgs := make([]store.Message, size)
		for i := range msgs {
			msgs[i] = beat(fmt.Sprint("host-", i%100), int64(n*size+i), time.Now())
		}
		_, err := db.Record(b.Context(), msgs)
		require.NoError(b, err)
	}
	b.ReportMetric(float64(n*size)/b.Elapsed().Seconds(), "rows/s")
}
