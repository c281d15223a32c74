package heartbeat_test

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/heartbeat"
)

func TestReadyz_BrokenCheckIsNamed(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		check func(context.Context) error
		want  string
	}{
		"error":    {func(context.Context) error { return errors.New("\x1b[31mno\nroute") }, "[-]db failed: ?[31mno\n"},
		"panic":    {func(context.Context) error { panic("boom") }, "[-]db failed: panic: boom\n"},
		"nilerror": {func(context.Context) error { return (*badError)(nil) }, "[-]db failed: panic: runtime error: invalid memory address or nil pointer dereference\n"},
		"goexit":   {func(context.Context) error { runtime.Goexit(); return nil }, "[-]db failed: the check ended its goroutine\n"},
		"hang":     {func(context.Context) error { <-time.After(time.Hour); return nil }, "[-]db failed: no answer within 1s\n"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				m, _ := newManager(t, heartbeat.ManagerConfig{})
				m.ReadyWhen("cache", func(context.Context) error { return nil })
				m.ReadyWhen("db", tt.check)
				stop := run(t, m)
				synctest.Wait()
				begun := time.Now()
				code, body := probe(t, m, "/readyz")
				require.LessOrEqual(t, time.Since(begun), time.Second)
				require.Equal(t, 503, code)
				require.Equal(t, "[+]running ok\n[+]cache ok\n"+tt.want+"readyz check failed\n", body)
				code, _ = probe(t, m, "/livez")
				require.Equal(t, 200, code, "what a service depends on is no reason to restart it")
				if name == "hang" {
					_, body = probe(t, m, "/readyz")
					require.Contains(t, body, "an earlier call has not returned")
					<-time.After(time.Hour)
				}
				require.NoError(t, stop())
			})
		})
	}
}

// An answer is no news for ever: when the probes have stopped asking, a status stops quoting the last one.
func TestReadyz_AnswerIsQuotedForAWhile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, rec := newManager(t, heartbeat.ManagerConfig{})
		m.ReadyWhen("db", func(context.Context) error { return errDown })
		stop := run(t, m)
		code, _ := probe(t, m, "/readyz")
		require.Equal(t, 503, code)
		<-time.After(4*time.Minute + 59*time.Second)
		require.Equal(t, map[string]any{"db": errDown.Error()}, newest(t, rec.Messages(statusChannel))["problems"])
		<-time.After(time.Minute)
		require.NotContains(t, newest(t, rec.Messages(statusChannel)), "problems")
		require.NoError(t, stop())
	})
}
