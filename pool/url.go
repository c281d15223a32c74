package pool

import (
	"crypto/tls"
	"errors"
	"net"
	"net/url"
	"strconv"
	"strings"
)

// What url.Parse complains about may be a piece of the password, so its words are not passed on.
var (
	errURL      = errors.New("can't be read: want redis://user:password@host:port/db, with special characters of the password as %XX")
	errURLKind  = errors.New("has an unknown scheme: want redis://, rediss:// or unix://")
	errURLQuery = errors.New("has parameters: want none but db (sizes and timeouts belong into Config.Profile)")
	errURLDB    = errors.New("has no number for a database: want /0 after the host, or ?db=0")
)

// applyURL takes URL apart.
func (c *Config) applyURL() error {
	u, err := url.Parse(c.URL)
	if err != nil || u.Opaque != "" || u.Fragment != "" {
		return errURL
	}
	c.Username = u.User.Username()
	c.Password, _ = u.User.Password()
	database := strings.Trim(u.Path, "/")
	switch u.Scheme {
	case "redis", "rediss":
		c.Addrs = []string{net.JoinHostPort(orDefault(u.Hostname(), "localhost"), orDefault(u.Port(), "6379"))}
		if u.Scheme == "rediss" && c.TLS == nil {
			c.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
		}
	case "unix":
		if database == "" {
			return errURL
		}
		c.Addrs, database = []string{u.Path}, ""
	default:
		return errURLKind
	}
	query := u.Query()
	if db := query.Get("db"); db != "" {
		database = db
	}
	delete(query, "db")
	if len(query) > 0 {
		return errURLQuery
	}
	if database != "" {
		if c.DB, err = strconv.Atoi(database); err != nil {
			return errURLDB
		}
	}
	return nil
}
