package postgres

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/upbeat-go/upbeat/store"
	"github.com/upbeat-go/upbeat/store/internal/rules"
)

const (
	// copyRows is from how many messages on COPY is faster than a statement.
	copyRows = 100

	// cautious is how many batches without a duplicate end the time in which COPY isn't tried.
	cautious = 8

	codeDuplicate = "23505"
)

// path decides how batches go to the log. COPY is fastest by far but knows no ON CONFLICT: it takes batches that hold nothing
// that is stored already, and fails at the first message that is. Most batches are such. After one that wasn't, the server is
// asked first what it has, until several batches in a row held nothing of it. So a replay costs one COPY in vain, and one
// line in the server's log, and not one for each batch.
type path struct{ caution atomic.Int32 }

func (p *path) careful() bool { return p.caution.Load() > 0 }

// saw is told how many duplicates a batch had.
func (p *path) saw(duplicates int) {
	switch {
	case duplicates > 0:
		p.caution.Store(cautious)
	case p.careful():
		p.caution.Add(-1)
	}
}

// copyFresh copies those messages that aren't stored yet. It fails with codeDuplicate where others store the same ones at
// the same time.
func (db *DB) copyFresh(ctx context.Context, conn *pgx.Conn, msgs []*store.Message) ([]bool, error) {
	if !db.path.careful() {
		err := db.copy(ctx, conn, msgs)
		if codeOf(err) != codeDuplicate {
			return allTrue(len(msgs)), err
		}
	}
	stored, err := db.stored(ctx, conn, msgs)
	if err != nil {
		return nil, err
	}
	fresh := allTrue(len(msgs))
	for _, i := range stored {
		fresh[i] = false
	}
	db.path.saw(len(stored))
	if len(stored) == len(msgs) {
		return fresh, nil
	}
	rest := make([]*store.Message, 0, len(msgs))
	for i, m := range msgs {
		if fresh[i] {
			rest = append(rest, m)
		}
	}
	return fresh, db.copy(ctx, conn, rest)
}

// stored returns which messages are stored, by index.
func (db *DB) stored(ctx context.Context, conn *pgx.Conn, msgs []*store.Message) ([]int, error) {
	rows, err := conn.Query(ctx, db.statements.stored, column(msgs, at), column(msgs, id), msgs[0].At, msgs[len(msgs)-1].At)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[int])
}

// copy stores messages none of which are stored, or fails with codeDuplicate. That takes two round trips: the log,
// then all that follows from it. The statuses, which all writers want, come last, so that the locks on them are held shortly.
func (db *DB) copy(ctx context.Context, conn *pgx.Conn, msgs []*store.Message) error {
	return copyThen(ctx, conn, db.statements.copy, newCopyReader(msgs, appendMessage), db.consequences(msgs))
}

// copyThen begins a transaction with a COPY, and ends it with a batch that commits.
func copyThen[E any](ctx context.Context, conn *pgx.Conn, statement string, r *copyReader[E], then *pgx.Batch) error {
	_, err := conn.PgConn().CopyFrom(ctx, r, statement)
	r.close()
	if err == nil {
		err = conn.SendBatch(ctx, then).Close()
	}
	if err != nil && !conn.IsClosed() {
		_, _ = conn.Exec(ctx, "ROLLBACK") // else the pool closes the connection
	}
	return err
}

// consequences are what follows from messages that are all fresh, and the commit.
func (db *DB) consequences(msgs []*store.Message) *pgx.Batch {
	batch := &pgx.Batch{}
	batch.Queue(db.statements.pending, minutesOf(msgs))
	if newest := rules.Newest(msgs); len(newest) > 0 {
		slices.SortFunc(newest, rules.BySender)
		batch.Queue(db.statements.newest, column(newest, service), column(newest, instance), column(newest, status),
			column(newest, at), column(newest, sequence), column(newest, id))
	}
	if anyAlerts(msgs) {
		db.queueAlerts(batch, transitionsOf(msgs, nil))
	}
	batch.Queue("COMMIT")
	return batch
}

func minutesOf(msgs []*store.Message) []time.Time {
	var minutes []time.Time
	for _, m := range msgs {
		if minute := m.At.Truncate(time.Minute); len(minutes) == 0 || !minutes[len(minutes)-1].Equal(minute) {
			minutes = append(minutes, minute)
		}
	}
	return minutes
}
