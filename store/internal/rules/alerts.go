package rules

import (
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/upbeat-go/upbeat/store"
)

// Alert is one transition of an alert.
type Alert struct {
	Fingerprint, Service, Instance, Name, Severity, Message string

	At       time.Time
	Resolved bool
}

// AlertOf is what an admitted message that has one says about an alert.
func AlertOf(m *store.Message) Alert {
	c := m.Alert
	a := Alert{c.Fingerprint, m.Service, m.Instance, c.Name, c.Severity, cut(c.Message), m.At.Truncate(time.Microsecond), c.Resolved}
	if a.Fingerprint == "" {
		a.Fingerprint = store.Fingerprint(m.Service, m.Instance, c.Name)
	}
	return a
}

// RaisedAlert is what a caller raises, or what is wrong with it.
func RaisedAlert(a store.Alert, w Window) (Alert, error) {
	m := store.Message{
		ID: "alert", At: a.RaisedAt, Service: a.Service, Instance: a.Instance,
		Alert: &store.AlertChange{Name: a.Name, Fingerprint: a.Fingerprint, Severity: a.Severity, Message: a.Message},
	}
	if reason := refusal(&m, w); reason != "" {
		return Alert{}, fmt.Errorf("store: alert %.80q: %s", a.Name, reason)
	}
	return AlertOf(&m), nil
}

// Named is what is wrong with the fingerprint of an alert and the name of who says something about it.
func Named(fingerprint, by string) error {
	switch {
	case fingerprint == "":
		return errors.New("store: the fingerprint of the alert is empty")
	case badName(fingerprint) != "":
		return fmt.Errorf("store: the fingerprint of the alert %s", badName(fingerprint))
	case badName(by) != "":
		return fmt.Errorf("store: the name of who changes the alert %s", badName(by))
	}
	return nil
}

func badAlertChange(c *store.AlertChange) string {
	if c.Name == "" && c.Fingerprint == "" {
		return "Alert without a Name or a Fingerprint"
	}
	for _, name := range [...]struct{ field, value string }{
		{"Alert.Name", c.Name}, {"Alert.Fingerprint", c.Fingerprint}, {"Alert.Severity", c.Severity},
	} {
		if reason := badName(name.value); reason != "" {
			return name.field + " " + reason
		}
	}
	if reason := badText(cut(c.Message), store.MaxAlertBytes); reason != "" {
		return "Alert.Message " + reason
	}
	return ""
}

// cut shortens a text for people to what is kept, between two characters.
func cut(s string) string {
	if len(s) <= store.MaxAlertBytes {
		return s
	}
	end := store.MaxAlertBytes
	for end > store.MaxAlertBytes-utf8.UTFMax && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end]
}
