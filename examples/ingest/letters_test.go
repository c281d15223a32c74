package main

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/consumer"
	"github.com/upbeat-go/upbeat/store"
	"github.com/upbeat-go/upbeat/store/sqlite"
)

// A consumer calls it again when it doesn't know whether the first call went well, and so does another process after a crash.
func TestKeep_TwiceIsOnce(t *testing.T) {
	t.Parallel()
	db, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "health.db"), sqlite.Config{})
	require.NoError(t, err)
	defer db.Close()
	require.NoError(t, db.Migrate(t.Context()))
	in := &ingest{opts: options{timeout: time.Minute}, db: file{db}}
	at := time.Now().Add(-time.Hour).UTC().Truncate(time.Millisecond)
	for range 2 {
		require.NoError(t, in.keep(t.Context(), []consumer.DeadLetter{
			{Raw: &consumer.Raw{ID: "s/1-0", At: at}, Err: errors.New("bad")},
			{Raw: &consumer.Raw{ID: "s/0-1", At: time.UnixMilli(0)}, Err: errors.New("too old")},
		}))
	}
	page, err := db.Messages(t.Context(), store.MessageQuery{Service: deadService})
	require.NoError(t, err)
	filed := map[string]time.Time{}
	for _, m := range page.Messages {
		filed[m.ID] = m.At
	}
	require.Len(t, page.Messages, 2, "but at midnight")
	require.Equal(t, at, filed["s/1-0"])
	require.WithinDuration(t, time.Now(), filed["s/0-1"], 25*time.Hour)
}
