package redissub

import "strings"

// Message is one published message. Its slices are valid only during the call that delivers it, and not to be modified.
type Message struct {
	// Channel is where it was published; Pattern is what that matched, nil when it came by the channel's own name.
	Channel, Pattern []byte
	// Payload is nil when it was left out.
	Payload []byte
	// Omitted is how many bytes of the message were left out because it was larger than Config.MaxBytes; 0 for a whole message.
	Omitted int
}

// ServerError is what the server refused a request with, as it said it.
type ServerError string

// Error returns what the server said, such as "NOPERM ...".
func (e ServerError) Error() string { return string(e) }

// RedisError makes it a redis.Error.
func (ServerError) RedisError() {}

// Denied tells whether the user lacks a right.
func (e ServerError) Denied() bool { return strings.HasPrefix(string(e), "NOPERM") }

// confirms tells whether the reply confirms one name of a subscription.
func (r reply) confirms() bool {
	return r.kind == '*' && len(r.parts) == 3 && (string(r.parts[0]) == "subscribe" || string(r.parts[0]) == "psubscribe")
}

// answers tells whether the reply is one to PING. Where a user lacks the right to PING, the refusal is as good: it is the server's, and in order.
func (r reply) answers() bool {
	switch r.kind {
	case '*':
		return len(r.parts) > 0 && string(r.parts[0]) == "pong"
	case '-':
		return ServerError(r.parts[0]).Denied()
	default:
		return true
	}
}

// deliver hands a message on. Anything else that a server may say on its own account is no concern of a subscriber.
func deliver(r reply, message func(Message)) {
	if len(r.parts) < 3 {
		return
	}
	switch string(r.parts[0]) {
	case "message":
		message(Message{Channel: r.parts[1], Payload: r.parts[2], Omitted: r.omitted})
	case "pmessage":
		if len(r.parts) == 4 {
			message(Message{Pattern: r.parts[1], Channel: r.parts[2], Payload: r.parts[3], Omitted: r.omitted})
		}
	}
}
