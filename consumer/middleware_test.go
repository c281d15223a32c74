package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/consumer"
	"github.com/upbeat-go/upbeat/consumer/consumertest"
)

func ExampleChain() {
	traced := func(ctx context.Context, call *consumer.Call, next func(context.Context) error) error {
		fmt.Println("begin", call.Messages[0].ID)
		err := next(ctx)
		fmt.Println("end", call.Messages[0].ID, err)
		return err
	}
	handle := func(_ context.Context, m *consumer.Message[string]) error {
		fmt.Println("handle", m.Value)
		return nil
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))

	src := consumertest.NewSource()
	src.Publish(`"oak"`)
	handler := consumer.Chain(handle, consumer.LogFailures(log, time.Second), consumer.Timeout(10*time.Second), traced)
	c, err := consumer.New(src, handler, consumer.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { err = c.Run(ctx) })
	_ = src.Wait(ctx)
	cancel()
	wg.Wait()
	// Output:
	// begin 1
	// handle oak
	// end 1 <nil>
}

// note is a middleware that writes down what it sees.
func note(name string, seen *[]string) consumer.Middleware {
	return func(ctx context.Context, call *consumer.Call, next func(context.Context) error) error {
		*seen = append(*seen, fmt.Sprint(name, " of ", len(call.Messages)))
		err := next(ctx)
		*seen = append(*seen, fmt.Sprint(name, " got ", err))
		return err
	}
}

func TestChain_SurroundsTheFirstOutermost(t *testing.T) {
	t.Parallel()
	var seen []string
	var typed consumer.Handler[int] = func(context.Context, *consumer.Message[int]) error {
		seen = append(seen, "handler")
		return errMessage
	}
	require.ErrorIs(t, consumer.Chain(typed, note("a", &seen), note("b", &seen))(t.Context(), &consumer.Message[int]{}), errMessage)
	require.Equal(t, []string{"a of 1", "b of 1", "handler", "b got " + errMessage.Error(), "a got " + errMessage.Error()}, seen)

	seen = nil
	var batched consumer.BatchHandler[int] = func(context.Context, []*consumer.Message[int]) error { return nil }
	require.NoError(t, consumer.ChainBatch(batched, note("a", &seen))(t.Context(), []*consumer.Message[int]{{}, {}}))
	require.Equal(t, []string{"a of 2", "a got <nil>"}, seen)

	src := consumertest.NewSource()
	_, err := consumer.New(src, typed, consumer.Config{})
	require.NoError(t, err)
	_, err = consumer.NewBatch(src, batched, consumer.Config{})
	require.NoError(t, err)
	_, err = consumer.New(src, consumer.Chain[int](nil), consumer.Config{})
	require.Error(t, err)
	_, err = consumer.NewBatch(src, consumer.ChainBatch[int](nil), consumer.Config{})
	require.Error(t, err)
}

func TestChain_ShowsPanicsAndMarks(t *testing.T) {
	t.Parallel()
	var caught *consumer.PanicError
	catch := func(ctx context.Context, _ *consumer.Call, next func(context.Context) error) error {
		require.ErrorAs(t, next(ctx), &caught)
		return nil
	}
	fall := func(context.Context, *consumer.Message[int]) error { panic("fell") }
	require.NoError(t, consumer.Chain(fall, catch)(t.Context(), &consumer.Message[int]{}))
	require.Equal(t, "fell", caught.Value)
	require.Contains(t, string(caught.Stack), "middleware_test.go")

	mark := func(_ context.Context, batch []*consumer.Message[int]) error {
		slices.Reverse(batch)
		batch[0].Fail(errMessage) // the last one
		return nil
	}
	look := func(ctx context.Context, call *consumer.Call, next func(context.Context) error) error {
		require.NoError(t, next(ctx))
		require.NoError(t, call.Failure(0))
		require.ErrorIs(t, call.Failure(1), errMessage)
		return nil
	}
	require.NoError(t, consumer.ChainBatch(mark, look)(t.Context(), []*consumer.Message[int]{{}, {}}))
}

func TestTimeout_EndsTheContextOfTheCall(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		wait := func(ctx context.Context, _ *consumer.Message[int]) error {
			<-ctx.Done()
			return ctx.Err()
		}
		err := consumer.Chain(wait, consumer.Timeout(3*time.Second))(t.Context(), &consumer.Message[int]{})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.True(t, consumer.IsTransient(err))
		require.Equal(t, 3*time.Second, time.Since(begun))
		look := func(ctx context.Context, _ *consumer.Message[int]) error {
			_, limited := ctx.Deadline()
			require.False(t, limited)
			return nil
		}
		require.NoError(t, consumer.Chain(look, consumer.Timeout(0))(t.Context(), &consumer.Message[int]{}))
	})
}

func TestLogFailures_OneLineAtATime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, written := logs()
		fail := true
		handle := consumer.ChainBatch(func(_ context.Context, batch []*consumer.Message[int]) error {
			if !fail {
				return nil
			}
			batch[1].Fail(errors.New("marked"))
			return nil
		}, consumer.LogFailures(log, time.Second))
		call := func() { require.NoError(t, handle(t.Context(), make3())) }
		call()
		require.Contains(t, written(), "message=b attempt=2 failed=1 of=3 passed_over=0 error=marked")
		call()
		call()
		pass(time.Second)
		fail = false
		call()
		require.Equal(t, 1, strings.Count(written(), "\n"))
		fail = true
		call()
		require.Equal(t, 2, strings.Count(written(), "\n"))
		require.Contains(t, written(), "passed_over=2")

		whole := consumer.ChainBatch(func(context.Context, []*consumer.Message[int]) error { return errMessage }, consumer.LogFailures(log, 0))
		require.ErrorIs(t, whole(t.Context(), make3()), errMessage)
		require.Contains(t, written(), "message=a attempt=0 failed=3 of=3")
	})
}

func make3() []*consumer.Message[int] {
	return []*consumer.Message[int]{{Raw: consumer.Raw{ID: "a"}}, {Raw: consumer.Raw{ID: "b", Attempt: 2}}, {Raw: consumer.Raw{ID: "c"}}}
}
