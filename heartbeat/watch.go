package heartbeat

import (
	"context"
	"time"
)

// radio is all that a [Monitor] knows of the broker. Its methods may be called side by side.
//
// The one for Redis is made by newRadar(rdb redis.UniversalClient, cfg MonitorConfig) radio, of a completed cfg.
//
// A path is a connection that can fail by itself: one for a single server or Sentinel, one for each master of a
// Cluster.
type radio interface {
	// listen subscribes on every path and delivers to s. It reconnects by itself, for ever, and returns only when ctx
	// has ended, with all of its goroutines.
	listen(ctx context.Context, s sink)

	// canary publishes token on every path; it comes back by sink.canary. An error, or no return in time, says that
	// the monitor is blind on that path.
	canary(ctx context.Context, token string) error

	// newest asks for the retained beats of these instances, in one batch, and answers in their order. It fails as a
	// whole.
	newest(ctx context.Context, of []instanceKey) ([]retained, error)

	// sweep yields every retained beat until yield returns false.
	sweep(ctx context.Context, yield func(retained) bool) error
}

// retained is a beat that the broker kept.
type retained struct {
	payload []byte
	age     time.Duration // since it was set, by the broker's own account
	found   bool
}

// sink is what a radio delivers to. Its methods don't block, and may be called from several goroutines.
type sink interface {
	// message takes a payload of one of the channels that beats come on, which is valid during the call only.
	message(channel string, payload []byte)

	// canary says that token was heard on path.
	canary(path, token string)

	// path says that a path was subscribed and confirmed (up), or lost and why. Each is to be said when it changes;
	// no path is up before it was said to be.
	path(path string, up bool, why string)

	// gone says that a path is no longer one, such as that of a master that has left the Cluster.
	gone(path string)
}

// instanceKey names an instance.
type instanceKey struct{ service, instance string }
