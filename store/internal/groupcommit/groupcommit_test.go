package groupcommit_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/store/internal/groupcommit"
)

var errBad = errors.New("bad")

// recorder is a group whose Runs take a second each, refuse a 0, and double everything else.
type recorder struct {
	*groupcommit.Group[int, int]
	mu      sync.Mutex
	batches [][]int
	ended   []error // of the contexts of Runs that were cut short
}

func newRecorder(parallel, maxSize int) *recorder {
	r := &recorder{}
	r.Group = &groupcommit.Group[int, int]{
		Parallel: parallel, MaxSize: maxSize,
		Size:   func(n int) int { return n },
		Blames: func(err error) bool { return errors.Is(err, errBad) },
		Run: func(ctx context.Context, calls []int) ([]int, error) {
			r.mu.Lock()
			r.batches = append(r.batches, slices.Clone(calls))
			r.mu.Unlock()
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
				r.mu.Lock()
				r.ended = append(r.ended, ctx.Err())
				r.mu.Unlock()
				return nil, ctx.Err()
			}
			outs := make([]int, len(calls))
			for i, n := range calls {
				if n == 0 {
					return nil, errBad
				}
				outs[i] = 2 * n
			}
			return outs, nil
		},
	}
	return r
}

// do makes calls one after another, and returns what each got.
func (r *recorder) do(ctx context.Context, t *testing.T, calls ...int) func() ([]int, []error) {
	t.Helper()
	outs, errs := make([]int, len(calls)), make([]error, len(calls))
	var wg sync.WaitGroup
	for i, n := range calls {
		wg.Go(func() { outs[i], errs[i] = r.Do(ctx, n) })
		synctest.Wait()
	}
	return func() ([]int, []error) { wg.Wait(); return outs, errs }
}

func TestGroup_CallsShareTheNextRun(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		parallel, maxSize int
		want              [][]int
		seconds           int
	}{
		"one at a time": {1, 100, [][]int{{1}, {2, 3, 4, 5}}, 2},
		"two at a time": {2, 100, [][]int{{1}, {2}, {3, 4, 5}}, 2},
		"little room":   {1, 8, [][]int{{1}, {2, 3}, {4}, {5}}, 4},
		"none":          {1, 0, [][]int{{1}, {2}, {3}, {4}, {5}}, 5},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRecorder(c.parallel, c.maxSize)
				start := time.Now()
				outs, errs := r.do(t.Context(), t, 1, 2, 3, 4, 5)()
				require.Equal(t, []int{2, 4, 6, 8, 10}, outs)
				require.Equal(t, make([]error, 5), errs)
				require.Equal(t, c.want, r.batches)
				require.Equal(t, time.Duration(c.seconds)*time.Second, time.Since(start))
			})
		})
	}
}

func TestGroup_BadCallFailsAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder(1, 100)
		outs, errs := r.do(t.Context(), t, 1, 2, 0, 3)()
		require.Equal(t, []int{2, 4, 0, 6}, outs)
		require.Equal(t, []error{nil, nil, errBad, nil}, errs)
	})
}

func TestGroup_CancelledCallerHarmsNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder(1, 100)
		cause := errors.New("shutting down")
		ctx, cancel := context.WithCancelCause(t.Context())
		first := r.do(t.Context(), t, 1)
		leaving := r.do(ctx, t, 2) // will be under way
		staying := r.do(t.Context(), t, 3)
		<-time.After(1500 * time.Millisecond)
		waiting := r.do(ctx, t, 4) // will still wait
		cancel(cause)
		start := time.Now()
		for _, result := range []func() ([]int, []error){leaving, waiting} {
			_, errs := result()
			require.ErrorIs(t, errs[0], context.Canceled)
			require.ErrorIs(t, errs[0], cause)
		}
		require.Zero(t, time.Since(start), "they return at once")
		for i, result := range []func() ([]int, []error){first, staying} {
			outs, errs := result()
			require.NoError(t, errs[0])
			require.Equal(t, []int{2, 6}[i], outs[0])
		}
		require.Equal(t, [][]int{{1}, {2, 3}}, r.batches, "what nobody waits for isn't begun")
		_, err := r.Do(ctx, 5)
		require.ErrorIs(t, err, cause)
		require.Empty(t, r.ended)
	})
}

func TestGroup_RunEndsWhenAllHaveGone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder(1, 100)
		ctx, cancel := context.WithCancel(t.Context())
		result := r.do(ctx, t, 1)
		cancel()
		_, errs := result()
		require.ErrorIs(t, errs[0], context.Canceled)
		synctest.Wait()
		require.Equal(t, []error{context.Canceled}, r.ended)
		out, err := r.Do(t.Context(), 2)
		require.NoError(t, err)
		require.Equal(t, 4, out, "and the next one is served")
	})
}

// TestGroup_ThoseWhoComeAgainShareTheNext has callers that call again as soon as they are answered: else they would be in two halves
// that take turns, with twice as many Runs.
func TestGroup_ThoseWhoComeAgainShareTheNext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const callers, times = 16, 200
		r := newRecorder(1, callers)
		var wg sync.WaitGroup
		for range callers {
			wg.Go(func() {
				for range times {
					_, err := r.Do(t.Context(), 1)
					require.NoError(t, err)
				}
			})
		}
		wg.Wait()
		require.Less(t, len(r.batches), times*3/2)
	})
}
