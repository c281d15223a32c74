package pool

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"
)

const (
	envCA     = "REDIS_TLS_CA_FILE"
	envCert   = "REDIS_TLS_CERT_FILE"
	envKey    = "REDIS_TLS_KEY_FILE"
	envServer = "REDIS_TLS_SERVER_NAME"
)

func (e *environment) tls(cfg *Config) {
	var on bool
	e.yes("REDIS_TLS", &on)
	if cfg.URL != "" {
		secure := strings.HasPrefix(cfg.URL, "rediss:")
		if on && !secure {
			// To obey either would be to disobey the other, and one of the two is without encryption.
			e.wrong("REDIS_TLS", e.get("REDIS_TLS"), "want REDIS_URL to begin with rediss:// then")
		}
		on = secure
	}
	if !on {
		for _, name := range []string{envCA, envCert, envKey, envServer} {
			if value := e.get(name); value != "" {
				e.wrong(name, value, "want TLS to be on as well, by REDIS_TLS=true or a REDIS_URL of rediss://")
			}
		}
		return
	}
	cfg.TLS = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: e.get(envServer)}
	e.authority(cfg.TLS)
	e.certificate(cfg.TLS)
}

func (e *environment) authority(to *tls.Config) {
	path := e.get(envCA)
	if path == "" {
		return
	}
	pem, err := os.ReadFile(path)
	if err != nil {
		e.wrong(envCA, path, fmt.Sprintf("want a file that can be read: %v", reason(err)))
		return
	}
	to.RootCAs = x509.NewCertPool()
	if !to.RootCAs.AppendCertsFromPEM(pem) {
		e.wrong(envCA, path, "want a file with a certificate in PEM")
	}
}

func (e *environment) certificate(to *tls.Config) {
	cert, key := e.get(envCert), e.get(envKey)
	switch {
	case cert == "" && key == "":
	case cert == "":
		e.wrong(envKey, key, "want "+envCert+" as well")
	case key == "":
		e.wrong(envCert, cert, "want "+envKey+" as well")
	default:
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			e.wrong(envCert, cert, fmt.Sprintf("want a certificate that fits the key in %s, %q, both in PEM: %v", envKey, key, reason(err)))
			return
		}
		to.Certificates = []tls.Certificate{pair}
	}
}

// reason is an error without the path, which is said already.
func reason(err error) error {
	if e, ok := errors.AsType[*os.PathError](err); ok {
		return e.Err
	}
	return err
}
