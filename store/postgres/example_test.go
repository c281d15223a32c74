package postgres_test

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/upbeat-go/upbeat/store"
	"github.com/upbeat-go/upbeat/store/postgres"
)

func Example() {
	ctx := context.Background()
	db, err := postgres.Open(ctx, "postgres://localhost/fleet", postgres.Config{})
	if err != nil {
		slog.Error("no store", "error", err)
		return
	}
	defer db.Close()
	if err := db.Migrate(ctx); err != nil {
		slog.Error("not migrated", "error", err)
		return
	}

	beat := store.Message{
		ID: "health:messages/1760000000000-0", At: time.UnixMilli(1760000000000), Service: "geocoding", Instance: "host-1",
		Count: 1, Status: "running", Payload: []byte(`{"cache_size":1000}`),
	}
	n, err := db.Record(ctx, []store.Message{beat})
	if refused, ok := errors.AsType[*store.RefusedError](err); ok {
		for _, m := range refused.Messages {
			slog.Warn("not stored", "message", m.Index, "reason", m.Reason) // all others are
		}
	} else if err != nil {
		slog.Error("not stored", "again", store.IsTransient(err), "error", err)
	}
	slog.Info("stored", "messages", n)
}
