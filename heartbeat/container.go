package heartbeat

import (
	"bytes"
	"io/fs"
	"iter"
	"os"
	"path"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// Container has the figures of the container, or other control group, that a sender runs in: those of all its
// processes together. A limit of 0 is none.
type Container struct {
	MemoryMB      float64 `json:"memory_usage_mb,omitempty"` // in units of 1048576 bytes, without the page cache
	MemoryLimitMB float64 `json:"memory_limit_mb,omitempty"`
	CPUPercent    float64 `json:"cpu_usage_percent,omitempty"` // since the sender's previous beat; 100 is one core
	CPULimit      float64 `json:"cpu_limit_percent,omitempty"` // 100 is one core
}

// containerUsage is what the operating system says of a control group.
type containerUsage struct {
	memory, memoryLimit uint64        // bytes; a limit of 0 is none
	cpu                 time.Duration // processor time used since the group began
	cpuLimit            float64       // cores; 0 is none
}

// readContainer asks the operating system. The zero result is no container.
func readContainer() containerUsage {
	if runtime.GOOS != "linux" {
		return containerUsage{}
	}
	return readGroups(os.DirFS("/"))
}

// container returns the figures for a beat; nil where there is no container.
func (m *meter) container() *Container {
	u, now := m.contain(), time.Now()
	if u == (containerUsage{}) {
		return nil
	}
	c := &Container{
		MemoryMB: round1(float64(u.memory) / bytesPerMB), MemoryLimitMB: round1(float64(u.memoryLimit) / bytesPerMB),
		CPULimit: round1(100 * u.cpuLimit),
	}
	if window := now.Sub(m.containerAt); !m.containerAt.IsZero() && window >= minCPUWindow {
		c.CPUPercent = round1(100 * max(0, (u.cpu-m.containerCPU).Seconds()) / window.Seconds())
	}
	m.containerAt, m.containerCPU = now, u.cpu
	return c
}

// readGroups reads the control groups of this process, version 1 or 2, from a file system that has proc and sys. A
// limit may be set on any group above its own; the tightest one counts, and the memory in use is that of the group with it.
func readGroups(root fs.FS) containerUsage {
	g := groups{root}
	var u containerUsage
	for line := range strings.Lines(g.text("proc/self/cgroup")) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		switch controllers := "," + parts[1] + ","; {
		case parts[0] == "0" && parts[1] == "":
			g.memory(&u, "sys/fs/cgroup", parts[2], version2)
			g.cpu2(&u, "sys/fs/cgroup", parts[2])
		case strings.Contains(controllers, ",memory,"):
			g.memory(&u, "sys/fs/cgroup/memory", parts[2], version1)
		case strings.Contains(controllers, ",cpu,"):
			g.cpu1(&u, "sys/fs/cgroup/"+parts[1], parts[2])
		case strings.Contains(controllers, ",cpuacct,"): // where it is mounted apart from cpu
			g.cpu1(&u, "sys/fs/cgroup/cpuacct", parts[2])
		}
	}
	return u
}

// memoryFiles are where a version of control groups keeps the figures of memory.
type memoryFiles struct{ usage, limit, cache, shared string }

var (
	version1 = memoryFiles{"memory.usage_in_bytes", "memory.limit_in_bytes", "total_cache", "total_shmem"}
	version2 = memoryFiles{"memory.current", "memory.max", "file", "shmem"}
)

// noLimit is from where on version 1 means none: it reports the largest multiple of a page.
const noLimit = 1 << 62

type groups struct{ root fs.FS }

func (g groups) text(name string) string {
	text, err := fs.ReadFile(g.root, name)
	if err != nil {
		return ""
	}
	return string(bytes.TrimSpace(text))
}

func (g groups) number(name string) (uint64, bool) {
	n, err := strconv.ParseUint(g.text(name), 10, 64)
	return n, err == nil
}

// stat returns a value from a file of lines with a name and a number each.
func (g groups) stat(file, name string) (uint64, bool) {
	for line := range strings.Lines(g.text(file)) {
		if value, found := strings.CutPrefix(line, name+" "); found {
			n, err := strconv.ParseUint(strings.TrimSpace(value), 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}

// upward yields the folder of a group and those above it. Within a container the path is often that of the host, and
// the container's own group lies at the mount itself: paths that are not there have no figures.
func upward(mount, group string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for group = path.Clean("/" + group); ; group = path.Dir(group) {
			if !yield(path.Join(mount, group)) || group == "/" {
				return
			}
		}
	}
}

func (g groups) memory(u *containerUsage, mount, group string, names memoryFiles) {
	seen := false
	for dir := range upward(mount, group) {
		used, found := g.number(path.Join(dir, names.usage))
		if !found {
			continue
		}
		limit, limited := g.number(path.Join(dir, names.limit))
		tighter := limited && limit > 0 && limit < noLimit && (u.memoryLimit == 0 || limit < u.memoryLimit)
		if tighter {
			u.memoryLimit = limit
		}
		if tighter || !seen {
			u.memory, seen = g.withoutCache(path.Join(dir, "memory.stat"), used, names), true
		}
	}
}

// withoutCache takes off the page cache, which the kernel gives back when memory is short; shared memory is counted
// with it and is not given back.
func (g groups) withoutCache(stat string, used uint64, names memoryFiles) uint64 {
	cache, _ := g.stat(stat, names.cache)
	shared, _ := g.stat(stat, names.shared)
	cache -= min(shared, cache)
	return used - min(cache, used)
}

func (g groups) cpu2(u *containerUsage, mount, group string) {
	for dir := range upward(mount, group) {
		quota, period, found := strings.Cut(g.text(path.Join(dir, "cpu.max")), " ")
		if !found {
			continue // the root of the whole machine, which is no container
		}
		u.limitCPU(quota, period)
		if micros, found := g.stat(path.Join(dir, "cpu.stat"), "usage_usec"); found && u.cpu == 0 {
			u.cpu = time.Duration(micros) * time.Microsecond
		}
	}
}

func (g groups) cpu1(u *containerUsage, mount, group string) {
	for dir := range upward(mount, group) {
		if nanos, found := g.number(path.Join(dir, "cpuacct.usage")); found && u.cpu == 0 {
			u.cpu = time.Duration(nanos)
		}
		u.limitCPU(g.text(path.Join(dir, "cpu.cfs_quota_us")), g.text(path.Join(dir, "cpu.cfs_period_us")))
	}
}

// limitCPU takes in a limit where there is one and it is tighter: quota is "max", -1 or empty where there is none.
func (u *containerUsage) limitCPU(quota, period string) {
	q, err := strconv.ParseFloat(quota, 64)
	p, err2 := strconv.ParseFloat(period, 64)
	if err != nil || err2 != nil || !(q > 0) || !(p > 0) {
		return
	}
	if cores := q / p; u.cpuLimit == 0 || cores < u.cpuLimit {
		u.cpuLimit = cores
	}
}
