package queue

import (
	"bufio"
	"bytes"
	"io/fs"
	"math"
	"path"
	"runtime/debug"
	"strconv"
	"strings"
)

// MemoryOf returns the memory of this process: the smallest limit of its control groups (version 2 or 1) and of GOMEMLIMIT, else that of the machine. root is
// os.DirFS("/"), or something like it. Where there are no such files, as outside of Linux, only GOMEMLIMIT is known. It reads files.
func MemoryOf(root fs.FS) Memory {
	m, ok := groupMemory(root)
	if !ok {
		info := table(root, "proc/meminfo", ":")
		m = Memory{Limit: info["MemTotal"] << 10, Used: (info["MemTotal"] - info["MemAvailable"]) << 10}
	}
	if limit := debug.SetMemoryLimit(-1); limit < math.MaxInt64 && (m.Limit == 0 || limit < m.Limit) {
		m.Limit = limit
	}
	return m
}

// groupMemory finds the narrowest control group that has a limit.
func groupMemory(root fs.FS) (found Memory, ok bool) {
	groups, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return Memory{}, false
	}
	for line := range strings.Lines(string(groups)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) != 3 {
			continue
		}
		base, limit, usage, cache, shmem := "sys/fs/cgroup", "memory.max", "memory.current", "file", "shmem"
		if fields[1] == "memory" {
			base, limit, usage, cache, shmem = "sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_cache", "total_shmem"
		} else if fields[1] != "" {
			continue
		}
		for dir := path.Clean("/" + fields[2]); ; dir = path.Dir(dir) { // inside of a container the group's path may be that of the host
			at := path.Join(base, dir)
			if n, known := number(root, path.Join(at, limit)); known && n < 1<<60 && (!ok || n < found.Limit) {
				used, _ := number(root, path.Join(at, usage))
				stat := table(root, path.Join(at, "memory.stat"), " ")
				found, ok = Memory{Limit: n, Used: max(0, used-max(0, stat[cache]-stat[shmem]))}, true
			}
			if dir == "/" {
				break
			}
		}
	}
	return found, ok
}

func number(root fs.FS, name string) (int64, bool) {
	text, err := fs.ReadFile(root, name)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseInt(string(bytes.TrimSpace(text)), 10, 64)
	return n, err == nil // "max" is no limit
}

// table reads lines of a name and a number.
func table(root fs.FS, name, separator string) map[string]int64 {
	values := make(map[string]int64)
	text, err := fs.ReadFile(root, name)
	if err != nil {
		return values
	}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		name, rest, _ := strings.Cut(lines.Text(), separator)
		if fields := strings.Fields(rest); len(fields) > 0 {
			values[name], _ = strconv.ParseInt(fields[0], 10, 64) // 0 for what isn't a number
		}
	}
	return values
}
