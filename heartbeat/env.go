package heartbeat

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// ConfigFromEnv returns a Config with the Interval of HEARTBEAT_INTERVAL: seconds such as 60, or a Go duration such
// as 1m30s. Unset or empty means the default. An error names the variable, its value, and what is allowed.
func ConfigFromEnv() (Config, error) {
	text := os.Getenv("HEARTBEAT_INTERVAL")
	if text == "" {
		return Config{}, nil
	}
	interval, err := parseInterval(text)
	if err != nil || interval < minInterval || interval > maxInterval {
		return Config{}, fmt.Errorf("heartbeat: HEARTBEAT_INTERVAL is %q: want seconds or a Go duration, %v to %v", text, minInterval, maxInterval)
	}
	return Config{Interval: interval}, nil
}

// ManagerConfigFromEnv returns a ManagerConfig with the settings of [ConfigFromEnv] and [SystemdFromEnv], or all that
// is wrong with them.
func ManagerConfigFromEnv() (ManagerConfig, error) {
	cfg, err := ConfigFromEnv()
	systemd, err2 := SystemdFromEnv()
	return ManagerConfig{Config: cfg, Systemd: systemd}, errors.Join(err, err2)
}

// RedisOptionsFromEnv returns options for the Redis that beats go to, by HEALTH_REDIS_HOST (default localhost),
// HEALTH_REDIS_PORT (default 6379) and HEALTH_REDIS_PASSWORD (default none). All that is wrong is reported at once,
// with variable, value and what is allowed; the password is never part of an error.
func RedisOptionsFromEnv() (*redis.Options, error) {
	host := orDefault(os.Getenv("HEALTH_REDIS_HOST"), "localhost")
	port := orDefault(os.Getenv("HEALTH_REDIS_PORT"), "6379")
	var p problems
	if !validHost(host) {
		p.addf("HEALTH_REDIS_HOST is %q: want a host name or an IP address, without port", host)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		p.addf("HEALTH_REDIS_PORT is %q: want 1 to 65535", port)
	}
	if len(p) > 0 {
		return nil, errors.Join(p...)
	}
	return &redis.Options{Addr: net.JoinHostPort(host, port), Password: os.Getenv("HEALTH_REDIS_PASSWORD")}, nil
}

// parseInterval reads seconds or a Go duration.
func parseInterval(text string) (time.Duration, error) {
	seconds, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return time.ParseDuration(text)
	}
	// Beyond the limits by far, or not a number: then the conversion below means nothing.
	if !(seconds >= 0 && seconds <= 2*maxInterval.Seconds()) {
		return 0, strconv.ErrRange
	}
	return time.Duration(seconds * float64(time.Second)), nil
}

func validHost(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	return printable(host, 255) == nil && !strings.ContainsAny(host, ":/@[] ")
}
