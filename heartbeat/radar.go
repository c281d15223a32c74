package heartbeat

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/upbeat-go/upbeat/internal/redisonce"
	"github.com/upbeat-go/upbeat/internal/redissub"
)

const (
	canaryChannel = "health:canary:"
	// deafRounds is how many canaries in a row may fail to return on a path before the subscription is made anew, in a
	// Cluster on another node: the one that it is on answers, but no longer hears the others.
	deafRounds = 3
	maxCalls   = 16
	// singlePath is the one path of a single server and of Sentinel; noPath stands for those of a Cluster that has
	// never been reached.
	singlePath, noPath = "redis", "cluster"
	// asksAgain is how often the subscription asks for a sign of life, and how long it waits for one.
	asksAgain, asksFor = 2 * time.Second, 4 * time.Second
)

// radar is the radio of a Redis: one subscription, which hears what is published on any node, and canaries on all of
// them. The client may ignore contexts: nobody is kept waiting for it longer than theirs allow.
type radar struct {
	rdb      redis.UniversalClient
	patterns []string // of the channels that beats come on
	template string   // of the keys that hold the newest
	channel  string   // of this monitor's canaries
	calls    chan struct{}

	sub    *redissub.Subscription // nil when it can't be had, for reason
	reason error

	ear   sink   // set by listen, whose goroutine delivers
	large []byte // stands for a message that was too large; that goroutine's own

	mu        sync.Mutex
	listening bool           // guarded by mu, and so is all below: ear is set
	state     subscribed     // of all paths
	deaf      map[string]int // by path, the canaries published since the newest that came back
}

type subscribed struct {
	up  bool
	why string
}

func newRadar(rdb redis.UniversalClient, cfg MonitorConfig) *radar {
	r := &radar{
		rdb: rdb, template: cfg.RetainKey, calls: make(chan struct{}, maxCalls),
		state: subscribed{why: "not subscribed yet"}, deaf: map[string]int{},
		channel: canaryChannel + strconv.FormatUint(rand.Uint64(), 36),
	}
	for _, template := range cfg.Channels {
		r.patterns = append(r.patterns, pattern(template))
	}
	r.sub, r.reason = redissub.New(rdb, redissub.Config{
		Channels: []string{r.channel}, Patterns: r.patterns,
		Message: r.message, Up: func(redissub.Gap) { r.turn(subscribed{up: true}) }, Down: r.down,
		Ping: asksAgain, Timeout: asksFor, MaxBytes: MaxBeatBytes + 8*maxNameBytes,
	})
	return r
}

// listen receives until ctx ends and every call of the client has returned.
func (r *radar) listen(ctx context.Context, s sink) {
	r.mu.Lock()
	r.ear, r.listening = s, true
	r.mu.Unlock()
	if r.sub != nil {
		_ = r.sub.Run(ctx) // it fails only where the client is stuck, and so is a canary then
	} else {
		r.down(r.reason)
		<-ctx.Done()
	}
	for range cap(r.calls) {
		r.calls <- struct{}{}
	}
}

// message tells canaries from beats.
func (r *radar) message(m redissub.Message) {
	switch {
	case string(m.Channel) == r.channel:
		path, token, _ := bytes.Cut(m.Payload, []byte(" "))
		r.mu.Lock()
		if _, known := r.deaf[string(path)]; known {
			r.deaf[string(path)] = 0
		}
		r.mu.Unlock()
		r.ear.canary(string(path), string(token))
	case m.Omitted > 0:
		if r.large == nil {
			r.large = make([]byte, MaxBeatBytes+1)
		}
		r.ear.message(string(m.Channel), r.large)
	default:
		r.ear.message(string(m.Channel), m.Payload)
	}
}

func (r *radar) down(err error) {
	patterns := strings.Join(r.patterns, " &")
	err = missingRight(err, "psubscribe", patterns, fmt.Sprintf("+subscribe +psubscribe &%s* &%s", canaryChannel, patterns))
	r.turn(subscribed{why: err.Error()})
}

// turn says of every path that it is up, or not. All share the subscription.
func (r *radar) turn(to subscribed) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if to == r.state {
		return
	}
	r.state = to
	if len(r.deaf) == 0 {
		r.deaf[r.pathOf(nil)] = 0
	}
	for path := range r.deaf {
		r.deaf[path] = 0
		r.ear.path(path, to.up, to.why)
	}
}

// pathOf names the path of a node; nil is for one that has not been found yet.
func (r *radar) pathOf(node *redis.Client) string {
	_, cluster := r.rdb.(*redis.ClusterClient)
	switch {
	case !cluster:
		return singlePath
	case node == nil:
		return noPath
	default:
		return node.Options().Addr
	}
}

// know brings the paths in line with the nodes that there are.
func (r *radar) know(nodes []*redis.Client) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.listening {
		return errors.New("nobody listens yet")
	}
	paths := make(map[string]int, len(nodes))
	for _, node := range nodes {
		path := r.pathOf(node)
		rounds, known := r.deaf[path]
		paths[path] = rounds
		if !known {
			r.ear.path(path, r.state.up, r.state.why)
		}
	}
	for path := range r.deaf {
		if _, still := paths[path]; !still {
			r.ear.gone(path)
		}
	}
	r.deaf = paths
	return nil
}

// canary publishes on each node by its own connection: the client would choose one of them.
func (r *radar) canary(ctx context.Context, token string) error {
	_, err := ask(ctx, r, func() (struct{}, error) {
		nodes, err := redissub.Masters(ctx, r.rdb)
		if err == nil {
			err = r.know(nodes)
		}
		errs := make([]error, len(nodes))
		var wg sync.WaitGroup
		for i, node := range nodes {
			wg.Go(func() { errs[i] = r.chirp(ctx, node, token) })
		}
		wg.Wait()
		return struct{}{}, errors.Join(append(errs, err)...)
	})
	return err
}

// chirp publishes a canary on one node.
func (r *radar) chirp(ctx context.Context, node *redis.Client, token string) error {
	path := r.pathOf(node)
	cmd := redisonce.Cmd{Cmder: redis.NewCmd(ctx, "publish", r.channel, path+" "+token)}
	if err := node.WithTimeout(canaryEvery).Process(ctx, cmd); err != nil {
		return fmt.Errorf("canary on %s: %w", path, missingRight(err, "publish", r.channel, "+publish &"+canaryChannel+"*"))
	}
	if r.overdue(path) {
		r.sub.Renew(fmt.Errorf("%d canaries in a row that were published on %s have not come back", deafRounds, path))
	}
	return nil
}

// overdue counts a canary and says whether too many before it are missing.
func (r *radar) overdue(path string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, known := r.deaf[path]; !known || !r.state.up {
		return false
	}
	r.deaf[path]++
	return r.deaf[path] > deafRounds
}

// ask runs f without letting the caller wait for longer than ctx. What is stuck counts against maxCalls.
func ask[T any](ctx context.Context, r *radar, f func() (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	a := answer{err: errors.New("heartbeat: a hook of the Redis client ended its goroutine")}
	if ctx.Err() != nil {
		return a.value, context.Cause(ctx)
	}
	select {
	case r.calls <- struct{}{}:
	default:
		return a.value, fmt.Errorf("heartbeat: %d earlier calls of the Redis client have not returned", maxCalls)
	}
	done := make(chan answer, 1)
	go func() {
		a := a
		defer func() { // deferred, so that runtime.Goexit is reported too
			if p := recover(); p != nil {
				a.err = fmt.Errorf("heartbeat: panic: %v\n%s", p, debug.Stack())
			}
			<-r.calls
			done <- a
		}()
		a.value, a.err = f()
	}()
	select {
	case a = <-done:
		return a.value, a.err
	case <-ctx.Done():
		return a.value, context.Cause(ctx)
	}
}

var globSpecial = strings.NewReplacer("*", `\*`, "?", `\?`, "[", `\[`, "]", `\]`, `\`, `\\`)

// pattern matches what a template stands for, for PSUBSCRIBE and SCAN.
func pattern(template string) string {
	return strings.NewReplacer("{service}", "*", "{instance}", "*").Replace(globSpecial.Replace(template))
}
