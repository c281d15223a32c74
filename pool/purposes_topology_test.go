package pool_test

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/internal/testserver"
	"github.com/upbeat-go/upbeat/pool"
)

// inCluster is a Cluster, a client of it, and what it takes to look at its nodes.
type inCluster struct {
	*testserver.Cluster
	cfg pool.Config
	c   *pool.Clients
	rdb *redis.ClusterClient
}

// owner returns the server that holds a key, and another.
func (n *inCluster) owner(t *testing.T, k string) (owner, other *testserver.Redis) {
	t.Helper()
	t.Helper()
	node, err := n.rdb.MasterForKey(t.Context(), k)
	require.NoError(t, err)
	for _, server := range n.Nodes {
		if server.Addr() == node.Options().Addr {
			owner = server
		} else {
			other = server
		}
	}
	return owner, other
}

func TestCluster_Purposes(t *testing.T) {
	t.Parallel()
	cluster := testserver.StartRedisCluster(t, testserver.ClusterConfig{Args: []string{"--cluster-require-full-coverage", "no"}})
	n := &inCluster{Cluster: cluster, cfg: pool.Config{Addrs: cluster.Addrs(), Cluster: true, Profile: quickly}}
	n.c = open(t, n.cfg)
	n.rdb = n.c.Standard().(*redis.ClusterClient)
	t.Run("batches over all nodes", n.batches)
	t.Run("transactions in one slot only", n.transactions)
	t.Run("an answer like TRYAGAIN repeats nothing that has run", n.tryAgain)
	t.Run("tasks move with their slots", n.tasks)
	t.Run("a node doesn't answer", n.silentNode)
	t.Run("subscriptions", n.subscriptions) // the last, as it kills a node
}

func (n *inCluster) batches(t *testing.T) {
	t.Helper()
	k := key(t)
	p := n.c.Pipeline()
	p.Chunk = 100
	pipe := p.Pipeline()
	for i := range 950 {
		pipe.Incr(t.Context(), fmt.Sprint(k, i))        // in one slot
		pipe.Incr(t.Context(), fmt.Sprint(i, t.Name())) // anywhere
	}
	cmds, err := pipe.Exec(t.Context())
	require.NoError(t, err)
	require.Len(t, cmds, 1900)
}

func (n *inCluster) transactions(t *testing.T) {
	t.Helper()
	k := key(t)
	_, err := n.c.Pipeline().TxPipelined(t.Context(), func(p redis.Pipeliner) error {
		increments(t, p, k, 3)
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, []int{1, 1, 1}, ran(t, n.rdb, k, 3))
	_, err = n.c.Pipeline().TxPipelined(t.Context(), func(p redis.Pipeliner) error {
		increments(t, p, k, 3)
		increments(t, p, "without", 3)
		return nil
	})
	require.ErrorIs(t, err, redis.ErrCrossSlot)
	require.ErrorContains(t, err, "share a hash tag")
	require.Len(t, asBatchError(t, err).Refused, 6)
	require.Equal(t, []int{1, 1, 1}, ran(t, n.rdb, k, 3))
}

// While a slot moves, commands on keys on both sides are refused: and go-redis alone repeats what was sent along with them.
func (n *inCluster) tryAgain(t *testing.T) {
	t.Helper()
	k := key(t)
	owner, other := n.owner(t, k)
	source, target := redis.NewClient(&redis.Options{Addr: owner.Addr()}), redis.NewClient(&redis.Options{Addr: other.Addr()})
	defer func() { _, _ = source.Close(), target.Close() }()
	slot := source.ClusterKeySlot(t.Context(), k).Val()
	require.NoError(t, source.SAdd(t.Context(), k+"set", 1).Err())
	require.NoError(t, source.Set(t.Context(), k, 0, 0).Err())
	set := func(rdb *redis.Client, args ...any) {
		require.NoError(t, rdb.Do(t.Context(), append([]any{"CLUSTER", "SETSLOT", slot}, args...)...).Err())
	}
	targetID, sourceID := target.Do(t.Context(), "CLUSTER", "MYID").Val(), source.Do(t.Context(), "CLUSTER", "MYID").Val()
	set(target, "IMPORTING", sourceID)
	set(source, "MIGRATING", targetID)
	defer set(target, "STABLE")
	defer set(source, "STABLE")

	bare := redis.NewClusterClient(&redis.ClusterOptions{Addrs: n.Addrs()})
	defer func() { _ = bare.Close() }()
	for name, tt := range map[string]struct {
		pipelined func(context.Context, func(redis.Pipeliner) error) ([]redis.Cmder, error)
		once      bool
	}{
		"bare":     {bare.Pipelined, false},
		"Standard": {n.rdb.Pipelined, true},
		"Pipeline": {n.c.Pipeline().Pipelined, true},
	} {
		// The key is there already, so the source still serves it.
		require.NoError(t, source.Set(t.Context(), k, 0, 0).Err())
		_, err := tt.pipelined(t.Context(), func(p redis.Pipeliner) error {
			p.SUnion(t.Context(), k+"set", k+"absent")
			p.Incr(t.Context(), k)
			return nil
		})
		require.True(t, redis.HasErrorPrefix(err, "TRYAGAIN"), err)
		times, err := source.Get(t.Context(), k).Int()
		require.NoError(t, err)
		require.Equal(t, tt.once, times == 1, "%s: INCR ran %d times", name, times)
	}
}

func (n *inCluster) tasks(t *testing.T) {
	t.Helper()
	tasks := tasksOf(t, n.c)
	task := pool.Task{}
	k := tasks.Prefix + ":task:{7}"
	slot := int(n.rdb.ClusterKeySlot(t.Context(), k).Val())
	for i := range 4 {
		next, err := tasks.Transition(t.Context(), pool.Transition{Task: "7", From: task.State, To: fmt.Sprint(i), Token: task.Token, Owner: "w"})
		require.NoError(t, err)
		require.Greater(t, next.Token, task.Token)
		task = next
		total, err := tasks.AddOnce(t.Context(), "7", fmt.Sprint(i), 1, time.Minute)
		require.NoError(t, err)
		require.Equal(t, int64(i+1), total)
		require.NoError(t, tasks.Beat(t.Context(), "7", time.Minute))
		alive, err := tasks.Alive(t.Context(), "7")
		require.NoError(t, err)
		require.True(t, alive)
		owner, other := n.owner(t, k)
		n.MoveSlot(slot, owner, other)
		require.Eventually(t, func() bool {
			now, _ := n.owner(t, k)
			_, err := tasks.State(t.Context(), "7") // meets the MOVED
			return err == nil && now == other
		}, 20*time.Second, 10*time.Millisecond)
	}
}

func (n *inCluster) silentNode(t *testing.T) {
	t.Helper()
	silent, answering := keyOn(t, n.rdb, n.Nodes[0].Addr()), keyOn(t, n.rdb, n.Nodes[1].Addr())
	for _, k := range []string{silent, answering} {
		warmUpNode(t, n.rdb, k)
	}
	p := n.c.Pipeline()
	p.Chunk = 2
	pipe := p.Pipeline()
	pipe.Incr(t.Context(), silent)
	pipe.Incr(t.Context(), answering)
	pipe.Incr(t.Context(), answering)
	n.Nodes[0].Pause()
	cmds, err := pipe.Exec(t.Context())
	n.Nodes[0].Resume()
	e := asBatchError(t, err)
	require.Empty(t, e.Refused)
	require.Equal(t, cmds[:1], e.Unknown)
	require.NoError(t, cmds[1].Err())
	require.Equal(t, cmds[2:], e.NotSent)
	for k, want := range map[string]string{silent: "1", answering: "1"} {
		require.Eventually(t, func() bool { return n.rdb.Get(t.Context(), k).Val() == want }, 20*time.Second, 10*time.Millisecond)
	}
}

func (n *inCluster) subscriptions(t *testing.T) {
	t.Helper()
	k := key(t)
	cfg := n.cfg
	cfg.ClientName = "hears"
	h := listen(t, open(t, cfg), k)
	direct := make(map[string]*redis.Client)
	for i, server := range n.Nodes {
		rdb := redis.NewClient(&redis.Options{Addr: server.Addr()})
		t.Cleanup(func() { _ = rdb.Close() })
		direct[server.Addr()] = rdb
		h.awaitMessage(t, rdb, k, fmt.Sprint("from ", i))
	}
	n.awaitProof(t, h.sub.Stats().Node)
	for _, server := range n.Nodes {
		if server.Addr() == h.sub.Stats().Node {
			delete(direct, server.Addr())
			server.Kill()
		}
	}
	gap := h.awaitGap(t)
	require.Less(t, gap.Until.Sub(gap.Since), 15*time.Second)
	for addr, rdb := range direct {
		h.awaitMessage(t, rdb, k, "still from "+addr)
	}
}

// awaitProof waits until a subscription has outlived some questions for a sign of life.
func (n *inCluster) awaitProof(t *testing.T, node string) {
	t.Helper()
	rdb := redis.NewClient(&redis.Options{Addr: node})
	defer func() { _ = rdb.Close() }()
	old := regexp.MustCompile(` name=hears age=([2-9]|\d\d) .* sub=1 .* cmd=ping `)
	require.Eventually(t, func() bool { return old.MatchString(rdb.ClientList(t.Context()).Val()) }, 20*time.Second, 10*time.Millisecond)
}

func TestSentinel_Purposes(t *testing.T) {
	t.Parallel()
	s := testserver.StartSentinel(t, testserver.SentinelConfig{})
	c := open(t, pool.Config{Addrs: s.Addrs(), MasterName: s.MasterName, Profile: quickly})
	tasks, k := tasksOf(t, c), key(t)
	h := listen(t, c, k)
	h.awaitMessage(t, c.Standard(), k, "before")
	task, err := tasks.Transition(t.Context(), pool.Transition{Task: "7", To: "a", Request: "r0"})
	require.NoError(t, err)

	// A transition is asked for all through the failover, and is made once.
	var once sync.WaitGroup
	step := pool.Transition{Task: "8", To: "a", Request: "r"}
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	old := s.Master()
	old.Kill()
	once.Go(func() {
		for {
			_, err := tasks.Transition(ctx, step)
			if err == nil || ctx.Err() != nil {
				require.NoError(t, err)
				return
			}
			_, stale := errors.AsType[*pool.StaleError](err)
			require.False(t, stale, err)
		}
	})
	s.AwaitMaster(old)
	once.Wait()
	next, err := tasks.Transition(t.Context(), pool.Transition{Task: "7", From: "a", To: "b", Token: task.Token})
	if stale, ok := errors.AsType[*pool.StaleError](err); ok {
		require.Zero(t, stale.Now, "replication is asynchronous: what was acknowledged may be gone")
		next, err = tasks.Transition(t.Context(), pool.Transition{Task: "7", To: "a"})
	}
	require.NoError(t, err)
	require.Greater(t, next.Token, task.Token)
	h.awaitGap(t)
	h.awaitMessage(t, c.Standard(), k, "after")
	require.Eventually(t, func() bool {
		_, err := c.Pipeline().Pipelined(t.Context(), func(p redis.Pipeliner) error {
			increments(t, p, k, 3)
			return nil
		})
		return err == nil
	}, 20*time.Second, 10*time.Millisecond)
}
