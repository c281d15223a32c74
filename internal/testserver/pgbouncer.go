package testserver

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
)

// PgBouncer is a private PgBouncer in front of a private Postgres, in transaction mode.
type PgBouncer struct{ *Server }

// StartPgBouncer starts a private PgBouncer with five connections to pg per database. It ends with the test.
func StartPgBouncer(tb testing.TB, pg *Postgres) *PgBouncer {
	tb.Helper()
	b, err := startPgBouncer(tb.Context(), pg)
	require(tb, err)
	b.give(tb)
	return b
}

// DSN is the URL of the database postgres behind it. Versions before 1.21 don't know prepared statements: neither does it use any.
func (b *PgBouncer) DSN() string { return bouncerDSN(b.Addr()) }

func bouncerDSN(addr string) string { return postgresDSN(addr) + "&default_query_exec_mode=exec" }

const bouncerConfig = `[databases]
* = host=127.0.0.1 port=%d
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = trust
auth_file = %s
pool_mode = transaction
default_pool_size = 5
max_client_conn = 500
`

func startPgBouncer(ctx context.Context, pg *Postgres) (*PgBouncer, error) {
	program, err := bouncerProgram()
	if err != nil {
		return nil, err
	}
	owner, err := unprivileged()
	if err != nil {
		return nil, err
	}
	dir, err := newDir("pgbouncer", owner)
	if err != nil {
		return nil, err
	}
	users, config := filepath.Join(dir, "users"), filepath.Join(dir, "config")
	if err := os.WriteFile(users, []byte(`"postgres" ""`+"\n"), 0o644); err != nil {
		return nil, fmt.Errorf("testserver: %w", err)
	}
	s, err := launch(ctx, spec{
		dir:   dir,
		owner: owner,
		stop:  syscall.SIGTERM,
		ready: func(ctx context.Context, addr string) error {
			conn, err := pgx.Connect(ctx, bouncerDSN(addr))
			if err != nil {
				return err
			}
			defer conn.Close(ctx)
			return conn.QueryRow(ctx, "SELECT 1").Scan(new(int))
		},
		argv: func(port int) []string {
			text := fmt.Sprintf(bouncerConfig, pg.port, port, users)
			if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
				return []string{"echo", err.Error()} // ends at once, with that in its log
			}
			return []string{program, config}
		},
	})
	if err != nil {
		return nil, err
	}
	return &PgBouncer{s}, nil
}

// bouncerProgram is the one in PATH, else where packages put it: not everybody's PATH has the folders of system programs.
func bouncerProgram() (string, error) {
	for _, name := range []string{"pgbouncer", "/usr/sbin/pgbouncer", "/usr/local/sbin/pgbouncer", "/opt/homebrew/bin/pgbouncer"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", &missingError{program: "PgBouncer"}
}
