package storetest

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/store"
)

// fixture is a test with its store.
type fixture struct {
	*testing.T
	Store
}

// beat is a message like that of a heartbeat, so many seconds before now.
func beat(service, instance string, count int64, ago time.Duration) store.Message {
	return store.Message{
		ID:       fmt.Sprintf("%s/%s/%d", service, instance, count),
		At:       time.Now().Add(-ago).UTC().Truncate(time.Microsecond),
		Channel:  "health:service:" + service + ":heartbeat",
		Service:  service,
		Instance: instance,
		Count:    count,
		Status:   "running",
		Payload:  json.RawMessage(fmt.Sprintf(`{"service_name":%q, "heartbeat_count":%d}`, service, count)),
	}
}

// beats are n messages of 7 instances of 3 services, a second apart.
func beats(n int) []store.Message {
	msgs := make([]store.Message, n)
	for i := range msgs {
		msgs[i] = beat(fmt.Sprint("service-", i%3), fmt.Sprint("instance-", i%7), int64(i), time.Duration(n-i)*time.Second)
	}
	return msgs
}

func shuffled(msgs []store.Message) []store.Message {
	msgs = slices.Clone(msgs)
	rand.Shuffle(len(msgs), func(i, j int) { msgs[i], msgs[j] = msgs[j], msgs[i] })
	return msgs
}

func (t fixture) record(msgs ...store.Message) int {
	t.Helper()
	n, err := t.Record(t.Context(), msgs)
	require.NoError(t, err)
	return n
}

func (t fixture) services() []store.ServiceStatus {
	t.Helper()
	all, err := t.Services(t.Context())
	require.NoError(t, err)
	return all
}

// pages reads the log to its end and calls between after each page.
func (t fixture) pages(q store.MessageQuery, between func()) []store.Message {
	t.Helper()
	var all []store.Message
	for {
		page, err := t.Messages(t.Context(), q)
		require.NoError(t, err)
		for _, e := range page.Messages {
			require.WithinDuration(t, time.Now(), e.ReceivedAt, time.Hour)
			all = append(all, e.Message)
		}
		if page.Next == nil {
			return all
		}
		require.Len(t, page.Messages, q.Limit, "a page that isn't the last one is full")
		q.After = page.Next
		between()
	}
}

// log is all that is stored, newest first.
func (t fixture) log() []store.Message {
	t.Helper()
	return t.pages(store.MessageQuery{Limit: 5000}, func() {})
}

// newestFirst is msgs in the order of the log.
func newestFirst(msgs []store.Message) []store.Message {
	msgs = slices.Clone(msgs)
	slices.SortFunc(msgs, func(a, b store.Message) int {
		if c := b.At.Compare(a.At); c != 0 {
			return c
		}
		return strings.Compare(b.ID, a.ID)
	})
	return msgs
}
