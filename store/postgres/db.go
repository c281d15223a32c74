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

	"github.com/upbeat-go/upbeat/store"
	"github.com/upbeat-go/upbeat/store/internal/groupcommit"
)

// DB is a store in a Postgres database. It is safe for concurrent use. Make it with Open.
type DB struct {
	cfg        Config
	pool       *pgxpool.Pool
	waiting    waiting
	schema     string // quoted
	statements statements
	requests   requestStatements
	handovers  handovers
	requested  path
	accepting  *groupcommit.Group[acceptance, []store.Request]
	clock      clock
	log        partitions
	rollups    partitions
	path       path
	recording  *groupcommit.Group[[]*store.Message, int]

	recorded   atomic.Int64
	duplicates atomic.Int64
	refused    atomic.Int64
	retries    atomic.Int64
	accepted   atomic.Int64
	superseded atomic.Int64
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
	db := &DB{
		cfg: cfg, pool: pool, schema: schema, statements: statementsFor(schema), requests: requestStatementsFor(schema),
		log:     partitions{table: "health_messages", column: "occurred_at"},
		rollups: partitions{table: "health_rollups", column: "minute"},
	}
	db.recording, db.accepting = db.groupRecords(), db.groupAccepts()
	encoding, err := db.greet(ctx)
	if err == nil && encoding == "UTF8" {
		return db, nil
	}
	pool.Close()
	if err == nil {
		return nil, fmt.Errorf("postgres: open: the database's encoding is %s: want UTF8, which can hold any text", encoding)
	}
	return nil, wrapOpen(err)
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

// greet makes sure that there is a server, sets the clock by it, and says so if it has fewer connections than the pool may want.
func (db *DB) greet(ctx context.Context) (encoding string, err error) {
	conn, err := db.acquire(ctx)
	if err != nil {
		return "", err
	}
	encoding = conn.Conn().PgConn().ParameterStatus("server_encoding")
	var limit int
	err = conn.QueryRow(ctx, connectionLimitSQL).Scan(&limit)
	conn.Release()
	if err != nil {
		return "", err
	}
	if db.cfg.MaxConnections > limit {
		db.cfg.Logger.WarnContext(ctx, "postgres: the pool may grow beyond what the server allows this role, all processes together",
			"max_connections", db.cfg.MaxConnections, "allowed", limit)
	}
	return encoding, db.setClock(ctx)
}

// connectionLimitSQL is how many connections all clients of this role may have together; -1 in the catalogs means no limit.
const connectionLimitSQL = `
SELECT least(
	current_setting('max_connections')::integer - current_setting('superuser_reserved_connections')::integer,
	(SELECT nullif(rolconnlimit, -1) FROM pg_roles WHERE rolname = current_user),
	(SELECT nullif(datconnlimit, -1) FROM pg_database WHERE datname = current_database()))`

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
	leave := db.waiting.enter()
	defer leave()
	conn, err := db.pool.Acquire(ctx)
	if err != nil && errors.Is(context.Cause(ctx), errNoConnection) {
		n, longest := db.waiting.state()
		return nil, fmt.Errorf("%w within %s (%d of %d in use, %d calls wait, the first for %s): %w",
			errNoConnection, db.cfg.AcquireTimeout, db.pool.Stat().AcquiredConns(), db.cfg.MaxConnections, n, longest.Round(time.Millisecond), err)
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
		// Timeouts that were set for the questions of this role would end a wait for others, or a long migration.
		batch := &pgx.Batch{}
		batch.Queue("SELECT set_config('statement_timeout', '0', true), set_config('lock_timeout', '0', true), set_config('search_path', $1::text, true)", db.schema)
		batch.Queue("SELECT pg_advisory_xact_lock(hashtextextended('upbeat ' || $1::text, 0))", db.cfg.Schema)
		batch.Queue("SELECT set_config('lock_timeout', $1::text, true)", fmt.Sprint(lockTimeout.Milliseconds()))
		if err := tx.SendBatch(ctx, batch).Close(); err != nil {
			return err
		}
		return fn(tx)
	})
}
