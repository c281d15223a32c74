package consumer_test

import (
	"math/rand/v2"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/consumer"
)

func TestQueue_IsASlice(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	q := consumer.NewQueue()
	var model []int
	for i := range 100_000 {
		switch n := random.IntN(10); {
		case n < 5:
			require.True(t, q.Push(i))
			model = append(model, i)
		case n < 7 && len(model) > 0:
			model = append(model, i)
			require.Equal(t, model[0], q.Swap(i))
			model = model[1:]
		case n < 7:
			require.Equal(t, i, q.Swap(i))
		case len(model) > 0:
			n = min(1+random.IntN(4), len(model))
			require.Equal(t, model[:n], q.Pop(n))
			model = model[n:]
		}
	}
	require.Equal(t, model, q.Close())
	require.False(t, q.Push(1))
	require.Nil(t, q.Pop(1))
	require.Equal(t, 1, q.Swap(1))
}

func TestQueue_HoldsBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := consumer.NewQueue()
		var popped journal[int]
		for range 3 {
			go func() {
				for {
					got := q.Pop(2)
					if got == nil {
						return
					}
					popped.add(got[0])
				}
			}()
		}
		q.Hold(true)
		q.Push(1)
		synctest.Wait()
		require.Empty(t, popped.all())
		q.Hold(false)
		synctest.Wait()
		require.Equal(t, []int{1}, popped.all())
		q.Close()
	})
}
