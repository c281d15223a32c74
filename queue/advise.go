package queue

import (
	"fmt"
	"math"
	"os"
	"runtime"
	"time"
)

// Sizing is what advice is built on. What is zero is not known, unless its comment names a default.
type Sizing struct {
	Rate       float64       `json:"rate"`        // jobs that come in a second
	Run        time.Duration `json:"run_ns"`      // the mean time that a handler runs
	Wait       time.Duration `json:"wait_ns"`     // the mean time that a job waits
	Computing  float64       `json:"computing"`   // the share of Run in which a handler computes instead of waiting for others: 0 to 1
	Processors int           `json:"processors"`  // GOMAXPROCS by default
	Memory     Memory        `json:"memory"`      // of the process
	TaskMemory int64         `json:"task_memory"` // bytes that a running handler needs: 64 KiB by default
}

// Memory is how much memory a process may have, and how much of that is taken, in bytes; 0 if it isn't known.
type Memory struct {
	Limit int64 `json:"limit"`
	Used  int64 `json:"used"` // without page cache, which is given up when memory is short
}

// Advice is how a queue should be configured, and why.
type Advice struct {
	Concurrency   int      `json:"concurrency"` // 0 if nothing is known that it could be built on
	Shards        int      `json:"shards"`
	ShardCapacity int      `json:"shard_capacity"`
	Reasons       []string `json:"reasons"` // in words, one for each step
	Sizing        Sizing   `json:"sizing"`  // what it was built on
}

const (
	defaultTaskMemory = 64 << 10
	adviseUse         = 0.8 // of the slots, when all is as measured: the rest is for what isn't
	adviseMemory      = 0.5 // of what is free: the rest is for the garbage collector, and for others
	adviseWait        = time.Minute
)

// Advise says how many handlers should run at once and how many jobs may wait. It computes, and nothing else.
//
// By Little's law, Rate × Run handlers are busy on average: that and a quarter more is what the work needs. More than Processors / Computing of them only
// wait for each other, and more than fit into half of the free memory are one too many: these two are limits. As many jobs may wait as are done in a minute.
func Advise(s Sizing) Advice {
	if s.Processors <= 0 {
		s.Processors = runtime.GOMAXPROCS(0)
	}
	if s.TaskMemory <= 0 {
		s.TaskMemory = defaultTaskMemory
	}
	a := Advice{Sizing: s, Shards: min(64, max(defaultShards, s.Processors)), ShardCapacity: defaultShardCapacity}
	run := s.Run.Seconds()
	if !(s.Rate > 0) || run <= 0 || math.IsInf(s.Rate, 0) {
		a.say("no rate or no run time is known yet: nothing to build on")
		return a
	}
	needed := s.Rate * run
	a.Concurrency = atMost(math.Ceil(needed/adviseUse), maxConcurrency)
	a.say("Little's law: %.4g jobs a second × %s each keep %.4g handlers busy; at %.0f %% use that takes %d", s.Rate, s.Run, needed, 100*adviseUse, a.Concurrency)
	if s.Computing > 0 {
		a.limit(float64(s.Processors)/min(1, s.Computing), "%d processors serve %d handlers that compute for %.3g %% of their time", s.Processors, s.Computing*100)
	}
	if free := s.Memory.Limit - s.Memory.Used; s.Memory.Limit > 0 {
		a.limit(adviseMemory*float64(free)/float64(s.TaskMemory), "half of the %d MiB of free memory has room for %d handlers of %d KiB", free>>20, s.TaskMemory>>10)
	}
	rate := min(s.Rate, float64(a.Concurrency)/run)
	a.ShardCapacity = max(1, atMost(math.Ceil(rate*adviseWait.Seconds()/float64(a.Shards)), maxShardCapacity))
	a.say("at %.4g jobs a second, what waits behind %d × %d others waits for %s", rate, a.Shards, a.ShardCapacity, adviseWait)
	if s.Wait > s.Run && float64(a.Concurrency) >= needed/adviseUse {
		a.say("jobs wait for %s, longer than they run: the queue is too narrow now", s.Wait)
	}
	return a
}

// limit keeps Concurrency within what there is, and says so if that is too little. The number goes between the first and the second argument.
func (a *Advice) limit(most float64, format string, before, after any) {
	n := max(1, atMost(math.Floor(most), maxConcurrency))
	if n < a.Concurrency {
		a.Concurrency = n
		a.say(format+": fewer than the work needs, so it will be refused at times", before, n, after)
		return
	}
	a.say(format, before, n, after)
}

func (a *Advice) say(format string, args ...any) {
	a.Reasons = append(a.Reasons, "queue: "+fmt.Sprintf(format, args...))
}

// atMost converts what may be too large for an int.
func atMost(f float64, limit int) int { return int(min(f, float64(limit))) }

// Advise is the function Advise for what this queue and its process have measured. What its handlers compute is taken to be all that the process does. It
// reads some files of the system, and may block for as long as that takes.
func (q *Queue[T, R]) Advise() Advice {
	s := Sizing{Rate: q.arrivals.read(), Run: q.runs.mean(), Wait: q.waits.mean(), Memory: MemoryOf(os.DirFS("/"))}
	stats := q.Stats()
	if busy := s.Run.Seconds() * float64(stats.Done+stats.Failed); busy > 0 {
		s.Computing = min(1, max(0, (processorTime()-q.computed).Seconds()/busy))
	}
	return Advise(s)
}
