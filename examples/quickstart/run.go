package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/upbeat-go/upbeat/heartbeat"
)

const (
	shortestRun = 3 * time.Second
	beatEvery   = time.Second
	redrawEvery = 500 * time.Millisecond
	printEvery  = 5 * time.Second // where the table can't be redrawn
	patience    = 10 * time.Second
)

// services are the workers, in order of start; one name twice is one service with two instances.
var services = []string{"tracker_fetcher", "geocoding", "geocoding", "geofence"}

// The worker that is killed and the one that is asked to stop, and when: in a run without a given end, and at least
// these parts of one with.
const (
	killed, killAfter  = 3, 6 * time.Second
	stopped, stopAfter = 2, 9 * time.Second
)

// startError is a failure before anything ran.
type startError struct{ error }

func (e *startError) Unwrap() error { return e.error }

// run is the whole quickstart; it returns when opts.runFor is over or ctx has ended, and all is stored and counted.
func run(ctx context.Context, opts options) (report, error) {
	out := os.Stdout
	if opts.json {
		out = os.Stderr
	}
	screen := newScreen(out)
	log := slog.New(slog.NewTextHandler(screen, &slog.HandlerOptions{Level: slog.LevelWarn}))
	b, err := openBackend(ctx, opts, log)
	if err != nil {
		return report{}, &startError{err}
	}
	r := &runner{backend: b, screen: screen, begin: time.Now(), stream: "quickstart:" + rand.Text()}
	rep, err := r.run(ctx, opts, log)
	return rep, errors.Join(err, b.close())
}

type runner struct {
	backend *backend
	screen  *screen
	pipe    *pipeline
	fleet   *fleet
	begin   time.Time
	stream  string // of this run alone
}

func (r *runner) run(ctx context.Context, opts options, log *slog.Logger) (rep report, err error) {
	if r.pipe, err = newPipeline(r.backend, r.stream, log); err != nil {
		return rep, &startError{err}
	}
	if r.fleet, err = newFleet(r.screen); err != nil {
		return rep, &startError{err}
	}
	// The consumer outlives ctx: what the workers say at their end is to be stored too.
	consuming, enough := context.WithCancel(context.WithoutCancel(ctx))
	defer enough()
	var wg sync.WaitGroup
	var consumed error
	wg.Go(func() { consumed = r.pipe.consumer.Run(consuming) })
	wg.Go(func() { maintain(consuming, r.backend.db, log) })
	wg.Go(func() { r.keepStream(consuming) })

	err = r.startWorkers(ctx)
	if err == nil {
		r.watch(ctx, opts.runFor)
	}
	r.fleet.stopAll(patience)
	rep.Published, err = r.drain(consuming, err)
	enough()
	wg.Wait()
	if err = errors.Join(err, consumed); err != nil {
		return rep, err
	}
	return r.report(context.WithoutCancel(ctx), rep.Published)
}

// maintain keeps the store in shape until ctx ends: what retention doesn't keep goes, and there is room ahead.
func maintain(ctx context.Context, db database, log *slog.Logger) {
	for hourly := time.Tick(time.Hour); ; {
		if err := db.Maintain(ctx); err != nil && ctx.Err() == nil {
			log.Warn("maintenance goes on next time", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-hourly:
		}
	}
}

// keepStream renews the life of this run's stream until ctx ends: one that a killed run leaves behind goes by itself.
func (r *runner) keepStream(ctx context.Context) {
	for tick := time.Tick(10 * time.Second); ; {
		_ = r.backend.redis.Standard().Expire(ctx, r.stream, 10*time.Minute).Err() // the next one will do
		select {
		case <-ctx.Done():
			return
		case <-tick:
		}
	}
}

func (r *runner) startWorkers(ctx context.Context) error {
	for _, service := range services {
		err := r.fleet.start(ctx, workerConfig{
			Service: service, Instance: rand.Text()[:8], Interval: beatEvery,
			RedisURL: r.backend.redisURL, Stream: r.stream,
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// watch shows the table, and ends two of the workers on the way.
func (r *runner) watch(ctx context.Context, runFor time.Duration) {
	kill, stop := killAfter, stopAfter
	if runFor > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, runFor)
		defer cancel()
		kill, stop = min(kill, runFor/3), min(stop, runFor/2)
	}
	killIt, stopIt := time.After(kill), time.After(stop)
	every := printEvery
	if r.screen.redraws() {
		every = redrawEvery
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			r.draw()
			return
		case <-killIt:
			r.fleet.kill(killed)
		case <-stopIt:
			r.fleet.stop(stopped)
		case <-tick.C:
		}
		r.draw()
	}
}

// drain waits until everything that was published has been handled, and returns how much that is.
func (r *runner) drain(ctx context.Context, failed error) (int64, error) {
	if failed != nil {
		return 0, failed
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		n, settled, err := progress(ctx, r.backend.redis.Standard(), r.stream)
		if err == nil && settled {
			return n, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			if err != nil {
				err = fmt.Errorf("ask Redis how much was published: %w", err)
			}
			return n, err // what is not settled by now shows as lost
		}
	}
}

// report counts in the store what the stream counted as published.
func (r *runner) report(ctx context.Context, published int64) (report, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	rep := report{
		Published: published, Seconds: time.Since(r.begin).Seconds(),
		Redis: r.backend.redisName, Database: r.backend.database,
	}
	for inst := range r.pipe.monitor.Instances() {
		rep.Services = append(rep.Services, serviceReport{
			Service: inst.Service, Instance: inst.ID, State: inst.State, Why: inst.Why, Beats: inst.Count, Missed: inst.Missed,
		})
	}
	rows, distinct, err := count(ctx, r.backend.db, r.begin.Add(-time.Minute), rep.Services)
	if err != nil {
		return rep, fmt.Errorf("count what is stored: %w", err)
	}
	rep.Stored, rep.Duplicates, rep.Lost = distinct, rows-distinct, max(0, published-distinct)
	_ = r.backend.redis.Standard().Del(ctx, r.stream).Err() // it was this run's alone
	return rep, nil
}

// draw shows every instance that was ever heard of.
func (r *runner) draw() {
	rows := []row{{cells: []string{"SERVICE", "INSTANCE", "STATE", "AGE", "UPTIME", "BEATS", "MEMORY", "CPU", "QUEUE"}}}
	for inst := range r.pipe.monitor.Instances() {
		queued := "-"
		if raw, ok := inst.Beat.Field("queue_size"); ok {
			queued = string(raw)
		}
		rows = append(rows, row{state: inst.State.String(), cells: []string{
			inst.Service, inst.ID, mark(inst.State) + " " + inst.State.String(),
			seconds(inst.Age), seconds(inst.Uptime), fmt.Sprint(inst.Count),
			fmt.Sprintf("%.1f MB", inst.Beat.MemoryMB), fmt.Sprintf("%.1f %%", inst.Beat.CPUPercent), queued,
		}})
	}
	stats := r.pipe.consumer.Stats()
	r.screen.table(fmt.Sprintf("upbeat quickstart   %s, %s   %d messages stored   ^C ends it",
		r.backend.redisName, r.backend.database, stats.MessageCount), rows)
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

func mark(s heartbeat.State) string {
	switch s {
	case heartbeat.Alive:
		return "●"
	case heartbeat.Stale, heartbeat.Stuck:
		return "◐"
	default:
		return "○"
	}
}
