package postgres_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	crand "crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/internal/testserver"
	"github.com/upbeat-go/upbeat/store"
	"github.com/upbeat-go/upbeat/store/postgres"
	"github.com/upbeat-go/upbeat/store/storetest"
)

// TestDB_BehindPgBouncer runs both suites in transaction mode, where each transaction may go to another session.
func TestDB_BehindPgBouncer(t *testing.T) {
	t.Parallel()
	bouncer := testserver.StartPgBouncer(t, testserver.StartPostgres(t, testserver.PostgresConfig{}))
	open := func(t *testing.T) *postgres.DB {
		t.Helper()
		return openAt(t, bouncer.DSN(), postgres.Config{Schema: "Fleet " + crand.Text()})
	}
	t.Run("messages", func(t *testing.T) {
		t.Parallel()
		storetest.Run(t, func(t *testing.T) storetest.Store { t.Helper(); return open(t) })
	})
	t.Run("requests", func(t *testing.T) {
		t.Parallel()
		storetest.RunRequests(t, func(t *testing.T) storetest.RequestStore { t.Helper(); return open(t) })
	})
}

// TestDB_PgBouncerRestarts loses all connections at once, as when the pooler is updated.
func TestDB_PgBouncerRestarts(t *testing.T) {
	t.Parallel()
	bouncer := testserver.StartPgBouncer(t, testserver.StartPostgres(t, testserver.PostgresConfig{}))
	db := migrated(t, bouncer.DSN(), postgres.Config{})
	bouncer.Restart()
	require.Eventually(t, func() bool {
		_, err := db.Record(t.Context(), beats("a", 10))
		require.True(t, err == nil || store.IsTransient(err), "%v", err)
		return err == nil
	}, 10*time.Second, 10*time.Millisecond)
}

// TestDB_DemotedPrimary has the first of two servers become read-only under a pool that is connected to it, as after a failover.
func TestDB_DemotedPrimary(t *testing.T) {
	t.Parallel()
	first, second := testserver.StartPostgres(t, testserver.PostgresConfig{}), testserver.StartPostgres(t, testserver.PostgresConfig{})
	migrated(t, second.DSN(), postgres.Config{})
	dsn := fmt.Sprintf("postgres://postgres@%s,%s/postgres?sslmode=disable&target_session_attrs=read-write", first.Addr(), second.Addr())
	db := migrated(t, dsn, postgres.Config{})
	write := func(n int) {
		t.Helper()
		_, err := db.Record(t.Context(), beats(fmt.Sprint(n), 1))
		require.NoError(t, err)
		_, err = db.Accept(t.Context(), "a", []store.Request{{Queue: "q", ID: fmt.Sprint(n), Status: store.RequestQueued}})
		require.NoError(t, err)
	}
	write(1)
	conn := connect(t, first.DSN())
	execute(t, conn, "ALTER SYSTEM SET default_transaction_read_only = on")
	execute(t, conn, "SELECT pg_reload_conf()")
	require.Eventually(t, func() bool { // the server's processes read it one after another
		return number(t, connect(t, first.DSN()), "SELECT (current_setting('transaction_read_only') = 'on')::int") == 1
	}, 10*time.Second, 10*time.Millisecond)
	write(2) // no error shows
	require.Positive(t, db.Stats().Retries)
	other := connect(t, second.DSN())
	require.Equal(t, 1, number(t, other, "SELECT count(*) FROM health_messages"))
	require.Equal(t, 1, number(t, other, "SELECT count(*) FROM open_requests"))
}

// TestOpen_TLS verifies the server's certificate, and refuses one of somebody else.
func TestOpen_TLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	pg := testserver.StartPostgres(t, testserver.PostgresConfig{})
	cert, key := certificate(t, dir, "server", serverAccount(t, pg))
	other, _ := certificate(t, dir, "other", os.Getuid())
	conn := connect(t, pg.DSN())
	for setting, value := range map[string]string{"ssl_cert_file": cert, "ssl_key_file": key, "ssl": "on"} {
		execute(t, conn, fmt.Sprintf("ALTER SYSTEM SET %s = '%s'", setting, value))
	}
	pg.Restart()
	dsn := strings.Replace(pg.DSN(), "sslmode=disable", "sslmode=verify-full", 1)

	db := migrated(t, withSetting(t, dsn, "sslrootcert", cert), postgres.Config{})
	n, err := db.Record(t.Context(), beats("a", 1))
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.Equal(t, 1, number(t, connect(t, pg.DSN()), "SELECT count(*) FROM pg_stat_ssl WHERE ssl"), "the store's, not ours")
	_, err = postgres.Open(t.Context(), withSetting(t, dsn, "sslrootcert", other), postgres.Config{})
	require.ErrorContains(t, err, "certificate")
}

// serverAccount is the user that a server runs as: it must own its key.
func serverAccount(t *testing.T, pg *testserver.Postgres) int {
	t.Helper()
	var uid int
	const query = `SELECT (regexp_match(pg_read_file('/proc/self/status'), 'Uid:\s+(\d+)'))[1]::integer`
	if err := connect(t, pg.DSN()).QueryRow(t.Context(), query).Scan(&uid); err != nil {
		return os.Getuid() // not on Linux: it isn't run as root there
	}
	return uid
}

// certificate makes one that signs itself, for 127.0.0.1.
func certificate(t *testing.T, dir, name string, owner int) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	public, err := x509.CreateCertificate(crand.Reader, template, template, &private.PublicKey, private)
	require.NoError(t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	cert, key = filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key")
	require.NoError(t, os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: public}), 0o644))
	require.NoError(t, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600))
	for _, path := range []string{dir, filepath.Dir(dir)} {
		require.NoError(t, os.Chmod(path, 0o755)) // the server's account passes through
	}
	if owner != os.Getuid() {
		require.NoError(t, os.Chown(key, owner, -1))
	}
	return cert, key
}

func TestOpenFromEnv(t *testing.T) {
	for _, name := range []string{"DATABASE_URL", "PGHOST", "PGSERVICE", "PGDATABASE"} {
		t.Setenv(name, "")
	}
	_, err := postgres.OpenFromEnv(t.Context(), postgres.Config{})
	require.ErrorContains(t, err, "DATABASE_URL")

	pg := testserver.StartPostgres(t, testserver.PostgresConfig{})
	t.Setenv("DATABASE_URL", pg.DSN())
	db, err := postgres.OpenFromEnv(t.Context(), postgres.Config{})
	require.NoError(t, err)
	db.Close()

	u, err := url.Parse(pg.DSN())
	require.NoError(t, err)
	t.Setenv("DATABASE_URL", "")
	for name, value := range map[string]string{"PGHOST": u.Hostname(), "PGPORT": u.Port(), "PGUSER": "postgres", "PGDATABASE": "postgres", "PGSSLMODE": "disable"} {
		t.Setenv(name, value)
	}
	db, err = postgres.OpenFromEnv(t.Context(), postgres.Config{})
	require.NoError(t, err)
	db.Close()
}

// TestOpen_KeepsSecrets looks for the password in all that is said of a server that refuses it.
func TestOpen_KeepsSecrets(t *testing.T) {
	t.Parallel()
	pg := testserver.StartPostgres(t, testserver.PostgresConfig{})
	pg.Kill()
	for _, dsn := range []string{
		strings.Replace(pg.DSN(), "postgres@", "postgres:s3cret@", 1),
		"host=127.0.0.1 port=1 password=s3cret sslmode=bad",
		"postgres://u:s3cret@127.0.0.1:x/db",
		"postgres://u:s3cret@[::1/db?%zz",
	} {
		_, err := postgres.Open(t.Context(), dsn, postgres.Config{AcquireTimeout: time.Second})
		require.Error(t, err, dsn)
		require.NotContains(t, fmt.Sprintf("%v %+v %#v", err, err, err), "s3cret", dsn)
	}
}
