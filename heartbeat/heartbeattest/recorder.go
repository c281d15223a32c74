package heartbeattest

import (
	"bytes"
	"context"
	"errors"
	"net"
	"slices"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/upbeat-go/upbeat/heartbeat"
)

// Recorder stands in for the Redis that a heartbeat.Publisher or a heartbeat.Manager speaks to. It keeps what they
// publish, in order and without bound. Safe for concurrent use.
type Recorder struct {
	rdb *redis.Client

	mu       sync.Mutex
	sent     []sent // guarded by mu
	streamed map[string]int
	retained map[string][]byte
	fail     error
}

// sent is one message.
type sent struct {
	channel string
	payload []byte
}

// NewRecorder returns an empty recorder that lets everything through. Close it when it is no longer used.
func NewRecorder() *Recorder {
	r := &Recorder{streamed: map[string]int{}, retained: map[string][]byte{}}
	// An address and not a name: the client looks names up, even those that it never dials.
	r.rdb = redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", Dialer: refuse, MaxRetries: -1})
	r.rdb.AddHook(hook{r})
	return r
}

var errOnlyBeats = errors.New("heartbeattest: a recorder takes what publishers and managers send, and nothing else")

func refuse(context.Context, string, string) (net.Conn, error) { return nil, errOnlyBeats }

// Client returns the client to give to heartbeat.NewPublisher and heartbeat.NewManager. All that it is asked beside
// what these send fails.
func (r *Recorder) Client() redis.UniversalClient { return r.rdb }

// Close closes the client. What was recorded stays.
func (r *Recorder) Close() error { return r.rdb.Close() }

// Fail makes all that is sent from now on fail with err, as if Redis could not be reached; nil makes it work again.
// What fails is not recorded.
func (r *Recorder) Fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fail = err
}

// Beats returns the beats of all instances in the order of their sending, each once however many channels it went to.
func (r *Recorder) Beats() []heartbeat.Beat {
	r.mu.Lock()
	defer r.mu.Unlock()
	type beatKey struct {
		service, instance, run string
		count                  uint64
	}
	var beats []heartbeat.Beat
	seen := map[beatKey]bool{}
	for _, s := range r.sent {
		beat, err := heartbeat.ParseBeat(s.payload)
		key := beatKey{beat.Service, beat.Instance, beat.Run, beat.Count}
		if err != nil || beat.Interval == 0 || seen[key] { // of a Publisher's messages only beats name an interval
			continue
		}
		seen[key] = true
		beats = append(beats, beat)
	}
	return beats
}

// Messages returns the payloads that were published to a channel, in order.
func (r *Recorder) Messages(channel string) [][]byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	var payloads [][]byte
	for _, s := range r.sent {
		if s.channel == channel {
			payloads = append(payloads, slices.Clone(s.payload))
		}
	}
	return payloads
}

// Retained returns the newest payload that was set to a key, or nil.
func (r *Recorder) Retained(key string) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.retained[key])
}

// Streamed returns how many entries were added to a stream.
func (r *Recorder) Streamed(stream string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.streamed[stream]
}

// take records the commands of one trip.
func (r *Recorder) take(cmds []redis.Cmder) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, cmd := range cmds {
		err := r.fail
		if err == nil {
			err = r.takeLocked(cmd)
		}
		if err != nil {
			cmd.SetErr(err)
			return err
		}
	}
	return nil
}

func (r *Recorder) takeLocked(cmd redis.Cmder) error {
	args := cmd.Args()
	if len(args) < 3 {
		return errOnlyBeats
	}
	target, _ := args[1].(string)
	switch cmd.Name() {
	case "publish":
		payload, _ := args[2].([]byte)
		r.sent = append(r.sent, sent{target, bytes.Clone(payload)})
	case "set":
		payload, _ := args[2].([]byte)
		r.retained[target] = bytes.Clone(payload)
	case "xadd":
		r.streamed[target]++
	default:
		return errOnlyBeats
	}
	return nil
}

// hook takes the place of the network.
type hook struct{ r *Recorder }

func (h hook) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h hook) ProcessHook(redis.ProcessHook) redis.ProcessHook {
	return func(_ context.Context, cmd redis.Cmder) error { return h.r.take([]redis.Cmder{cmd}) }
}

func (h hook) ProcessPipelineHook(redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(_ context.Context, cmds []redis.Cmder) error { return h.r.take(cmds) }
}
