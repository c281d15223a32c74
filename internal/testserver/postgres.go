package testserver

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
)

// Postgres is a private Postgres server.
type Postgres struct{ *Server }

// PostgresConfig says how a private Postgres differs from the usual one, which commits in memory.
type PostgresConfig struct {
	// Durable waits for the disk at each commit, as production does.
	Durable bool
	// Settings are lines of postgresql.conf. They come last, so they win.
	Settings map[string]string
}

// StartPostgres starts a private Postgres that ends with the test.
func StartPostgres(tb testing.TB, cfg PostgresConfig) *Postgres {
	tb.Helper()
	p, err := startPostgres(tb.Context(), cfg)
	require(tb, err)
	p.give(tb)
	return p
}

// DSN is the URL of the database postgres, for a superuser without a password.
func (p *Postgres) DSN() string { return postgresDSN(p.Addr()) }

func postgresDSN(addr string) string {
	return "postgres://postgres@" + addr + "/postgres?sslmode=disable"
}

// settings let several servers live on a small machine. Shared memory is of the kinds that end with the process or lie in its folder.
var settings = map[string]string{
	"listen_addresses":           "127.0.0.1",
	"unix_socket_directories":    "",
	"max_connections":            "200",
	"shared_buffers":             "32MB",
	"shared_memory_type":         "mmap",
	"dynamic_shared_memory_type": "mmap",
	"fsync":                      "off",
	"full_page_writes":           "off",
	"synchronous_commit":         "on",
}

var durable = map[string]string{"fsync": "on", "full_page_writes": "on"}

func startPostgres(ctx context.Context, cfg PostgresConfig) (*Postgres, error) {
	template, err := postgresTemplate()
	if err != nil {
		return nil, err
	}
	dir, err := newDir("postgres", template.owner)
	if err != nil {
		return nil, err
	}
	data := filepath.Join(dir, "data")
	if err := run(ctx, dir, template.owner, "cp", "-Rp", template.data, data); err != nil {
		return nil, err
	}
	layers := []map[string]string{settings, cfg.Settings}
	if cfg.Durable {
		layers = slices.Insert(layers, 1, durable)
	}
	if err := appendSettings(filepath.Join(data, "postgresql.conf"), layers...); err != nil {
		return nil, err
	}
	s, err := launch(ctx, spec{
		dir:   dir,
		owner: template.owner,
		ready: selectOne,
		stop:  syscall.SIGINT,
		clean: func() { removeSharedMemory(data) },
		argv: func(port int) []string {
			return []string{template.postgres, "-D", data, "-p", strconv.Itoa(port)}
		},
	})
	if err != nil {
		return nil, err
	}
	return &Postgres{s}, nil
}

func appendSettings(path string, layers ...map[string]string) error {
	var b strings.Builder
	for _, layer := range layers {
		for name, value := range layer {
			fmt.Fprintf(&b, "%s = '%s'\n", name, strings.ReplaceAll(value, "'", "''"))
		}
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("testserver: %w", err)
	}
	defer f.Close()
	if _, err := f.WriteString(b.String()); err != nil {
		return fmt.Errorf("testserver: %w", err)
	}
	return nil
}

func selectOne(ctx context.Context, addr string) error {
	conn, err := pgx.Connect(ctx, postgresDSN(addr))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	return conn.QueryRow(ctx, "SELECT 1").Scan(new(int))
}

// removeSharedMemory takes away the System V segment by which Postgres guards its data folder: killed, it leaves it behind.
func removeSharedMemory(data string) {
	pidFile, err := os.ReadFile(filepath.Join(data, "postmaster.pid"))
	if err != nil {
		return // it ended in an orderly way
	}
	if lines := strings.Split(string(pidFile), "\n"); len(lines) > 6 {
		if key := strings.Fields(lines[6]); len(key) == 2 {
			_ = exec.Command("ipcrm", "-m", key[1]).Run() //nolint:noctx // it is a system call with a name
		}
	}
}

// template is a fresh data folder, to be copied: initdb takes a second, a copy a tenth of it.
type template struct {
	postgres string
	owner    *account
	data     string
}

// postgresTemplate is made once per process.
var postgresTemplate = sync.OnceValues(func() (*template, error) {
	bin, err := postgresBin()
	if err != nil {
		return nil, err
	}
	owner, err := unprivileged()
	if err != nil {
		return nil, err
	}
	dir, err := newDir("initdb", owner)
	if err != nil {
		return nil, err
	}
	data := filepath.Join(dir, "data")
	err = run(context.Background(), dir, owner, filepath.Join(bin, "initdb"), "-D", data, "-U", "postgres",
		"--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync")
	if err != nil {
		return nil, err
	}
	return &template{postgres: filepath.Join(bin, "postgres"), owner: owner, data: data}, nil
})

// postgresBin is the folder of initdb and postgres: the one in PATH, else the newest where packages put them.
func postgresBin() (string, error) {
	if path, err := exec.LookPath("initdb"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			return filepath.Dir(path), nil
		}
	}
	version := func(bin string) int {
		digits := strings.TrimPrefix(filepath.Base(filepath.Dir(bin)), "postgresql@")
		n, _ := strconv.Atoi(strings.TrimPrefix(digits, "pgsql-")) // zero sorts first
		return n
	}
	var found []string
	for _, pattern := range []string{
		"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/usr/libexec/postgresql*",
		"/opt/homebrew/opt/postgresql@*/bin", "/usr/local/opt/postgresql@*/bin",
	} {
		bins, _ := filepath.Glob(pattern) // the patterns are well-formed
		for _, bin := range bins {
			if _, err := exec.LookPath(filepath.Join(bin, "initdb")); err == nil {
				found = append(found, bin)
			}
		}
	}
	if len(found) > 0 {
		return slices.MaxFunc(found, func(a, b string) int { return version(a) - version(b) }), nil
	}
	return "", &missingError{program: "Postgres (initdb)"}
}

// run runs a program that ends by itself.
func run(ctx context.Context, dir string, owner *account, argv ...string) error {
	p, err := startProc(dir, owner, argv...)
	if err != nil {
		return err
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	if err := p.wait(ctx); err != nil {
		_ = p.kill(ctx) // sent, not waited for
		return err
	}
	if !p.cmd.ProcessState.Success() {
		return fmt.Errorf("testserver: %s: %v; the end of its log:\n%s", argv[0], p.cmd.ProcessState, p.logTail())
	}
	return nil
}
