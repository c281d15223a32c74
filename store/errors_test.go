package store_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/store"
)

func TestIsTransient_OnlyOfMarked(t *testing.T) {
	t.Parallel()
	marked := store.MarkTransient(fmt.Errorf("postgres: record: %w", io.ErrUnexpectedEOF))
	for name, c := range map[string]struct {
		err  error
		want bool
	}{
		"nil":        {nil, false},
		"marked nil": {store.MarkTransient(nil), false},
		"plain":      {io.ErrUnexpectedEOF, false},
		"cancelled":  {context.Canceled, false},
		"refused":    {&store.RefusedError{Messages: []*store.MessageError{{}}}, false},
		"marked":     {marked, true},
		"wrapped":    {fmt.Errorf("handler: %w", marked), true},
		"joined":     {errors.Join(io.EOF, marked), true},
	} {
		require.Equal(t, c.want, store.IsTransient(c.err), name)
	}
	require.ErrorIs(t, marked, io.ErrUnexpectedEOF)
	require.EqualError(t, marked, "postgres: record: unexpected EOF")
}

func TestRefusedError_NamesMessages(t *testing.T) {
	t.Parallel()
	at := time.Date(2025, 1, 16, 8, 30, 0, 0, time.UTC)
	first := &store.MessageError{Index: 3, ID: "a\x1b[31m", At: at, Reason: "Payload is not JSON"}
	second := &store.MessageError{Index: 5, ID: strings.Repeat("x", 1<<20), At: at, Reason: "ID is long"}
	var err error = &store.RefusedError{Messages: []*store.MessageError{first}}
	require.EqualError(t, err, `store: refused message 3 (id "a\x1b[31m", at 2025-01-16T08:30:00Z): Payload is not JSON`)
	err = &store.RefusedError{Messages: []*store.MessageError{first, second}}
	require.EqualError(t, err, `store: refused 2 messages, the first: message 3 (id "a\x1b[31m", at 2025-01-16T08:30:00Z): Payload is not JSON`)
	require.ErrorIs(t, err, second)
	require.Less(t, len(second.Error()), 300)

	indexed, ok := errors.AsType[interface {
		error
		FailedIndex() int
	}](fmt.Errorf("handler: %w", err))
	require.True(t, ok)
	require.Equal(t, 3, indexed.FailedIndex())
}

func ExampleIsTransient() {
	record := func(context.Context, []store.Message) (int, error) {
		return 0, store.MarkTransient(errors.New("postgres: record: connection refused"))
	}
	if _, err := record(context.Background(), nil); store.IsTransient(err) {
		fmt.Println("keep the batch and record it again later:", err)
	}
	// Output: keep the batch and record it again later: postgres: record: connection refused
}
