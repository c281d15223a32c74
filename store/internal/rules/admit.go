// Package rules is what the stores decide alike, before any database is asked: which messages are kept and which
// refused, in what order they are written, and what a query means.
package rules

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/upbeat-go/upbeat/store"
)

// Admit separates what can be stored from what can't. The admitted messages point into msgs, each key once (the first one
// stays), and are sorted by key: writers that overlap then wait for each other instead of deadlocking, and the index grows at
// its end.
func Admit(msgs []store.Message, w Window) (admitted []*store.Message, refused []*store.MessageError) {
	admitted = make([]*store.Message, 0, len(msgs))
	for i := range msgs {
		m := &msgs[i]
		if reason := refusal(m, w); reason != "" {
			refused = append(refused, &store.MessageError{Index: i, ID: m.ID, At: m.At, Reason: reason})
			continue
		}
		admitted = append(admitted, m)
	}
	if !slices.IsSortedFunc(admitted, ByKey) { // most are: that spares them half of it
		slices.SortStableFunc(admitted, ByKey)
	}
	return slices.CompactFunc(admitted, func(a, b *store.Message) bool { return ByKey(a, b) == 0 }), refused
}

// AsError is what Record returns of the refused messages.
func AsError(refused []*store.MessageError) error {
	if len(refused) == 0 {
		return nil
	}
	return &store.RefusedError{Messages: refused}
}

// ByKey orders messages as they are kept: by the microsecond, then by the bytes of the ID.
func ByKey(a, b *store.Message) int {
	return cmp.Or(cmp.Compare(a.At.UnixMicro(), b.At.UnixMicro()), strings.Compare(a.ID, b.ID))
}

func refusal(m *store.Message, w Window) string {
	if m.ID == "" {
		return "ID is empty: it is what a message is known by"
	}
	if reason := outside(m.At, w); reason != "" {
		return reason
	}
	if m.Status != "" && m.Service == "" {
		return "Status without a Service"
	}
	for _, name := range [...]struct{ field, value string }{
		{"ID", m.ID}, {"Channel", m.Channel}, {"Service", m.Service}, {"Instance", m.Instance}, {"Status", m.Status},
	} {
		if reason := badName(name.value); reason != "" {
			return name.field + " " + reason
		}
	}
	if m.Alert != nil {
		if reason := badAlertChange(m.Alert); reason != "" {
			return reason
		}
	}
	return badPayload(m.Payload)
}

func outside(at time.Time, w Window) string {
	if w.Holds(at) {
		return ""
	}
	return fmt.Sprintf("At is outside of %s to %s", w.From.Format(time.RFC3339), w.To.UTC().Format(time.RFC3339))
}

func badName(s string) string { return badText(s, store.MaxNameBytes) }

func badText(s string, limit int) string {
	switch {
	case len(s) > limit:
		return fmt.Sprintf("has %d bytes: at most %d are kept", len(s), limit)
	case strings.IndexByte(s, 0) >= 0:
		return "holds a NUL byte"
	case !utf8.ValidString(s):
		return "is not UTF-8"
	}
	return ""
}

func badPayload(p []byte) string {
	switch {
	case len(p) == 0:
		return ""
	case len(p) > store.MaxPayloadBytes:
		return fmt.Sprintf("Payload has %d bytes: at most %d are kept", len(p), store.MaxPayloadBytes)
	case !utf8.Valid(p):
		return "Payload is not UTF-8"
	}
	switch checkJSON(p) {
	case jsonInvalid:
		return "Payload is not JSON"
	case jsonTooDeep:
		return fmt.Sprintf("Payload is nested deeper than %d", store.MaxPayloadDepth)
	}
	return ""
}

// Chunks cuts messages into runs of at most so many messages and bytes, and of at least one message.
func Chunks(msgs []*store.Message, maxMessages, maxBytes int) [][]*store.Message {
	var chunks [][]*store.Message
	start, size := 0, 0
	for i, m := range msgs {
		if i > start && (i-start >= maxMessages || size+len(m.Payload) > maxBytes) {
			chunks = append(chunks, msgs[start:i])
			start, size = i, 0
		}
		size += len(m.Payload)
	}
	if start < len(msgs) {
		chunks = append(chunks, msgs[start:])
	}
	return chunks
}
