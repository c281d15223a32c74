package heartbeat

import (
	"context"
	"time"
)

// Usage is a reading of the process's figures, for tests to make up.
type Usage = usage

// NewUsage makes up a reading.
func NewUsage(resident uint64, cpu time.Duration) Usage { return usage{resident, cpu} }

// CPU is the processor time of a reading.
func (u usage) CPU() time.Duration { return u.cpu }

// Resident is the memory of a reading, in bytes.
func (u usage) Resident() uint64 { return u.resident }

// ReadUsage asks the operating system.
var ReadUsage = readUsage

// HostName is what a beat says of a host with that name.
func HostName(name string, err error) string { return hostName(name, err) }

// NewSimulated returns a publisher that knows no Redis and asks no operating system.
func NewSimulated(
	publish func(context.Context, []byte) error, read func(context.Context) (Usage, error), service string, cfg Config,
) (*Publisher, error) {
	cfg, err := cfg.complete(service)
	if err != nil {
		return nil, err
	}
	return newPublisher(func(ctx context.Context, m message) error { return publish(ctx, m.payload) },
		read, func() containerUsage { return containerUsage{} }, service, cfg), nil
}

// ContainerUsage is a reading of the container's figures, for tests to make up.
type ContainerUsage = containerUsage

// NewContainerUsage makes up a reading.
func NewContainerUsage(memory, memoryLimit uint64, cpu time.Duration, cpuLimit float64) ContainerUsage {
	return containerUsage{memory, memoryLimit, cpu, cpuLimit}
}

// ReadGroups reads control groups from a file system.
var ReadGroups = readGroups

// NewContained returns a publisher that knows no Redis and runs in a made-up container.
func NewContained(publish func(context.Context, []byte) error, read func() ContainerUsage, cfg Config) (*Publisher, error) {
	cfg, err := cfg.complete("geocoding")
	if err != nil {
		return nil, err
	}
	return newPublisher(func(ctx context.Context, m message) error { return publish(ctx, m.payload) },
		func(context.Context) (usage, error) { return usage{}, nil }, read, "geocoding", cfg), nil
}

// Places are where a publisher with this Config sends its beats.
func (c Config) Places(service string) (channels []string, retainKey string, retain time.Duration, err error) {
	c, err = c.complete(service)
	return c.Channels, c.RetainKey, c.Retain, err
}
