package redisstream

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/upbeat-go/upbeat/internal/backoff"
)

// manage keeps what is held, takes what is free and gives what is too much, until ctx ends.
func (h *shift) manage(ctx context.Context) {
	lease, trouble := h.src.cfg.Lease, false
	for {
		settled, err := h.takeTurn(ctx)
		pause := lease / 6
		if !settled {
			pause = max(20*time.Millisecond, lease/60)
		}
		if err != nil && ctx.Err() == nil && !trouble { // once per episode
			h.src.cfg.Logger.Warn("redisstream: can't agree on who reads which stream", "group", h.src.cfg.Group, "error", err)
		}
		trouble = err != nil
		select {
		case <-time.After(backoff.Shorten(pause, 0.2, rand.Float64())):
		case <-ctx.Done():
			return
		}
	}
}

// view is what Redis knows of a stream. It may be known of one and not of another, on a node that is down.
type view struct {
	known   bool
	owner   string
	members []string
}

// takeTurn reports whether everything is as it is to be.
func (h *shift) takeTurn(ctx context.Context) (settled bool, err error) {
	begun := time.Now()
	views, err := h.look(ctx)
	take, give := h.plan(views, begun)
	err = errors.Join(err, h.yield(ctx, give, false), h.take(ctx, take))
	h.mu.Lock()
	defer h.mu.Unlock()
	settled = err == nil && len(take)+len(give) == 0
	for i, s := range h.seats {
		if s.tenure == leaving || s.tenure == lost || views[i].owner == "" {
			settled = false
		}
	}
	return settled, err
}

// look asks for all streams, in one round trip.
func (h *shift) look(ctx context.Context) ([]view, error) {
	views := make([]view, len(h.seats))
	cmds, _ := h.each(ctx, h.seats, lookScript, h.src.cfg.Lease.Milliseconds())
	var errs []error
	for i, cmd := range cmds {
		reply, err := cmd.(*redis.Cmd).Slice()
		if err == nil && len(reply) != 2 {
			err = fmt.Errorf("%w: %.200q", errReply, reply)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		views[i].known = true
		views[i].owner, _ = reply[0].(string)
		members, _ := reply[1].([]any)
		for _, m := range members {
			name, _ := m.(string)
			views[i].members = append(views[i].members, name)
		}
	}
	if len(errs) > 0 {
		return views, errs[0] // most often all are the same
	}
	return views, nil
}

// each runs a script on the owner and the members of streams.
func (h *shift) each(ctx context.Context, seats []*seat, script string, arg any) ([]redis.Cmder, error) {
	if len(seats) == 0 {
		return nil, nil
	}
	pipe := h.src.rdb.Pipeline()
	for _, s := range seats {
		pipe.Eval(ctx, script, []string{s.owner, s.members}, h.src.cfg.Consumer, arg)
	}
	return pipe.Exec(ctx)
}

// plan takes note of what was seen at the time begun, and returns the streams to take and those to give up now.
func (h *shift) plan(views []view, begun time.Time) (take, give []*seat) {
	h.mu.Lock()
	defer h.mu.Unlock()
	me := h.src.cfg.Consumer
	var members []string
	mine := 0
	for i, s := range h.seats {
		members = append(members, views[i].members...)
		if views[i].known {
			h.noteLocked(s, views[i].owner == me, begun)
		}
		if s.tenure == held {
			mine++
		}
	}
	slices.Sort(members)
	members = slices.Compact(members)
	fair := share(len(h.seats), members, me)
	rank, _ := slices.BinarySearch(members, me)
	for i := range h.seats {
		at := (i + rank*len(h.seats)/max(1, len(members))) % len(h.seats) // all begin elsewhere
		s := h.seats[at]
		switch {
		case s.tenure == held && mine > fair:
			s.tenure = leaving
			h.stopLocked(s)
			mine--
		case s.tenure == leaving && mine < fair:
			s.tenure, s.ready = held, true
			h.ring()
			mine++
		case s.tenure == away && views[at].known && views[at].owner == "" && mine < fair:
			take = append(take, s)
			mine++
		}
		if s.tenure == leaving && s.freeLocked() {
			give = append(give, s)
		}
	}
	return take, give
}

// noteLocked compares what is believed of a stream with what Redis says.
func (h *shift) noteLocked(s *seat, mine bool, begun time.Time) {
	working := s.tenure == held || s.tenure == leaving
	switch {
	case working && mine:
		s.sure = begun
	case s.tenure == leaving && s.freeLocked(): // given up, but the reply was lost
		s.tenure = away
	case working:
		h.loseLocked(s)
	case s.tenure == lost && s.freeLocked():
		s.tenure = away
	}
	if mine && s.tenure == away { // taken, but the reply was lost; or by a process before this one
		h.gainLocked(s, begun)
	}
}

// take tries to get streams that were free.
func (h *shift) take(ctx context.Context, seats []*seat) error {
	if len(seats) == 0 {
		return nil
	}
	pipe := h.src.rdb.Pipeline()
	begun := time.Now()
	for _, s := range seats {
		pipe.SetNX(ctx, s.owner, h.src.cfg.Consumer, h.src.cfg.Lease)
	}
	cmds, err := pipe.Exec(ctx)
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, s := range seats {
		if cmds[i].(*redis.BoolCmd).Val() {
			h.gainLocked(s, begun)
		}
	}
	return err
}

// yield gives streams up and, with leave, signs off from them.
func (h *shift) yield(ctx context.Context, seats []*seat, leave bool) error {
	flag := 0
	if leave {
		flag = 1
	}
	_, err := h.each(ctx, seats, yieldScript, flag)
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range seats {
		if err == nil && s.tenure == leaving {
			s.tenure = away
		}
	}
	return err
}
