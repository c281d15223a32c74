package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/upbeat-go/upbeat/store"
	"github.com/upbeat-go/upbeat/store/internal/rules"
)

// Messages returns a page of the audit log, newest first. It blocks until the page is read.
func (db *DB) Messages(ctx context.Context, q store.MessageQuery) (store.MessagePage, error) {
	q, err := rules.Query(q)
	if err != nil {
		return store.MessagePage{}, err
	}
	entries, err := query(ctx, db, scanEntry, db.statements.messages,
		q.From, q.To, q.After.At, q.After.ID, q.Service, q.Instance, q.Limit+1)
	if err != nil {
		return store.MessagePage{}, wrap("messages", err)
	}
	return rules.Page(entries, q.Limit), nil
}

// Services returns the newest status of every service with its instances, by name. It blocks until all are read.
func (db *DB) Services(ctx context.Context) ([]store.ServiceStatus, error) {
	rows, err := query(ctx, db, func(r pgx.CollectableRow) (i rules.Instance, err error) {
		err = r.Scan(&i.Service, &i.Instance, &i.Status, &i.LastSeen, &i.Count)
		i.LastSeen = i.LastSeen.UTC()
		return i, err
	}, db.statements.services)
	if err != nil {
		return nil, wrap("services", err)
	}
	return rules.Services(rows), nil
}

func scanEntry(r pgx.CollectableRow) (e store.Entry, err error) {
	var payload *string
	err = r.Scan(&e.At, &e.ID, &e.ReceivedAt, &e.Channel, &e.Service, &e.Instance, &e.Count, &e.Status, &payload)
	e.At, e.ReceivedAt = e.At.UTC(), e.ReceivedAt.UTC()
	if payload != nil {
		e.Payload = []byte(*payload)
	}
	return e, err
}

// query reads all rows of a statement.
func query[T any](ctx context.Context, db *DB, scan pgx.RowToFunc[T], statement string, args ...any) ([]T, error) {
	conn, err := db.acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Release()
	rows, err := conn.Query(ctx, statement, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scan)
}
