package postgres

import (
	"io"

	"github.com/upbeat-go/upbeat/store"
)

// NewCopyReader is the stream that COPY is given.
func NewCopyReader(msgs []*store.Message) (r io.Reader, end func()) {
	c := newCopyReader(msgs, appendMessage)
	return c, c.close
}

// Waiting is how many small batches wait for a transaction to share.
func (db *DB) Waiting() int {
	return db.recording.Waiting()
}
