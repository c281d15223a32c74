package storetest

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/store"
)

func recordEmpty(t fixture) {
	require.Zero(t, t.record())
	require.Empty(t, t.log())
	require.Empty(t, t.services())
}

func recordFaithfully(t fixture) {
	full := beat("geocoding", "host-1", 42, time.Minute)
	full.Payload = json.RawMessage(`{ "z": 1, "a": 1.50, "a": 2 }`) // order, spaces, digits and doubles stay
	local := beat("geocoding", "host-2", 1, time.Minute)
	local.At = local.At.In(time.FixedZone("", 3600)).Add(999 * time.Nanosecond)
	bare := store.Message{ID: "bare", At: full.At}
	late := beat("geocoding", "host-1", 1, 29*24*time.Hour)
	early := beat("geocoding", "host-1", 43, -23*time.Hour)

	require.Equal(t, 5, t.record(full, local, bare, late, early))
	local.At = local.At.UTC().Truncate(time.Microsecond)
	require.Equal(t, newestFirst([]store.Message{full, local, bare, late, early}), t.log())
}

func recordOddBytes(t fixture) {
	base := beat("", "", 0, time.Minute)
	base.Status = ""
	var msgs []store.Message
	for i, odd := range []string{
		`"`, `\`, `'`, `;--`, `{`, `}`, `{}`, `{,}`, `,`, `NULL`, `null`, ` `, "\t\r\n", "\x01\x1f\x7f", "$1", "%s", "?",
		"ü", "日本語", "😀", "\u202e", "\ufeff", "\ufffd", "\U0010ffff", strings.Repeat("x", store.MaxNameBytes),
	} {
		m := base
		m.ID, m.Channel, m.Service, m.Instance, m.Status = odd, odd, odd, odd, odd
		payload, err := json.Marshal(odd)
		require.NoError(t, err)
		m.Payload, m.Count = payload, int64(i)
		msgs = append(msgs, m)
	}
	for i, payload := range []string{
		`null`, `""`, `"\u0000"`, `"\ud800"`, `1e999999`, " [ ] \n", `{"":""}`, `"` + "\U0010ffff" + `"`,
		strings.Repeat("[", store.MaxPayloadDepth) + strings.Repeat("]", store.MaxPayloadDepth),
		`"` + strings.Repeat("x", 2<<20) + `"`, `[` + strings.Repeat(`{},`, 5000) + `"[[{\"[\\"]`,
	} {
		m := base
		m.ID, m.Payload = fmt.Sprint("payload ", i), json.RawMessage(payload)
		msgs = append(msgs, m)
	}
	require.Equal(t, len(msgs), t.record(msgs...))
	require.Equal(t, newestFirst(msgs), t.log())
	require.Len(t, t.services(), 25)
}

// recordAnyBytes gives random bytes: each message is either read back as it was or refused by name.
func recordAnyBytes(t fixture) {
	const n = 2000
	alphabet := []string{"", "a", "{", "}", "[", "]", `"`, `\`, `\u`, "0", "00", "d800", ":", ",", "null", " ", "\n", "\x00", "\xff", "\xc3", "ü", "\xed\xa0\x80"}
	random := func(parts int) string {
		var b strings.Builder
		for range rand.IntN(parts + 1) {
			b.WriteString(alphabet[rand.IntN(len(alphabet))])
		}
		return b.String()
	}
	at := time.Now().UTC().Truncate(time.Microsecond)
	msgs := make([]store.Message, n)
	for i := range msgs {
		msgs[i] = store.Message{ID: fmt.Sprint(i), At: at, Channel: random(2), Payload: json.RawMessage(random(8))}
		if len(msgs[i].Payload) == 0 {
			msgs[i].Payload = nil
		}
	}
	_, err := t.Record(t.Context(), msgs)
	refused := map[int]bool{}
	for _, m := range t.refusedBy(err) {
		refused[m.Index] = true
	}
	require.Greater(t, len(refused), n/20)
	require.Less(t, len(refused), n)
	var kept []store.Message
	for i, m := range msgs {
		if !refused[i] {
			kept = append(kept, m)
		}
	}
	require.Equal(t, newestFirst(kept), t.log())
}

func recordReplay(t fixture) {
	msgs := beats(300)
	require.Equal(t, 300, t.record(shuffled(msgs)...))
	before := t.services()
	require.Zero(t, t.record(msgs...))
	for range 5 {
		require.Zero(t, t.record(shuffled(msgs)[:100]...))
	}
	require.Equal(t, before, t.services())
	fresh := beat("service-0", "instance-0", 300, 0)
	require.Equal(t, 1, t.record(append(msgs[200:300:300], fresh)...))
	require.Equal(t, newestFirst(append(msgs, fresh)), t.log())
}

func recordDuplicates(t fixture) {
	msgs := beats(50)
	require.Equal(t, 50, t.record(shuffled(slices.Repeat(msgs, 4))...))
	require.Equal(t, newestFirst(msgs), t.log())
}

func recordSameID(t fixture) {
	a := beat("geocoding", "host-1", 1, time.Minute)
	b := a
	b.At = b.At.Add(time.Microsecond)
	require.Equal(t, 2, t.record(a, b))
	b.At = b.At.Add(time.Nanosecond) // the same microsecond: the same message
	require.Zero(t, t.record(b, a))
}

func recordRefused(t fixture) {
	spoil := map[string]func(m *store.Message){
		"no ID":                    func(m *store.Message) { m.ID = "" },
		"zero time":                func(m *store.Message) { m.At = time.Time{} },
		"1970":                     func(m *store.Message) { m.At = time.Unix(0, 0) },
		"2999":                     func(m *store.Message) { m.At = time.Date(2999, 1, 1, 0, 0, 0, 0, time.UTC) },
		"end of time":              func(m *store.Message) { m.At = time.Unix(1<<60, 0) },
		"older than retention":     func(m *store.Message) { m.At = time.Now().Add(-31*24*time.Hour - time.Minute) },
		"more than a day ahead":    func(m *store.Message) { m.At = time.Now().Add(24*time.Hour + time.Minute) },
		"NUL in ID":                func(m *store.Message) { m.ID += "\x00" },
		"bad UTF-8 in ID":          func(m *store.Message) { m.ID += "\xff" },
		"long ID":                  func(m *store.Message) { m.ID = strings.Repeat("x", store.MaxNameBytes+1) },
		"NUL in Channel":           func(m *store.Message) { m.Channel = "\x00" },
		"bad UTF-8 in Service":     func(m *store.Message) { m.Service = "\xc0\x80" },
		"surrogate in Instance":    func(m *store.Message) { m.Instance = "\xed\xa0\x80" },
		"long Status":              func(m *store.Message) { m.Status = strings.Repeat("x", 1<<20) },
		"Status without Service":   func(m *store.Message) { m.Service = "" },
		"Payload not JSON":         func(m *store.Message) { m.Payload = []byte("pong") },
		"Payload cut off":          func(m *store.Message) { m.Payload = []byte(`{"a":`) },
		"NUL in Payload":           func(m *store.Message) { m.Payload = []byte("\"\x00\"") },
		"bad UTF-8 in Payload":     func(m *store.Message) { m.Payload = []byte("\"\xff\"") },
		"huge Payload":             func(m *store.Message) { m.Payload = []byte(`"` + strings.Repeat("x", store.MaxPayloadBytes) + `"`) },
		"Payload nested too deep":  func(m *store.Message) { m.Payload = []byte(nested(store.MaxPayloadDepth + 1)) },
		"Payload nested very deep": func(m *store.Message) { m.Payload = []byte(nested(9000)) },
	}
	var batch, good []store.Message
	spoilt := map[int]string{}
	for i, m := range beats(2 * len(spoil)) {
		if i%2 == 1 {
			good = append(good, m)
		}
		batch = append(batch, m)
	}
	i := 0
	for name, change := range spoil {
		change(&batch[i])
		spoilt[i] = name
		i += 2
	}
	for attempt, want := range []int{len(good), 0} {
		n, err := t.Record(t.Context(), batch)
		require.Equal(t, want, n, "attempt %d", attempt)
		require.False(t, store.IsTransient(err))
		for _, refused := range t.refusedBy(err) {
			name := spoilt[refused.Index]
			require.NotEmpty(t, name, refused.Error())
			assert.Equal(t, batch[refused.Index].ID, refused.ID, name)
			assert.True(t, batch[refused.Index].At.Equal(refused.At), name)
			assert.NotEmpty(t, refused.Reason, name)
			if attempt == 1 {
				delete(spoilt, refused.Index)
			}
		}
	}
	require.Empty(t, spoilt, "not refused")
	require.Equal(t, newestFirst(good), t.log())
}

func nested(depth int) string { return strings.Repeat("[", depth) + strings.Repeat("]", depth) }

func (t fixture) refusedBy(err error) []*store.MessageError {
	t.Helper()
	var refused *store.RefusedError
	require.ErrorAs(t, err, &refused)
	require.NotEmpty(t, refused.Messages)
	require.True(t, slices.IsSortedFunc(refused.Messages, func(a, b *store.MessageError) int { return a.Index - b.Index }))
	return refused.Messages
}

func recordBig(t fixture) {
	msgs := beats(10_000)
	require.Equal(t, len(msgs), t.record(shuffled(msgs)...))
	require.Zero(t, t.record(msgs...))
	require.Equal(t, newestFirst(msgs), t.log())
}

func recordUnchanged(t fixture) {
	msgs := shuffled(beats(100))
	before := slices.Clone(msgs)
	t.record(msgs...)
	require.Equal(t, before, msgs)
}

// recordConcurrently gives the same messages to many writers, each in another order and in other batches.
func recordConcurrently(t fixture) {
	const writers = 8
	msgs := beats(400)
	var inserted atomic.Int64
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for batch := range slices.Chunk(shuffled(msgs), 1+rand.IntN(60)) {
				n, err := t.Record(t.Context(), batch)
				if !assert.NoError(t, err) {
					return
				}
				inserted.Add(int64(n))
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, len(msgs), inserted.Load())
	require.Equal(t, newestFirst(msgs), t.log())
	require.Equal(t, newModel(msgs...).services(), t.services())
}

func recordEndedContext(t fixture) {
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	expired, cancel := context.WithTimeout(t.Context(), -time.Second)
	defer cancel()

	n, err := t.Record(cancelled, beats(10))
	require.ErrorIs(t, err, context.Canceled)
	require.False(t, store.IsTransient(err))
	require.Zero(t, n)
	n, err = t.Record(expired, beats(10))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.True(t, store.IsTransient(err))
	require.Zero(t, n)

	require.Empty(t, t.log())
	require.Equal(t, 10, t.record(beats(10)...))
}
