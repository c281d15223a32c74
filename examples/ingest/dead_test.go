package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/store"
	"github.com/upbeat-go/upbeat/store/sqlite"
)

// dead runs the sub-command, which has to go well.
func (w *world) dead(args ...string) string {
	w.t.Helper()
	cmd := w.command(append([]string{"dead"}, args...)...)
	var stderr log
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(w.t, err, "%s", &stderr)
	return string(out)
}

// add adds one entry as it is and returns the ID of its message.
func (w *world) add(values ...any) string {
	w.t.Helper()
	return w.addAs("*", values...)
}

func (w *world) addAs(id string, values ...any) string {
	w.t.Helper()
	id, err := w.rdb.XAdd(w.t.Context(), &redis.XAddArgs{Stream: w.stream, ID: id, Values: values}).Result()
	require.NoError(w.t, err)
	return w.stream + "/" + id
}

// A letter is for people: it has what they need to know, and the message itself, whatever that is.
func TestDead_ListAndShow(t *testing.T) {
	t.Parallel()
	w := shared(t)
	binary := "\xff\x00\x1b[31m"
	old := w.addAs("1-1", "payload", beat(1)) // of 1970
	ids := map[string]string{
		"no JSON":  w.add("payload", "hello <world>", "channel", "health:x", "key", "k", "id", "sender's own"),
		"binary":   w.add("payload", binary),
		"nameless": w.add("payload", `{"instance_id":"1"}`),
		"ours":     w.add("payload", `{"service_name":"ingest:dead"}`),
		"NUL":      w.add("payload", `{"service_name":"a\u0000b"}`),
		"empty":    w.add("payload", ""),
		"nothing":  w.add("other", "field"),
	}
	p := w.start()
	w.drained(p)
	p.stop()
	require.Equal(t, len(ids)+1, w.complete())

	list := w.dead("list")
	require.Equal(t, len(ids)+2, strings.Count(list, "\n"), "a line for each letter, and one above: %s", list)
	require.NotContains(t, list, "\x1b", "what a sender wrote would steer the terminal")
	show := func(id string) (l letter) {
		require.Contains(t, list, id)
		require.NoError(t, json.Unmarshal([]byte(w.dead("show", id)), &l))
		require.Equal(t, id, l.MessageID)
		require.NotEmpty(t, l.Reason)
		require.Equal(t, 1, l.Attempts)
		return l
	}
	plain := show(ids["no JSON"])
	require.Contains(t, plain.Reason, "invalid character 'h'")
	require.Equal(t, "hello <world>", plain.Text)
	require.Equal(t, []string{"health:x", "k", "sender's own"}, []string{plain.Channel, plain.Key, plain.SenderID})
	require.Equal(t, []byte(binary), show(ids["binary"]).payload())
	require.Contains(t, show(ids["nameless"]).Reason, "service_name is missing")
	require.Contains(t, show(ids["ours"]).Reason, "own records")
	require.Contains(t, show(ids["NUL"]).Reason, "NUL")
	require.Empty(t, show(ids["empty"]).payload())
	require.Empty(t, show(ids["nothing"]).payload())
	require.Contains(t, show(old).Reason, "outside of")
	require.EqualValues(t, 1, show(old).At.UnixMilli())

	cmd := w.command("dead", "show", w.stream+"/17-0")
	out, err := cmd.CombinedOutput()
	require.Error(t, err)
	require.Equal(t, 1, cmd.ProcessState.ExitCode())
	require.Contains(t, string(out), "there is no dead letter")
}

func TestDead_ReplayEachOnce(t *testing.T) {
	t.Parallel()
	for name, database := range map[string]string{"Postgres": "", "SQLite": filepath.Join(t.TempDir(), "health.db")} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := shared(t)
			at := func(args ...string) []string {
				if database != "" {
					args = append([]string{"-database", database}, args...)
				}
				return args
			}
			old := w.addAs("1-1", "payload", beat(1), "channel", "health:x", "id", "own")
			bad := w.add("payload", "hello", "key", "k")
			p := w.start(at()...)
			w.drained(p)
			p.stop()

			require.Equal(t, 2, strings.Count(w.dead(at("replay", old, bad)...), "is replayed as"))
			require.Equal(t, 2, strings.Count(w.dead(at("replay", bad, old)...), "was replayed at"))
			entries, err := w.rdb.XRange(t.Context(), w.stream, "-", "+").Result()
			require.NoError(t, err)
			require.Len(t, entries, 4, "each once")
			require.Equal(t, "own", entries[2].Values["id"])
			require.Equal(t, "health:x", entries[2].Values["channel"])
			require.Equal(t, "k", entries[3].Values["key"])

			// Were they in the stream twice, as when the note got lost, they were still stored once.
			for _, e := range entries[2:] {
				w.add("payload", e.Values["payload"], replayIDHeader, e.Values[replayIDHeader], replayAtHeader, e.Values[replayAtHeader])
			}
			p = w.start(at()...)
			w.drained(p)
			p.stop()
			list := w.dead(at("list")...)
			require.Equal(t, 3+1, strings.Count(list, "\n"), "the two, and the one that died again: %s", list)
			require.Contains(t, list, bad+again+" ")
			require.Equal(t, 1, strings.Count(w.dead(at("replay", bad+again)...), "is replayed as"))
			if database == "" {
				services := w.stored()
				require.Equal(t, "service-1", services[old+again], "what was too old is taken as of today")
				require.Len(t, services, 2+2+3, "letters, what was replayed, notes")
			}
		})
	}
}

// What is too large for one record leaves a letter that says so.
func TestDead_TooLong(t *testing.T) {
	t.Parallel()
	w := shared(t)
	id := w.add("payload", strings.Repeat("x", store.MaxPayloadBytes))
	p := w.start()
	w.drained(p)
	p.stop()
	require.Equal(t, 1, w.complete())
	var l letter
	require.NoError(t, json.Unmarshal([]byte(w.dead("show", id)), &l))
	require.Equal(t, store.MaxPayloadBytes, l.TooLong)
	out, err := w.command("-lease", "1m", "dead", "list").Output() // flags may come first
	require.NoError(t, err)
	require.Contains(t, string(out), id)
	out, err = w.command("dead", "replay", id).CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), fmt.Sprint(store.MaxPayloadBytes))
}

// A letter of a service that looks like one of ours can't come from outside: see TestDead_ListAndShow. Nor can a message take the place
// of another one.
func TestIdentity_IsThatOfTheEntryUnlessReplayed(t *testing.T) {
	t.Parallel()
	w := shared(t)
	w.add("payload", beat(1), replayIDHeader, "x"+again)
	w.add("payload", beat(2), replayAtHeader, "17")
	w.add("payload", beat(3), replayIDHeader, "another/1-1", replayAtHeader, "17")
	path := filepath.Join(t.TempDir(), "health.db")
	p := w.start("-database", path)
	w.drained(p)
	p.stop()
	db, err := sqlite.Open(t.Context(), path, sqlite.Config{})
	require.NoError(t, err)
	defer db.Close()
	page, err := db.Messages(t.Context(), store.MessageQuery{})
	require.NoError(t, err)
	require.Len(t, page.Messages, 3)
	for _, m := range page.Messages {
		require.Contains(t, m.ID, w.stream+"/")
	}
}
