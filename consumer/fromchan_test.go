package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/consumer"
)

func ExampleFromChan() {
	events := make(chan consumer.Raw)
	src := consumer.FromChan(events)
	c, err := consumer.New(src, func(_ context.Context, m *consumer.Message[string]) error {
		fmt.Println(m.ID, m.Value)
		return nil
	}, consumer.Config{Concurrency: 1, DeadLetter: func(context.Context, []consumer.DeadLetter) error { return nil }})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { err = c.Run(ctx) })
	events <- consumer.Raw{Payload: []byte(`"door opened"`)}
	events <- consumer.Raw{Payload: []byte(`"door closed"`)}
	close(events)
	<-src.Done()
	cancel()
	wg.Wait()
	fmt.Println("error:", err)
	// Output:
	// 1 door opened
	// 2 door closed
	// error: <nil>
}

// buried is a Config that keeps dead letters in a journal.
func buried(dead *journal[string]) consumer.Config {
	return consumer.Config{DeadLetter: func(_ context.Context, letters []consumer.DeadLetter) error {
		for _, l := range letters {
			dead.add(l.ID)
		}
		return nil
	}}
}

func TestFromChan_RetriesAndBuriesThenIsDone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ch := make(chan consumer.Raw, 100)
		for _, p := range []string{"a", "bad", "c"} {
			ch <- consumer.Raw{Payload: []byte(p)}
		}
		src := consumer.FromChan(ch)
		var dead journal[string]
		var seen journal[string]
		stop := start(t, single(t, src, buried(&dead), func(_ context.Context, m *consumer.Message[[]byte]) error {
			seen.add(fmt.Sprintf("%s/%d", m.Value, m.Attempt))
			if isBad(m) {
				return errMessage
			}
			return nil
		}))
		pass(time.Second / 2)
		close(ch)
		select {
		case <-src.Done():
			require.Fail(t, "one waits for its next attempt")
		default:
		}
		<-src.Done()
		require.NoError(t, stop())
		require.ElementsMatch(t, []string{"a/1", "c/1", "bad/1", "bad/2", "bad/3", "bad/4", "bad/5"}, seen.all())
		require.Equal(t, []string{"2"}, dead.all())
	})
}

func TestFromChan_NextConsumerGetsWhatTheLastOneLeft(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ch := make(chan consumer.Raw)
		src := consumer.FromChan(ch)
		for i := range 3 {
			go func() { ch <- consumer.Raw{ID: fmt.Sprint("id", i), Payload: []byte("x")} }()
		}
		synctest.Wait()
		raws, err := src.Receive(t.Context(), consumer.Credit{Count: 3, Bytes: 1})
		require.NoError(t, err)
		require.Len(t, raws, 1, "no more than the bytes allow")
		more, err := src.Receive(t.Context(), consumer.Credit{Count: 3, Bytes: 100})
		require.NoError(t, err)
		require.Len(t, more, 2, "all that is there")
		require.NoError(t, src.Settle(t.Context(), []consumer.Outcome{{Raw: &more[0], Kind: consumer.Ack}}))
		require.NoError(t, src.Close(t.Context()))

		// Too late: the message is somebody else's by now.
		require.NoError(t, src.Settle(t.Context(), []consumer.Outcome{{Raw: &more[1], Kind: consumer.Retry}}))
		lag, err := src.Lag(t.Context())
		require.NoError(t, err)
		require.EqualValues(t, 2, lag)

		close(ch)
		stop := start(t, single(t, src, buried(new(journal[string])), func(_ context.Context, m *consumer.Message[[]byte]) error {
			require.Equal(t, 1, m.Attempt)
			return nil
		}))
		<-src.Done()
		require.NoError(t, stop())
	})
}

func TestFromChan_EndedContextTakesNothing(t *testing.T) {
	t.Parallel()
	ch := make(chan consumer.Raw, 1)
	ch <- consumer.Raw{}
	ctx, cancel := context.WithCancelCause(t.Context())
	stopped := errors.New("stopped")
	cancel(stopped)
	raws, err := consumer.FromChan(ch).Receive(ctx, consumer.Credit{Count: 1, Bytes: 1})
	require.ErrorIs(t, err, stopped)
	require.Empty(t, raws)
	require.Len(t, ch, 1)
	_, err = consumer.FromChan(nil).Receive(t.Context(), consumer.Credit{Count: 1, Bytes: 1})
	require.ErrorContains(t, err, "nil")
}

func TestFromChan_TakesNothingNewWhileTooMuchIsToComeAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const most = 10_000
		ch := make(chan consumer.Raw, most+1)
		for range most + 1 {
			ch <- consumer.Raw{}
		}
		src := consumer.FromChan(ch)
		raws, err := src.Receive(t.Context(), consumer.Credit{Count: most, Bytes: 1})
		require.NoError(t, err)
		require.Len(t, raws, most)
		for i := range raws {
			require.NoError(t, src.Settle(t.Context(), []consumer.Outcome{{Raw: &raws[i], Kind: consumer.Retry, After: time.Hour}}))
		}
		begun := time.Now()
		raws, err = src.Receive(t.Context(), consumer.Credit{Count: 1, Bytes: 1})
		require.NoError(t, err)
		require.Equal(t, 2, raws[0].Attempt)
		require.Equal(t, time.Hour, time.Since(begun))
	})
}
