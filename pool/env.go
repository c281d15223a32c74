package pool

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// FromEnv reads a Config from the environment; what isn't set stays as in the profile. Numbers of seconds may also be written as a Go
// duration ("1m30s").
//
//   - where: REDIS_URL; or REDIS_ADDRS ("host:port,host:port"); or REDIS_HOST and REDIS_PORT
//   - who, without REDIS_URL: REDIS_USERNAME, REDIS_PASSWORD and REDIS_DB
//   - topology: REDIS_CLUSTER ("true"), or REDIS_MASTER_NAME with REDIS_SENTINEL_USERNAME and REDIS_SENTINEL_PASSWORD
//   - TLS: REDIS_TLS ("true") or a REDIS_URL of rediss://; then REDIS_TLS_CA_FILE (certificates to trust in place of the system's),
//     REDIS_TLS_CERT_FILE and REDIS_TLS_KEY_FILE (the client's own) in PEM, and REDIS_TLS_SERVER_NAME
//   - REDIS_CLIENT_NAME, REDIS_HEALTH_CHECK_INTERVAL and REDIS_RETRY_BUDGET
//   - REDIS_MAX_CONNECTIONS and REDIS_SOCKET_TIMEOUT for the profile [API]
//   - WORKER_REDIS_MAX_CONNECTIONS, WORKER_REDIS_SOCKET_TIMEOUT and WORKER_REDIS_BLOCKING_TIMEOUT for the profile [Worker]
//
// The error names every variable that is wrong, its value unless that may hold a secret, and what is allowed.
func FromEnv(profile Profile) (Config, error) {
	env := environment{get: os.Getenv}
	cfg := Config{Profile: profile}
	env.address(&cfg)
	env.topology(&cfg)
	env.tls(&cfg)
	if cfg.ClientName = env.get("REDIS_CLIENT_NAME"); cfg.validateNames() != nil {
		env.wrong("REDIS_CLIENT_NAME", cfg.ClientName, "want printable ASCII without spaces")
	}
	p := &cfg.Profile
	env.seconds("REDIS_HEALTH_CHECK_INTERVAL", &p.HealthCheckInterval, leastHealthCheck, mostHealthCheck)
	env.seconds("REDIS_RETRY_BUDGET", &p.RetryBudget, leastRetryBudget, mostRetryBudget)
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

func (e *environment) wrong(name, value, want string) {
	e.errs = append(e.errs, fmt.Errorf("pool: %s is %q: %s", name, value, want))
}

func (e *environment) address(cfg *Config) {
	if cfg.URL = e.get("REDIS_URL"); cfg.URL != "" {
		if err := new(*cfg).applyURL(); err != nil {
			e.errs = append(e.errs, fmt.Errorf("pool: REDIS_URL %w", err))
		}
		return
	}
	if list := e.get("REDIS_ADDRS"); list != "" {
		for addr := range strings.SplitSeq(list, ",") {
			addr = strings.TrimSpace(addr)
			cfg.Addrs = append(cfg.Addrs, addr)
			if !isAddr(addr) {
				e.wrong("REDIS_ADDRS", harmless(addr), "want host:port,host:port")
			}
		}
	} else {
		host, port := e.get("REDIS_HOST"), 6379
		if harmless(host) != host {
			e.wrong("REDIS_HOST", harmless(host), "want a host name, or REDIS_URL")
		}
		e.number("REDIS_PORT", &port, 1, 65535)
		cfg.Addr = net.JoinHostPort(orDefault(host, "localhost"), strconv.Itoa(port))
	}
	cfg.Username, cfg.Password = e.get("REDIS_USERNAME"), e.get("REDIS_PASSWORD")
	e.number("REDIS_DB", &cfg.DB, 0, 1<<30)
}

func (e *environment) topology(cfg *Config) {
	e.yes("REDIS_CLUSTER", &cfg.Cluster)
	cfg.MasterName = e.get("REDIS_MASTER_NAME")
	cfg.SentinelUsername, cfg.SentinelPassword = e.get("REDIS_SENTINEL_USERNAME"), e.get("REDIS_SENTINEL_PASSWORD")
	switch {
	case cfg.Cluster && cfg.MasterName != "":
		e.wrong("REDIS_MASTER_NAME", cfg.MasterName, "want it without REDIS_CLUSTER, or REDIS_CLUSTER without it")
	case len(cfg.Addrs) > 1 && !cfg.Cluster && cfg.MasterName == "":
		e.wrong("REDIS_ADDRS", strings.Join(cfg.Addrs, ","), "want one address, or REDIS_CLUSTER=true or REDIS_MASTER_NAME to say what they are")
	}
	if cfg.MasterName == "" && (cfg.SentinelUsername != "" || cfg.SentinelPassword != "") {
		e.errs = append(e.errs, errors.New("pool: REDIS_SENTINEL_USERNAME or REDIS_SENTINEL_PASSWORD is set: want REDIS_MASTER_NAME as well"))
	}
	if cfg.Cluster && cfg.DB != 0 {
		e.wrong("REDIS_DB", strconv.Itoa(cfg.DB), "want 0 in a Cluster")
	}
}

func (e *environment) yes(name string, to *bool) {
	value := e.get(name)
	if value == "" {
		return
	}
	var err error
	if *to, err = strconv.ParseBool(value); err != nil {
		e.wrong(name, value, "want true or false")
	}
}

func (e *environment) number(name string, to *int, least, most int) {
	value := e.get(name)
	if value == "" {
		return
	}
	n, err := strconv.Atoi(value)
	if err != nil || n < least || n > most {
		e.wrong(name, value, fmt.Sprintf("want a number from %d to %d", least, most))
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
		e.wrong(name, value, fmt.Sprintf("want %v to %v, in seconds or as a Go duration", least, most))
		return
	}
	*to = d
}
