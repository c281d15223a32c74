package examples_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/consumer"
	"github.com/upbeat-go/upbeat/store"
)

// The packages don't know one another: what they agree on by duck typing is tested where they meet.

func TestContracts_StoreTroubleIsTransientToAConsumer(t *testing.T) {
	t.Parallel()
	err := fmt.Errorf("record 7 messages: %w", store.MarkTransient(errors.New("no connection became free")))
	require.True(t, consumer.IsTransient(err), "an outage of the store would turn messages into dead letters")

	refused := &store.RefusedError{Messages: []*store.MessageError{{Index: 3, Reason: "ID is empty"}}}
	require.False(t, consumer.IsTransient(refused), "a bad message would be tried for ever")
}

func TestContracts_RefusedMessageTellsItsPlaceInTheBatch(t *testing.T) {
	t.Parallel()
	refused := &store.RefusedError{Messages: []*store.MessageError{{Index: 3, Reason: "ID is empty"}}}
	named, ok := errors.AsType[interface {
		error
		FailedIndex() int
	}](fmt.Errorf("record: %w", refused))
	require.True(t, ok)
	require.Equal(t, 3, named.FailedIndex())
}
