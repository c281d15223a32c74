package postgres

import "strings"

// statements are the texts sent to the server. Only the name of the schema is put into them, quoted, once; all else goes by
// parameters.
type statements struct {
	record          string
	copy            string
	stored          string
	newest          string
	pending         string
	alerts          alertStatements
	uptime          string
	forgetUptime    string
	forgetAlerts    string
	pendingDays     string
	takePending     string
	minute          string
	rollup          string
	trimRollups     string
	messages        string
	services        string
	forgetInstances string
}

func statementsFor(schema string) statements {
	in := func(statement string) string { return strings.ReplaceAll(statement, "{schema}", schema) }
	return statements{
		record:       in(recordSQL),
		copy:         in(copySQL),
		stored:       in(storedSQL),
		newest:       in(newestSQL),
		pending:      in(pendingSQL),
		uptime:       in(uptimeSQL),
		forgetUptime: in(forgetUptimeSQL),
		forgetAlerts: in(forgetAlertsSQL),
		pendingDays:  in(pendingDaysSQL),
		takePending:  in(takePendingSQL),
		minute:       in(minuteSQL),
		rollup:       in(rollupSQL),
		trimRollups:  in(trimRollupsSQL),
		alerts: alertStatements{
			lock: alertLockSQL, raise: in(raiseAlertSQL), resolve: in(resolveAlertSQL), acknowledge: in(acknowledgeAlertSQL),
			dropTombstones: in(dropTombstonesSQL), addTombstone: in(addTombstoneSQL),
		},
		messages:        in(messagesSQL),
		services:        in(servicesSQL),
		forgetInstances: in(forgetInstancesSQL),
	}
}

// recordSQL is one statement, so one round trip and one transaction. The messages come sorted and are inserted in that
// order; the statuses, which all writers want, come last, sorted too: so no two writers wait for each other, and the locks on
// the statuses are held shortly. It returns the keys of what was inserted.
//
// $9 and $10 are the keys of the newest message of each instance in the batch. One of them that wasn't inserted was stored
// before, with a status at least as new, so the older ones of its instance have no say either. IS TRUE keeps
// the planner from making a join of IN: it always is one look into a hash table then, whatever the planner believes about sizes.
const recordSQL = `
WITH inserted AS (
	INSERT INTO {schema}.health_messages
		(occurred_at, message_id, channel, service_name, instance_id, heartbeat_count, status, payload)
	SELECT occurred_at, message_id, channel, service_name, instance_id, heartbeat_count, status, nullif(payload, '')
	FROM unnest($1::timestamptz[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::text[], $8::text[])
		AS m (occurred_at, message_id, channel, service_name, instance_id, heartbeat_count, status, payload)
	ON CONFLICT DO NOTHING
	RETURNING occurred_at, message_id, service_name, instance_id, heartbeat_count, status
), pending AS (
	INSERT INTO {schema}.rollup_pending (minute)
	SELECT DISTINCT date_bin('1 minute', occurred_at, timestamptz 'epoch') FROM inserted
), newest AS (` + newestIntoSQL + `
	SELECT service_name, instance_id, status, occurred_at, heartbeat_count, message_id
	FROM inserted
	WHERE ((occurred_at, message_id) IN (SELECT * FROM unnest($9::timestamptz[], $10::text[]))) IS TRUE
	ORDER BY service_name, instance_id` + newestWinsSQL + `
)
SELECT occurred_at, message_id FROM inserted`

const newestIntoSQL = `
	INSERT INTO {schema}.instance_status AS s
		(service_name, instance_id, current_status, last_seen, heartbeat_count, message_id)`

const newestWinsSQL = `
	ON CONFLICT (service_name, instance_id) DO UPDATE SET
		current_status = excluded.current_status,
		last_seen = excluded.last_seen,
		heartbeat_count = excluded.heartbeat_count,
		message_id = excluded.message_id
	WHERE (excluded.heartbeat_count, excluded.last_seen, excluded.message_id)
		> (s.heartbeat_count, s.last_seen, s.message_id)`

// storedSQL gives the places of those keys that are in the log. With LIMIT each key always is one look into the index,
// whatever the planner believes about sizes; the bounds leave out most partitions at once.
const storedSQL = `
SELECT (k.place - 1)::int
FROM unnest($1::timestamptz[], $2::text[]) WITH ORDINALITY AS k (occurred_at, message_id, place),
LATERAL (
	SELECT FROM {schema}.health_messages m
	WHERE m.occurred_at = k.occurred_at AND m.message_id = k.message_id AND m.occurred_at BETWEEN $3 AND $4
	LIMIT 1
) known`

// These do the same where all messages are known to be fresh, once copySQL has gone well.
const (
	copySQL = `BEGIN ISOLATION LEVEL READ COMMITTED; COPY {schema}.health_messages
		(occurred_at, message_id, channel, service_name, instance_id, heartbeat_count, status, payload) FROM STDIN (FORMAT binary)`

	pendingSQL = `INSERT INTO {schema}.rollup_pending (minute) SELECT unnest($1::timestamptz[])`

	newestSQL = newestIntoSQL + `
	SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::bigint[], $6::text[])` + newestWinsSQL
)

const messagesSQL = `
SELECT occurred_at, message_id, received_at, channel, service_name, instance_id, heartbeat_count, status, payload
FROM {schema}.health_messages
WHERE occurred_at >= $1 AND occurred_at < $2
	AND (occurred_at, message_id) < ($3::timestamptz, $4::text)
	AND ($5::text = '' OR service_name = $5) AND ($6::text = '' OR instance_id = $6)
ORDER BY occurred_at DESC, message_id DESC
LIMIT $7`

const servicesSQL = `
SELECT service_name, instance_id, current_status, last_seen, heartbeat_count
FROM {schema}.instance_status
ORDER BY service_name, last_seen DESC, instance_id DESC`

const forgetInstancesSQL = `
DELETE FROM {schema}.instance_status s
WHERE last_seen < $1 AND EXISTS (
	SELECT FROM {schema}.instance_status newer
	WHERE newer.service_name = s.service_name
		AND (newer.last_seen, newer.instance_id) > (s.last_seen, s.instance_id))`

// forgetAlertsSQL leaves what a message that is still accepted can belong to.
const forgetAlertsSQL = `DELETE FROM {schema}.health_alerts WHERE resolved_at < $1`

// forgetUptimeSQL leaves of each instance what it is in since before the time that is kept, but for those that are gone.
const forgetUptimeSQL = `
DELETE FROM {schema}.uptime_changes c
WHERE changed_at < $1 AND (state <> 'up' OR EXISTS (
	SELECT FROM {schema}.uptime_changes next
	WHERE next.service_name = c.service_name AND next.instance_id = c.instance_id
		AND next.changed_at > c.changed_at AND next.changed_at <= $1))`
