package heartbeat

import "time"

// KeptBeat is what a monitor makes of a retained beat whose key has so many milliseconds left.
func KeptBeat(payload []byte, left int64) (age time.Duration, known bool) {
	kept := keptBeat(payload, left)
	return kept.age, kept.found
}

// Pattern is what a monitor makes of a template.
var Pattern = pattern
