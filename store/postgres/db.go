package postgres

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// DB is a store in a Postgres database. It is safe for concurrent use. Make it with Open.
type DB struct {
	cfg        Config
	pool       *pgxpool.Pool
	schema     string // quoted
	statements statements
	clock      clock
	partitions partitions

	recorded   atomic.Int64
	duplicates atomic.Int64
	refused    atomic.Int64
	retries    atomic.Int64
}

const (
	maxIdleTime    = 5 * time.Minute
	pingTimeout    = 5 * time.Second
	connectTimeout = 5 * time.Second // for each address; connect_timeout in the dsn is another
	forever        = time.Duration(math.MaxInt64)
)

// Open connects to the database that dsn names, a URL or a list of key=value with the settings of pgx
// (target_session_attrs, default_query_exec_mode and so on; the sizes and times of the pool come from Config). It fails
// if the server can't be reached or its encoding isn't UTF8; it changes nothing there. Call Migrate before anything
// else, and Close at the end.
//
// Behind PgBouncer in transaction mode before version 1.21, or without max_prepared_statements, add
// default_query_exec_mode=exec to the dsn.
func Open(ctx context.Context, dsn string, cfg Config) (*DB, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	poolConfig, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, fmt.Errorf("postgres: dsn: %w", err)
	}
	tune(poolConfig, cfg)
	pool, err := pgxpool.NewWithConfig(ctx, poolConfig)
	if err != nil {
		return nil, fmt.Errorf("postgres: %w", err)
	}
	schema := pgx.Identifier{cfg.Schema}.Sanitize()
	db := &DB{cfg: cfg, pool: pool, schema: schema, statements: statementsFor(schema)}
	encoding, err := db.greet(ctx)
	if err == nil && encoding == "UTF8" {
		return db, nil
	}
	pool.Close()
	if err == nil {
		return nil, fmt.Errorf("postgres: open: the database's encoding is %s: want UTF8, which can hold any text", encoding)
	}
	return nil, wrap("open", err)
}

func tune(p *pgxpool.Config, cfg Config) {
	p.MaxConns = int32(cfg.MaxConnections)
	p.MinConns, p.MinIdleConns = 0, 0
	p.MaxConnIdleTime = maxIdleTime
	p.PingTimeout = pingTimeout
	if p.ConnConfig.ConnectTimeout == 0 {
		// The pool goes on connecting when nobody waits for it any more, by default for two minutes: after a network that swallows everything
		// it would be full of such attempts for as long.
		p.ConnConfig.ConnectTimeout = connectTimeout
	}
	p.MaxConnLifetime, p.MaxConnLifetimeJitter = forever, 0
	if cfg.MaxConnLifetime > 0 {
		p.MaxConnLifetimeJitter = cfg.MaxConnLifetime / 10
		p.MaxConnLifetime = cfg.MaxConnLifetime - p.MaxConnLifetimeJitter
	}
}

// greet makes sure that there is a server, and sets the clock by it.
func (db *DB) greet(ctx context.Context) (encoding string, err error) {
	conn, err := db.acquire(ctx)
	if err != nil {
		return "", err
	}
	encoding = conn.Conn().PgConn().ParameterStatus("server_encoding")
	conn.Release()
	return encoding, db.setClock(ctx)
}

// Close waits until calls in progress have returned their connections, then closes all. The DB is of no use after it.
func (db *DB) Close() { db.pool.Close() }

var errNoConnection = errors.New("no connection became free")

// acquire takes a connection out of the pool; the pool has checked one that was idle for more than a second.
func (db *DB) acquire(ctx context.Context) (*pgxpool.Conn, error) {
	if db.cfg.AcquireTimeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, db.cfg.AcquireTimeout, errNoConnection)
		defer cancel()
	}
	conn, err := db.pool.Acquire(ctx)
	if err != nil && errors.Is(context.Cause(ctx), errNoConnection) {
		return nil, fmt.Errorf("%w within %s (%d of %d in use): %w",
			errNoConnection, db.cfg.AcquireTimeout, db.pool.Stat().AcquiredConns(), db.cfg.MaxConnections, err)
	}
	return conn, err
}

// exclusively runs fn in a transaction of its own that no other one of this schema's migrations and changes of
// partitions runs beside, in any process. Unqualified names mean those of the schema. The lock is the
// transaction's, so it survives PgBouncer and can't be left behind.
func (db *DB) exclusively(ctx context.Context, lockTimeout time.Duration, fn func(pgx.Tx) error) error {
	conn, err := db.acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	// Read committed: what others committed while we waited for the lock must be seen.
	return pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock(hashtextextended('upbeat ' || $1::text, 0))", db.cfg.Schema); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, "SELECT set_config('search_path', $1::text, true), set_config('lock_timeout', $2::text, true)",
			db.schema, fmt.Sprint(lockTimeout.Milliseconds()))
		if err != nil {
			return err
		}
		return fn(tx)
	})
}
