package queue_test

import (
	"math"
	"strings"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/queue"
)

func TestAdvise(t *testing.T) {
	t.Parallel()
	const source = 3500 * time.Millisecond
	for name, tc := range map[string]struct {
		sizing      queue.Sizing
		concurrency int
		capacity    int
		says        string
	}{
		"nothing known":             {queue.Sizing{}, 0, 100_000, "nothing to build on"},
		"not a number":              {queue.Sizing{Rate: math.NaN(), Run: source}, 0, 100_000, "nothing to build on"},
		"infinite":                  {queue.Sizing{Rate: math.Inf(1), Run: source}, 0, 100_000, "nothing to build on"},
		"the source's":              {queue.Sizing{Rate: 900, Run: source}, 3938, 13_500, "900 jobs a second × 3.5s each keep 3150 handlers busy; at 80 % use that takes 3938"},
		"computing":                 {queue.Sizing{Rate: 900, Run: source, Computing: 0.01, Processors: 2}, 200, 858, "2 processors serve 200 handlers that compute for 1 % of their time: fewer than the work needs"},
		"computing, fast enough":    {queue.Sizing{Rate: 1, Run: source, Computing: 0.5, Processors: 8}, 5, 8, "8 processors serve 16 handlers"},
		"memory":                    {queue.Sizing{Rate: 900, Run: source, TaskMemory: 8 << 20, Memory: queue.Memory{Limit: 4 << 30, Used: 2 << 30}}, 128, 549, "half of the 2048 MiB of free memory has room for 128 handlers of 8192 KiB: fewer"},
		"memory is overdrawn":       {queue.Sizing{Rate: 900, Run: source, Memory: queue.Memory{Limit: 1 << 30, Used: 2 << 30}}, 1, 5, "room for 1 handlers"},
		"beyond all bounds":         {queue.Sizing{Rate: 1e300, Run: math.MaxInt64}, 1_000_000, 1, "Little's law"},
		"waits longer than it runs": {queue.Sizing{Rate: 10, Run: time.Second, Wait: time.Minute}, 13, 150, "too narrow"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tc.sizing.Processors = max(2, tc.sizing.Processors)
			a := queue.Advise(tc.sizing)
			require.Equal(t, tc.concurrency, a.Concurrency, a.Reasons)
			if tc.sizing.Processors <= 4 {
				require.Equal(t, 4, a.Shards)
				require.Equal(t, tc.capacity, a.ShardCapacity, a.Reasons)
			}
			require.Contains(t, strings.Join(a.Reasons, "\n"), tc.says)
		})
	}
}

// What a queue measures leads to the concurrency that its work needs.
func TestQueue_Advise(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(t, sleeper, queue.Config{})
		stop := run(q)
		for range 30 * 100 { // 100 a second
			require.NoError(t, q.Go(queue.Job[time.Duration]{Payload: 2 * time.Second}))
			<-time.After(10 * time.Millisecond)
		}
		s := q.Advise().Sizing
		require.InDelta(t, 100, s.Rate, 5)
		require.InDelta(t, 2, s.Run.Seconds(), 0.01)
		require.Less(t, s.Wait, time.Millisecond)
		s.Computing, s.Memory = 0, queue.Memory{} // of the machine that runs this test
		require.InDelta(t, 250, queue.Advise(s).Concurrency, 15)
		require.NoError(t, stop())
	})
}

func TestMemoryOf(t *testing.T) {
	t.Parallel()
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	meminfo := file("MemTotal:       8000 kB\nMemFree: 1 kB\nMemAvailable:   3000 kB\n")
	for name, tc := range map[string]struct {
		files fstest.MapFS
		want  queue.Memory
	}{
		"nothing": {fstest.MapFS{}, queue.Memory{}},
		"no control group": {
			fstest.MapFS{"proc/meminfo": meminfo},
			queue.Memory{Limit: 8000 << 10, Used: 5000 << 10},
		},
		"version 2: page cache is not used memory, shared memory is": {
			fstest.MapFS{
				"proc/meminfo": meminfo, "proc/self/cgroup": file("0::/app\n"), "sys/fs/cgroup/app/memory.max": file("1000\n"),
				"sys/fs/cgroup/app/memory.current": file("900\n"), "sys/fs/cgroup/app/memory.stat": file("anon 300\nfile 600\nshmem 50\n"),
			},
			queue.Memory{Limit: 1000, Used: 350},
		},
		"version 2: a parent is narrower": {
			fstest.MapFS{
				"proc/self/cgroup": file("0::/pod/app\n"), "sys/fs/cgroup/pod/app/memory.max": file("max\n"),
				"sys/fs/cgroup/pod/memory.max": file("500\n"), "sys/fs/cgroup/pod/memory.current": file("100\n"), "sys/fs/cgroup/memory.max": file("800\n"),
			},
			queue.Memory{Limit: 500, Used: 100},
		},
		"version 2: no limit": {
			fstest.MapFS{"proc/meminfo": meminfo, "proc/self/cgroup": file("0::/\n"), "sys/fs/cgroup/memory.max": file("max\n")},
			queue.Memory{Limit: 8000 << 10, Used: 5000 << 10},
		},
		"version 1, inside of a container": {
			fstest.MapFS{
				"proc/self/cgroup":                           file("12:cpu:/docker/abc\n4:memory:/docker/abc\n0::/\n"),
				"sys/fs/cgroup/memory/memory.limit_in_bytes": file("2000\n"), "sys/fs/cgroup/memory/memory.usage_in_bytes": file("1500\n"),
				"sys/fs/cgroup/memory/memory.stat": file("cache 1\ntotal_cache 1000\ntotal_shmem 0\n"),
			},
			queue.Memory{Limit: 2000, Used: 500},
		},
		"nonsense": {
			fstest.MapFS{"proc/self/cgroup": file("0::/../..\n:\n\n"), "sys/fs/cgroup/memory.max": file("-\n"), "proc/meminfo": file("MemTotal\n:\n")},
			queue.Memory{},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, tc.want, queue.MemoryOf(tc.files))
		})
	}
}
