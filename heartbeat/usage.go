package heartbeat

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/shirou/gopsutil/v3/process"
)

const (
	bytesPerMB = 1 << 20
	// minCPUWindow is the shortest time over which the use of processor time means anything: the operating system
	// counts it in steps of 10ms.
	minCPUWindow = 50 * time.Millisecond
)

// usage is what the operating system says of this process.
type usage struct {
	resident uint64        // bytes of physical memory
	cpu      time.Duration // processor time used since the process began
}

// readUsage asks the operating system. On some systems that starts a command.
func readUsage(ctx context.Context) (usage, error) {
	p := process.Process{Pid: int32(os.Getpid())} // made by hand: a constructor would look up what isn't asked for here
	memory, err := p.MemoryInfoWithContext(ctx)
	if err != nil {
		return usage{}, fmt.Errorf("heartbeat: memory of this process: %w", err)
	}
	times, err := p.TimesWithContext(ctx)
	if err != nil {
		return usage{}, fmt.Errorf("heartbeat: processor time of this process: %w", err)
	}
	return usage{memory.RSS, time.Duration((times.User + times.System) * float64(time.Second))}, nil
}

// meter turns readings into the figures of a beat. Not safe for concurrent use.
type meter struct {
	read    func(context.Context) (usage, error)
	contain func() containerUsage

	containerAt  time.Time // of the reading that containerCPU was counted from
	containerCPU time.Duration
	at           time.Time // of the reading that percent is counted from
	cpu          time.Duration
	percent      float64
}

// measure returns the memory in use and the processor time used since the measurement before, 100 being one core.
// Until there are two measurements that are far enough apart the latter is 0.
func (m *meter) measure(ctx context.Context) (memoryMB, cpuPercent float64, err error) {
	u, err := m.read(ctx)
	if err != nil {
		return 0, 0, err
	}
	now := time.Now()
	switch window := now.Sub(m.at); {
	case m.at.IsZero():
		m.at, m.cpu = now, u.cpu
	case window >= minCPUWindow:
		m.percent = round1(100 * max(0, (u.cpu-m.cpu).Seconds()) / window.Seconds())
		m.at, m.cpu = now, u.cpu
	}
	return round1(float64(u.resident) / bytesPerMB), m.percent, nil
}
