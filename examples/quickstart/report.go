package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/upbeat-go/upbeat/heartbeat"
	"github.com/upbeat-go/upbeat/store"
)

// report is the summary at the end of a run.
type report struct {
	Published  int64           `json:"published"`  // entries that the stream counted
	Stored     int64           `json:"stored"`     // messages in the store's audit log, each counted once
	Duplicates int64           `json:"duplicates"` // rows beyond these
	Lost       int64           `json:"lost"`       // published and not stored
	Seconds    float64         `json:"seconds"`
	Redis      string          `json:"redis"`
	Database   string          `json:"database"`
	Services   []serviceReport `json:"services"`
}

type serviceReport struct {
	Service  string          `json:"service"`
	Instance string          `json:"instance"`
	State    heartbeat.State `json:"state"`
	Why      string          `json:"why"`
	Beats    uint64          `json:"beats"`
	Missed   uint64          `json:"missed"`
}

// Clean tells whether every message that was published is stored once.
func (r report) Clean() bool { return r.Duplicates == 0 && r.Stored == r.Published }

func (r report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "published %d, stored %d, duplicates %d, lost %d (%s, %s)",
		r.Published, r.Stored, r.Duplicates, r.Lost, r.Redis, r.Database)
	if r.Stored > r.Published {
		b.WriteString("\n  Redis has lost the stream meanwhile, and its count with it: how much was published is unknown")
	}
	for _, s := range r.Services {
		fmt.Fprintf(&b, "\n  %-16s %-8s %s", s.Service, s.State, s.Why)
	}
	return b.String()
}

// progress asks Redis how many entries were ever added to the stream, and whether its consumers have settled all of them.
func progress(ctx context.Context, rdb redis.UniversalClient, stream string) (published int64, settled bool, err error) {
	length, err := rdb.XLen(ctx, stream).Result()
	if err != nil || length == 0 {
		return 0, err == nil, err
	}
	newest, err := rdb.XRevRangeN(ctx, stream, "+", "-", 1).Result()
	if err != nil {
		return length, false, err
	}
	groups, err := rdb.XInfoGroups(ctx, stream).Result()
	if err != nil {
		return length, false, err
	}
	settled = true
	for _, g := range groups {
		settled = settled && g.Pending == 0 && len(newest) > 0 && g.LastDeliveredID == newest[0].ID
	}
	// Servers from 7.0 on also count what has been trimmed.
	if info, err := rdb.XInfoStream(ctx, stream).Result(); err == nil {
		length = max(length, info.EntriesAdded)
	}
	return length, settled, nil
}

// auditLog is the part of a store that counting needs.
type auditLog interface {
	Messages(ctx context.Context, q store.MessageQuery) (store.MessagePage, error)
}

// count reads the audit log of these instances: how many rows there are, and how many different messages.
func count(ctx context.Context, log auditLog, since time.Time, services []serviceReport) (rows, distinct int64, err error) {
	for _, s := range services {
		seen := map[string]bool{}
		query := store.MessageQuery{Service: s.Service, Instance: s.Instance, From: since, Limit: 10_000}
		for {
			page, err := log.Messages(ctx, query)
			if err != nil {
				return 0, 0, err
			}
			for _, m := range page.Messages {
				seen[m.ID] = true
			}
			rows += int64(len(page.Messages))
			if query.After = page.Next; page.Next == nil {
				break
			}
		}
		distinct += int64(len(seen))
	}
	return rows, distinct, nil
}
