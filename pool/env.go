package pool

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"
)

// FromEnv reads a Config from the environment; what isn't set stays as in the profile. Numbers of seconds may also be written as a Go
// duration ("1m30s").
//
//   - REDIS_URL, or without it REDIS_HOST, REDIS_PORT, REDIS_USERNAME, REDIS_PASSWORD, REDIS_DB and REDIS_TLS ("true")
//   - REDIS_HEALTH_CHECK_INTERVAL
//   - REDIS_MAX_CONNECTIONS and REDIS_SOCKET_TIMEOUT for the profile [API]
//   - WORKER_REDIS_MAX_CONNECTIONS, WORKER_REDIS_SOCKET_TIMEOUT and WORKER_REDIS_BLOCKING_TIMEOUT for the profile [Worker]
//
// The error names every variable that is wrong, its value and what is allowed.
func FromEnv(profile Profile) (Config, error) {
	env := environment{get: os.Getenv}
	cfg := Config{Profile: profile}
	if cfg.URL = os.Getenv("REDIS_URL"); cfg.URL == "" {
		env.address(&cfg)
	} else if err := new(cfg).applyURL(); err != nil {
		env.errs = append(env.errs, fmt.Errorf("pool: REDIS_URL %w", err))
	}
	p := &cfg.Profile
	env.seconds("REDIS_HEALTH_CHECK_INTERVAL", &p.HealthCheckInterval, leastHealthCheck, mostHealthCheck)
	env.number(p.envPrefix+"REDIS_MAX_CONNECTIONS", &p.MaxConnections, 1, mostConnections)
	env.seconds(p.envPrefix+"REDIS_SOCKET_TIMEOUT", &p.SocketTimeout, leastSocketTimeout, mostSocketTimeout)
	if p.envPrefix != "" {
		env.seconds(p.envPrefix+"REDIS_BLOCKING_TIMEOUT", &p.BlockingTimeout, leastBlockingTimeout, mostBlockingTimeout)
	}
	return cfg, errors.Join(env.errs...)
}

// environment reads variables and collects what is wrong with them.
type environment struct {
	get  func(name string) string
	errs []error
}

func (e *environment) address(cfg *Config) {
	host, port := e.get("REDIS_HOST"), 6379
	e.number("REDIS_PORT", &port, 1, 65535)
	cfg.Addr = net.JoinHostPort(orDefault(host, "localhost"), strconv.Itoa(port))
	cfg.Username, cfg.Password = e.get("REDIS_USERNAME"), e.get("REDIS_PASSWORD")
	e.number("REDIS_DB", &cfg.DB, 0, 1<<30)
	if value := e.get("REDIS_TLS"); value != "" {
		on, err := strconv.ParseBool(value)
		if err != nil {
			e.errs = append(e.errs, fmt.Errorf("pool: REDIS_TLS is %q: want true or false", value))
		}
		if on {
			cfg.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
		}
	}
}

func (e *environment) number(name string, to *int, least, most int) {
	value := e.get(name)
	if value == "" {
		return
	}
	n, err := strconv.Atoi(value)
	if err != nil || n < least || n > most {
		e.errs = append(e.errs, fmt.Errorf("pool: %s is %q: want a number from %d to %d", name, value, least, most))
		return
	}
	*to = n
}

func (e *environment) seconds(name string, to *time.Duration, least, most time.Duration) {
	value := e.get(name)
	if value == "" {
		return
	}
	d, err := time.ParseDuration(value)
	if seconds, atoiErr := strconv.ParseFloat(value, 64); atoiErr == nil {
		d, err = time.Duration(seconds*float64(time.Second)), nil
	}
	if err != nil || d < least || d > most {
		e.errs = append(e.errs, fmt.Errorf("pool: %s is %q: want %v to %v, in seconds or as a Go duration", name, value, least, most))
		return
	}
	*to = d
}
