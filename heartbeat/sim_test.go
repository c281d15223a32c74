package heartbeat_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/heartbeat"
	"github.com/upbeat-go/upbeat/internal/testserver"
)

const (
	simSenders = 500
	simLength  = 5 * time.Hour
	plainName  = "plain thresholds"
)

// simulate lets a fleet live for a while under a monitor, and returns the verdicts of it, and those of plain
// thresholds on the same deliveries.
func simulate(t *testing.T, name string, seed uint64, length time.Duration, p protection) (full, plain verdicts) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(seed, simSenders, p)
		cfg := heartbeat.MonitorConfig{EventBuffer: 1_000_000, Logger: slog.New(slog.DiscardHandler), Flapping: -1}
		if !p.hold {
			cfg.MassShare = -1
		}
		mon, err := heartbeat.NewWatching(w, cfg)
		require.NoError(t, err)
		mon.Stretch(w.pause)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		j := &judge{w: w, v: verdicts{name: name}, seen: map[life]bool{}}
		events := mon.Events(ctx)
		wg.Go(func() {
			for e := range events {
				j.take(e)
			}
		})
		wg.Go(func() { _ = mon.Run(ctx) })
		naive := &plainThresholds{w: w, v: verdicts{name: plainName}}
		wg.Go(func() { naive.run(length) })
		wg.Go(func() { j.audit(length) })
		w.run(length)
		cancel()
		wg.Wait()
		require.Zero(t, mon.Stats().Dropped)
		require.Zero(t, mon.Stats().Bad)
		full, plain = j.v, naive.v
	})
	return full, plain
}

// TestSimulation_NoFalseDeaths is 10,000 hours of instances, and a million under make soak: fleets that lose messages,
// pause, die and leave, each with a broker and an observer that have troubles of their own.
func TestSimulation_NoFalseDeaths(t *testing.T) {
	t.Parallel()
	worlds := testserver.Times(4, 400)
	if testserver.Race {
		worlds = 1
	}
	full, plain := simulateAll(t, "monitor", worlds, simLength, protection{sight: true, opinion: true, hold: true})
	t.Logf("%.0f instance-hours, %d troubles, %d goodbyes\n%s", simSenders*simLength.Hours()*float64(worlds),
		full.troubles, full.goodbyes, table(full, plain))
	require.Empty(t, full.wrong[:min(len(full.wrong), 5)])
	require.Empty(t, full.lateDeath)
	require.Empty(t, full.lateGoodbye)
	require.Empty(t, full.lateBlind)
	require.NotEmpty(t, full.delays)
	require.Positive(t, full.goodbyes)
	require.Positive(t, full.troubles)
	require.Positive(t, plain.falseDead, "or the trace has no troubles in it")
}

// TestSimulation_WhatEachProtectionBuys takes one after another away, on the same worlds.
func TestSimulation_WhatEachProtectionBuys(t *testing.T) {
	t.Parallel()
	worlds, length := testserver.Times(1, 40), time.Duration(testserver.Times(1, 5))*time.Hour
	all := []struct {
		name string
		p    protection
	}{
		{"monitor", protection{sight: true, opinion: true, hold: true}},
		{"without canary", protection{opinion: true, hold: true}},
		{"without second opinion", protection{sight: true, hold: true}},
		{"without mass hold", protection{sight: true, opinion: true}},
		{"with none of them", protection{}},
	}
	if testserver.Race {
		all = append(all[:1], all[len(all)-1])
	}
	rows := make([]verdicts, len(all), len(all)+1)
	var plain verdicts
	for i, of := range all {
		rows[i], plain = simulateAll(t, of.name, worlds, length, of.p)
	}
	t.Logf("%.0f instance-hours\n%s", simSenders*length.Hours()*float64(worlds), table(append(rows, plain)...))
	require.Zero(t, rows[0].falseDead)
	require.Positive(t, rows[len(rows)-1].falseDead)
	if worlds == 1 {
		return // too short for each of the troubles to come
	}
	for _, v := range rows[1:] {
		require.Positive(t, v.falseDead, "the protection buys nothing: %s", v.name)
	}
}

// simulateAll lets so many worlds pass side by side, and sums up their verdicts.
func simulateAll(t *testing.T, name string, worlds int, length time.Duration, p protection) (full, plain verdicts) {
	t.Helper()
	var mu sync.Mutex
	t.Run(name, func(t *testing.T) { // ends with the last of the worlds
		for seed := range worlds {
			t.Run(fmt.Sprint(seed), func(t *testing.T) {
				t.Parallel()
				a, b := simulate(t, name, uint64(seed), length, p)
				mu.Lock()
				defer mu.Unlock()
				full.add(a)
				plain.add(b)
			})
		}
	})
	return full, plain
}

func table(all ...verdicts) string {
	rows := []string{verdictsHead}
	for i := range all {
		rows = append(rows, all[i].row())
	}
	return strings.Join(rows, "\n")
}
