package redispubsub

// Missed is what a tracker makes of these payloads.
func Missed(payloads ...string) (missed int64) {
	var t tracker
	for _, p := range payloads {
		if id, ok := identify([]byte(p)); ok {
			missed += t.note(id)
		}
	}
	return missed
}

// Identity is that of a payload, "" for none.
func Identity(payload string) string {
	id, ok := identify([]byte(payload))
	if !ok {
		return ""
	}
	return id.String()
}

// Senders is how many a tracker remembers after it has heard one message of each of n.
func Senders(n int, payload func(i int) string) int {
	var t tracker
	for i := range n {
		id, _ := identify([]byte(payload(i)))
		t.note(id)
	}
	return len(t.young) + len(t.old)
}
