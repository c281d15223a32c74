package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/upbeat-go/upbeat/consumer"
	"github.com/upbeat-go/upbeat/consumer/redisstream"
	"github.com/upbeat-go/upbeat/store"
)

// The store's services under which this program keeps its own records. No other can have such a name: heartbeat refuses colons in one, and
// decode refuses these two.
const (
	deadService     = "ingest:dead"     // a letter, in the place of the message that could not be stored
	replayedService = "ingest:replayed" // a note that a letter was sent again
)

// letter is the payload of a dead letter in the store.
type letter struct {
	MessageID string    `json:"message_id"`
	At        time.Time `json:"at"` // the message's
	DiedAt    time.Time `json:"died_at"`
	Reason    string    `json:"reason"`
	Attempts  int       `json:"attempts"`
	Stack     string    `json:"stack,omitempty"` // where the handler panicked

	Channel  string `json:"channel,omitempty"`
	Key      string `json:"key,omitempty"`
	SenderID string `json:"sender_id,omitempty"`

	// The message's payload: Text, or Bytes if it is no text. Bytes alone tells that there is more than the store takes in one piece; it
	// is in the entry of the stream, for as long as that isn't trimmed.
	Text    string `json:"payload,omitempty"`
	Bytes   []byte `json:"payload_base64,omitempty"`
	TooLong int    `json:"payload_too_long,omitempty"`

	filed time.Time // under which the store has it: At, unless the store refused that
}

// keep stores dead letters: a consumer.Config.DeadLetter. Each has the identity and the time of its message, so that a second call changes nothing, and a
// message is in the store once, as itself or as a letter.
func (in *ingest) keep(ctx context.Context, dead []consumer.DeadLetter) error {
	ctx, cancel := context.WithTimeout(ctx, in.opts.timeout)
	defer cancel()
	rows := make([]store.Message, len(dead))
	for i, d := range dead {
		rows[i] = letterRow(d, time.Now())
	}
	_, err := in.db.Record(ctx, rows)
	refused, ok := errors.AsType[*store.RefusedError](err)
	if !ok {
		return err
	}
	// The message is older than what the store keeps, or of the future, as senders can choose entry ids. Its letter is filed today, then: at
	// midnight, so that a second call soon after changes nothing either.
	var late []store.Message
	for _, e := range refused.Messages {
		rows[e.Index].At = time.Now().UTC().Truncate(24 * time.Hour)
		late = append(late, rows[e.Index])
	}
	_, err = in.db.Record(ctx, late)
	return err
}

func letterRow(d consumer.DeadLetter, now time.Time) store.Message {
	id, at := identity(d.Raw)
	l := letter{
		MessageID: id, At: at, DiedAt: now.UTC(), Reason: strings.ToValidUTF8(fmt.Sprint(d.Err), "?"), Attempts: d.Attempt,
		Channel: d.Header("channel"), Key: redisstream.Key(d.Raw), SenderID: d.Header("id"),
	}
	if p, ok := errors.AsType[*consumer.PanicError](d.Err); ok {
		l.Stack = string(p.Stack)
	}
	if utf8.Valid(d.Payload) {
		l.Text = string(d.Payload)
	} else {
		l.Bytes = d.Payload
	}
	payload, _ := json.Marshal(l) // strings, numbers and times, none of which it refuses
	if len(payload) > store.MaxPayloadBytes {
		l.Text, l.Bytes, l.TooLong = "", nil, len(d.Payload)
		payload, _ = json.Marshal(l)
	}
	return store.Message{ID: id, At: at, Service: deadService, Payload: payload}
}

func (l letter) payload() []byte {
	if l.Bytes != nil {
		return l.Bytes
	}
	return []byte(l.Text)
}

// The headers of a message that is sent again. They make it known to the store by the letter that it was sent from, and not by its new
// entry: sent twice, it is stored once.
const (
	replayIDHeader = "replay_id"
	replayAtHeader = "replay_at"
)

// again follows the ID of a message that is sent again.
const again = "~"

// replayHeaders are those of the message that l is sent as.
func (l letter) replayHeaders() map[string]string {
	h := map[string]string{replayIDHeader: l.MessageID + again, replayAtHeader: strconv.FormatInt(l.filed.UnixMicro(), 10)}
	if l.Channel != "" {
		h["channel"] = l.Channel
	}
	return h
}

// stream is the one in which the message was.
func (l letter) stream() string {
	return l.MessageID[:max(0, strings.LastIndexByte(l.MessageID, '/'))]
}

// identity is what a message is known by in the store: its entry in the stream, or the letter that it was sent from.
func identity(m *consumer.Raw) (id string, at time.Time) {
	micros, err := strconv.ParseInt(m.Header(replayAtHeader), 10, 64)
	if id := m.Header(replayIDHeader); err == nil && strings.HasSuffix(id, again) {
		return id, time.UnixMicro(micros).UTC()
	}
	return m.ID, m.At
}
