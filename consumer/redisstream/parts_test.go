package redisstream_test

import (
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/consumer/redisstream"
)

func TestEntryID_Arithmetic(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		next string
		ok   bool
	}{
		"1700000000000-0":        {"1700000000000-1", true},
		"5":                      {"5-1", true},
		"5-18446744073709551615": {"6-0", true},
		"18446744073709551615-18446744073709551615": {"18446744073709551615-18446744073709551615", true},
		"":     {"0-1", false},
		"$":    {"0-1", false},
		"-":    {"0-1", false},
		"1-":   {"0-1", false},
		"-1":   {"0-1", false},
		"1-2-": {"0-1", false},
	}
	for id, want := range tests {
		next, ok := redisstream.NextID(id)
		require.Equal(t, want.ok, ok, id)
		require.Equal(t, want.next, next, id)
	}
	require.Equal(t, "1000-0", redisstream.EarlierID("3500-7", 2500*time.Millisecond))
	require.Equal(t, "0-0", redisstream.EarlierID("3500-7", time.Hour))
	require.Equal(t, "3500-0", redisstream.EarlierID("3500-7", -time.Hour))
}

func FuzzEntryID_NextIsHigher(f *testing.F) {
	f.Add("1700000000000-0")
	f.Add("1-18446744073709551615")
	f.Add("x")
	f.Fuzz(func(t *testing.T, s string) {
		next, ok := redisstream.NextID(s)
		if !ok {
			return
		}
		if redisstream.CompareIDs(s, next) >= 0 {
			require.Equal(t, "18446744073709551615-18446744073709551615", next)
		}
	})
}

func TestParseFound_RefusesWhatNoScriptReturns(t *testing.T) {
	t.Parallel()
	entry := func(parts ...any) []any { return []any{"0-0", int64(0), []any{parts}} }
	bad := map[string][]any{
		"nothing":         nil,
		"too short":       {"0-0", int64(0)},
		"no cursor":       {int64(1), int64(0), []any{}},
		"no count":        {"0-0", "0", []any{}},
		"no list":         {"0-0", int64(0), "x"},
		"no entry":        {"0-0", int64(0), []any{"x"}},
		"short entry":     entry("1-1", int64(1)),
		"no id":           entry(int64(1), int64(1), []any{}),
		"no attempts":     entry("1-1", "1", []any{}),
		"no fields":       entry("1-1", int64(1), nil),
		"half a field":    entry("1-1", int64(1), []any{"payload"}),
		"field of number": entry("1-1", int64(1), []any{int64(1), "x"}),
	}
	for name, reply := range bad {
		_, _, _, ok := redisstream.ParseFound(reply)
		require.False(t, ok, name)
	}
	next, gone, entries, ok := redisstream.ParseFound([]any{"7-0", int64(2), []any{[]any{"1-1", int64(3), []any{"payload", "x"}}}})
	require.True(t, ok)
	require.Equal(t, "7-0", next)
	require.EqualValues(t, 2, gone)
	require.Len(t, entries, 1)
	require.Equal(t, "x", entries[0].Field("payload"))
	require.EqualValues(t, 3, entries[0].Attempts())
}

// An alarm goes off at most 50 ms after the time that was asked for, and never before the earliest.
func TestAlarm_IsASortedListOfTimes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var a redisstream.Alarm
		var model []time.Time // what was asked for and did not happen yet
		random := rand.New(rand.NewPCG(1, 2))
		for range 10_000 {
			at := time.Now().Add(time.Duration(random.IntN(2000)) * time.Millisecond)
			a.Set(at)
			model = append(model, at)
			<-time.After(time.Duration(random.IntN(20)) * time.Millisecond)
			earliest := slices.MinFunc(model, time.Time.Compare)
			if a.Due() {
				require.False(t, time.Now().Before(earliest))
				a.Clear(time.Now())
				model = slices.DeleteFunc(model, func(at time.Time) bool { return !at.After(time.Now()) })
				continue
			}
			require.Less(t, time.Since(earliest), 50*time.Millisecond)
			wait := a.Wait(time.Hour, func() {})
			require.GreaterOrEqual(t, wait, time.Until(earliest))
			require.Less(t, wait, time.Until(earliest)+50*time.Millisecond)
		}
	})
}

func TestAlarm_InterruptsAWaitThatBecameTooLong(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var a redisstream.Alarm
		woken := 0
		interrupt := func() { woken++ }
		require.Equal(t, time.Hour, a.Wait(time.Hour, interrupt))
		a.Set(time.Now().Add(10 * time.Second))
		require.Equal(t, 1, woken)
		require.Equal(t, 10*time.Second, a.Wait(time.Hour, interrupt))
		require.Equal(t, time.Second, a.Wait(time.Second, interrupt))
		a.Set(time.Now().Add(20 * time.Second))
		require.Equal(t, 1, woken, "later than what it waits for")
		a.Done()
		a.Set(time.Now())
		require.Equal(t, 1, woken, "nobody waits")
		require.True(t, a.Due())
	})
}
