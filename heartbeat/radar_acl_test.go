package heartbeat_test

import (
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/heartbeat"
	"github.com/upbeat-go/upbeat/internal/testserver"
)

// The rights that the documentation of the package names.
var (
	monitorRights = []string{
		"+subscribe", "+psubscribe", "+publish", "&health:canary:*", "&health:service:*:heartbeat",
		"+scan", "+getrange", "+pttl", "%R~health:last:*",
	}
	senderRights = []string{
		"+set", "+publish", "+xadd", "&health:service:geo:heartbeat", "%W~health:last:geo:*", "%W~health:beats",
	}
	// clusterRight is what a client needs beside them in Redis Cluster.
	clusterRight = "+cluster|slots"
)

// user returns a client of a server's new user, who has these rights and no other.
func user(t *testing.T, server *testserver.Redis, name string, rights []string) *redis.Client {
	t.Helper()
	rules := append([]string{"reset", "on", ">secret", "resetchannels"}, rights...)
	require.NoError(t, connect(t, server.URL(), nil).ACLSetUser(t.Context(), name, rules...).Err())
	return connect(t, server.URL(), func(o *redis.Options) { o.Username, o.Password = name, "secret" })
}

func TestMonitorRedis_RightsSuffice(t *testing.T) {
	t.Parallel()
	server, admin := private(t)
	require.NoError(t, admin.Set(t.Context(), "health:last:geo:kept", sampleBeat("kept", 1, "running"), sampleKept*time.Second).Err())
	w := watch(t, user(t, server, "monitor", monitorRights), heartbeat.MonitorConfig{})
	w.awaitSight(t)
	require.NoError(t, admin.Publish(t.Context(), beatChannel, sampleBeat("heard", 1, "running")).Err())
	require.Eventually(t, func() bool { return slices.Equal([]string{"heard", "kept"}, w.ids()) }, 20*time.Second, 10*time.Millisecond)
}

func TestMonitorRedis_RightMissing(t *testing.T) {
	t.Parallel()
	server, admin := private(t)
	deaf := "the Redis user needs +subscribe +psubscribe &health:canary:* &health:service:*:heartbeat: "
	mute := "the Redis user needs +publish &health:canary:*: "
	cases := map[string]struct{ blind, log string }{
		"+subscribe":                  {blind: deaf},
		"+psubscribe":                 {blind: deaf},
		"&health:service:*:heartbeat": {blind: deaf},
		"+publish":                    {blind: mute},
		"+scan":                       {log: "the Redis user needs +scan: "},
		"+getrange":                   {log: "the Redis user needs +getrange +pttl %R~health:last:*:*: "},
		"+pttl":                       {log: "the Redis user needs +getrange +pttl %R~health:last:*:*: "},
		"%R~health:last:*":            {log: "the Redis user needs +getrange +pttl %R~health:last:*:*: "},
	}
	require.NoError(t, admin.Set(t.Context(), "health:last:geo:kept", sampleBeat("kept", 1, "running"), time.Minute).Err())
	watchers, logs := map[string]*watcher{}, map[string]*journal{}
	for right := range cases { // all at once: each takes its time to be sure
		rights := slices.DeleteFunc(slices.Clone(monitorRights), func(r string) bool { return r == right })
		logs[right] = &journal{}
		watchers[right] = watch(t, user(t, server, "without"+right, rights), heartbeat.MonitorConfig{Logger: logs[right].logger()})
	}
	for right, want := range cases {
		if want.blind != "" {
			require.Contains(t, watchers[right].await(t, heartbeat.EventBlind, 1).Why, want.blind, right)
			continue
		}
		require.Eventually(t, func() bool { return logs[right].count(want.log) > 0 }, 20*time.Second, 10*time.Millisecond, "%s: %s", right, logs[right])
	}
}

func TestPublisherRedis_RightsSuffice(t *testing.T) {
	t.Parallel()
	server, admin := private(t)
	rdb := user(t, server, "sender", senderRights)
	pub := newPublisher(t, rdb, "geo", heartbeat.Config{Instance: "a", Stream: "health:beats"})
	require.NoError(t, pub.Beat(t.Context()))
	require.Equal(t, int64(1), admin.XLen(t.Context(), "health:beats").Val())
	require.Equal(t, int64(1), admin.Exists(t.Context(), "health:last:geo:a").Val())
}

func TestPublisherRedis_RightMissing(t *testing.T) {
	t.Parallel()
	server := testserver.StartRedis(t, testserver.RedisConfig{})
	for right, want := range map[string]string{
		"+set":                          "+set ~health:last:geo:a",
		"+publish":                      "+publish &health:service:geo:heartbeat",
		"+xadd":                         "+xadd ~health:beats",
		"&health:service:geo:heartbeat": "+publish &health:service:geo:heartbeat",
		"%W~health:last:geo:*":          "+set ~health:last:geo:a",
		"%W~health:beats":               "+xadd ~health:beats",
	} {
		t.Run(right, func(t *testing.T) {
			t.Parallel()
			rights := slices.DeleteFunc(slices.Clone(senderRights), func(r string) bool { return r == right })
			pub := newPublisher(t, user(t, server, "without"+right, rights), "geo", heartbeat.Config{Instance: "a", Stream: "health:beats"})
			require.ErrorContains(t, pub.Beat(t.Context()), "the Redis user needs "+want)
		})
	}
}

func TestRedisCluster_Rights(t *testing.T) {
	t.Parallel()
	cluster := testserver.StartRedisCluster(t, testserver.ClusterConfig{})
	connectAs := func(name string, rights ...string) *redis.ClusterClient {
		for _, node := range cluster.Nodes {
			user(t, node, name, rights)
		}
		rdb := redis.NewClusterClient(&redis.ClusterOptions{Addrs: cluster.Addrs(), Username: name, Password: "secret"})
		t.Cleanup(func() { _ = rdb.Close() })
		return rdb
	}
	err := newPublisher(t, connectAs("ignorant", senderRights...), "geo", heartbeat.Config{Instance: "a"}).Beat(t.Context())
	require.ErrorContains(t, err, "the Redis user needs "+clusterRight+": ")

	sender := connectAs("sender", append(senderRights, clusterRight)...)
	for _, kept := range []string{"a", "b", "c"} {
		pub := newPublisher(t, sender, "geo", heartbeat.Config{Instance: kept, Stream: "health:beats"})
		require.NoError(t, pub.Beat(t.Context()))
	}
	w := watch(t, connectAs("monitor", append(monitorRights, clusterRight)...), heartbeat.MonitorConfig{})
	w.awaitSight(t)
	require.NoError(t, newPublisher(t, sender, "geo", heartbeat.Config{Instance: "d"}).Beat(t.Context()))
	require.Eventually(t, func() bool { return slices.Equal([]string{"a", "b", "c", "d"}, w.ids()) }, 20*time.Second, 10*time.Millisecond)
}
