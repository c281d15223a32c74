package rules

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/upbeat-go/upbeat/store"
)

// AdmitUptime separates the changes that can be stored from those that can't. The admitted ones are copies, sorted by what they are
// known by, each once: of several at the same time the worst one.
func AdmitUptime(changes []store.UptimeChange, w Window) (admitted []store.UptimeChange, refused []*store.MessageError) {
	for i, c := range changes {
		c.Reason = cut(c.Reason)
		if reason := badUptime(c, w); reason != "" {
			refused = append(refused, &store.MessageError{Index: i, ID: c.Service + "/" + c.Instance, At: c.At, Reason: reason})
			continue
		}
		c.At = c.At.Truncate(time.Microsecond)
		admitted = append(admitted, c)
	}
	slices.SortStableFunc(admitted, func(a, b store.UptimeChange) int {
		return cmp.Or(byUptimeKey(a, b), cmp.Compare(a.State, b.State)) // the names of the states are in the order of badness
	})
	return slices.CompactFunc(admitted, func(a, b store.UptimeChange) bool { return byUptimeKey(a, b) == 0 }), refused
}

func byUptimeKey(a, b store.UptimeChange) int {
	return cmp.Or(strings.Compare(a.Service, b.Service), strings.Compare(a.Instance, b.Instance), a.At.Compare(b.At))
}

func badUptime(c store.UptimeChange, w Window) string {
	switch c.State {
	case store.StateUp, store.StateDown, store.StateUnknown, store.StateStopped:
	default:
		return fmt.Sprintf("State is %.40q: want up, down, unknown or stopped", string(c.State))
	}
	switch {
	case c.Service == "":
		return "Service is empty"
	case badName(c.Service) != "":
		return "Service " + badName(c.Service)
	case badName(c.Instance) != "":
		return "Instance " + badName(c.Instance)
	case badText(c.Reason, store.MaxAlertBytes) != "":
		return "Reason " + badText(c.Reason, store.MaxAlertBytes)
	}
	return outside(c.At, w)
}
