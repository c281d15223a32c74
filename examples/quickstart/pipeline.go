package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/upbeat-go/upbeat/consumer"
	"github.com/upbeat-go/upbeat/consumer/redisstream"
	"github.com/upbeat-go/upbeat/heartbeat"
	"github.com/upbeat-go/upbeat/store"
)

// pipeline takes every message off the stream, stores it, and shows it to the monitor.
type pipeline struct {
	consumer *consumer.Consumer[heartbeat.Beat]
	monitor  *heartbeat.Monitor
	db       database
}

func newPipeline(b *backend, stream string, log *slog.Logger) (*pipeline, error) {
	monitor, err := heartbeat.NewMonitor(nil, heartbeat.MonitorConfig{})
	if err != nil {
		return nil, err
	}
	src, err := redisstream.New(b.redis.Standard(), redisstream.Config{Streams: []string{stream}, Group: "quickstart", Logger: log})
	if err != nil {
		return nil, err
	}
	p := &pipeline{monitor: monitor, db: b.db}
	p.consumer, err = consumer.NewBatch(src, p.handle, consumer.Config{Logger: log})
	return p, err
}

// handle stores a batch in one transaction. What the store refuses by name fails alone; the rest of the batch is stored.
func (p *pipeline) handle(ctx context.Context, batch []*consumer.Message[heartbeat.Beat]) error {
	rows := make([]store.Message, len(batch))
	for i, m := range batch {
		rows[i] = message(m)
	}
	_, err := p.db.Record(ctx, rows)
	if refused, ok := errors.AsType[*store.RefusedError](err); ok {
		for _, e := range refused.Messages {
			batch[e.Index].Fail(consumer.Permanent(e))
		}
		err = nil
	}
	if err != nil {
		return fmt.Errorf("record %d messages: %w", len(batch), err)
	}
	for _, m := range batch {
		// What it can't read or has no room for it counts; the message itself is stored.
		_ = p.monitor.Observe(m.Payload, time.Since(m.At))
	}
	return nil
}

// message is a beat as the store keeps it: identity and time are the stream's, so that a redelivery is known as one.
func message(m *consumer.Message[heartbeat.Beat]) store.Message {
	// A plain sender doesn't say how it is; that it beats says that it runs.
	status := cmp.Or(m.Value.Phase, heartbeat.PhaseRunning)
	return store.Message{
		ID: m.ID, At: m.At, Channel: m.Header("channel"), Payload: m.Payload,
		Service: m.Value.Service, Instance: m.Value.Instance, Count: int64(m.Value.Count), Status: string(status),
	}
}
