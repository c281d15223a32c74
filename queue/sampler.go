package queue

import (
	"context"
	"time"
)

// Tracked is how a queue gets on with its tracker.
type Tracked struct {
	Outage     bool  `json:"outage"`     // the tracker can't be reached
	Accepted   int64 `json:"accepted"`   // jobs stored and accepted
	Untracked  int64 `json:"untracked"`  // jobs accepted in memory alone, see Config.AcceptUntracked
	Refused    int64 `json:"refused"`    // submissions answered with ErrOutage or ErrUnknown
	Unknown    int   `json:"unknown"`    // jobs of which it isn't known yet whether they were stored
	Recovered  int64 `json:"recovered"`  // jobs taken over from other processes or earlier lives
	Unrecorded int   `json:"unrecorded"` // tasks whose newest state isn't stored yet
}

func (l *ledger[T, R]) stats() *Tracked {
	l.mu.Lock()
	unknown, dirty := len(l.unknown), len(l.dirty)
	l.mu.Unlock()
	return &Tracked{
		Outage: l.outage.Load(), Accepted: l.count.accepted.Load(), Untracked: l.count.untracked.Load(), Refused: l.count.refused.Load(),
		Unknown: unknown, Recovered: l.count.recovered.Load(), Unrecorded: dirty,
	}
}

// sample gives the tracker a sample of each shard now and then, until ctx ends. What can't be recorded is not tried again: the next one comes.
func (l *ledger[T, R]) sample(ctx context.Context) {
	if l.q.cfg.SampleEvery < 0 {
		return
	}
	ticker := time.NewTicker(l.q.cfg.SampleEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		call, cancel := context.WithTimeout(ctx, trackerPatience)
		err := guarded(func() error { return l.tracker.RecordQueue(call, l.q.Samples()) })
		cancel()
		if err != nil && ctx.Err() == nil {
			l.q.cfg.Logger.Warn("queue: samples not recorded", "queue", l.q.cfg.Name, "error", err)
		}
	}
}

// Samples says how each shard stands, as a tracker is given it every Config.SampleEvery. It doesn't block.
func (q *Queue[T, R]) Samples() []Sample {
	now := time.Now().UTC()
	samples := make([]Sample, len(q.shards))
	defer q.lockAll()()
	for i, s := range q.shards {
		t := &s.out.tally
		samples[i] = Sample{
			Queue: q.cfg.Name, Worker: q.cfg.Owner, Shard: i, At: now, Depth: s.depthLocked(), Active: int(t.active),
			Processed: t.done + t.failed, Failed: t.failed, Refused: s.refused,
		}
	}
	return samples
}
