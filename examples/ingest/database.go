package main

import (
	"context"
	"errors"
	"strings"

	"github.com/upbeat-go/upbeat/store"
	"github.com/upbeat-go/upbeat/store/postgres"
	"github.com/upbeat-go/upbeat/store/sqlite"
)

// database is what this program needs of a store: Postgres and SQLite both have it.
type database interface {
	Migrate(ctx context.Context) error
	Record(ctx context.Context, messages []store.Message) (int, error)
	Messages(ctx context.Context, q store.MessageQuery) (store.MessagePage, error)
	Maintain(ctx context.Context) error
	Close()
}

// openDatabase connects to a Postgres, or opens a SQLite file.
func openDatabase(ctx context.Context, where string) (database, error) {
	switch {
	case strings.HasPrefix(where, "postgres://"), strings.HasPrefix(where, "postgresql://"):
		db, err := postgres.Open(ctx, where, postgres.Config{})
		if err != nil {
			return nil, err // and not a database that holds nil
		}
		return db, nil
	case strings.Contains(where, "://"):
		return nil, errors.New("the database is neither postgres://… nor the path of a file")
	}
	db, err := sqlite.Open(ctx, where, sqlite.Config{})
	if err != nil {
		return nil, err
	}
	return file{db}, nil
}

// file is a SQLite database, whose Close tells what can't be helped any more: each commit is on disk.
type file struct{ *sqlite.DB }

func (f file) Close() { _ = f.DB.Close() }
