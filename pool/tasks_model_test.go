package pool_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/pool"
)

// model is what Transition promises, in memory.
type model struct {
	task     pool.Task
	requests []string // the newest first
}

// step returns whether the step is made now, or was when it was asked for last.
func (m *model) step(s pool.Transition) (now, before bool) {
	switch at := slices.Index(m.requests, s.Request); {
	case at == 0 && m.task.State == s.To:
		return false, true
	case at >= 0, m.task.State != s.From, s.Token != pool.AnyToken && s.Token != m.task.Token:
		return false, false
	}
	m.requests = slices.Insert(m.requests, 0, s.Request)
	m.requests = m.requests[:min(8, len(m.requests))]
	return true, false
}

func TestTasks_FollowTheModel(t *testing.T) {
	t.Parallel()
	tasks := tasksOf(t, open(t, shared(t)))
	var m model
	tokens := []int64{0}
	made := 0
	for range 1500 {
		s := pool.Transition{
			Task: "7", From: pick("", "a", "b", m.task.State), To: pick("a", "b"), Owner: pick("", "w1", "w2"),
			Token: pick(pool.AnyToken, m.task.Token, tokens[rand.IntN(len(tokens))]), Request: fmt.Sprint(rand.IntN(30)),
		}
		if (s.From == "") != (s.Token == 0) && s.Token != pool.AnyToken {
			continue // refused without a question
		}
		now, before := m.step(s)
		got, err := tasks.Transition(t.Context(), s)
		switch {
		case now:
			require.NoError(t, err)
			require.Greater(t, got.Token, m.task.Token)
			m.task = pool.Task{State: s.To, Token: got.Token, Owner: s.Owner}
			tokens = append(tokens, got.Token)
			made++
		case before:
			require.NoError(t, err)
		default:
			stale, ok := errors.AsType[*pool.StaleError](err)
			require.True(t, ok, "%v after %v", err, s)
			got = stale.Now
		}
		require.Equal(t, m.task, got)
	}
	require.Greater(t, made, 50)
}

func pick[T any](of ...T) T { return of[rand.IntN(len(of))] }
