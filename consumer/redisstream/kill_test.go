package redisstream_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/consumer"
	"github.com/upbeat-go/upbeat/consumer/redisstream"
	"github.com/upbeat-go/upbeat/internal/testserver"
)

// The environment by which a test process is told to be the consumer that gets killed.
const (
	childURL    = "UPBEAT_TEST_CHILD_URL"
	childStream = "UPBEAT_TEST_CHILD_STREAM"
	childParts  = "UPBEAT_TEST_CHILD_PARTITIONS" // of exclusive ones; empty for a plain stream
)

// TestMain is that process when the environment says so: it prints each payload that it has handled.
func TestMain(m *testing.M) {
	if url := os.Getenv(childURL); url != "" {
		go func() { // its parent holds the other end for as long as it lives
			_, _ = io.Copy(io.Discard, os.Stdin)
			os.Exit(1) //nolint:forbidigo // this process is nobody's test
		}()
		if parts, err := strconv.Atoi(os.Getenv(childParts)); err == nil {
			fmt.Fprintln(os.Stderr, logForEver(url, os.Getenv(childStream), parts))
		} else {
			fmt.Fprintln(os.Stderr, handleForEver(url, os.Getenv(childStream)))
		}
		return
	}
	m.Run()
}

func handleForEver(url, stream string) error {
	opts, err := redis.ParseURL(url)
	if err != nil {
		return err
	}
	cfg := config(stream)
	cfg.Lease = time.Second
	src, err := redisstream.New(redis.NewClient(opts), cfg)
	if err != nil {
		return err
	}
	c, err := consumer.New(src, func(_ context.Context, m *message) error {
		<-time.After(time.Millisecond)
		_, err := fmt.Fprintf(os.Stdout, "handled %s\n", m.Value)
		return err
	}, consumer.Config{Logger: quiet, MaxInFlight: 100})
	if err != nil {
		return err
	}
	return c.Run(context.Background())
}

// child runs until it has handled so many messages, and is then killed.
func child(t *testing.T, stream string, lines int, seen *tally) {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), childURL+"="+testserver.RedisURL(t), childStream+"="+stream)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	_, err = cmd.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	handled := 0
	for scanner := bufio.NewScanner(out); scanner.Scan(); {
		var payload string
		if n, _ := fmt.Sscanf(scanner.Text(), "handled %s", &payload); n != 1 {
			continue
		}
		seen.add(&message{Value: []byte(payload)})
		if handled++; handled == lines {
			require.NoError(t, cmd.Process.Kill())
		}
	}
	require.Error(t, cmd.Wait())
	require.GreaterOrEqual(t, handled, lines)
}

func TestSource_LosesNothingToKilledConsumers(t *testing.T) {
	t.Parallel()
	rdb, stream := shared(t)
	var seen tally
	publish(t, rdb, stream, 1, 1000)
	const lines = 150 // as many are handled and published in each cycle, so that none runs out of them
	cycles := testserver.Times(3, 100)
	for cycle := range cycles {
		child(t, stream, lines, &seen)
		publish(t, rdb, stream, 1001+lines*cycle, 1000+lines*(cycle+1))
	}
	require.NotZero(t, pending(t, rdb, stream), "the test is void if they left nothing behind")
	cfg := config(stream)
	cfg.Lease = time.Second
	start(t, rdb, cfg, consumer.Config{}, func(_ context.Context, m *message) error {
		if m.Attempt != 1 {
			t.Errorf("attempt %d: a crash is no failure of the message", m.Attempt)
		}
		seen.add(m)
		return nil
	})
	seen.has(t, 1, 1000+lines*cycles)
	drained(t, rdb, stream)
}
