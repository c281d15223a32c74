package store

import (
	"encoding/json"
	"time"
)

// What a message may hold at most. A store refuses, by name, a message that has more.
const (
	MaxNameBytes    = 512      // ID, Channel, Service, Instance, Status: the bytes of each
	MaxPayloadBytes = 16 << 20 // Payload
	MaxPayloadDepth = 1000     // arrays and objects within one another in Payload
)

// Message is one message of a service, as it goes into the audit log.
//
// Its strings are UTF-8 without NUL bytes, at most [MaxNameBytes] long; only ID can't be empty.
type Message struct {
	// ID is unique per message and the same at every redelivery.
	ID string `json:"id"`

	// At is fixed with the message: the time at which the broker took it, where there is a broker. A store keeps
	// it to the microsecond. Together with ID it is the key under which a message is stored once.
	At time.Time `json:"at"`

	// Channel is where the message was published.
	Channel string `json:"channel,omitempty"`

	// Service and Instance name the sender. Instance names one run of one process.
	Service  string `json:"service,omitempty"`
	Instance string `json:"instance,omitempty"`

	// Count is the sender's own count of its messages: within an instance the greater one is the newer one.
	// Leave it 0 for senders that start counting again under the same instance: At decides then.
	Count int64 `json:"count,omitempty"`

	// Status is what the message says about its instance, "running" or "stopped" for instance. A message without
	// one is logged and changes no status. A message with one needs a Service.
	Status string `json:"status,omitempty"`

	// Alert is what the message says about an alert, if anything. It takes effect with the message, once. It is kept with
	// the alerts and not in the log: messages that are read have none.
	Alert *AlertChange `json:"alert,omitempty"`

	// Payload is the message itself: valid JSON, at most [MaxPayloadBytes] long and [MaxPayloadDepth] deep, kept
	// byte for byte; or empty.
	Payload json.RawMessage `json:"payload,omitempty"`
}

// Entry is a message in the audit log.
type Entry struct {
	Message

	// ReceivedAt is the store's own time at which the message was recorded.
	ReceivedAt time.Time `json:"received_at"`
}

// MessageQuery asks for a part of the audit log, newest first. The zero MessageQuery asks for the newest 100 messages.
type MessageQuery struct {
	// Service and Instance choose a sender; empty means all. A rare sender is looked for in all of From..To:
	// give the range that you need.
	Service  string
	Instance string

	// From (included) and To (excluded) choose the messages by their At; zero means no limit.
	From time.Time
	To   time.Time

	// Limit is the size of a page, 1 to 10,000; 0 means 100.
	Limit int

	// After goes on behind the page that gave it as its Next; nil starts at the newest message. Pages stay aligned
	// while messages are recorded: only those that come in behind the cursor are still seen.
	After *Cursor
}

// Cursor is a place in the audit log: that of the message with this time and ID.
type Cursor struct {
	At time.Time `json:"at"`
	ID string    `json:"id"`
}

// MessagePage is one page of the audit log.
type MessagePage struct {
	Messages []Entry `json:"messages"`

	// Next continues behind this page. It is nil on the last one.
	Next *Cursor `json:"next,omitempty"`
}
