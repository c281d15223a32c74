package queue

import "context"

type Step struct{}
type book struct{}

func (b *book) list() []Step { return nil }

type Tracked struct{}
type row struct{}
type ledger[T, R any] struct{}

func newLedger[T, R any](q *Queue[T, R]) *ledger[T, R]                            { return nil }
func (l *ledger[T, R]) start(t *Ticket[R], attempt int)                           {}
func (l *ledger[T, R]) end(t *Ticket[R], how outcome, result R, err error)        {}
func (l *ledger[T, R]) pauseLocked(t *Ticket[R], attempt int, err error)          {}
func (l *ledger[T, R]) run(ctx context.Context)                                   {}
func (l *ledger[T, R]) close() error                                              { return nil }
func (l *ledger[T, R]) stats() *Tracked                                           { return nil }
func (l *ledger[T, R]) accept(ctx context.Context, j *Job[T]) (*Ticket[R], error) { return nil, nil }
func (l *ledger[T, R]) acceptAll(ctx context.Context, j []Job[T]) ([]*Ticket[R], error) {
	return nil, nil
}
