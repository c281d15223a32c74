package heartbeattest

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/upbeat-go/upbeat/heartbeat"
)

// Observer is where a Sender's beats go: a heartbeat.Monitor, or what feeds one.
type Observer interface {
	Observe(payload []byte, age time.Duration) error
}

// Sender makes up the beats of one instance for a heartbeat.Monitor that was made without a Redis client. It beats
// when it is told to, so that a test under testing/synctest decides what the monitor hears and when. It is for one
// goroutine at a time.
type Sender struct {
	// Beat is what the next beat says. Its Service, Instance and Interval are set by NewSender; Count, Time and Uptime
	// are filled in for each beat.
	Beat heartbeat.Beat
	// Fields are the service's own.
	Fields map[string]any

	to    Observer
	began time.Time
}

// NewSender returns a sender with an interval of 60 seconds. Nothing is sent before Send.
func NewSender(to Observer, service, instance string) *Sender {
	return &Sender{
		Beat: heartbeat.Beat{Service: service, Instance: instance, Interval: time.Minute, Phase: heartbeat.PhaseRunning, Run: "1"},
		to:   to, began: time.Now(),
	}
}

// Send beats once. It fails where the observer does, and for a field that JSON can't hold.
func (s *Sender) Send() error {
	s.Beat.Count++
	s.Beat.Time, s.Beat.Uptime = time.Now(), time.Since(s.began)
	payload, err := json.Marshal(s.Beat)
	if err != nil {
		return fmt.Errorf("heartbeattest: %w", err)
	}
	if len(s.Fields) > 0 {
		own, err := json.Marshal(s.Fields)
		if err != nil {
			return fmt.Errorf("heartbeattest: %w", err)
		}
		payload = append(append(own[:len(own)-1], ','), payload[1:]...)
	}
	return s.to.Observe(payload, 0)
}

// Lose counts a beat that nobody hears.
func (s *Sender) Lose() { s.Beat.Count++ }

// Stop says goodbye.
func (s *Sender) Stop() error {
	s.Beat.Phase = heartbeat.PhaseStopped
	return s.Send()
}

// Restart begins a new life under the same name.
func (s *Sender) Restart() {
	s.Beat.Run += "'"
	s.Beat.Count, s.Beat.Phase, s.began = 0, heartbeat.PhaseRunning, time.Now()
}
