package heartbeat_test

import (
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/heartbeat"
)

// tree makes a file system of these files.
func tree(files map[string]string) fstest.MapFS {
	root := fstest.MapFS{}
	for name, text := range files {
		root[name] = &fstest.MapFile{Data: []byte(text + "\n")}
	}
	return root
}

func TestReadGroups_Layouts(t *testing.T) {
	t.Parallel()
	const mb = 1 << 20
	tests := map[string]struct {
		files map[string]string
		want  heartbeat.ContainerUsage
	}{
		"none": {nil, heartbeat.ContainerUsage{}},
		"version 2 in a namespace": {map[string]string{
			"proc/self/cgroup":             "0::/",
			"sys/fs/cgroup/memory.current": "104857600",
			"sys/fs/cgroup/memory.max":     "209715200",
			"sys/fs/cgroup/memory.stat":    "anon 1\nfile 52428800\nfile_mapped 7\nshmem 10485760",
			"sys/fs/cgroup/cpu.max":        "150000 100000",
			"sys/fs/cgroup/cpu.stat":       "usage_usec 2500000\nuser_usec 1",
		}, heartbeat.NewContainerUsage(60*mb, 200*mb, 2500*time.Millisecond, 1.5)},
		"version 2 below a tighter parent": {map[string]string{
			"proc/self/cgroup":                               "0::/a.slice/b.service",
			"sys/fs/cgroup/a.slice/memory.current":           "90000000",
			"sys/fs/cgroup/a.slice/memory.max":               "100000000",
			"sys/fs/cgroup/a.slice/cpu.max":                  "50000 100000",
			"sys/fs/cgroup/a.slice/b.service/cpu.max":        "max 100000",
			"sys/fs/cgroup/a.slice/b.service/cpu.stat":       "usage_usec 7",
			"sys/fs/cgroup/a.slice/b.service/memory.current": "1000000",
			"sys/fs/cgroup/a.slice/b.service/memory.max":     "max",
			"sys/fs/cgroup/cpu.stat":                         "usage_usec 99999999",
		}, heartbeat.NewContainerUsage(90000000, 100000000, 7*time.Microsecond, 0.5)},
		"version 2, the whole machine": {map[string]string{
			"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.stat": "usage_usec 2500000",
		}, heartbeat.ContainerUsage{}},
		"version 1, path of the host": {map[string]string{
			"proc/self/cgroup":                            "5:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n1:name=systemd:/docker/abc\n0::/system.slice",
			"sys/fs/cgroup/memory/memory.usage_in_bytes":  "104857600",
			"sys/fs/cgroup/memory/memory.limit_in_bytes":  "209715200",
			"sys/fs/cgroup/memory/memory.stat":            "cache 5\ntotal_cache 52428800\ntotal_shmem 0",
			"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us":  "200000",
			"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000",
			"sys/fs/cgroup/cpu,cpuacct/cpuacct.usage":     "3000000000",
		}, heartbeat.NewContainerUsage(50*mb, 200*mb, 3*time.Second, 2)},
		"version 1, apart and without limits": {map[string]string{
			"proc/self/cgroup":                           "3:memory:/\n2:cpuacct:/x\n1:cpu:/",
			"sys/fs/cgroup/memory/memory.usage_in_bytes": "104857600",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
			"sys/fs/cgroup/cpu/cpu.cfs_quota_us":         "-1",
			"sys/fs/cgroup/cpu/cpu.cfs_period_us":        "100000",
			"sys/fs/cgroup/cpuacct/x/cpuacct.usage":      "5",
		}, heartbeat.NewContainerUsage(100*mb, 0, 5, 0)},
		"nonsense": {map[string]string{
			"proc/self/cgroup":             "0::/../../etc\nx\n::\n9:memory",
			"sys/fs/cgroup/memory.current": "-1",
			"sys/fs/cgroup/cpu.max":        "NaN 0",
			"sys/fs/cgroup/cpu.stat":       "usage_usec x",
		}, heartbeat.ContainerUsage{}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, tt.want, heartbeat.ReadGroups(tree(tt.files)))
		})
	}
}

func TestPublisher_SaysHowTheContainerDoes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var b broker
		var cpu time.Duration
		pub := b.contained(t, func() heartbeat.ContainerUsage { return heartbeat.NewContainerUsage(60<<20, 200<<20, cpu, 1.5) })
		require.NoError(t, pub.Beat(t.Context()))
		require.Equal(t, &heartbeat.Container{MemoryMB: 60, MemoryLimitMB: 200, CPULimit: 150}, b.last(t).Container)
		<-time.After(time.Minute)
		cpu = 45 * time.Second
		require.NoError(t, pub.Beat(t.Context()))
		require.Equal(t, &heartbeat.Container{MemoryMB: 60, MemoryLimitMB: 200, CPUPercent: 75, CPULimit: 150}, b.last(t).Container)
	})
}
