package redisstream

import (
	"cmp"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// entryID is the id of a stream's entry: the server's clock in milliseconds, and a number within the millisecond.
type entryID struct{ ms, seq uint64 }

// parseID understands "ms-seq" and "ms".
func parseID(s string) (id entryID, ok bool) {
	ms, seq, both := strings.Cut(s, "-")
	var err error
	if id.ms, err = strconv.ParseUint(ms, 10, 64); err != nil {
		return entryID{}, false
	}
	if both {
		if id.seq, err = strconv.ParseUint(seq, 10, 64); err != nil {
			return entryID{}, false
		}
	}
	return id, true
}

func (a entryID) String() string { return fmt.Sprintf("%d-%d", a.ms, a.seq) }

func (a entryID) compare(b entryID) int {
	return cmp.Or(cmp.Compare(a.ms, b.ms), cmp.Compare(a.seq, b.seq))
}

// next is the lowest id above a, or a itself if there is none.
func (a entryID) next() entryID {
	switch {
	case a.seq < math.MaxUint64:
		return entryID{a.ms, a.seq + 1}
	case a.ms < math.MaxUint64:
		return entryID{a.ms + 1, 0}
	default:
		return a
	}
}

// earlier is the first id of the millisecond that lies d before a.
func (a entryID) earlier(d time.Duration) entryID {
	ms := uint64(max(0, d.Milliseconds()))
	return entryID{ms: a.ms - min(a.ms, ms)}
}

// time is when the server got the entry, unless its sender chose an id that is none of a time.
func (a entryID) time() time.Time {
	return time.UnixMilli(int64(min(a.ms, math.MaxInt64)))
}
