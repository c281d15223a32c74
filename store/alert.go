package store

import (
	"crypto/sha256"
	"encoding/hex"
	"net/url"
	"time"
)

// MaxAlertBytes is how much of an alert's message is kept; the rest is cut off, as an alert must not be lost for it.
const MaxAlertBytes = 4096

// AlertChange is what a message says about an alert: that it is raised, or over. The message's At is when.
//
// Its strings are UTF-8 without NUL bytes; all but Message are at most [MaxNameBytes] long.
type AlertChange struct {
	// Name tells this alert from others of the same service and instance. It can be empty only if there is a Fingerprint.
	Name string `json:"alert"`

	// Fingerprint is what an alert is known by: of each there is at most one open episode. Empty means that of the
	// message's Service and Instance with Name, see [Fingerprint].
	Fingerprint string `json:"fingerprint,omitempty"`

	Severity string `json:"severity,omitempty"` // "warning", "critical" or what people call it
	Message  string `json:"message,omitempty"`  // for people

	// Resolved says that the alert is over. Otherwise it is raised, or raised again.
	Resolved bool `json:"resolved,omitempty"`
}

// Alert is one episode of an alert: from when it was raised first until it was resolved.
type Alert struct {
	// ID names the episode, Fingerprint the alert.
	ID          int64  `json:"id"`
	Fingerprint string `json:"fingerprint"`

	Service  string `json:"service_name"`
	Instance string `json:"instance_id,omitempty"`
	Name     string `json:"alert"`
	Severity string `json:"severity"` // as last raised
	Message  string `json:"message"`  // as last raised

	RaisedAt     time.Time `json:"raised_at"`
	LastRaisedAt time.Time `json:"last_raised_at"`
	Raises       int64     `json:"raise_count"`

	AcknowledgedAt time.Time `json:"acknowledged_at,omitzero"` // zero: nobody has
	AcknowledgedBy string    `json:"acknowledged_by,omitempty"`
	ResolvedAt     time.Time `json:"resolved_at,omitzero"` // zero: it is open
	ResolvedBy     string    `json:"resolved_by,omitempty"`
}

// Open reports whether the episode has not been resolved.
func (a Alert) Open() bool { return a.ResolvedAt.IsZero() }

// Fingerprint is what an alert is known by whose author gave it no fingerprint: the three names, escaped and joined
// by slashes, or their hash where that would be longer than [MaxNameBytes].
func Fingerprint(service, instance, name string) string {
	f := url.PathEscape(service) + "/" + url.PathEscape(instance) + "/" + url.PathEscape(name)
	if len(f) > MaxNameBytes {
		sum := sha256.Sum256([]byte(f))
		return "sha256:" + hex.EncodeToString(sum[:])
	}
	return f
}
