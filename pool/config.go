package pool

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
)

// Config says which Redis to use, and how. The zero Config is localhost:6379 with the profile [API]. Printed, logged or encoded,
// it shows no secret.
type Config struct {
	// Addr is where the server is: "host:port", or the path of a Unix socket. Default: localhost:6379.
	Addr string

	// Addrs, in place of Addr, are some nodes of a Cluster or all Sentinels.
	Addrs []string

	// URL, in place of the above and of Username, Password and DB, is redis://user:password@host:port/db; rediss:// for TLS;
	// unix://user:password@/path/of/socket?db=0.
	URL string

	// Username and Password authenticate every connection. A password alone is that of the user "default".
	Username string
	Password string

	// DB is the number of the database. A Cluster has only 0.
	DB int

	// TLS turns TLS on. ServerName, if empty, is the host of the address that is dialled.
	TLS *tls.Config

	// MasterName asks Sentinels for the master of that name.
	MasterName string

	// SentinelUsername and SentinelPassword authenticate at the Sentinels, which don't share the master's credentials.
	SentinelUsername string
	SentinelPassword string

	// Cluster says that the server is a Redis Cluster.
	Cluster bool

	// ClientName is how CLIENT LIST on the server shows these connections: printable characters without spaces.
	ClientName string

	// Profile sets sizes and timeouts.
	Profile Profile

	// Breaker says when Standard stops asking a node that doesn't answer. The zero value has good defaults.
	Breaker Breaker

	// Logger is where Open says what it found. Default: slog.Default().
	Logger *slog.Logger

	limits limits

	life    context.Context // ends with the Clients, and all connections with it
	dials   *dialGate       // shared by all clients
	sockets *sockets        // takes note of connections; nil: nobody does
}

// String shows where the Config leads to, and no secret.
func (c Config) String() string {
	where := slices.Clone(c.Addrs)
	if c.Addr != "" {
		where = append(where, c.Addr)
	}
	if c.URL != "" {
		where = append(where, "URL")
	}
	for i, addr := range where {
		where[i] = harmless(addr)
	}
	return fmt.Sprintf("redis %s db %d", strings.Join(where, ","), c.DB)
}

// GoString is String, for %#v.
func (c Config) GoString() string { return c.String() }

// LogValue is String, for slog.
func (c Config) LogValue() slog.Value { return slog.StringValue(c.String()) }

// MarshalJSON is String, for whoever dumps a configuration.
func (c Config) MarshalJSON() ([]byte, error) { return json.Marshal(c.String()) }

// harmless is the address as it may be shown: somebody may have put a URL with a password there.
func harmless(addr string) string {
	if strings.ContainsAny(addr, "@?") || strings.Contains(addr, "://") {
		return "(hidden: it looks like a URL)"
	}
	return addr
}

// resolved returns the Config with all defaults, the URL taken apart and Addrs filled, or everything that is wrong with it.
func (c Config) resolved() (Config, error) {
	errs := []error{c.oneAddress()}
	if c.URL != "" {
		if c.Username != "" || c.Password != "" || c.DB != 0 {
			errs = append(errs, errors.New("pool: Config.URL is set beside Username, Password or DB: want them in the URL"))
		}
		if err := c.applyURL(); err != nil {
			errs = append(errs, fmt.Errorf("pool: Config.URL %w", err))
		}
	} else {
		errs = append(errs, c.applyAddr())
	}
	c.Profile, c.Breaker = c.Profile.withDefaults(), c.Breaker.withDefaults()
	errs = append(errs, c.Profile.validate(), c.Breaker.validate(), c.validateTopology(), c.validateNames())
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	c.limits = c.limits.withDefaults()
	c.dials = newDialGate(concurrentDials)
	return c, errors.Join(errs...)
}

func (c Config) oneAddress() error {
	if (c.Addr != "" && len(c.Addrs) > 0) || (c.URL != "" && (c.Addr != "" || len(c.Addrs) > 0)) {
		return errors.New("pool: more than one of Config.Addr, Config.Addrs and Config.URL is set: want one")
	}
	return nil
}

func (c *Config) applyAddr() error {
	field := "Addrs"
	if len(c.Addrs) == 0 {
		field = "Addr"
		c.Addrs = []string{orDefault(c.Addr, "localhost:6379")}
	}
	var errs []error
	for _, addr := range c.Addrs {
		if !strings.HasPrefix(addr, "/") && !isAddr(addr) {
			errs = append(errs, fmt.Errorf("pool: Config.%s has %q: want host:port or the path of a Unix socket", field, harmless(addr)))
		}
	}
	return errors.Join(errs...)
}

func isAddr(addr string) bool {
	_, port, err := net.SplitHostPort(addr)
	return err == nil && port != "" && harmless(addr) == addr
}

func (c Config) validateTopology() error {
	var errs []error
	if c.MasterName != "" && c.Cluster {
		errs = append(errs, fmt.Errorf("pool: Config.MasterName is %q beside Config.Cluster: want one of them", c.MasterName))
	}
	if c.MasterName == "" && (c.SentinelUsername != "" || c.SentinelPassword != "") {
		errs = append(errs, errors.New("pool: Config.SentinelUsername or SentinelPassword is set: want Config.MasterName as well"))
	}
	if len(c.Addrs) > 1 && c.MasterName == "" && !c.Cluster {
		errs = append(errs, fmt.Errorf("pool: Config.Addrs has %d addresses: want Config.Cluster or Config.MasterName to say what they are, or one address", len(c.Addrs)))
	}
	if c.DB < 0 || (c.Cluster && c.DB != 0) {
		errs = append(errs, fmt.Errorf("pool: Config.DB is %d: want 0 or more, and 0 in a Cluster", c.DB))
	}
	return errors.Join(errs...)
}

func (c Config) validateNames() error {
	if strings.ContainsFunc(c.ClientName, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return fmt.Errorf("pool: Config.ClientName is %q: want printable ASCII without spaces", c.ClientName)
	}
	return nil
}
