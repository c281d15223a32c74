package redispubsub

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strconv"
)

// identity names a message of a sender that counts. Both parts of sender tell one life of it from the next, where it says so.
type identity struct {
	service, instance, run string
	count                  uint64
	hash                   string // of the payload, where there is no run
}

// identify reads the identity of a heartbeat. Only the form is known here, so that senders in any language are understood.
func identify(payload []byte) (id identity, ok bool) {
	if !bytes.HasPrefix(bytes.TrimLeft(payload, " \t\r\n"), []byte("{")) {
		return identity{}, false
	}
	var beat struct {
		Service  string `json:"service_name"`
		Instance string `json:"instance_id"`
		Count    uint64 `json:"heartbeat_count"`
		Upbeat   struct {
			Run string `json:"run"`
		} `json:"upbeat"`
	}
	err := json.Unmarshal(payload, &beat)
	id = identity{service: beat.Service, instance: beat.Instance, run: beat.Upbeat.Run, count: beat.Count}
	if err != nil || id.service == "" || id.instance == "" || id.count == 0 || len(id.service)+len(id.instance)+len(id.run) > 400 {
		return identity{}, false
	}
	if id.run == "" {
		id.hash = hash(payload)
	}
	return id, true
}

// String is the same for all who hear the message.
func (id identity) String() string {
	count := strconv.FormatUint(id.count, 10)
	if id.run == "" {
		return id.service + "/" + id.instance + "/" + count + "-" + id.hash
	}
	return id.service + "/" + id.instance + "/" + id.run + "/" + count
}

// hash is short, and long enough that no two messages share one by chance.
func hash(parts ...[]byte) string {
	h := sha256.New()
	for _, p := range parts {
		h.Write(strconv.AppendInt(nil, int64(len(p)), 10)) // so that no byte may move from one part to the next
		h.Write([]byte{':'})
		h.Write(p)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// window is how far back a late message is recognized, in messages of its sender.
const window = 64

// mostSenders are remembered at least, and twice as many at most.
const mostSenders = 10_000

// tracker finds out what of senders that count did not arrive. For one goroutine.
type tracker struct{ young, old map[sender]*progress }

type sender struct{ service, instance, run string }

// progress is what came of one sender.
type progress struct {
	last uint64 // the highest count
	seen uint64 // bit i says that last-i came, or isn't missed
}

// note returns how many more messages are missing than before: -1 when one of those is this.
func (t *tracker) note(id identity) (missed int64) {
	p := t.of(sender{id.service, id.instance, id.run})
	if id.count > p.last && p.last > 0 {
		ahead := id.count - p.last
		p.last, p.seen = id.count, p.seen<<min(ahead, window)|1
		return int64(min(ahead-1, 1<<40)) // a sender that says nonsense must not overflow the sum
	}
	back := p.last - id.count
	switch {
	case p.last == 0, back >= window && id.run == "": // the first, or a sender that begins again
		*p = progress{last: id.count, seen: ^uint64(0)}
		return 0
	case back < window && p.seen>>back&1 == 0:
		p.seen |= 1 << back
		return -1
	default:
		return 0 // once more, or too late to tell
	}
}

// of returns what is known of a sender. Those that were not heard for longest are forgotten first.
func (t *tracker) of(s sender) *progress {
	if p := t.young[s]; p != nil {
		return p
	}
	p := t.old[s]
	if p == nil {
		p = &progress{}
	}
	if len(t.young) >= mostSenders {
		t.old, t.young = t.young, nil
	}
	if t.young == nil {
		t.young = make(map[sender]*progress)
	}
	t.young[s] = p
	return p
}
