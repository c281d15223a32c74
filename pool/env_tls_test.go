package pool_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"maps"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/pool"
)

// A server that lets only clients with a certificate of its own authority in, and is called another name than its address: reached
// with variables alone.
func TestFromEnv_MutualTLS(t *testing.T) {
	dir := t.TempDir()
	ca := newAuthority(t, filepath.Join(dir, "ca.pem"))
	server := ca.issue(t, "redis.internal", filepath.Join(dir, "server"))
	ca.issue(t, "client", filepath.Join(dir, "client"))
	stranger := newAuthority(t, filepath.Join(dir, "stranger.pem"))
	stranger.issue(t, "client", filepath.Join(dir, "other"))
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{server}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.pool, MinVersion: tls.VersionTLS12,
	})
	require.NoError(t, err)
	t.Cleanup(func() { _ = ln.Close() })
	target := sharedAddr(t)
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go relay(t.Context(), c, target)
		}
	}()
	right := map[string]string{
		"REDIS_URL": "rediss://" + ln.Addr().String(), "REDIS_TLS_SERVER_NAME": "redis.internal", "REDIS_TLS_CA_FILE": filepath.Join(dir, "ca.pem"),
		"REDIS_TLS_CERT_FILE": filepath.Join(dir, "client.crt"), "REDIS_TLS_KEY_FILE": filepath.Join(dir, "client.key"),
	}
	tests := map[string]struct {
		change map[string]string
		ok     bool
	}{
		"right":                      {nil, true},
		"without the client's":       {map[string]string{"REDIS_TLS_CERT_FILE": "", "REDIS_TLS_KEY_FILE": ""}, false},
		"without the authority":      {map[string]string{"REDIS_TLS_CA_FILE": ""}, false},
		"another authority":          {map[string]string{"REDIS_TLS_CA_FILE": filepath.Join(dir, "stranger.pem")}, false},
		"without the server's name":  {map[string]string{"REDIS_TLS_SERVER_NAME": ""}, false},
		"a stranger's":               {map[string]string{"REDIS_TLS_CERT_FILE": filepath.Join(dir, "other.crt"), "REDIS_TLS_KEY_FILE": filepath.Join(dir, "other.key")}, false},
		"host and port, not the URL": {map[string]string{"REDIS_URL": "", "REDIS_TLS": "true", "REDIS_HOST": "127.0.0.1", "REDIS_PORT": port(t, ln.Addr())}, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			env := maps.Clone(right)
			maps.Copy(env, tt.change)
			setenv(t, env)
			cfg, err := pool.FromEnv(pool.API())
			require.NoError(t, err)
			if tt.ok {
				require.NoError(t, open(t, cfg).Standard().Ping(t.Context()).Err())
				return
			}
			_, err = pool.Open(t.Context(), cfg)
			require.ErrorContains(t, err, "TLS handshake failed")
		})
	}
	setenv(t, right)
	t.Setenv("REDIS_TLS_KEY_FILE", filepath.Join(dir, "other.key"))
	_, err = pool.FromEnv(pool.API())
	require.ErrorContains(t, err, "REDIS_TLS_CERT_FILE")
	require.ErrorContains(t, err, "private key does not match")
}

func port(t *testing.T, addr net.Addr) string {
	t.Helper()
	_, port, err := net.SplitHostPort(addr.String())
	require.NoError(t, err)
	return port
}

type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t *testing.T, path string) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	a := &authority{cert: cert, key: key, pool: x509.NewCertPool()}
	a.pool.AddCert(cert)
	writePEM(t, path, "CERTIFICATE", der)
	return a
}

// issue writes path.crt and path.key.
func (a *authority) issue(t *testing.T, name, path string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{name},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	require.NoError(t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	writePEM(t, path+".crt", "CERTIFICATE", der)
	writePEM(t, path+".key", "PRIVATE KEY", secret)
	pair, err := tls.LoadX509KeyPair(path+".crt", path+".key")
	require.NoError(t, err)
	return pair
}

func writePEM(t *testing.T, path, kind string, der []byte) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
}
