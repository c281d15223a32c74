package heartbeat_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/heartbeat"
	"github.com/upbeat-go/upbeat/internal/testserver"
)

// watcher is a monitor on a real server, and what it told.
type watcher struct {
	*heartbeat.Monitor
	mu     sync.Mutex
	events []heartbeat.Event
}

func watch(t *testing.T, rdb redis.UniversalClient, cfg heartbeat.MonitorConfig) *watcher {
	t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	m, err := heartbeat.NewMonitor(rdb, cfg)
	require.NoError(t, err)
	w := &watcher{Monitor: m}
	ctx, cancel := context.WithCancel(t.Context())
	events := m.Events(ctx)
	var wg sync.WaitGroup
	var failure error
	wg.Go(func() { failure = m.Run(ctx) })
	wg.Go(func() {
		for e := range events {
			w.mu.Lock()
			w.events = append(w.events, e)
			w.mu.Unlock()
		}
	})
	t.Cleanup(func() {
		cancel()
		wg.Wait()
		require.NoError(t, failure)
	})
	return w
}

func (w *watcher) told(kind heartbeat.EventKind) (all []heartbeat.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.events {
		if e.Kind == kind {
			all = append(all, e)
		}
	}
	return all
}

// await waits for the n-th event of a kind.
func (w *watcher) await(t *testing.T, kind heartbeat.EventKind, n int) heartbeat.Event {
	t.Helper()
	var all []heartbeat.Event
	require.Eventually(t, func() bool {
		all = w.told(kind)
		return len(all) >= n
	}, 40*time.Second, 5*time.Millisecond, "no event %s number %d", kind, n)
	return all[n-1]
}

// awaitSight waits until everything is heard for the first time.
func (w *watcher) awaitSight(t *testing.T) {
	t.Helper()
	w.await(t, heartbeat.EventSighted, 1)
}

func (w *watcher) ids() (ids []string) {
	for inst := range w.Instances() {
		ids = append(ids, inst.ID)
	}
	return ids
}

func (w *watcher) instance(t *testing.T, id string) heartbeat.Instance {
	t.Helper()
	for inst := range w.Instances() {
		if inst.ID == id {
			return inst
		}
	}
	require.Fail(t, "no such instance", id)
	return heartbeat.Instance{}
}

const (
	beatChannel = "health:service:geo:heartbeat"
	sampleKept  = 600 // seconds
)

// sampleBeat is one of a sender whose interval is a second.
func sampleBeat(id string, count int, phase string) string {
	return fmt.Sprintf(`{"service_name":"geo","instance_id":%q,"timestamp":"2025-01-16T08:30:00.000000+00:00","uptime_seconds":%d,"heartbeat_count":%d,`+
		`"memory_usage_mb":1,"cpu_usage_percent":1,"upbeat":{"v":1,"interval_seconds":1,"state":%q,"run":"r","retain_seconds":%d}}`,
		id, count, count, phase, sampleKept)
}

// beating publishes a beat again and again until the test ends, as far as the server allows.
func beating(t *testing.T, rdb redis.UniversalClient, id string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for count := 1; ctx.Err() == nil; count++ {
			short, done := context.WithTimeout(ctx, 400*time.Millisecond)
			beat := sampleBeat(id, count, "running")
			pipe := rdb.Pipeline()
			pipe.Set(short, "health:last:geo:"+id, beat, sampleKept*time.Second)
			pipe.Publish(short, beatChannel, beat)
			_, _ = pipe.Exec(short)
			done()
			select {
			case <-ctx.Done():
			case <-time.After(500 * time.Millisecond):
			}
		}
	})
	t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
}

func impatient(o *redis.Options) {
	o.ContextTimeoutEnabled, o.MaxRetries, o.DialerRetries = true, -1, 1
}

func private(t *testing.T) (*testserver.Redis, *redis.Client) {
	t.Helper()
	server := testserver.StartRedis(t, testserver.RedisConfig{})
	return server, connect(t, server.URL(), impatient)
}

func TestPattern(t *testing.T) {
	t.Parallel()
	require.Equal(t, "health:service:*:heartbeat", heartbeat.Pattern(heartbeat.DefaultChannel))
	require.Equal(t, "health:last:*:*", heartbeat.Pattern(heartbeat.DefaultRetainKey))
	require.Equal(t, `a\*b\?c\[d\]e\\*`, heartbeat.Pattern(`a*b?c[d]e\{service}`))
}

func TestKeptBeat_Age(t *testing.T) {
	t.Parallel()
	kept := func(seconds string) string { return `{"upbeat":{"retain_seconds":` + seconds + `}}` }
	for name, tc := range map[string]struct {
		payload string
		left    int64
		age     time.Duration
		known   bool
	}{
		"just set":             {kept("600"), 600_000, 0, true},
		"a while ago":          {kept("600"), 540_500, 59*time.Second + 500*time.Millisecond, true},
		"rounded by the clock": {kept("600"), 600_900, 0, true},
		"longer than it says":  {kept("600"), 700_000, 0, false},
		"kept for ever":        {kept("600"), -1, 0, false},
		"gone":                 {"", -2, 0, false},
		"says nothing":         {`{"service_name":"geo"}`, 1000, 0, false},
		"negative":             {kept("-1"), 1000, 0, false},
		"beyond any time":      {kept("1e300"), 1000, 0, false},
		"no JSON":              {"hello", 1000, 0, false},
		"of the wrong type":    {`{"upbeat":{"retain_seconds":"600"}}`, 1000, 0, false},
		"too large":            {kept("600" + strings.Repeat(" ", heartbeat.MaxBeatBytes)), 1000, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			age, known := heartbeat.KeptBeat([]byte(tc.payload), tc.left)
			require.Equal(t, tc.known, known)
			require.Equal(t, tc.age, age)
		})
	}
}

func TestMonitorRedis_HearsBeatsAndGoodbye(t *testing.T) {
	t.Parallel()
	_, rdb := private(t)
	w := watch(t, rdb, heartbeat.MonitorConfig{Channels: []string{heartbeat.DefaultChannel, heartbeat.ShortChannel}})
	w.awaitSight(t)
	require.NoError(t, rdb.Publish(t.Context(), beatChannel, sampleBeat("a", 1, "running")).Err())
	require.NoError(t, rdb.Publish(t.Context(), "heartbeat:service:geo", sampleBeat("b", 1, "running")).Err())
	w.await(t, heartbeat.EventStarted, 2)
	for _, bad := range []string{"no beat", "", strings.Repeat("x", heartbeat.MaxBeatBytes+1), strings.Repeat("x", 1<<20)} {
		require.NoError(t, rdb.Publish(t.Context(), beatChannel, bad).Err())
	}
	begin := time.Now()
	require.NoError(t, rdb.Publish(t.Context(), beatChannel, sampleBeat("a", 2, "stopped")).Err())
	require.Equal(t, "a", w.await(t, heartbeat.EventStopped, 1).Instance)
	require.Less(t, time.Since(begin), time.Second)
	require.Equal(t, uint64(4), w.Stats().Bad)
	require.Contains(t, w.Stats().LastBad, "131073 bytes: want at most 131072")
}

func TestMonitorRedis_FindsWhatWasKept(t *testing.T) {
	t.Parallel()
	server, rdb := private(t)
	set := func(id, payload string, left time.Duration) {
		require.NoError(t, rdb.Set(t.Context(), "health:last:geo:"+id, payload, left).Err())
	}
	var want []string
	for i := range 150 {
		id := fmt.Sprintf("i%03d", i)
		want = append(want, id)
		set(id, sampleBeat(id, 7, "running"), sampleKept*time.Second)
	}
	set("old", sampleBeat("old", 7, "running"), (sampleKept-100)*time.Second)
	set("unknown age", `{"service_name":"geo","instance_id":"unknown age"}`, time.Minute)
	set("immortal", sampleBeat("immortal", 7, "running"), 0)
	set("large", sampleBeat("large", 7, "running")+strings.Repeat(" ", heartbeat.MaxBeatBytes), time.Minute)
	require.NoError(t, rdb.RPush(t.Context(), "health:last:geo:list", "x").Err())
	require.NoError(t, rdb.Set(t.Context(), "health:other:geo:x", sampleBeat("x", 7, "running"), time.Minute).Err())

	w := watch(t, connect(t, server.URL(), impatient), heartbeat.MonitorConfig{})
	require.Eventually(t, func() bool { return w.Stats().Instances > len(want) }, 20*time.Second, 5*time.Millisecond)
	require.Equal(t, append(want, "old"), w.ids())
	require.InDelta(t, 100, w.instance(t, "old").Age.Seconds(), 15)
	require.Less(t, w.instance(t, "i000").Age, 15*time.Second)
}

func TestMonitorRedis_SecondOpinion(t *testing.T) {
	t.Parallel()
	_, rdb := private(t)
	w := watch(t, rdb, heartbeat.MonitorConfig{MassShare: -1})
	w.awaitSight(t)
	keep := map[string]func(count int) string{
		"kept": func(count int) string { return sampleBeat("kept", count, "running") },
		"ageless": func(count int) string {
			return strings.ReplaceAll(sampleBeat("ageless", count, "running"), "retain_seconds", "other")
		},
	}
	for _, beat := range keep {
		require.NoError(t, rdb.Publish(t.Context(), beatChannel, beat(1)).Err())
	}
	count := 1
	require.Eventually(t, func() bool { // from here on every publication is lost, and only copies arrive
		count++
		for id, beat := range keep {
			_ = rdb.Set(t.Context(), "health:last:geo:"+id, beat(count), sampleKept*time.Second).Err()
		}
		return len(w.told(heartbeat.EventDead)) > 0 && count > 60
	}, 40*time.Second, 100*time.Millisecond)
	for _, dead := range w.told(heartbeat.EventDead) {
		require.Equal(t, "ageless", dead.Instance, "a copy whose age nobody knows keeps no one alive")
	}
	require.NotEqual(t, heartbeat.Dead, w.instance(t, "kept").State)
}

// outage is a fault of a server whose monitor and sender go on all the while.
type outage struct {
	name          string
	breakIt, mend func(s *testserver.Redis, rdb *redis.Client)
	blind         bool

	server  *testserver.Redis
	rdb     *redis.Client
	watcher *watcher
	blinded int
	sighted int
}

func TestMonitorRedis_Outages(t *testing.T) {
	t.Parallel()
	none := func(*testserver.Redis, *redis.Client) {}
	outages := []*outage{
		{name: "killed", breakIt: func(s *testserver.Redis, _ *redis.Client) { s.Kill() }, mend: func(s *testserver.Redis, _ *redis.Client) { s.Start() }, blind: true},
		{name: "stopped", breakIt: func(s *testserver.Redis, _ *redis.Client) { s.Pause() }, mend: func(s *testserver.Redis, _ *redis.Client) { s.Resume() }, blind: true},
		{name: "flushed", breakIt: func(_ *testserver.Redis, rdb *redis.Client) { rdb.FlushAll(context.Background()) }, mend: none},
	}
	for _, o := range outages { // step by step with all of them, as each step takes its time
		o.server, o.rdb = private(t)
		o.watcher = watch(t, connect(t, o.server.URL(), nil), heartbeat.MonitorConfig{MassShare: -1})
		beating(t, o.rdb, "steady")
	}
	for _, o := range outages {
		o.watcher.await(t, heartbeat.EventStarted, 1)
		o.blinded, o.sighted = len(o.watcher.told(heartbeat.EventBlind)), len(o.watcher.told(heartbeat.EventSighted))
	}
	broken := time.Now()
	for _, o := range outages {
		o.breakIt(o.server, o.rdb)
	}
	for _, o := range outages {
		if o.blind {
			e := o.watcher.await(t, heartbeat.EventBlind, o.blinded+1)
			require.Less(t, time.Since(broken), 15*time.Second, "%s: %s", o.name, e.Why)
		}
	}
	// Longer than the instance may be silent.
	require.Eventually(t, func() bool { return time.Since(broken) > 5*time.Second }, 20*time.Second, 10*time.Millisecond)
	for _, o := range outages {
		o.mend(o.server, o.rdb)
	}
	for _, o := range outages {
		if o.blind {
			o.watcher.await(t, heartbeat.EventSighted, o.sighted+1)
		}
		mended := o.watcher.instance(t, "steady").Count
		require.Eventually(t, func() bool { return o.watcher.instance(t, "steady").Count > mended+5 }, 20*time.Second, 10*time.Millisecond, o.name)
		require.Empty(t, o.watcher.told(heartbeat.EventDead), "%s: an observer's trouble is not its peers' silence", o.name)
		require.NoError(t, o.rdb.Publish(t.Context(), beatChannel, sampleBeat("late", 1, "running")).Err())
	}
	for _, o := range outages {
		require.Equal(t, "late", o.watcher.await(t, heartbeat.EventDead, 1).Instance, "%s: it gives verdicts again", o.name)
	}
}

func TestMonitorRedis_SentinelFailover(t *testing.T) {
	t.Parallel()
	s := testserver.StartSentinel(t, testserver.SentinelConfig{})
	failover := func() *redis.Client {
		rdb := redis.NewFailoverClient(&redis.FailoverOptions{MasterName: s.MasterName, SentinelAddrs: s.Addrs()})
		t.Cleanup(func() { _ = rdb.Close() })
		return rdb
	}
	w := watch(t, failover(), heartbeat.MonitorConfig{MassShare: -1})
	w.awaitSight(t)
	beating(t, failover(), "steady")
	w.await(t, heartbeat.EventStarted, 1)
	sighted := len(w.told(heartbeat.EventSighted))
	old := s.Master()
	old.Kill()
	w.await(t, heartbeat.EventBlind, 1)
	s.AwaitMaster(old)
	w.await(t, heartbeat.EventSighted, sighted+1)
	count := w.instance(t, "steady").Count
	require.Eventually(t, func() bool { return w.instance(t, "steady").Count > count+5 }, 20*time.Second, 10*time.Millisecond)
	require.Empty(t, w.told(heartbeat.EventDead))
}

func TestMonitorRedis_Cluster(t *testing.T) {
	t.Parallel()
	c := testserver.StartRedisCluster(t, testserver.ClusterConfig{Args: []string{"--cluster-require-full-coverage", "no"}})
	cluster := func() *redis.ClusterClient {
		rdb := redis.NewClusterClient(&redis.ClusterOptions{Addrs: c.Addrs()})
		t.Cleanup(func() { _ = rdb.Close() })
		return rdb
	}
	rdb := cluster()
	var want []string
	for i := range 30 {
		id := fmt.Sprintf("k%02d", i)
		want = append(want, id)
		require.NoError(t, rdb.Set(t.Context(), "health:last:geo:"+id, sampleBeat(id, 1, "running"), sampleKept*time.Second).Err())
	}
	w := watch(t, cluster(), heartbeat.MonitorConfig{})
	require.Eventually(t, func() bool { return slices.Equal(want, w.ids()) }, 20*time.Second, 10*time.Millisecond, "the kept beats of all nodes")

	w.awaitSight(t)
	blind := len(w.told(heartbeat.EventBlind))
	killed := c.Nodes[1]
	killed.Kill()
	require.Contains(t, w.await(t, heartbeat.EventBlind, blind+1).Why, killed.Addr(), "what is published there is not heard, wherever the subscription is")
	sighted := len(w.told(heartbeat.EventSighted))
	killed.Start()
	w.await(t, heartbeat.EventSighted, sighted+1)
}

// After a failover a subscription may be left with a server that answers, while everybody else has gone to another.
func TestMonitorRedis_LeavesAServerThatHearsNothing(t *testing.T) {
	t.Parallel()
	left, admin := private(t)
	now := testserver.StartRedis(t, testserver.RedisConfig{})
	var addr atomic.Value
	addr.Store(left.Addr())
	rdb := connect(t, now.URL(), func(o *redis.Options) {
		o.Dialer = func(ctx context.Context, network, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, addr.Load().(string))
		}
	})
	w := watch(t, rdb, heartbeat.MonitorConfig{})
	w.awaitSight(t)
	addr.Store(now.Addr())
	require.NoError(t, admin.Do(t.Context(), "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes").Err())
	there := connect(t, now.URL(), nil)
	require.Eventually(t, func() bool {
		_ = there.Publish(t.Context(), beatChannel, sampleBeat("a", 1, "running")).Err()
		return len(w.told(heartbeat.EventStarted)) > 0
	}, 40*time.Second, 20*time.Millisecond)
	require.Zero(t, admin.PubSubNumPat(t.Context()).Val())
}
