package consumer

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// Handler handles one message. A plain function of that form is one; see [New].
type Handler[T any] func(ctx context.Context, m *Message[T]) error

// BatchHandler handles messages together. A plain function of that form is one; see [NewBatch].
type BatchHandler[T any] func(ctx context.Context, batch []*Message[T]) error

// Middleware is what surrounds a handler of any type, of one message or of a batch. It calls next with ctx or one derived from it, once or not at
// all, and returns what becomes of the call, most often what next returned. A panic of the handler comes out of next as a [*PanicError]. It is
// called by as many goroutines as there are handlers.
type Middleware func(ctx context.Context, call *Call, next func(context.Context) error) error

// Call is one call of a handler.
type Call struct {
	// Messages are those that the handler is given, not to be changed.
	Messages []*Raw

	failure func(i int) error
}

// Failure returns with which error the handler has marked Messages[i] by [Message.Fail]; nil if it hasn't.
func (c *Call) Failure(i int) error { return c.failure(i) }

// Chain surrounds h with middleware, the first one outermost.
func Chain[T any](h Handler[T], mw ...Middleware) Handler[T] {
	if h == nil {
		return nil // which New refuses
	}
	return func(ctx context.Context, m *Message[T]) error {
		call := &Call{Messages: []*Raw{&m.Raw}, failure: func(int) error { return m.err }}
		return through(ctx, mw, call, func(ctx context.Context) error { return h(ctx, m) })
	}
}

// ChainBatch is Chain for a handler of batches.
func ChainBatch[T any](h BatchHandler[T], mw ...Middleware) BatchHandler[T] {
	if h == nil {
		return nil
	}
	return func(ctx context.Context, batch []*Message[T]) error {
		call := &Call{Messages: make([]*Raw, len(batch))}
		messages := make([]*Message[T], len(batch)) // h may sort its slice
		for i, m := range batch {
			messages[i], call.Messages[i] = m, &m.Raw
		}
		call.failure = func(i int) error { return messages[i].err }
		return through(ctx, mw, call, func(ctx context.Context) error { return h(ctx, batch) })
	}
}

func through(ctx context.Context, mw []Middleware, call *Call, handle func(context.Context) error) (err error) {
	if len(mw) == 0 {
		defer recovered(&err)
		return handle(ctx)
	}
	return mw[0](ctx, call, func(ctx context.Context) error { return through(ctx, mw[1:], call, handle) })
}

// Timeout ends the context of each call after d; 0 or less never does. It waits for the handler, which has to obey its context. What a handler returns
// then is most often context.DeadlineExceeded, which [IsTransient]: as nobody can tell a message that takes too long from another side
// that hangs, it makes no dead letters.
func Timeout(d time.Duration) Middleware {
	return func(ctx context.Context, _ *Call, next func(context.Context) error) error {
		if d <= 0 {
			return next(ctx)
		}
		ctx, cancel := context.WithTimeout(ctx, d)
		defer cancel()
		return next(ctx)
	}
}

// LogFailures logs failures of the handler, one in each time of length every at most, and how many were passed over since the last. A nil log means
// slog.Default(). It is one limit for all handlers that share it.
func LogFailures(log *slog.Logger, every time.Duration) Middleware {
	if log == nil {
		log = slog.Default()
	}
	s := sampler{every: every}
	return func(ctx context.Context, call *Call, next func(context.Context) error) error {
		err := next(ctx)
		first, count, cause := failures(call, err)
		if count == 0 {
			return err
		}
		if passedOver, ok := s.admit(count); ok {
			log.WarnContext(ctx, "consumer: the handler failed", "message", first.ID, "attempt", first.Attempt, "failed", count,
				"of", len(call.Messages), "passed_over", passedOver, "error", cause)
		}
		return err
	}
}

// failures returns how many messages of a call failed, the first of them, and why.
func failures(call *Call, err error) (first *Raw, count int, cause error) {
	for i, m := range call.Messages {
		failure := call.Failure(i)
		if failure == nil {
			continue
		}
		if count++; count == 1 {
			first, cause = m, failure
		}
	}
	if count == 0 && err != nil {
		return call.Messages[0], len(call.Messages), err
	}
	return first, count, cause
}

// sampler lets one through at a time. Safe for concurrent use.
type sampler struct {
	every time.Duration

	mu         sync.Mutex
	next       time.Time
	passedOver int
}

func (s *sampler) admit(count int) (passedOver int, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if now.Before(s.next) {
		s.passedOver += count
		return 0, false
	}
	passedOver, s.passedOver, s.next = s.passedOver, 0, now.Add(s.every)
	return passedOver, true
}
