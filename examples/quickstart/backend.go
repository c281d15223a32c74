package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/alicebob/miniredis/v2"

	"github.com/upbeat-go/upbeat/pool"
	"github.com/upbeat-go/upbeat/store"
	"github.com/upbeat-go/upbeat/store/postgres"
	"github.com/upbeat-go/upbeat/store/sqlite"
)

// database is what the quickstart needs of a store: Postgres and SQLite both have it.
type database interface {
	Migrate(ctx context.Context) error
	Record(ctx context.Context, messages []store.Message) (int, error)
	Messages(ctx context.Context, q store.MessageQuery) (store.MessagePage, error)
	Maintain(ctx context.Context) error
}

// backend is the servers that a run uses: real ones, or embedded ones that end with it.
type backend struct {
	redisURL            string
	redis               *pool.Clients
	db                  database
	redisName, database string // for people

	closers []func() error // in order of opening
}

// openBackend starts or connects to both servers. After an error nothing is left open.
func openBackend(ctx context.Context, opts options, log *slog.Logger) (_ *backend, err error) {
	b := &backend{}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.close())
		}
	}()
	if err := b.openRedis(ctx, opts.redis, log); err != nil {
		return nil, err
	}
	if err := b.openDatabase(ctx, opts.database, log); err != nil {
		return nil, err
	}
	if err := b.db.Migrate(ctx); err != nil {
		return nil, err
	}
	return b, nil
}

func (b *backend) openRedis(ctx context.Context, url string, log *slog.Logger) error {
	b.redisURL, b.redisName = url, "Redis"
	if url == "" {
		embedded, err := miniredis.Run()
		if err != nil {
			return fmt.Errorf("start the embedded Redis: %w", err)
		}
		b.closers = append(b.closers, func() error { embedded.Close(); return nil })
		b.redisURL, b.redisName = "redis://"+embedded.Addr(), "embedded Redis"
	}
	clients, err := pool.Open(ctx, pool.Config{URL: b.redisURL, Profile: pool.Worker(), Logger: log})
	if err != nil {
		return err
	}
	b.redis = clients
	b.closers = append(b.closers, clients.Close)
	return nil
}

func (b *backend) openDatabase(ctx context.Context, url string, log *slog.Logger) error {
	switch {
	case url == "":
		return b.openEmbedded(ctx)
	case strings.HasPrefix(url, "postgres://"), strings.HasPrefix(url, "postgresql://"):
	default:
		return errors.New("the database's URL must start with postgres:// (or leave it out to use embedded SQLite)")
	}
	db, err := postgres.Open(ctx, url, postgres.Config{Logger: log})
	if err != nil {
		return err
	}
	b.db, b.database = db, "Postgres"
	b.closers = append(b.closers, func() error { db.Close(); return nil })
	return nil
}

func (b *backend) openEmbedded(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "quickstart-")
	if err != nil {
		return err
	}
	b.closers = append(b.closers, func() error { return os.RemoveAll(dir) })
	db, err := sqlite.Open(ctx, filepath.Join(dir, "upbeat.db"), sqlite.Config{})
	if err != nil {
		return err
	}
	b.db, b.database = db, "embedded SQLite"
	b.closers = append(b.closers, db.Close)
	return nil
}

// close ends everything, the last opened first.
func (b *backend) close() error {
	var errs []error
	for _, closeIt := range slices.Backward(b.closers) {
		errs = append(errs, closeIt())
	}
	b.closers = nil
	return errors.Join(errs...)
}
