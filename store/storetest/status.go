package storetest

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/store"
)

func servicesNewest(t fixture) {
	said := func(service, instance, status string, count int64, ago time.Duration) store.Message {
		m := beat(service, instance, count, ago)
		m.Status, m.ID = status, fmt.Sprint(status, count, ago)
		return m
	}
	msgs := []store.Message{
		said("by-count", "a", "older", 1, time.Minute), // its clock went back
		said("by-count", "a", "newest", 2, time.Hour),
		said("by-time", "a", "older", 0, time.Hour), // it doesn't count
		said("by-time", "a", "newest", 0, time.Minute),
		said("by-instance", "a", "older", 1000, time.Hour), // the new one counts from 1
		said("by-instance", "b", "newest", 1, time.Minute),
		said("by-instance", "", "older", 1, 2*time.Hour),
		said("silent", "a", "newest", 1, time.Hour),
		said("silent", "a", "", 2, time.Minute), // says nothing about its status
	}
	for _, m := range shuffled(msgs) {
		t.record(m)
	}
	got := t.services()
	require.Equal(t, newModel(msgs...).services(), got)
	names := map[string]string{}
	for _, service := range got {
		names[service.Service] = service.Status
	}
	require.Equal(t, map[string]string{"by-count": "newest", "by-time": "newest", "by-instance": "newest", "silent": "newest"}, names)
}

// servicesReplay shows that a message that is stored already has no say, even if what is told of it differs.
func servicesReplay(t fixture) {
	m := beat("geocoding", "host-1", 1, time.Minute)
	t.record(m)
	before := t.services()
	m.Status, m.Count = "stopped", 1000
	require.Zero(t, t.record(m))
	require.Equal(t, before, t.services())

	first, second, older := beat("geocoding", "host-1", 5, 2*time.Second), m, beat("geocoding", "host-1", 4, time.Second)
	second.ID, second.At = first.ID, first.At
	require.Equal(t, 2, t.record(older, first, second), "the first one stays")
	require.Equal(t, "running", t.services()[0].Status)
	require.EqualValues(t, 5, t.services()[0].Instances[0].Count)
}

// servicesModel compares with the model what many writers did, with replays, stale counts, times out of order, and
// messages without a status.
func servicesModel(t fixture) {
	const rounds, writers, size = 12, 4, 40
	m := model{}
	for range rounds {
		var batches [writers][]store.Message
		for w := range batches {
			for range size {
				msg := beat(fmt.Sprint("s", rand.IntN(3)), fmt.Sprint("i", rand.IntN(4)), rand.Int64N(5), time.Duration(rand.IntN(3600))*time.Second)
				msg.At = msg.At.Truncate(time.Minute) // many are of the same time
				msg.ID = fmt.Sprint("id", rand.IntN(20))
				msg.Status = []string{"", "running", "stuck", "stopped"}[rand.IntN(4)]
				if m.record(msg) {
					batches[w] = append(batches[w], msg)
				}
			}
		}
		var wg sync.WaitGroup
		for w := range batches {
			wg.Go(func() {
				n, err := t.Record(t.Context(), batches[w])
				assert.NoError(t, err)
				assert.Equal(t, len(batches[w]), n)
			})
		}
		wg.Wait()
		t.record(shuffled(batches[rand.IntN(writers)])...)
		require.Equal(t, m.services(), t.services())
	}
}

func maintainInstances(t fixture) {
	long := store.InstanceMemory + time.Hour
	t.record(
		beat("busy", "crashed", 9, long),
		beat("busy", "quiet", 9, store.InstanceMemory-time.Hour),
		beat("busy", "running", 1, 0),
		beat("dead", "first", 1, long+time.Hour),
		beat("dead", "last", 1, long),
	)
	require.NoError(t, t.Maintain(t.Context()))
	instances := map[string][]string{}
	for _, service := range t.services() {
		for _, i := range service.Instances {
			instances[service.Service] = append(instances[service.Service], i.Instance)
		}
	}
	require.Equal(t, map[string][]string{"busy": {"running", "quiet"}, "dead": {"last"}}, instances)
}

func maintainWindow(t fixture) {
	msgs := []store.Message{
		beat("geocoding", "a", 1, 29*24*time.Hour), beat("geocoding", "a", 2, 0), beat("geocoding", "a", 3, -23*time.Hour),
	}
	t.record(msgs...)
	require.NoError(t, t.Maintain(t.Context()))
	require.NoError(t, t.Maintain(t.Context()))
	require.Equal(t, newestFirst(msgs), t.log())
	require.Zero(t, t.record(msgs...))
}

func maintainConcurrently(t fixture) {
	msgs := beats(300)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for range 5 {
				assert.NoError(t, t.Maintain(t.Context()))
			}
		})
		wg.Go(func() {
			for i := range msgs {
				_, err := t.Record(t.Context(), msgs[i:i+1])
				assert.NoError(t, err)
			}
		})
	}
	wg.Wait()
	require.Equal(t, newestFirst(msgs), t.log())
}

func migrateTogether(t fixture) {
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() { assert.NoError(t, t.Migrate(t.Context())) })
	}
	wg.Wait()
	msgs := beats(10)
	t.record(msgs...)
	require.NoError(t, t.Migrate(t.Context()))
	require.Equal(t, newestFirst(msgs), t.log())
}
