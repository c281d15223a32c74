package redisstream

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Config says what to read. Streams and Group are required.
type Config struct {
	// Streams are read side by side, each over a connection of its own.
	Streams []string
	// Group is the consumer group. Each group gets every entry, once.
	Group string
	// Exclusive lets one consumer of the group at a time read each stream, so that order holds across processes, not only within one:
	// with Streams from [Partitions], a [Producer] with as many, and consumer.Config.Key. The consumers share the streams evenly; when one joins or
	// leaves, some move, after what was read of them is settled. One that dies is replaced after a Lease. All consumers of a group
	// have to name the same Streams, and all or none be exclusive.
	Exclusive bool
	// Consumer is the name within the group: no two processes may use the same one at a time. A name that a process keeps over a restart gives
	// it back at once what it held. Empty means <host>-<pid>-<random>.
	Consumer string
	// Field is the entry's field that is the payload. Empty means "payload".
	Field string

	// Start is where the group begins if it doesn't exist: "0" for the oldest entry, "$" for those to come, or after an entry id.
	// Empty means "0".
	Start string
	// Batch is how many entries one read fetches at most. 0 means 1,000.
	Batch int
	// Block is how long one read waits for entries. 0 means 5 s.
	Block time.Duration
	// Lease is after how long without a sign of its consumer an entry goes to another one, and the longest pause before a
	// failed message is tried again. All consumers of a group should have the same. 0 means 1 min.
	Lease time.Duration

	// Logger is where a group that was gone is reported. nil means slog.Default().
	Logger *slog.Logger
}

func (c Config) withDefaults() (Config, error) {
	c.Streams = slices.Clone(c.Streams)
	c.Field = cmp.Or(c.Field, "payload")
	c.Start = cmp.Or(c.Start, "0")
	c.Batch = cmp.Or(c.Batch, 1000)
	c.Block = cmp.Or(c.Block, 5*time.Second)
	c.Lease = cmp.Or(c.Lease, time.Minute)
	if c.Consumer == "" {
		host, _ := os.Hostname()
		c.Consumer = fmt.Sprintf("%s-%d-%s", cmp.Or(host, "unknown"), os.Getpid(), strings.ToLower(rand.Text()[:8]))
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c, c.check()
}

func (c Config) check() error {
	var errs []error
	wrong := func(field string, value any, want string) {
		errs = append(errs, fmt.Errorf("redisstream: Config.%s is %v: want %s", field, value, want))
	}
	if len(c.Streams) == 0 {
		wrong("Streams", "empty", "at least one stream")
	}
	for i, s := range c.Streams {
		if !isName(s) || slices.Contains(c.Streams[:i], s) {
			wrong("Streams", fmt.Sprintf("%q", c.Streams), "names of 1 to 256 printable bytes of UTF-8, each once")
			break
		}
	}
	if !isName(c.Group) {
		wrong("Group", fmt.Sprintf("%q", c.Group), "1 to 256 printable bytes of UTF-8")
	}
	if !isName(c.Consumer) {
		wrong("Consumer", fmt.Sprintf("%q", c.Consumer), "1 to 256 printable bytes of UTF-8, or nothing for a name of its own")
	}
	if _, isID := parseID(c.Start); !isID && c.Start != "$" {
		wrong("Start", fmt.Sprintf("%q", c.Start), `"0", "$" or an entry id`)
	}
	if c.Batch < 1 || c.Batch > 100_000 {
		wrong("Batch", c.Batch, "1 to 100000, or 0 for 1000")
	}
	if c.Block < time.Millisecond || c.Block > time.Hour {
		wrong("Block", c.Block, "1ms to 1h, or 0 for 5s")
	}
	if c.Lease < time.Second || c.Lease > 24*time.Hour {
		wrong("Lease", c.Lease, "1s to 24h, or 0 for 1m")
	}
	return errors.Join(errs...)
}

// isName says whether Redis, logs and whoever stores the ID of a message, which begins with the name of its stream, can all show s.
func isName(s string) bool {
	unprintable := func(r rune) bool { return !unicode.IsPrint(r) }
	return s != "" && len(s) <= 256 && utf8.ValidString(s) && !strings.ContainsFunc(s, unprintable)
}
