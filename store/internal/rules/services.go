package rules

import (
	"cmp"
	"strings"

	"github.com/upbeat-go/upbeat/store"
)

// Newest returns, of each instance, the newest message that says a status. They come in no order.
func Newest(msgs []*store.Message) []*store.Message {
	type instance struct{ service, instance string }
	var newest []*store.Message
	places := make(map[instance]int)
	for _, m := range msgs {
		if m.Status == "" {
			continue
		}
		key := instance{m.Service, m.Instance}
		if i, known := places[key]; !known {
			places[key] = len(newest)
			newest = append(newest, m)
		} else if newer(m, newest[i]) {
			newest[i] = m
		}
	}
	return newest
}

// BySender orders messages by service, then by instance.
func BySender(a, b *store.Message) int {
	return cmp.Or(strings.Compare(a.Service, b.Service), strings.Compare(a.Instance, b.Instance))
}

// newer reports whether a is the newer one of two messages of the same instance.
func newer(a, b *store.Message) bool {
	return cmp.Or(cmp.Compare(a.Count, b.Count), ByKey(a, b)) > 0
}

// Instance is a row of instance_status.
type Instance struct {
	Service string
	store.InstanceStatus
}

// Services groups rows that come ordered by service, then the most recently seen first.
func Services(rows []Instance) []store.ServiceStatus {
	var services []store.ServiceStatus
	for _, r := range rows {
		if n := len(services); n == 0 || services[n-1].Service != r.Service {
			services = append(services, store.ServiceStatus{Service: r.Service, Status: r.Status, LastSeen: r.LastSeen})
		}
		s := &services[len(services)-1]
		s.Instances = append(s.Instances, r.InstanceStatus)
	}
	return services
}
