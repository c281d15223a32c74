package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/upbeat-go/upbeat/consumer"
	"github.com/upbeat-go/upbeat/store"
)

// health is what the store is told of a message, beside the message itself. Beats, status, metrics and alerts all have it.
type health struct {
	Service  string `json:"service_name"`
	Instance string `json:"instance_id"`
	Count    int64  `json:"heartbeat_count"`
	Upbeat   struct {
		Phase string `json:"phase"`
	} `json:"upbeat"`
}

// decode is the consumer.Config.Decode: what it refuses is a dead letter.
func decode(payload []byte, v any) error {
	if err := json.Unmarshal(payload, v); err != nil {
		return err
	}
	h := v.(*health)
	switch h.Service {
	case "":
		return errors.New("service_name is missing")
	case deadService, replayedService:
		return fmt.Errorf("service_name is %q, which is where this program keeps its own records", h.Service)
	}
	return nil
}

// handle stores a batch in one transaction. What the store refuses by name fails alone; the rest of the batch is stored.
func (in *ingest) handle(ctx context.Context, batch []*consumer.Message[health]) error {
	rows := make([]store.Message, len(batch))
	for i, m := range batch {
		rows[i] = row(m)
	}
	_, err := in.db.Record(ctx, rows)
	if refused, ok := errors.AsType[*store.RefusedError](err); ok {
		for _, e := range refused.Messages {
			batch[e.Index].Fail(consumer.Permanent(e))
		}
		return nil
	}
	return err // the store's trouble: it tells the consumer that the messages have no fault
}

// row is a message as the store keeps it. Its identity and its time are the stream's, so that a redelivery is known as one.
func row(m *consumer.Message[health]) store.Message {
	id, at := identity(&m.Raw)
	// A plain sender doesn't say how it is; that it sends says that it runs.
	status := cmp.Or(m.Value.Upbeat.Phase, "running")
	return store.Message{
		ID: id, At: at, Channel: m.Header("channel"), Payload: m.Payload,
		Service: m.Value.Service, Instance: m.Value.Instance, Count: m.Value.Count, Status: status,
	}
}
