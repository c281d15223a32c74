package storetest

import (
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/store"
)

func messagesPages(t fixture) {
	msgs := beats(100)
	for i := range msgs {
		msgs[i].At = msgs[i].At.Truncate(10 * time.Second) // pages end amid messages of the same time
	}
	t.record(msgs...)
	for _, limit := range []int{1, 7, 50, 99, 100, 101} {
		require.Equal(t, newestFirst(msgs), t.pages(store.MessageQuery{Limit: limit}, func() {}), "limit %d", limit)
	}
	page, err := t.Messages(t.Context(), store.MessageQuery{})
	require.NoError(t, err)
	require.Len(t, page.Messages, 100)
	require.Nil(t, page.Next)
}

// messagesStable writes between the pages: newer messages don't shift them.
func messagesStable(t fixture) {
	msgs := beats(50)
	t.record(msgs...)
	count := int64(1000)
	got := t.pages(store.MessageQuery{Limit: 10}, func() {
		count++
		t.record(beat("newer", "a", count, 0))
	})
	require.Equal(t, newestFirst(msgs), got)
}

func messagesChoose(t fixture) {
	msgs := newestFirst(beats(210))
	t.record(msgs...)
	from, to := msgs[150].At, msgs[20].At
	for name, c := range map[string]struct {
		query store.MessageQuery
		want  func(m store.Message) bool
	}{
		"service":  {store.MessageQuery{Service: "service-1"}, func(m store.Message) bool { return m.Service == "service-1" }},
		"instance": {store.MessageQuery{Instance: "instance-3"}, func(m store.Message) bool { return m.Instance == "instance-3" }},
		"both": {
			store.MessageQuery{Service: "service-1", Instance: "instance-3"},
			func(m store.Message) bool { return m.Service == "service-1" && m.Instance == "instance-3" },
		},
		"from": {store.MessageQuery{From: from}, func(m store.Message) bool { return !m.At.Before(from) }},
		"to":   {store.MessageQuery{To: to}, func(m store.Message) bool { return m.At.Before(to) }},
		"range of a service": {
			store.MessageQuery{Service: "service-2", From: from, To: to},
			func(m store.Message) bool {
				return m.Service == "service-2" && !m.At.Before(from) && m.At.Before(to)
			},
		},
		"unknown": {store.MessageQuery{Service: "nobody"}, func(store.Message) bool { return false }},
	} {
		var want []store.Message
		for _, m := range msgs {
			if c.want(m) {
				want = append(want, m)
			}
		}
		c.query.Limit = 9
		require.Equal(t, want, t.pages(c.query, func() {}), name)
	}
}

func messagesBadQuery(t fixture) {
	for field, q := range map[string]store.MessageQuery{
		"Limit":    {Limit: -1},
		"Service":  {Service: "\x00"},
		"Instance": {Instance: "\xff"},
		"After.ID": {After: &store.Cursor{ID: "\xff"}},
	} {
		_, err := t.Messages(t.Context(), q)
		require.ErrorContains(t, err, "MessageQuery."+field)
		require.False(t, store.IsTransient(err))
	}
	_, err := t.Messages(t.Context(), store.MessageQuery{Limit: 1 << 20, Service: "\xff"})
	require.ErrorContains(t, err, "Limit")
	require.ErrorContains(t, err, "Service")
}
