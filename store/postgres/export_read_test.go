package postgres

import (
	"time"

	"github.com/upbeat-go/upbeat/store"
	"github.com/upbeat-go/upbeat/store/internal/rules"
)

// Question is a statement that a method of reading sends.
type Question struct {
	SQL  string
	Args []any
}

// Questions are those of the methods of reading, with arguments as these make them; rare is a service with few messages.
func (db *DB) Questions(now time.Time, service, rare string) map[string]Question {
	all := map[string]Question{}
	page := func(name, service string, minutes ...time.Time) {
		q, _ := rules.Query(store.MessageQuery{Service: service})
		all["minutes of "+name] = Question{db.in(minutesSQL), []any{service, q.From, q.To, 102}}
		from, to := minutes[len(minutes)-1], minutes[0].Add(time.Minute)
		all["messages of "+name] = Question{db.in(serviceMessagesSQL), []any{service, from, to, q.After.At, "", minutes, 101}}
	}
	minute := now.Truncate(time.Minute)
	page("a service", service, minute, minute.Add(-time.Minute), minute.Add(-2*time.Minute))
	page("a rare service", rare, minute, minute.Add(-20*time.Hour), minute.Add(-40*time.Hour))
	newest, _ := rules.Query(store.MessageQuery{})
	all["messages"] = Question{db.statements.messages, []any{newest.From, newest.To, newest.After.At, newest.After.ID, "", "", 101}}

	alerts := func(name string, q store.AlertQuery) {
		q, _ = rules.AlertQuery(q)
		statement, args := db.alertsStatement(q)
		all[name] = Question{statement, args}
	}
	alerts("alerts", store.AlertQuery{})
	alerts("open alerts", store.AlertQuery{Open: true})
	alerts("alerts of a service", store.AlertQuery{Service: service})
	alerts("open alerts of a service", store.AlertQuery{Open: true, Service: service, Severity: "critical"})
	alerts("alerts by fingerprint", store.AlertQuery{Fingerprint: "f-17"})

	from, to := now.Add(-time.Hour), now
	all["changes of state"] = Question{db.in(stateChangesSQL), []any{service, time.Time{}, to, to, "", 101}}
	all["raised"] = Question{db.in(raisedSQL), []any{service, time.Time{}, to, to, int64(0), 101}}
	all["resolved"] = Question{db.in(resolvedSQL), []any{service, time.Time{}, to, to, int64(0), 101}}
	all["uptime"] = Question{db.in(uptimeWindowSQL), []any{service, from, to}}

	metric := func(name string, q store.MetricQuery) {
		q, _ = rules.MetricQuery(q, now)
		statement, args := db.rollupsStatement(q)
		all[name] = Question{statement, args}
	}
	metric("latency of a service", store.MetricQuery{Service: service, Metric: "latency_ms"})
	metric("latency of all", store.MetricQuery{Metric: "latency_ms"})
	all["pending"] = Question{db.in(firstPendingSQL), []any{from, to}}
	all["dashboard: open alerts"] = Question{db.in(openAlertsSQL), []any{100}}
	all["dashboard: open alerts counted"] = Question{db.in(countOpenSQL), nil}
	all["dashboard: throughput"] = Question{db.in(throughputSQL), []any{now, 5 * time.Minute}}
	return all
}
