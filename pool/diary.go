package pool

import (
	"context"
	"log/slog"
	"strings"
	"time"
)

// diary turns what Run sees into log lines: one at the begin of each episode and one at its end.
type diary struct {
	log      *slog.Logger
	interval time.Duration

	status Status // "" before the first check
	since  time.Time

	shortage shortage
}

func newDiary(log *slog.Logger, interval time.Duration, s Stats) *diary {
	return &diary{log: log, interval: interval, shortage: shortage{timeouts: s.Timeouts}}
}

func (d *diary) note(ctx context.Context, now time.Time, h Health) Status {
	before := d.status
	d.status = h.Status
	reasons := slog.String("reasons", strings.Join(h.Reasons, "; "))
	switch {
	case before == "":
		d.since = now
		d.log.InfoContext(ctx, "pool: watching Redis", "status", h.Status, "nodes", nodesForLog(h.Nodes), "interval", d.interval,
			"max_connections", h.Stats.MaxConnections)
		if h.Status != StatusOK {
			d.log.WarnContext(ctx, "pool: Redis is "+string(h.Status), reasons)
		}
	case h.Status == before:
	case h.Status == StatusOK:
		d.log.InfoContext(ctx, "pool: Redis is ok again", "after", now.Sub(d.since).Round(time.Millisecond), "nodes", nodesForLog(h.Nodes))
	default:
		if before == StatusOK {
			d.since = now
		}
		d.log.WarnContext(ctx, "pool: Redis is "+string(h.Status), reasons)
	}
	return h.Status
}

func nodesForLog(nodes []NodeHealth) string {
	words := make([]string, len(nodes))
	for i, n := range nodes {
		words[i] = strings.Join(strings.Fields(n.Addr+" "+n.Role+" "+n.Version), " ")
	}
	return strings.Join(words, ", ")
}

// calm is how long nobody has to wait before a shortage is over: one that comes and goes is one episode.
const calm = 5 * time.Second

// shortage is an episode in which commands wait for connections.
type shortage struct {
	since  time.Time // zero: there is none
	last   time.Time // when it was seen
	most   int       // that waited at the same time
	failed uint32    // commands of Standard that waited in vain

	timeouts uint32 // the counter, at the last look
}

// notePool goes by the counter as well: between two looks a shortage may have come and gone.
func (d *diary) notePool(ctx context.Context, now time.Time, s Stats) {
	sh := &d.shortage
	lacks, waiting := s.lacks(), s.Waiting+s.Blocking.Waiting
	failed := s.Timeouts - sh.timeouts
	sh.timeouts = s.Timeouts
	switch {
	case len(lacks) > 0 || failed > 0:
		if sh.since.IsZero() {
			sh.since, sh.most, sh.failed = now, 0, 0
			d.log.WarnContext(ctx, "pool: commands wait for connections", "reasons", strings.Join(lacks, "; "), "waiting", waiting, "timeouts", failed)
		}
		sh.last, sh.most, sh.failed = now, max(sh.most, waiting), sh.failed+failed
	case !sh.since.IsZero() && now.Sub(sh.last) >= calm:
		d.log.InfoContext(ctx, "pool: connections are free again", "after", sh.last.Sub(sh.since).Round(time.Millisecond),
			"most_waiting", sh.most, "timeouts", sh.failed)
		sh.since = time.Time{}
	}
}
