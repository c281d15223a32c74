package pool_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/pool"
)

// told returns the messages that act has logged, with what matters of them.
func told(log *record, act func()) []string {
	before := len(log.String())
	act()
	var lines []string
	for line := range strings.Lines(log.String()[before:]) {
		_, line, _ = strings.Cut(line, " level=")
		lines = append(lines, strings.TrimSpace(line))
	}
	return lines
}

func TestRun_LogsEachEpisodeOnce(t *testing.T) {
	t.Parallel()
	log := &record{}
	d := pool.NewDiary(log.logger(), pool.Stats{})
	start := time.Now()
	steps := []struct {
		second int
		health pool.Health
		want   []string
	}{
		{
			0,
			pool.Health{Status: pool.StatusOK, Nodes: []pool.NodeHealth{{Addr: "a:1", Role: "master", Version: "redis 7"}}},
			[]string{`INFO msg="pool: watching Redis" status=ok nodes="a:1 master redis 7" interval=1s max_connections=0`},
		},
		{1, pool.Health{Status: pool.StatusOK}, nil},
		{2, pool.Health{Status: pool.StatusDegraded, Reasons: []string{"one", "two"}}, []string{`WARN msg="pool: Redis is degraded" reasons="one; two"`}},
		{3, pool.Health{Status: pool.StatusDegraded, Reasons: []string{"one"}}, nil},
		{4, pool.Health{Status: pool.StatusDown, Reasons: []string{"one"}}, []string{`WARN msg="pool: Redis is down" reasons=one`}},
		{9, pool.Health{Status: pool.StatusOK}, []string{`INFO msg="pool: Redis is ok again" after=7s nodes=""`}},
		{10, pool.Health{Status: pool.StatusDown}, []string{`WARN msg="pool: Redis is down" reasons=""`}},
		{11, pool.Health{Status: pool.StatusOK}, []string{`INFO msg="pool: Redis is ok again" after=1s nodes=""`}},
	}
	for _, s := range steps {
		require.Equal(t, s.want, told(log, func() { d.Note(start.Add(time.Duration(s.second)*time.Second), s.health) }), "at %d", s.second)
	}
}

func TestRun_LogsEachShortageOnce(t *testing.T) {
	t.Parallel()
	log := &record{}
	stats := func(inUse, waiting int, timeouts uint32) pool.Stats {
		return pool.Stats{ConnectionStats: pool.ConnectionStats{MaxConnections: 5, InUseConnections: inUse, Waiting: waiting, Timeouts: timeouts}}
	}
	d := pool.NewDiary(log.logger(), stats(0, 0, 100))
	start := time.Now()
	steps := []struct {
		second int
		stats  pool.Stats
		want   []string
	}{
		{0, stats(5, 0, 100), nil},
		{1, stats(3, 2, 100), nil}, // who waits for a dial
		{2, stats(5, 2, 100), []string{`WARN msg="pool: commands wait for connections" reasons="all 5 connections are in use, waiting: 2" waiting=2 timeouts=0`}},
		{3, stats(5, 9, 101), nil},
		{4, stats(4, 0, 101), nil},
		{7, stats(5, 1, 101), nil}, // the same one again
		{8, stats(1, 0, 101), nil},
		{11, stats(1, 0, 101), nil},
		{12, stats(1, 0, 101), []string{`INFO msg="pool: connections are free again" after=5s most_waiting=9 timeouts=1`}},
		{13, stats(1, 0, 101), nil},
		{14, stats(1, 0, 105), []string{`WARN msg="pool: commands wait for connections" reasons="" waiting=0 timeouts=4`}}, // between two looks
	}
	for _, s := range steps {
		require.Equal(t, s.want, told(log, func() { d.NotePool(start.Add(time.Duration(s.second)*time.Second), s.stats) }), "at %d", s.second)
	}
}

func TestIsAlert(t *testing.T) {
	t.Parallel()
	record := func(kind byte, n int) []byte {
		return append([]byte{kind, 3, 3, byte(n >> 8), byte(n)}, make([]byte, n)...)
	}
	for name, tt := range map[string]struct {
		bytes []byte
		want  bool
	}{
		"TLS 1.2":          {record(21, 26), true},
		"TLS 1.3":          {record(23, 19), true},
		"a short reply":    {record(23, 4+1+16), false},
		"a long reply":     {record(23, 300)[:64], false},
		"half a record":    {record(23, 19)[:10], false},
		"nothing":          {nil, false},
		"a ticket":         {record(22, 19), false},
		"two of them":      {append(record(23, 19), record(23, 19)...), false},
		"less than a head": {[]byte{21, 3}, false},
	} {
		require.Equal(t, tt.want, pool.IsAlert(tt.bytes), name)
	}
}
