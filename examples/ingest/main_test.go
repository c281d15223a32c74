package main

import (
	"bytes"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/internal/testserver"
	"github.com/upbeat-go/upbeat/store"
	"github.com/upbeat-go/upbeat/store/sqlite"
)

func TestMain_StoresAndTells(t *testing.T) {
	t.Parallel()
	w := shared(t)
	w.sendBeats(2500)
	p := w.start()
	w.drained(p)
	require.Equal(t, http.StatusOK, p.healthz())
	s := p.stats()
	require.True(t, s.Consumer.Running)
	require.EqualValues(t, 2500, s.Consumer.MessageCount)
	require.EqualValues(t, 2500, s.Postgres.Recorded)
	require.Zero(t, w.complete())
	p.stop()
}

func TestMain_SQLite(t *testing.T) {
	t.Parallel()
	w := shared(t)
	path := filepath.Join(t.TempDir(), "health.db")
	w.sendBeats(250)
	p := w.start("-database", path)
	w.drained(p)
	require.Nil(t, p.stats().Postgres)
	p.stop()
	db, err := sqlite.Open(t.Context(), path, sqlite.Config{})
	require.NoError(t, err)
	defer db.Close()
	page, err := db.Messages(t.Context(), store.MessageQuery{Limit: 1000})
	require.NoError(t, err)
	require.Len(t, page.Messages, 250)
	services, err := db.Services(t.Context())
	require.NoError(t, err)
	require.Len(t, services, 20)
	require.Equal(t, "running", services[0].Status)
}

func TestMain_BadStart(t *testing.T) {
	t.Parallel()
	const nowhere = "postgres://user:s3cret@127.0.0.1:1/db"
	for name, args := range map[string][]string{
		"unknown flag":        {"-wrong"},
		"unexpected argument": {"now"},
		"no database":         {"-database", ""},
		"another database":    {"-database", "mysql://user:s3cret@host"},
		"no Postgres there":   {"-database", nowhere},
		"no folder":           {"-database", "/no/such/folder/health.db"},
		"not a URL":           {"-redis", "://"},
		"no Redis there":      {"-redis", "redis://:s3cret@127.0.0.1:1"},
		"no address":          {"-listen", "nowhere", "-database", "FILE"},
		"bad lease":           {"-lease", "1ms", "-database", "FILE"},
		"bad timeout":         {"-timeout", "0s", "-database", "FILE"},
		"dead what":           {"dead"},
		"dead show what":      {"dead", "-database", "FILE", "show"},
		"dead and no Redis":   {"dead", "-database", "FILE", "-redis", "redis://:s3cret@127.0.0.1:1", "replay", "x"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for i := range args {
				if args[i] == "FILE" {
					args[i] = filepath.Join(t.TempDir(), "health.db")
				}
			}
			w := newWorld(t, testserver.RedisURL(t), "")
			cmd := w.command(args...)
			var stdout, stderr bytes.Buffer
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			require.Error(t, cmd.Run())
			require.Equal(t, 2, cmd.ProcessState.ExitCode(), "%s", &stderr)
			require.Empty(t, stdout.String())
			lines := strings.Split(strings.TrimSuffix(stderr.String(), "\n"), "\n")
			require.Regexp(t, `\Aingest: .{10,400}\z`, lines[len(lines)-1], "one clear line")
			require.NotContains(t, stderr.String(), "s3cret")
		})
	}
}
