package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/upbeat-go/upbeat/heartbeat"
)

// once prints what the beats that Redis keeps tell of everybody, and returns whether all is well: nobody is dead, and
// every expected service is there, by more than a goodbye. It judges by the age of those beats alone.
// The table is that many columns wide at most.
func once(ctx context.Context, rdb redis.UniversalClient, opts options, out io.Writer, wide int) (well bool, err error) {
	// Nobody calls Run: then the monitor works states out from ages when it is asked.
	mon, err := heartbeat.NewMonitor(nil, heartbeat.MonitorConfig{})
	if err != nil {
		return false, err
	}
	read := func(ctx context.Context, node *redis.Client) error { return readKept(ctx, node, mon) }
	switch rdb := rdb.(type) {
	case *redis.ClusterClient:
		err = rdb.ForEachMaster(ctx, read)
	case *redis.Client:
		err = read(ctx, rdb)
	}
	if err != nil {
		return false, fmt.Errorf("read the beats that Redis keeps: %w", err)
	}
	all := items(mon, opts.expect, func(string) string { return missing })
	if opts.json {
		err = printJSON(out, all)
	} else {
		err = printTable(out, all, wide)
	}
	return isWell(all, opts.expect), err
}

func isWell(all []item, expect []string) bool {
	there := map[string]bool{}
	for _, it := range all {
		if it.state == missing || it.State == heartbeat.Dead {
			return false
		}
		there[it.Service] = there[it.Service] || it.State != heartbeat.Stopped
	}
	return !slices.ContainsFunc(expect, func(service string) bool { return !there[service] })
}

// readKept shows the monitor every beat that a node keeps. How old one is follows from the time that its key has left
// to live, and from how long it had, which the beat says: no clock but that of Redis counts.
func readKept(ctx context.Context, node *redis.Client, mon *heartbeat.Monitor) error {
	for cursor := uint64(0); ; {
		keys, next, err := node.Scan(ctx, cursor, "health:last:*", 1000).Result()
		if err != nil {
			return err
		}
		for batch := range slices.Chunk(keys, 64) {
			if err := observe(ctx, node, batch, mon); err != nil {
				return err
			}
		}
		if cursor = next; cursor == 0 {
			return nil
		}
	}
}

func observe(ctx context.Context, node *redis.Client, keys []string, mon *heartbeat.Monitor) error {
	texts, left := make([]*redis.StringCmd, len(keys)), make([]*redis.DurationCmd, len(keys))
	_, _ = node.Pipelined(ctx, func(pipe redis.Pipeliner) error { // each command has its error
		for i, key := range keys {
			texts[i] = pipe.GetRange(ctx, key, 0, heartbeat.MaxBeatBytes)
			left[i] = pipe.PTTL(ctx, key)
		}
		return nil
	})
	for i := range keys {
		text, err := texts[i].Bytes()
		if redis.HasErrorPrefix(err, "WRONGTYPE") {
			continue // nobody's beat
		}
		if err := cmp.Or(err, left[i].Err()); err != nil {
			return err
		}
		var beat struct {
			Upbeat struct {
				Retain float64 `json:"retain_seconds"`
			} `json:"upbeat"`
		}
		_ = json.Unmarshal(text, &beat) // what is no beat says nothing of its time
		retain := time.Duration(min(max(beat.Upbeat.Retain, 0), 1e9) * float64(time.Second))
		age := retain - left[i].Val()
		// A key that lives for ever, or longer than its beat says, was not set by a sender that could tell its age.
		if left[i].Val() > 0 && age > -time.Second {
			_ = mon.Observe(text, max(age, 0)) // what is no beat is nobody's
		}
	}
	return nil
}

func printTable(out io.Writer, all []item, wide int) error {
	head, rows, _ := table(all, wide, time.Now())
	lines := []line{head}
	for _, row := range rows {
		lines = append(lines, row...)
	}
	lines = append(lines, line{{0, summary(all), ""}})
	return printLines(out, lines, wide)
}

func printLines(out io.Writer, lines []line, wide int) error {
	for _, l := range lines {
		if _, err := fmt.Fprintln(out, cut(l.plain(), wide)); err != nil {
			return err
		}
	}
	return nil
}

// shown is an item as JSON.
type shown struct {
	Service  string          `json:"service"`
	Instance string          `json:"instance,omitempty"`
	State    string          `json:"state"`
	Why      string          `json:"why"`
	Age      float64         `json:"age_seconds,omitempty"`
	Beat     *heartbeat.Beat `json:"beat,omitempty"`
}

func printJSON(out io.Writer, all []item) error {
	for _, it := range all {
		object := shown{Service: it.Service, Instance: it.ID, State: it.state, Why: it.Why, Age: it.Age.Seconds(), Beat: &it.Beat}
		if it.ID == "" {
			object.Why, object.Beat = "expected, and Redis keeps no beat of it", nil
		}
		if err := printObject(out, object); err != nil {
			return err
		}
	}
	return nil
}

func printObject(out io.Writer, object any) error {
	text, err := json.Marshal(object)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, escaped(text))
	return err
}
