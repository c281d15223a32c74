package queue

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"time"
)

// Step runs a part of a task and records it under its name: when it began, how long it took, its result as JSON, its error. When the task is tried
// again, or by another process with a tracker, a step that has succeeded is skipped and its result returned as it was recorded. So steps need names that are
// unique within the task, and results that JSON can hold. A panic of f becomes the step's error.
//
// Steps may run side by side; see [Together]. ctx is handed to f.
func Step[S, T any](ctx context.Context, t *Task[T], name string, f func(ctx context.Context) (S, error)) (result S, err error) {
	b := t.books.book()
	if text, ok := b.succeeded(name); ok && json.Unmarshal(text, &result) == nil {
		return result, nil
	}
	record := StepRecord{Name: name, Attempt: t.Attempt, Started: time.Now()}
	err = guarded(func() (err error) {
		result, err = f(ctx)
		return err
	})
	record.Took = time.Since(record.Started)
	if err == nil {
		record.Result, err = json.Marshal(result)
	}
	if err != nil {
		record.Error = err.Error()
	}
	b.add(record)
	return result, err
}

// Together runs functions side by side, waits for all of them and returns their errors joined. After the first error the context of the others
// is cancelled. A panic becomes an error.
func Together(ctx context.Context, fs ...func(ctx context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	errs := make([]error, len(fs))
	var wg sync.WaitGroup
	for i, f := range fs {
		wg.Go(func() {
			errs[i] = ErrGoexit // unless it returns
			defer func() {
				if errs[i] != nil {
					cancel(errs[i])
				}
			}()
			errs[i] = guarded(func() error { return f(ctx) })
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// guarded turns a panic of f into an error.
func guarded(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = newPanicError(v)
		}
	}()
	return f()
}

// book holds the steps of a task over all its attempts.
type book struct {
	mu      sync.Mutex
	records []StepRecord
	note    func() // called after each; nil without a tracker
}

// bookkeeper makes the book of a task when its first step needs it.
type bookkeeper interface{ book() *book }

func (b *book) succeeded(name string) (result []byte, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range b.records {
		if r.Name == name && r.Error == "" {
			return r.Result, true
		}
	}
	return nil, false
}

func (b *book) add(r StepRecord) {
	b.mu.Lock()
	b.records = append(b.records, r)
	b.mu.Unlock()
	if b.note != nil {
		b.note()
	}
}

func (b *book) list() []StepRecord {
	if b == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.records)
}

// book is that of the task in hand. Its steps may ask for it side by side.
func (w *worker[T, R]) book() *book {
	w.bookMu.Lock()
	defer w.bookMu.Unlock()
	if w.steps != nil {
		return w.steps
	}
	w.steps = new(book)
	if t := w.entry.ticket; t != nil {
		t.mu.Lock()
		if t.book == nil {
			t.book = w.steps
			if t.more != nil && t.more.row != nil {
				t.book.note = func() { w.queue.ledger.noteStep(t) }
			}
		}
		w.steps = t.book
		t.mu.Unlock()
	}
	return w.steps
}
