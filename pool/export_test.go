package pool

import (
	"context"
	"log/slog"
	"time"

	"github.com/redis/go-redis/v9"
)

// Diary is what Run writes.
type Diary struct{ d *diary }

func NewDiary(log *slog.Logger, s Stats) Diary { return Diary{newDiary(log, time.Second, s)} }

func (d Diary) Note(now time.Time, h Health) { d.d.note(context.Background(), now, h) }

func (d Diary) NotePool(now time.Time, s Stats) { d.d.notePool(context.Background(), now, s) }

// Nodes are what go-redis has made for a Cluster.
type Nodes struct{ n nodes }

func (n *Nodes) Add(node *redis.Client) { n.n.add(node) }

func (n *Nodes) Sum() NodeStats {
	all, sum := n.n.each()
	for _, node := range all {
		sum.add(node)
	}
	return sum
}

func IsAlert(b []byte) bool { return isAlert(b) }
