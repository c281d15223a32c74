package storetest

import (
	"cmp"
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

var uptimeStates = []store.UptimeState{store.StateUp, store.StateDown, store.StateUnknown, store.StateStopped}

// seen is the state of an instance of the service s, n seconds after base.
func seen(instance string, state store.UptimeState, base time.Time, n int) store.UptimeChange {
	return store.UptimeChange{Service: "s", Instance: instance, State: state, At: base.Add(time.Duration(n) * time.Second), Reason: fmt.Sprint("reason ", n)}
}

// oracle looks at each second by itself.
func oracle(q store.UptimeQuery, changes []store.UptimeChange) (service store.Uptime, instances map[string]store.InstanceUptime) {
	instances = map[string]store.InstanceUptime{}
	for at := q.From; at.Before(q.To); at = at.Add(time.Second) {
		newest := map[string]store.UptimeChange{}
		for _, c := range changes {
			n, ok := newest[c.Instance]
			if !c.At.After(at) && (!ok || cmp.Or(c.At.Compare(n.At), -strings.Compare(string(c.State), string(n.State))) > 0) {
				newest[c.Instance] = c
			}
		}
		in := map[store.UptimeState]int{}
		for name, c := range newest {
			in[c.State]++
			u := instances[name]
			u.Instance = name
			switch c.State {
			case store.StateUp:
				u.Up += time.Second
			case store.StateDown:
				u.Down += time.Second
			case store.StateUnknown:
				u.Unknown += time.Second
			case store.StateStopped:
				u.Stopped += time.Second
			}
			instances[name] = u
		}
		switch {
		case in[store.StateUp] > 0:
			service.Up += time.Second
		case in[store.StateDown] > 0:
			service.Down += time.Second
		case in[store.StateUnknown] > 0:
			service.Unknown += time.Second
		}
	}
	return service, instances
}

// uptimeOracle records changes that overlap, are late, doubled, shuffled, and written by many at once.
func uptimeOracle(t healthFixture) {
	base := hourAgo()
	var changes []store.UptimeChange
	for range 120 {
		changes = append(changes, seen(fmt.Sprint("i", rand.IntN(4)), uptimeStates[rand.IntN(4)], base, rand.IntN(300)))
	}
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			mixed := slices.Concat(changes, changes[:40])
			rand.Shuffle(len(mixed), func(i, j int) { mixed[i], mixed[j] = mixed[j], mixed[i] })
			for batch := range slices.Chunk(mixed, 1+rand.IntN(30)) {
				_, err := t.health.RecordUptime(t.Context(), batch)
				assert.NoError(t, err)
			}
		})
	}
	wg.Wait()
	n, err := t.health.RecordUptime(t.Context(), changes)
	require.NoError(t, err)
	require.Zero(t, n, "a repetition is no news")
	t.maintain()
	for _, window := range [][2]int{{0, 600}, {0, 100}, {100, 101}, {150, 299}, {301, 600}} {
		q := store.UptimeQuery{Service: "s", From: base.Add(time.Duration(window[0]) * time.Second), To: base.Add(time.Duration(window[1]) * time.Second)}
		service, instances := oracle(q, changes)
		got := t.uptime(q)
		require.Equal(t, service, got.Uptime, "window %v of %v", window, changes)
		names := []string{}
		for _, i := range got.Instances {
			names = append(names, i.Instance)
			total := time.Duration(0)
			for e, episode := range i.Episodes {
				total += episode.To.Sub(episode.From)
				require.True(t, e == 0 || i.Episodes[e-1].State != episode.State && i.Episodes[e-1].To.Equal(episode.From), "%v", i.Episodes)
			}
			require.Equal(t, i.Up+i.Down+i.Unknown+i.Stopped, total)
			i.Episodes = nil
			require.Equal(t, instances[i.Instance], i)
		}
		require.True(t, slices.IsSorted(names))
		for name, i := range instances {
			require.Equal(t, i.Up+i.Down+i.Unknown > 0, slices.Contains(names, name), "who was there is listed")
		}
	}
}

func uptimeService(t healthFixture) {
	base := hourAgo()
	_, err := t.health.RecordUptime(t.Context(), []store.UptimeChange{
		seen("old", store.StateUp, base, 0), seen("old", store.StateDown, base, 100), // crashed, and was replaced
		seen("new", store.StateUp, base, 110), seen("new", store.StateUnknown, base, 200), seen("new", store.StateUp, base, 250), seen("new", store.StateStopped, base, 300),
	})
	require.NoError(t, err)
	u := t.uptime(store.UptimeQuery{Service: "s", From: base.Add(-time.Minute), To: base.Add(400 * time.Second)})
	require.Equal(t, store.Uptime{Up: (100 + 90 + 50) * time.Second, Down: (10 + 50 + 100) * time.Second}, u.Uptime)
	percent, known := u.Percent()
	require.True(t, known)
	require.InDelta(t, 60, percent, 1e-9)
	require.Equal(t, "reason 110", u.Instances[0].Episodes[0].Reason)
}

func uptimeWindows(t healthFixture) {
	base := hourAgo()
	_, err := t.health.RecordUptime(t.Context(), []store.UptimeChange{seen("i", store.StateUp, base, 0)})
	require.NoError(t, err)
	u := t.uptime(store.UptimeQuery{Service: "s", To: time.Now().Add(240 * time.Hour)})
	require.WithinDuration(t, time.Now(), u.To, time.Minute, "nothing is known of the future")
	require.InDelta(t, time.Since(base).Seconds(), u.Up.Seconds(), 60)
	require.Empty(t, t.uptime(store.UptimeQuery{Service: "s", From: time.Now().Add(time.Hour), To: time.Now().Add(2 * time.Hour)}).Instances)
	require.Empty(t, t.uptime(store.UptimeQuery{Service: "s", To: base}).Instances)
	require.Empty(t, t.uptime(store.UptimeQuery{Service: "other"}).Instances)
}

func uptimeBad(t healthFixture) {
	base := hourAgo()
	changes := []store.UptimeChange{
		seen("good", store.StateUp, base, 0), seen("bad", "sideways", base, 0), seen("\x00", store.StateUp, base, 0),
		{Instance: "i", State: store.StateUp, At: base},
		seen("old", store.StateUp, time.Unix(0, 0), 0), seen("future", store.StateUp, base, 1<<20),
		{Service: "s", Instance: "r", State: store.StateUp, At: base, Reason: "\xff"},
		seen("also good", store.StateDown, base, 0),
	}
	n, err := t.health.RecordUptime(t.Context(), changes)
	require.Equal(t, 2, n)
	var indexes []int
	for _, m := range t.refusedBy(err) {
		indexes = append(indexes, m.Index)
	}
	require.Equal(t, []int{1, 2, 3, 4, 5, 6}, indexes)
	require.Len(t, t.uptime(store.UptimeQuery{Service: "s"}).Instances, 2)
}
