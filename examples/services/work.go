package main

import (
	"context"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/upbeat-go/upbeat/heartbeat"
)

const (
	// workLimit is how long a round of the work may take before the service says that it is stuck.
	workLimit = 10 * time.Second
	roundTime = 200 * time.Millisecond
)

// service is the pretended work of one of the services: it takes what comes in, and does some of it in each round.
type service struct {
	beats *heartbeat.Manager
	loop  *heartbeat.Loop
	done  func() // a round was a success

	waiting, kept atomic.Int64
}

// kinds are the services that can be run, by the name on the command line.
var kinds = map[string]func(*service, redis.UniversalClient, heartbeat.ManagerConfig) error{
	"tracker_fetcher": func(s *service, rdb redis.UniversalClient, cfg heartbeat.ManagerConfig) (err error) {
		s.beats, s.done, err = trackerFetcherHeartbeat(rdb, s, cfg)
		return err
	},
	"geocoding": func(s *service, rdb redis.UniversalClient, cfg heartbeat.ManagerConfig) (err error) {
		s.beats, err = geocodingHeartbeat(rdb, s, cfg)
		return err
	},
	"geofence": func(s *service, rdb redis.UniversalClient, cfg heartbeat.ManagerConfig) (err error) {
		s.beats, err = geofenceHeartbeat(rdb, s, cfg)
		return err
	},
}

func newService(kind string, rdb redis.UniversalClient, cfg heartbeat.ManagerConfig) (*service, error) {
	s := &service{done: func() {}}
	if err := kinds[kind](s, rdb, cfg); err != nil {
		return nil, err
	}
	s.loop = s.beats.Progress("work", workLimit)
	return s, nil
}

// work goes on until ctx has ended and what was waiting then is done, or hangs after a while when hang isn't 0.
func (s *service) work(ctx context.Context, hang time.Duration) {
	var hangs <-chan time.Time
	if hang > 0 {
		hangs = time.After(hang)
	}
	round := time.NewTicker(roundTime)
	defer round.Stop()
	ended := ctx.Done()
	for more := int64(10); more > 0 || s.waiting.Load() > 0; {
		select {
		case <-ended:
			s.beats.Drain() // not ready for more, and not gone yet
			more, ended = 0, nil
			continue
		case <-hangs:
			<-ctx.Done() // as a call without a deadline would: the ticking and the beats go on all the same
			return
		case <-round.C:
		}
		s.waiting.Add(rand.Int64N(more + 1))
		done := min(s.waiting.Load(), rand.Int64N(12))
		s.waiting.Add(-done)
		s.kept.Store(min(s.kept.Load()+done, 5000))
		s.done()
		s.loop.Mark() // here, where a round has been done
	}
}

// The numbers of the three services, by the names that their heartbeats ask for.

func (s *service) QueueSize() int                            { return int(s.waiting.Load()) }
func (s *service) APIStatus(context.Context) (string, error) { return "authenticated", nil }
func (s *service) CacheSize() int                            { return int(s.kept.Load()) }
func (s *service) PendingRequests() int                      { return int(s.waiting.Load()) }
func (s *service) ActiveGeofences() int                      { return int(s.kept.Load()) }
func (s *service) PendingEvents() int                        { return int(s.waiting.Load()) }
