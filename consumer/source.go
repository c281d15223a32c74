package consumer

import (
	"context"
	"time"
)

// Source is where messages come from and where their outcomes go. Implementations are in sub-packages; to write one of your own:
//
//   - Receive waits until there is at least one message, a while has passed (return nothing and no error) or ctx has ended, and
//     then returns at once: a message that is kept back to fill up a batch is a message that is late.
//   - It returns at most credit.Count messages, and about credit.Bytes of payload at most; one message is always allowed. What was
//     received although ctx has ended, or together with an error, is returned as well: nothing that was taken may be dropped.
//   - After an error the consumer waits with exponential backoff, logs it once per episode and calls Receive again, for ever.
//     Receive needs no retries of its own.
//   - Receive is called by one goroutine, or by as many as [Parallel] says; Settle by one. Both run at the same time.
//   - Settle is idempotent: after an error, or when nobody saw it return, the whole batch is settled again. It returns nil once
//     all outcomes are stored. It doesn't keep the slice.
//   - A message has the same ID and At whenever it is delivered. Raw.Attempt counts what was settled as Retry, and nothing else.
//   - What was never settled is delivered again, to this consumer's successor or another one.
//   - Both obey ctx soon, as the consumer's shutdown waits for them.
//
// What else a source can do it says by implementing [Parallel], [Leaser], [Lagger], [LossCounter], [GapCounter],
// [DeadKeeper] or [Closer].
type Source interface {
	Receive(ctx context.Context, credit Credit) ([]Raw, error)
	Settle(ctx context.Context, outcomes []Outcome) error
}

// Credit is how much a consumer is willing to take: both numbers are at least 1.
type Credit struct {
	Count int
	Bytes int64
}

// Raw is a message as the source hands it out.
type Raw struct {
	// ID is the same at every delivery and unique within the source.
	ID string
	// At is when the message entered the broker: fixed with the message.
	At time.Time
	// Attempt is 1 at first, and one more for each try that failed because of the message itself.
	Attempt int
	// Payload is the message. It belongs to the consumer once delivered.
	Payload []byte
	// Headers are what came with the payload; nil if nothing did.
	Headers Headers
	// Token is the source's own mark, for Settle.
	Token any

	size int64 // of the payload as delivered, which is what its credit was charged with
}

// Headers are named values that come with a payload.
type Headers interface {
	// Header returns the value of that name, or "". It is safe for concurrent use.
	Header(name string) string
}

// Header returns the value that came with the message under that name, or "".
func (r *Raw) Header(name string) string {
	if r.Headers == nil {
		return ""
	}
	return r.Headers.Header(name)
}

// Kind says how a delivery ended.
type Kind uint8

const (
	// Ack says that the message is done.
	Ack Kind = iota
	// Retry says that the message failed: it is to come again after Outcome.After, with its attempt counted.
	Retry
	// Release says nothing about the message: it is to come again after Outcome.After, as if it had not been delivered.
	Release
	// Dead says that the message can't be handled: the source keeps it for people to look at. Only a [DeadKeeper] is told so.
	Dead
)

// String returns the name of k in lower case.
func (k Kind) String() string {
	switch k {
	case Ack:
		return "ack"
	case Retry:
		return "retry"
	case Release:
		return "release"
	case Dead:
		return "dead"
	default:
		return "unknown"
	}
}

// Outcome is what became of one delivered message.
type Outcome struct {
	*Raw
	Kind  Kind
	After time.Duration // of Retry and Release
	Err   error         // the failure, nil for Ack and for what was never handled
}

// Parallel is a Source that is read by several goroutines at once, each of which may be served from another part of it.
type Parallel interface {
	// Readers is how many, at least 1. It doesn't change.
	Readers() int
}

// Leaser is a Source that lends its messages for a time. The consumer extends what it holds three times per lease, from receipt
// until it is settled, however long a handler takes.
type Leaser interface {
	// Lease is how long a message is lent. It doesn't change.
	Lease() time.Duration
	// Extend lends all that was received and not yet settled for another Lease. It returns the IDs of the messages that somebody
	// else has by now. Called by one goroutine, at the same time as Receive and Settle.
	Extend(ctx context.Context) (lost []string, err error)
}

// Lagger is a Source that knows how many messages wait.
type Lagger interface {
	// Lag is how many messages nobody was given yet; negative if unknown. The consumer asks a few times per minute.
	Lag(ctx context.Context) (int64, error)
}

// LossCounter is a Source that notices when messages are lost before it could deliver them.
type LossCounter interface {
	// Lost counts them since the start. It doesn't block and is safe for concurrent use.
	Lost() int64
}

// GapCounter is a Source that notices when messages may have been lost, and can't know how many.
type GapCounter interface {
	// Gaps counts such times since the start, and tells of the last one. It doesn't block and is safe for concurrent use.
	Gaps() (count int64, last Gap)
}

// Gap is a time of which nobody knows whether messages were lost.
type Gap struct {
	At     time.Time `json:"at"` // when it was noticed
	Reason string    `json:"reason"`
}

// DeadKeeper is a Source that keeps what is settled as Dead. For any other, Config.DeadLetter is required.
type DeadKeeper interface {
	// KeepsDead says where, for the log.
	KeepsDead() string
}

// Closer is a Source that holds resources. Run closes it after the last outcome is settled.
type Closer interface {
	// Close lets go of everything, within ctx.
	Close(ctx context.Context) error
}
