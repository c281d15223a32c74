package storetest

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/upbeat-go/upbeat/store"
)

// model is a store in the simplest form: a map, from which everything else is worked out when it is asked for.
type model map[modelKey]store.Message

type modelKey struct {
	at int64
	id string
}

func newModel(msgs ...store.Message) model {
	m := model{}
	for _, msg := range msgs {
		m.record(msg)
	}
	return m
}

// record reports whether the message is new.
func (m model) record(msg store.Message) bool {
	key := modelKey{msg.At.UnixMicro(), msg.ID}
	_, known := m[key]
	if !known {
		m[key] = msg
	}
	return !known
}

// services are the statuses that the messages lead to, whatever their order.
func (m model) services() []store.ServiceStatus {
	newest := map[[2]string]store.Message{}
	for _, msg := range m {
		key := [2]string{msg.Service, msg.Instance}
		if known, ok := newest[key]; msg.Status != "" && (!ok || newer(msg, known)) {
			newest[key] = msg
		}
	}
	byService := map[string][]store.InstanceStatus{}
	for key, msg := range newest {
		byService[key[0]] = append(byService[key[0]], store.InstanceStatus{
			Instance: key[1], Status: msg.Status, LastSeen: msg.At.UTC().Truncate(time.Microsecond), Count: msg.Count,
		})
	}
	var all []store.ServiceStatus
	for name, instances := range byService {
		slices.SortFunc(instances, func(a, b store.InstanceStatus) int {
			return cmp.Or(b.LastSeen.Compare(a.LastSeen), strings.Compare(b.Instance, a.Instance))
		})
		all = append(all, store.ServiceStatus{
			Service: name, Status: instances[0].Status, LastSeen: instances[0].LastSeen, Instances: instances,
		})
	}
	slices.SortFunc(all, func(a, b store.ServiceStatus) int { return strings.Compare(a.Service, b.Service) })
	return all
}

func newer(a, b store.Message) bool {
	return cmp.Or(cmp.Compare(a.Count, b.Count), a.At.Compare(b.At), strings.Compare(a.ID, b.ID)) > 0
}
