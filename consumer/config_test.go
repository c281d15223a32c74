package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/consumer"
	"github.com/upbeat-go/upbeat/consumer/consumertest"
)

func ignore(context.Context, *consumer.Message[string]) error { return nil }

func TestNew_TellsAllThatIsWrong(t *testing.T) {
	t.Parallel()
	_, err := consumer.New(consumertest.NewSource(), ignore, consumer.Config{
		Concurrency: -1, MaxInFlight: -2, MinBackoff: time.Microsecond, MaxBackoff: 48 * time.Hour, BatchSize: 5,
	})
	require.ErrorContains(t, err, "Config.BatchSize is 5: want 0 with New")
	require.ErrorContains(t, err, "consumer: Config.Concurrency is -1: want 1 to 100000, or 0 for 8")
	require.ErrorContains(t, err, "Config.MaxInFlight is -2: want 1 to")
	require.ErrorContains(t, err, "Config.MinBackoff is 1µs: want 1ms to 1h0m0s, or 0 for 1s")
	require.ErrorContains(t, err, "Config.MaxBackoff is 48h0m0s: want 1µs to 24h0m0s, or 0 for 30s")
}

func TestNew_RefusesWhatCanNotWork(t *testing.T) {
	t.Parallel()
	_, err := consumer.New(consumertest.NewSource(), ignore, consumer.Config{BatchSize: 5})
	require.ErrorContains(t, err, "Config.BatchSize is 5")
	_, err = consumer.New[string](nil, ignore, consumer.Config{})
	require.ErrorContains(t, err, "source is nil")
	var unset *consumertest.Source
	_, err = consumer.New(unset, ignore, consumer.Config{})
	require.ErrorContains(t, err, "source is nil")
	_, err = consumer.New[string](consumertest.NewSource(), nil, consumer.Config{})
	require.ErrorContains(t, err, "handler is nil")
	_, err = consumer.NewBatch[string](consumertest.NewSource(), nil, consumer.Config{})
	require.ErrorContains(t, err, "handler is nil")
}

// forgetful keeps no dead letters.
type forgetful struct{ consumer.Source }

func TestNew_WantsAPlaceForDeadLetters(t *testing.T) {
	t.Parallel()
	src := forgetful{consumertest.NewSource()}
	_, err := consumer.New(src, ignore, consumer.Config{})
	require.ErrorContains(t, err, "Config.DeadLetter is nil")
	_, err = consumer.New(src, ignore, consumer.Config{DeadLetter: func(context.Context, []consumer.DeadLetter) error { return nil }})
	require.NoError(t, err)
}

type selfMade bool

func (s selfMade) Error() string     { return "self-made" }
func (s selfMade) IsTransient() bool { return bool(s) }

func TestIsTransient_TellsConnectionsFromMessages(t *testing.T) {
	t.Parallel()
	_, missing := os.Open(t.TempDir() + "/none")
	tests := map[string]struct {
		err  error
		want bool
	}{
		"refused":           {&net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}, true},
		"no such host":      {&net.DNSError{Err: "no such host", IsNotFound: true}, true},
		"reset":             {fmt.Errorf("read: %w", syscall.ECONNRESET), true},
		"deadline":          {fmt.Errorf("query: %w", context.DeadlineExceeded), true},
		"i/o timeout":       {os.ErrDeadlineExceeded, true},
		"closed by peer":    {io.EOF, true},
		"cut short":         {io.ErrUnexpectedEOF, true},
		"closed":            {net.ErrClosed, true},
		"joined":            {errors.Join(errMessage, io.EOF), true},
		"says so":           {fmt.Errorf("x: %w", selfMade(true)), true},
		"says no":           {selfMade(false), false},
		"message":           {errMessage, false},
		"missing file":      {missing, false},
		"missing file, too": {&fs.PathError{Op: "open", Err: syscall.ENOENT}, false},
		"cancelled":         {context.Canceled, false},
		"panic":             {&consumer.PanicError{Value: "x"}, false},
		"nil":               {nil, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, tt.want, consumer.IsTransient(tt.err))
		})
	}
}

func TestPermanent_KeepsTheError(t *testing.T) {
	t.Parallel()
	require.NoError(t, consumer.Permanent(nil))
	require.ErrorIs(t, consumer.Permanent(errMessage), errMessage)
	require.Equal(t, errMessage.Error(), consumer.Permanent(errMessage).Error())
}

func TestKind_HasAName(t *testing.T) {
	t.Parallel()
	names := fmt.Sprint(consumer.Ack, consumer.Retry, consumer.Release, consumer.Dead, consumer.Kind(99))
	require.Equal(t, "ack retry release dead unknown", names)
}
