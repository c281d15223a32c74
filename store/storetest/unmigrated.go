package storetest

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/store"
)

// A service that starts before its tables are made has met an outage: nothing that it was given is to blame.

// outageUntilMigrated calls each before Migrate and after it.
func outageUntilMigrated(t *testing.T, migrate func(context.Context) error, calls map[string]func() error) {
	t.Helper()
	for name, call := range calls {
		err := call()
		require.ErrorIs(t, err, store.ErrNotMigrated, name)
		require.ErrorContains(t, err, "call Migrate", name)
		require.True(t, store.IsTransient(err), "%s: %v", name, err)
	}
	require.NoError(t, migrate(t.Context()))
	for name, call := range calls {
		require.NoError(t, call(), name)
	}
}

func recordUnmigrated(t fixture) {
	ctx, few, many := t.Context(), beats(3), beats(1000)
	outageUntilMigrated(t.T, t.Migrate, map[string]func() error{
		"Record of few":  func() error { _, err := t.Record(ctx, few); return err },
		"Record of many": func() error { _, err := t.Record(ctx, many); return err },
		"Messages":       func() error { _, err := t.Messages(ctx, store.MessageQuery{}); return err },
		"Services":       func() error { _, err := t.Services(ctx); return err },
		"Maintain":       func() error { return t.Maintain(ctx) },
	})
	require.Len(t, t.log(), len(few)+len(many))
}

func healthUnmigrated(t healthFixture) {
	ctx := t.Context()
	outageUntilMigrated(t.T, t.Migrate, map[string]func() error{
		"RaiseAlert": func() error { _, err := t.health.RaiseAlert(ctx, store.Alert{Service: "s", Name: "disk"}); return err },
		"Alerts":     func() error { _, err := t.health.Alerts(ctx, store.AlertQuery{}); return err },
		"Timeline":   func() error { _, err := t.health.Timeline(ctx, store.TimelineQuery{Service: "s"}); return err },
		"Dashboard":  func() error { _, err := t.health.Dashboard(ctx, store.DashboardQuery{}); return err },
		"RecordUptime": func() error {
			_, err := t.health.RecordUptime(ctx, []store.UptimeChange{{Service: "s", Instance: "i", State: store.StateUp, At: time.Now()}})
			return err
		},
	})
}

func requestsUnmigrated(t requests) {
	ctx := t.Context()
	outageUntilMigrated(t.T, t.Migrate, map[string]func() error{
		"Accept":   func() error { _, err := t.Accept(ctx, "a", jobs("x", 2)); return err },
		"Hold":     func() error { _, err := t.Hold(ctx, "orders", "a", time.Hour); return err },
		"Request":  func() error { _, _, err := t.Request(ctx, "orders", "x"); return err },
		"Requests": func() error { _, err := t.Requests(ctx, store.RequestQuery{}); return err },
		"Transition": func() error {
			done := job("y")
			done.Status = store.RequestCompleted
			_, err := t.Transition(ctx, "a", []store.Request{done})
			return err
		},
		"RecordQueue": func() error {
			return t.RecordQueue(ctx, []store.QueueSample{{Queue: "orders", Worker: "w", At: time.Now()}})
		},
	})
}
