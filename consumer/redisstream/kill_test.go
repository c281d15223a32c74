package redisstream_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/consumer"
	"github.com/upbeat-go/upbeat/consumer/redisstream"
	"github.com/upbeat-go/upbeat/internal/testserver"
)

// The environment by which a test process is told to be the consumer that gets killed.
const (
	childURL    = "UPBEAT_TEST_CHILD_URL"
	childStream = "UPBEAT_TEST_CHILD_STREAM"
)

// TestChild is that process: it prints each payload that it has handled.
func TestChild(t *testing.T) {
	url := os.Getenv(childURL)
	if url == "" {
		t.Skip("not a child")
	}
	cfg := config(os.Getenv(childStream))
	cfg.Lease = time.Second
	src, err := redisstream.New(client(t, url), cfg)
	require.NoError(t, err)
	c, err := consumer.New(src, func(_ context.Context, m *message) error {
		<-time.After(time.Millisecond)
		fmt.Fprintf(os.Stdout, "handled %s\n", m.Value)
		return nil
	}, consumer.Config{Logger: quiet, MaxInFlight: 100})
	require.NoError(t, err)
	require.NoError(t, c.Run(t.Context()))
}

// child runs until it has handled so many messages, and is then killed.
func child(t *testing.T, stream string, lines int, seen *tally) {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestChild$", "-test.v")
	cmd.Env = append(os.Environ(), childURL+"="+testserver.RedisURL(t), childStream+"="+stream)
	out, err := cmd.StdoutPipe()
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
	for cycle := range 3 {
		child(t, stream, 150, &seen)
		publish(t, rdb, stream, 1001+100*cycle, 1100+100*cycle)
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
	seen.has(t, 1, 1300)
	drained(t, rdb, stream)
}
