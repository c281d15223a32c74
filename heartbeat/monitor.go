package heartbeat

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/upbeat-go/upbeat/internal/redislink"
)

// ErrMonitorFull is returned for a beat of a new instance when as many as the monitor may hold are known.
var ErrMonitorFull = errors.New("heartbeat: the monitor holds as many instances as MonitorConfig.MaxInstances allows")

// Monitor knows the newest beat of every instance that it heard of, and judges by its age. Run listens to Redis and
// notices silence; Observe takes beats from elsewhere; both may be used together. Without Run, states are worked out
// from ages when they are asked for. Safe for concurrent use.
type Monitor struct {
	cfg   MonitorConfig
	radio radio // nil without Redis
	epoch time.Time
	tick  time.Duration // the resolution of histories
	zero  atomic.Int64  // where their ticks are counted from, in nanoseconds since epoch
	seed  maphash.Seed

	shards [shardCount]shard
	held   atomic.Int64 // instances
	bytes  atomic.Int64 // of their payloads
	reaped atomic.Int64 // when room was last made, in nanoseconds since epoch
	last   atomic.Pointer[string]
	bad    atomic.Uint64

	sight  *sight
	roster *roster
	feed   feed

	rest      func(context.Context, time.Duration) bool // waits from look to look; false when ctx has ended
	started   atomic.Bool                               // Run was called
	judging   atomic.Bool                               // Run is at work: its verdicts are what counts
	mass      massHold
	newcomers newcomers
	unheard   time.Duration // of Run alone: since when second opinions can't be had, 0 when they can
}

// MonitorStats counts what a [Monitor] was shown.
type MonitorStats struct {
	Instances int    `json:"instances"`           // held now, the stopped and the dead included
	Bytes     int64  `json:"bytes"`               // of their newest beats
	Beats     uint64 `json:"beats"`               // that were news
	Old       uint64 `json:"old"`                 // that were known already, or older than what is known
	Bad       uint64 `json:"bad"`                 // that could not be read
	Trimmed   uint64 `json:"trimmed"`             // not kept as a whole, for want of room
	Refused   uint64 `json:"refused"`             // of instances for which there was no room
	LastBad   string `json:"last_bad,omitempty"`  // why the last bad one could not be read, one printable line
	Forgotten uint64 `json:"forgotten,omitempty"` // instances dropped because they had been gone for so long
	Events    uint64 `json:"events"`              // told
	Dropped   uint64 `json:"dropped"`             // events that readers were too slow for, summed over readers
	Blind     bool   `json:"blind"`               // the monitor can't hear, and gives no verdicts
	BlindWhy  string `json:"blind_why,omitempty"` // what it can't hear, path by path
	Held      bool   `json:"held"`                // deaths are held back because most of the fleet fell silent at once
}

// NewMonitor returns an empty monitor, or all that is wrong with cfg. It starts nothing. rdb may be nil: then Observe
// is the only source of beats. The caller closes rdb, after Run has returned.
func NewMonitor(rdb redis.UniversalClient, cfg MonitorConfig) (*Monitor, error) {
	cfg, err := cfg.complete()
	if rdb != nil && redislink.IsNil(rdb) {
		err = errors.Join(fmt.Errorf("heartbeat: rdb is a nil %T: want a Redis client, or nil itself for none", rdb), err)
	}
	if err != nil {
		return nil, err
	}
	if rdb == nil {
		return newMonitor(nil, cfg), nil
	}
	return newMonitor(newRadar(rdb, cfg), cfg), nil
}

func newMonitor(ears radio, cfg MonitorConfig) *Monitor {
	m := &Monitor{
		cfg: cfg, radio: ears, epoch: time.Now(), seed: maphash.MakeSeed(),
		tick:  cfg.Window / (slots * ticksOfSlot),
		sight: newSight(ears != nil), roster: newRoster(cfg.Expect), rest: rest,
	}
	for i := range m.shards {
		m.shards[i].find = map[string]*record{}
		m.shards[i].groups = map[string]*group{}
	}
	return m
}

func (m *Monitor) now() time.Duration { return time.Since(m.epoch) }

// Observe takes in a message that entered the broker age ago (0: just now; only that counts, never the clock of the
// sender). A beat older than the newest known of its instance changes nothing: redelivery and disorder are harmless.
// It returns an error for a payload that is no beat and ErrMonitorFull for an instance too many; both change nothing
// but Stats. It keeps nothing of payload and does not block.
func (m *Monitor) Observe(payload []byte, age time.Duration) error {
	c, ok := scanCore(payload)
	if !ok {
		beat, err := ParseBeat(payload)
		if err != nil {
			why := oneLine(err.Error(), 2*maxNameBytes)
			m.bad.Add(1)
			m.last.Store(&why)
			return err
		}
		c = coreOf(&beat)
	}
	var room [2*maxNameBytes + 1]byte
	key := appendKey(room[:0], c.service, c.instance)
	now := m.now()
	seen := now - min(max(age, 0), maxUptime) // time.Since of no time at all is an age that can't be reckoned with
	sh := m.shard(key)
	sh.mu.Lock()
	r := sh.find[string(key)]
	if r != nil {
		m.hearLocked(sh, r, &c, payload, seen, now)
		sh.mu.Unlock()
		return nil
	}
	sh.mu.Unlock()
	return m.admit(key, &c, payload, seen, now)
}

// Stats returns what was counted so far. It does not block.
func (m *Monitor) Stats() MonitorStats {
	stats := MonitorStats{Instances: int(m.held.Load()), Bytes: m.bytes.Load(), Bad: m.bad.Load()}
	if last := m.last.Load(); last != nil {
		stats.LastBad = *last
	}
	for i := range m.shards {
		sh := &m.shards[i]
		sh.mu.Lock()
		stats.Beats += sh.beats
		stats.Old += sh.old
		stats.Trimmed += sh.trimmed
		stats.Refused += sh.refused
		stats.Forgotten += sh.forgotten
		sh.mu.Unlock()
	}
	m.feed.mu.Lock()
	stats.Events, stats.Dropped = m.feed.told, m.feed.dropped
	m.feed.mu.Unlock()
	if _, trusted := m.sight.since(); m.judging.Load() && !trusted {
		stats.Blind, stats.BlindWhy = true, m.sight.why()
	}
	stats.Held = m.mass.on()
	return stats
}

// shardCount spreads the instances so that a look at all of them never keeps Observe waiting for more than a
// part of them.
const shardCount = 128

type shard struct {
	mu     sync.Mutex
	find   map[string]*record // guarded by mu, and so is all below
	groups map[string]*group

	beats, old, trimmed, refused, forgotten uint64
}

// group is the instances of one service within a shard.
type group struct {
	service string
	records []*record
}

func (m *Monitor) shard(key []byte) *shard {
	return &m.shards[maphash.Bytes(m.seed, key)%shardCount]
}
