package main

import (
	"context"
	"strings"

	"github.com/upbeat-go/upbeat/queue"
	"github.com/upbeat-go/upbeat/store"
	"github.com/upbeat-go/upbeat/store/postgres"
	"github.com/upbeat-go/upbeat/store/sqlite"
)

// database is what this service needs of a store.
type database interface {
	queue.Tracker
	RequestStats(ctx context.Context, q store.RequestStatsQuery) (store.RequestStats, error)
	Migrate(ctx context.Context) error
	Maintain(ctx context.Context) error
	Close() error
}

// openDatabase opens Postgres by its URL, or SQLite in a file. A service with several processes would rather migrate in its deployment.
func openDatabase(ctx context.Context, where string) (db database, err error) {
	if strings.HasPrefix(where, "postgres://") || strings.HasPrefix(where, "postgresql://") {
		var pg *postgres.DB
		pg, err = postgres.Open(ctx, where, postgres.Config{})
		db = closing{pg}
	} else {
		db, err = sqlite.Open(ctx, where, sqlite.Config{})
	}
	if err != nil {
		return nil, err
	}
	if err := db.Migrate(ctx); err != nil {
		_ = db.Close()
		return nil, err
	}
	return db, nil
}

// closing gives Postgres the Close of the others.
type closing struct{ *postgres.DB }

func (c closing) Close() error {
	c.DB.Close()
	return nil
}
