package storetest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/store"
)

func transitionStates(t requests) {
	first, second := job("1"), job("2")
	first.Key, first.Deadline = "key", first.Created.Add(time.Hour)
	t.accept("a", first, second)

	running := started(first)
	running.Steps = []store.Step{{Name: "step1", Attempt: 1, Started: running.Started, Took: time.Second, Result: []byte("1")}}
	change := running
	change.Payload, change.Key, change.Created, change.Priority, change.MaxAttempts, change.Owner = []byte("x"), "x", time.Now(), 9, 9, "x" // not its to change
	require.Empty(t, t.transition("a", change))
	require.Equal(t, of("a", running)[0], t.request("1"))

	done := ended(running, store.RequestFailed)
	done.Steps, done.Result, done.Error, done.Attempts = []store.Step{running.Steps[0], {Name: "step2"}}, []byte{0}, "gave up", 3
	require.Empty(t, t.transition("a", done, started(second)), "both kinds in one call")
	require.Equal(t, of("a", done)[0], t.request("1"))
	require.Equal(t, of("a", started(second))[0], t.request("2"))
	require.Equal(t, []string{"unknown"}, t.transition("a", ended(job("unknown"), store.RequestCompleted)))
	require.Empty(t, t.transition("a"))
}

func transitionRepeated(t requests) {
	r := job("1")
	t.accept("a", r)
	done := ended(r, store.RequestCompleted)
	done.Result, done.Error = []byte("result"), "\xff\x00"
	for range 3 {
		require.Empty(t, t.transition("a", started(r), done), "of two in one call the finished one counts")
		require.Empty(t, t.transition("a", done, started(r)))
	}
	require.Equal(t, store.RequestCompleted, t.request("1").Status)
	require.Equal(t, []string{"1"}, t.transition("b", done), "whose outcome it isn't")
	require.Equal(t, []string{"1"}, t.transition("a", started(r)), "it has finished")
}

// transitionFenced has an owner pause until another has taken its request over: what it does after that has no effect.
func transitionFenced(t requests) {
	r := job("1")
	t.accept("a", r, job("2"))
	t.transition("a", started(r))
	t.hold("b", time.Hour)
	require.Equal(t, of("b", started(r)), t.unfinished("b", 1), "with all that is known of it")

	require.Equal(t, []string{"1"}, t.transition("a", started(r)))
	require.Equal(t, []string{"1"}, t.transition("a", ended(r, store.RequestCompleted), ended(job("2"), store.RequestCompleted)))
	require.Equal(t, store.RequestProcessing, t.request("1").Status)
	require.Equal(t, store.RequestCompleted, t.request("2").Status, "what is still a's")
	require.Empty(t, t.transition("b", ended(r, store.RequestFailed)))
	require.Equal(t, []string{"1"}, t.transition("a", ended(r, store.RequestCompleted)))
	require.Equal(t, of("b", ended(r, store.RequestFailed))[0], t.request("1"))
}

func transitionOutcome(t requests) {
	r := job("1")
	t.accept("a", r)
	done := ended(r, store.RequestCompleted)
	done.Result = []byte("1")
	require.Empty(t, t.transition("a", done))
	for name, change := range map[string]func(r *store.Request){
		"status": func(r *store.Request) { r.Status = store.RequestFailed },
		"result": func(r *store.Request) { r.Result = []byte("2") },
		"error":  func(r *store.Request) { r.Error = "x" },
	} {
		other := done
		change(&other)
		require.Equal(t, []string{"1"}, t.transition("a", other), name)
	}
	require.Equal(t, of("a", done)[0], t.request("1"))
}

func transitionRefused(t requests) {
	all := jobs("x", 3)
	t.accept("a", all...)
	for i := range all {
		all[i] = ended(all[i], store.RequestCompleted)
	}
	all[1].Status, all[2].Worker = "done", "\xff"
	_, err := t.Transition(t.Context(), "a", all)
	rows := t.refused(err)
	require.Len(t, rows, 2)
	require.Equal(t, 1, rows[0].Index)
	require.ErrorContains(t, err, "Status")
	require.Equal(t, store.RequestQueued, t.request("x-0000").Status, "nothing of it was done")
	_, err = t.Transition(t.Context(), "", all[:1])
	require.ErrorContains(t, err, "owner is empty")
}

func transitionErrors(t requests) {
	r := job("1")
	t.accept("a", r)
	r = ended(r, store.RequestFailed)
	r.Error = "\xff\x00" + strings.Repeat("é", store.MaxErrorBytes)
	r.Steps = []store.Step{{Name: "\x00", Error: "\xff"}}
	require.Empty(t, t.transition("a", r))
	got := t.request("1")
	require.True(t, strings.HasPrefix(got.Error, "\ufffd\ufffdéé"))
	require.LessOrEqual(t, len(got.Error), store.MaxErrorBytes+8)
	require.Equal(t, []store.Step{{Name: "\ufffd", Error: "\ufffd"}}, got.Steps)
}

func holdLapses(t requests) {
	require.False(t, t.hold("a", time.Hour))
	require.False(t, t.hold("a", time.Millisecond))
	require.Eventually(t, func() bool { return t.hold("a", time.Millisecond) }, 10*time.Second, 20*time.Millisecond)
	t.hold("a", time.Hour)
	require.False(t, t.hold("a", time.Hour), "it was renewed in time")
	t.release("a")
	t.release("a")
	require.False(t, t.hold("a", time.Hour))
}

func holdRefused(t requests) {
	for _, d := range []time.Duration{-1, 0, time.Microsecond, 25 * time.Hour} {
		_, err := t.Hold(t.Context(), "orders", "a", d)
		require.ErrorContains(t, err, "lease")
	}
	_, err := t.Hold(t.Context(), "", "a", time.Second)
	require.ErrorContains(t, err, "queue is empty")
	_, err = t.Hold(t.Context(), "orders", "\x00", time.Second)
	require.ErrorContains(t, err, "owner holds a NUL byte")
	require.ErrorContains(t, t.Release(t.Context(), "orders", ""), "owner is empty")
	_, err = t.Unfinished(t.Context(), "\xff", "a", 1)
	require.ErrorContains(t, err, "queue is not UTF-8")
	require.False(t, store.IsTransient(err))
	_, _, err = t.Request(t.Context(), "orders", "\x00")
	require.ErrorContains(t, err, "id holds a NUL byte")
}

func unfinishedOrder(t requests) {
	var want []string
	for i, owner := range []string{"c", "a", "b", "a", "c"} {
		batch := jobs(fmt.Sprint(9-i), 4+8*(i%2)) // neither by ID nor by owner
		batch[0].ID, batch[3].ID = batch[3].ID, batch[0].ID
		t.accept(owner, batch...)
		want = append(want, idsOf(batch)...)
	}
	t.hold("new", time.Hour)
	require.Equal(t, want[:7], idsOf(t.unfinished("new", 7)))
	require.Equal(t, want[7:], idsOf(t.unfinished("new", 100)))
	require.Empty(t, t.unfinished("new", 100))
	require.Empty(t, t.unfinished("new", 0))
	require.Empty(t, t.unfinished("new", -1))
}

func unfinishedLiving(t requests) {
	for _, owner := range []string{"alive", "late", "gone"} {
		t.hold(owner, time.Hour)
		t.accept(owner, jobs(owner, 3)...)
	}
	other := job("other")
	other.Queue = "payments"
	t.accept("gone", other)
	t.hold("new", time.Hour)
	require.Empty(t, t.unfinished("new", 100))
	t.release("gone")
	require.Equal(t, idsOf(jobs("gone", 3)), idsOf(t.unfinished("new", 100)))
	t.hold("late", time.Millisecond)
	var taken []store.Request
	require.Eventually(t, func() bool { taken = t.unfinished("new", 100); return len(taken) > 0 }, 10*time.Second, 10*time.Millisecond)
	require.Equal(t, idsOf(jobs("late", 3)), idsOf(taken))
	require.True(t, t.hold("late", time.Hour), "the late one is told")
	require.Equal(t, "alive", t.request("alive-0000").Owner)
}

func unfinishedLease(t requests) {
	t.accept("gone", jobs("x", 3)...)
	_, err := t.Unfinished(t.Context(), "orders", "new", 1)
	require.ErrorContains(t, err, "no lease")
	require.True(t, store.IsTransient(err), "it is had by Hold")
	require.Equal(t, "gone", t.request("x-0000").Owner)
	t.hold("new", time.Hour)
	require.Len(t, t.unfinished("new", 2), 2)
}

func unfinishedConcurrently(t requests) {
	const total, takers = 400, 8
	for i := range 4 {
		t.accept(fmt.Sprint("gone-", i), jobs(fmt.Sprint(i), total/4)...)
	}
	var mu sync.Mutex
	taken := map[string]string{}
	var wg sync.WaitGroup
	for i := range takers {
		wg.Go(func() {
			owner := fmt.Sprint("new-", i)
			_, err := t.Hold(t.Context(), "orders", owner, time.Hour)
			assert.NoError(t, err)
			for done := false; !done && !t.Failed(); {
				some, err := t.Unfinished(t.Context(), "orders", owner, 1+rand.IntN(20))
				mu.Lock()
				assert.NoError(t, err)
				for _, r := range some {
					assert.Empty(t, taken[r.ID], "two got it")
					assert.Equal(t, owner, r.Owner)
					taken[r.ID] = owner
				}
				done = len(taken) == total
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	require.Len(t, taken, total)
}

// ownersRace has owners lose and regain their leases while they take over, run and finish: each request gets one outcome, and its
// owner is the one that was told so.
func ownersRace(t requests) {
	const owners, total = 6, 150
	all := jobs("x", total)
	t.accept("first", all...)
	var mu sync.Mutex
	won := map[string]string{}
	var wg sync.WaitGroup
	for i := range owners {
		wg.Go(func() {
			owner := fmt.Sprint("owner-", i)
			for !t.Failed() {
				mu.Lock()
				done := len(won) == total
				mu.Unlock()
				if done {
					return
				}
				_, err := t.Hold(t.Context(), "orders", owner, time.Duration(1+rand.IntN(20))*time.Millisecond)
				assert.NoError(t, err)
				mine, err := t.Unfinished(t.Context(), "orders", owner, 1+rand.IntN(10))
				if err != nil && !store.IsTransient(err) { // the lease may have lapsed
					assert.NoError(t, err)
				}
				for j := range mine {
					mine[j] = ended(mine[j], store.RequestCompleted)
					mine[j].Result = []byte(owner)
				}
				lost, err := t.Transition(t.Context(), owner, mine)
				assert.NoError(t, err)
				mu.Lock()
				for _, r := range mine {
					if !slices.Contains(lost, r.ID) {
						assert.Empty(t, won[r.ID], "two outcomes")
						won[r.ID] = owner
					}
				}
				mu.Unlock()
				if len(mine) == 0 { // those whom a lapsed owner holds come free when its lease ends
					<-time.After(time.Millisecond)
				}
			}
		})
	}
	wg.Wait()
	for id, owner := range won {
		r := t.request(id)
		require.Equal(t, owner, r.Owner)
		require.Equal(t, owner, string(r.Result))
	}
}
