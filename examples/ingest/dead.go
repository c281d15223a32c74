package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/upbeat-go/upbeat/consumer/redisstream"
	"github.com/upbeat-go/upbeat/pool"
	"github.com/upbeat-go/upbeat/store"
)

const deadUsage = "want dead list, dead show ID or dead replay ID… (try -h)"

// deadMain is the sub-command: what could not be stored, for people to look at and to send again.
func deadMain(ctx context.Context, opts options, out io.Writer) (code int, err error) {
	what, ids := "", []string(nil)
	if len(opts.args) > 1 {
		what, ids = opts.args[1], opts.args[2:]
	}
	switch {
	case what == "list" && len(ids) == 0, what == "show" && len(ids) == 1, what == "replay" && len(ids) > 0:
	default:
		return 2, errors.New(deadUsage)
	}
	slog.SetLogLoggerLevel(slog.LevelWarn)
	db, err := openDatabase(ctx, opts.database)
	if err != nil {
		return 2, err
	}
	defer db.Close()
	letters := letterBox{db: db, since: time.Now().Add(-opts.since)}
	switch what {
	case "list":
		return status(letters.list(ctx, out))
	case "show":
		return status(letters.show(ctx, out, ids[0]))
	}
	clients, err := pool.Open(ctx, opts.redis)
	if err != nil {
		return 2, err
	}
	defer clients.Close()
	for _, id := range ids {
		err = errors.Join(err, letters.replay(ctx, out, clients, id))
	}
	return status(err)
}

func status(err error) (int, error) {
	if err != nil {
		return 1, err
	}
	return 0, nil
}

// letterBox is the dead letters of a store.
type letterBox struct {
	db    database
	since time.Time
}

// list prints a line for each letter, the newest first.
func (b letterBox) list(ctx context.Context, out io.Writer) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ID\tDIED\tATTEMPTS\tBYTES\tREASON")
	for l, err := range b.all(ctx, store.MessageQuery{Service: deadService, From: b.since}) {
		if err != nil {
			return err
		}
		size := max(len(l.payload()), l.TooLong)
		fmt.Fprintf(table, "%s\t%s\t%d\t%d\t%s\n", l.MessageID, l.DiedAt.Format(time.DateTime), l.Attempts, size, oneLine(l.Reason))
	}
	return table.Flush()
}

// oneLine is text as a terminal shows it without harm: whoever sent the message may have chosen it.
func oneLine(text string) string {
	text = strconv.QuoteToGraphic(text)
	return text[1 : len(text)-1]
}

// show prints a letter as JSON.
func (b letterBox) show(ctx context.Context, out io.Writer, id string) error {
	l, err := b.find(ctx, id)
	if err != nil {
		return err
	}
	e := json.NewEncoder(out)
	e.SetIndent("", "  ")
	return e.Encode(l)
}

// replay sends a letter's message again, unless that has been done. Should the note of it get lost with this process, or two people do it
// at once, the message is in the stream twice; its identity keeps it from being stored twice.
func (b letterBox) replay(ctx context.Context, out io.Writer, clients *pool.Clients, id string) error {
	l, err := b.find(ctx, id)
	if err != nil {
		return err
	}
	note := store.Message{ID: l.MessageID + "#", At: l.filed, Service: replayedService}
	for e, err := range b.records(ctx, store.MessageQuery{Service: replayedService, From: l.filed, To: l.filed.Add(time.Microsecond)}) {
		if err != nil {
			return err
		}
		if e.ID == note.ID {
			fmt.Fprintf(out, "%s was replayed at %s\n", l.MessageID, e.ReceivedAt.Format(time.DateTime))
			return nil
		}
	}
	if l.TooLong > 0 {
		return fmt.Errorf("%s: its %d bytes are only in the stream", l.MessageID, l.TooLong)
	}
	producer, err := redisstream.NewProducer(clients.Standard(), redisstream.ProducerConfig{Stream: l.stream()})
	if err != nil {
		return err
	}
	sent := redisstream.Outgoing{ID: l.SenderID, Key: l.Key, Payload: l.payload(), Headers: l.replayHeaders()}
	entries, err := producer.Send(ctx, sent)
	if err != nil {
		return fmt.Errorf("%s: %w: try again, it will be stored once", l.MessageID, err)
	}
	if _, err := b.db.Record(ctx, []store.Message{note}); err != nil {
		return fmt.Errorf("%s is replayed, which could not be noted: %w", l.MessageID, err)
	}
	fmt.Fprintf(out, "%s is replayed as %s\n", l.MessageID, entries[0])
	return nil
}

// find returns the letter of that message. It looks where the message's own time says, and then everywhere.
func (b letterBox) find(ctx context.Context, id string) (letter, error) {
	queries := []store.MessageQuery{{Service: deadService, From: b.since}}
	entry, _, _ := strings.Cut(id[strings.LastIndexByte(id, '/')+1:], "-")
	if ms, err := strconv.ParseInt(entry, 10, 64); err == nil {
		at := time.UnixMilli(ms)
		queries = []store.MessageQuery{{Service: deadService, From: at, To: at.Add(time.Millisecond)}, queries[0]}
	}
	for _, q := range queries {
		for l, err := range b.all(ctx, q) {
			if err != nil || l.MessageID == id {
				return l, err
			}
		}
	}
	return letter{}, fmt.Errorf("there is no dead letter %q since %s", id, b.since.Format(time.DateTime))
}

// all yields the letters that a query finds, the newest first. After an error there are no more.
func (b letterBox) all(ctx context.Context, q store.MessageQuery) iter.Seq2[letter, error] {
	return func(yield func(letter, error) bool) {
		for e, err := range b.records(ctx, q) {
			var l letter
			if err == nil {
				err = json.Unmarshal(e.Payload, &l)
				l.filed = e.At
			}
			if !yield(l, err) || err != nil {
				return
			}
		}
	}
}

func (b letterBox) records(ctx context.Context, q store.MessageQuery) iter.Seq2[store.Entry, error] {
	return func(yield func(store.Entry, error) bool) {
		for more := true; more; {
			page, err := b.db.Messages(ctx, q)
			if err != nil {
				yield(store.Entry{}, err)
				return
			}
			for _, e := range page.Messages {
				if !yield(e, nil) {
					return
				}
			}
			q.After, more = page.Next, page.Next != nil
		}
	}
}
