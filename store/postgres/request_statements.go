package postgres

import "strings"

// requestStatements are the texts of requests, leases and queue metrics.
type requestStatements struct {
	accept, copy, known                     string
	advance, finish, lookUp                 string
	hold, holds, release, unfinished, again string
	stats, waiting                          string
	pageAll, pageOpen, pageDone, pageFailed string
	sample, samples, forgetOwners           string
}

func requestStatementsFor(schema string) requestStatements {
	in := func(parts ...string) string { return strings.ReplaceAll(strings.Join(parts, ""), "{schema}", schema) }
	return requestStatements{
		accept: in(acceptSQL), copy: in(copyRequestsSQL), known: in(knownSQL),
		advance: in(advanceSQL), finish: in(finishSQL), lookUp: in(lookUpSQL),
		hold: in(holdSQL), holds: in(holdsSQL), release: in(releaseSQL), unfinished: in(unfinishedSQL), again: in(againSQL),
		stats: in(requestStatsSQL), waiting: in(waitingSQL),
		pageAll:    in("SELECT * FROM (", openPageSQL, "UNION ALL", finishedPageSQL, finishedOrderSQL, ") AS r (", pageColumns, ")", pageOrderSQL),
		pageOpen:   in("SELECT * FROM (", openPageSQL, ") AS r (", pageColumns, ")", pageOrderSQL),
		pageDone:   in("SELECT * FROM (", finishedPageSQL, finishedOrderSQL, ") AS r (", pageColumns, ")", pageOrderSQL),
		pageFailed: in("SELECT * FROM (", finishedPageSQL, "AND status <> 'completed'", finishedOrderSQL, ") AS r (", pageColumns, ")", pageOrderSQL),
		sample:     in(sampleSQL), samples: in(samplesSQL), forgetOwners: in(forgetOwnersSQL),
	}
}

const (
	outcomeColumns = "status, worker, attempts, queued_at, started_at, completed_at, processing_ns, steps, result, error"

	// requestColumns are read by scanRequest.
	requestColumns = "queue, id, owner, key, priority, max_attempts, deadline, created_at, payload, " + outcomeColumns
	pageColumns    = "at, " + requestColumns

	// outcomes are the parameters $2 to $13, as made by outcomeParameters.
	outcomes = `unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::integer[], $7::timestamptz[], $8::timestamptz[],
		$9::timestamptz[], $10::bigint[], $11::text[], $12::bytea[], $13::text[]) AS n (queue, id, ` + outcomeColumns + ")"

	newOutcome = "n.status, n.worker, n.attempts, n.queued_at, n.started_at, n.completed_at, n.processing_ns, nullif(n.steps, ''), " +
		"nullif(n.result, ''), nullif(n.error, '')"
)

// acceptSQL takes requests sorted by key: writers that overlap wait for each other instead of deadlocking.
const acceptSQL = `
INSERT INTO {schema}.open_requests (` + requestColumns + `, accepted_at)
SELECT n.queue, n.id, owner, key, priority, max_attempts, deadline, created_at, nullif(payload, ''), ` + newOutcome + `, accepted_at
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::integer[], $7::timestamptz[], $8::timestamptz[],
		$9::timestamptz[], $10::bigint[], $11::text[], $12::bytea[], $13::text[],
		$14::timestamptz[], $15::text[], $16::integer[], $17::integer[], $18::timestamptz[], $19::timestamptz[], $20::bytea[])
	AS n (owner, queue, id, ` + outcomeColumns + `, accepted_at, key, priority, max_attempts, deadline, created_at, payload)
ON CONFLICT DO NOTHING
RETURNING queue, id`

// copyRequestsSQL does the same where no key is there already.
const copyRequestsSQL = `BEGIN ISOLATION LEVEL READ COMMITTED; COPY {schema}.open_requests
	(` + requestColumns + `, accepted_at) FROM STDIN (FORMAT binary)`

// knownSQL comes behind either in its transaction, with a snapshot of its own: so it sees a request that finished just before its ID
// was taken again. It gives those of the batch that have finished (and those of other queues with the same IDs) and takes
// back what was inserted of them.
const knownSQL = `
WITH known AS (
	SELECT * FROM {schema}.finished_requests WHERE id = ANY ($1::text[])
), taken_back AS (
	DELETE FROM {schema}.open_requests AS o USING known WHERE o.queue = known.queue AND o.id = known.id
)
SELECT ` + requestColumns + ` FROM known`

// The owner is compared in a form that no index has: by the index of owners the planner would read all that the owner holds
// for each request.
const advanceSQL = `
UPDATE {schema}.open_requests AS r
SET (` + outcomeColumns + `) = ROW (` + newOutcome + `)
FROM ` + outcomes + `
WHERE r.queue = n.queue AND r.id = n.id AND r.owner || '' = $1
RETURNING r.queue, r.id`

const finishSQL = `
WITH gone AS (
	DELETE FROM {schema}.open_requests AS r
	USING ` + outcomes + `
	WHERE r.queue = n.queue AND r.id = n.id AND r.owner || '' = $1
	RETURNING r.queue, r.id, r.owner, r.key, r.priority, r.max_attempts, r.deadline, r.created_at, r.payload, ` + newOutcome + `, r.accepted_at
)
INSERT INTO {schema}.finished_requests (` + requestColumns + `, accepted_at)
SELECT * FROM gone
RETURNING queue, id`

// lookUpSQL gives requests by their keys.
const lookUpSQL = `
SELECT ` + requestColumns + ` FROM unnest($1::text[], $2::text[]) AS k (queue, id) JOIN {schema}.open_requests AS r USING (queue, id)
UNION ALL
SELECT ` + requestColumns + ` FROM unnest($1::text[], $2::text[]) AS k (queue, id) JOIN {schema}.finished_requests AS r USING (queue, id)`

const holdSQL = `
INSERT INTO {schema}.queue_owners AS o (queue, owner, expires_at)
VALUES ($1, $2, clock_timestamp() + $3::bigint * interval '1 microsecond')
ON CONFLICT (queue, owner) DO UPDATE SET lapsed = o.expires_at <= clock_timestamp(), expires_at = excluded.expires_at
RETURNING lapsed`

const holdsSQL = `
SELECT EXISTS (SELECT FROM {schema}.queue_owners WHERE queue = $1 AND owner = $2 AND expires_at > now())`

const releaseSQL = `DELETE FROM {schema}.queue_owners WHERE queue = $1 AND owner = $2`

// unfinishedSQL goes from owner to owner by the index: what those who are alive hold, which is most of the table, is not
// read. A row that another takeover has locked is skipped, so no two get the same one, and nobody waits.
const unfinishedSQL = `
WITH RECURSIVE owners (owner) AS (
	SELECT min(owner) FROM {schema}.open_requests
	UNION ALL
	SELECT (SELECT min(r.owner) FROM {schema}.open_requests AS r WHERE r.owner > owners.owner)
	FROM owners WHERE owners.owner IS NOT NULL
), free AS (
	SELECT r.id
	FROM owners CROSS JOIN LATERAL (
		SELECT id, accepted_at FROM {schema}.open_requests
		WHERE queue = $1 AND owner = owners.owner
		ORDER BY accepted_at LIMIT $3 FOR UPDATE SKIP LOCKED
	) AS r
	WHERE owners.owner <> $2
		AND owners.owner NOT IN (SELECT owner FROM {schema}.queue_owners WHERE queue = $1 AND expires_at > now())
		AND EXISTS (SELECT FROM {schema}.queue_owners WHERE queue = $1 AND owner = $2 AND expires_at > now())
	ORDER BY r.accepted_at LIMIT $3
)
UPDATE {schema}.open_requests AS r SET owner = $2, handover = $4
FROM free WHERE r.queue = $1 AND r.id = free.id
RETURNING accepted_at, r.queue, r.id, owner, key, priority, max_attempts, deadline, created_at, payload, ` + outcomeColumns

// againSQL hands over what earlier calls did whose replies were lost. Their numbers are $4.
const againSQL = `
UPDATE {schema}.open_requests SET handover = $3
WHERE queue = $1 AND owner = $2 AND handover = ANY ($4::bigint[])
RETURNING accepted_at, ` + requestColumns

const chosen = `($6::text = '' OR queue = $6) AND ($7::text = '' OR status = $7) AND ($8::text = '' OR key = $8) AND ($9::text = '' OR worker = $9)`

const openPageSQL = `(
	SELECT accepted_at, ` + requestColumns + ` FROM {schema}.open_requests
	WHERE accepted_at >= $1 AND accepted_at < $2 AND (accepted_at, queue, id) < ($3::timestamptz, $4::text, $5::text) AND ` + chosen + `
	ORDER BY accepted_at DESC, queue DESC, id DESC LIMIT $10
)`

const finishedPageSQL = `(
	SELECT finished_at, ` + requestColumns + ` FROM {schema}.finished_requests
	WHERE finished_at >= $1 AND finished_at < $2 AND (finished_at, queue, id) < ($3::timestamptz, $4::text, $5::text) AND ` + chosen + `
`

const finishedOrderSQL = `
	ORDER BY finished_at DESC, queue DESC, id DESC LIMIT $10
)`

const pageOrderSQL = ` ORDER BY at DESC, queue DESC, id DESC LIMIT $10`

const requestStatsSQL = `
SELECT count(*) FILTER (WHERE status = 'completed'), count(*) FILTER (WHERE status = 'failed'), count(*) FILTER (WHERE status = 'cancelled'),
	coalesce(avg(wait), 0)::bigint, coalesce(percentile_disc(ARRAY[0.5, 0.95, 0.99, 1]) WITHIN GROUP (ORDER BY wait), '{0,0,0,0}'),
	coalesce(avg(run), 0)::bigint, coalesce(percentile_disc(ARRAY[0.5, 0.95, 0.99, 1]) WITHIN GROUP (ORDER BY run), '{0,0,0,0}')
FROM (
	SELECT status,
		(extract(epoch FROM started_at - coalesce(queued_at, created_at)) * 1000000)::bigint * 1000 AS wait,
		CASE WHEN started_at IS NOT NULL THEN processing_ns END AS run
	FROM {schema}.finished_requests
	WHERE finished_at >= $1 AND finished_at < $2 AND ($3::text = '' OR queue = $3)
) AS r`

const waitingSQL = `
SELECT count(*) FILTER (WHERE status = 'queued'), count(*) FILTER (WHERE status = 'processing')
FROM {schema}.open_requests WHERE $1::text = '' OR queue = $1`

const sampleSQL = `
INSERT INTO {schema}.queue_metrics (queue, worker, shard, sampled_at, depth, active, processed, failed, refused)
SELECT * FROM unnest($1::text[], $2::text[], $3::integer[], $4::timestamptz[], $5::integer[], $6::integer[], $7::bigint[], $8::bigint[], $9::bigint[])
ON CONFLICT DO NOTHING`

const samplesSQL = `
SELECT queue, worker, shard, sampled_at, depth, active, processed, failed, refused
FROM {schema}.queue_metrics
WHERE queue = $1 AND ($2::text = '' OR worker = $2) AND sampled_at >= $3 AND sampled_at < $4
	AND (sampled_at, worker, shard) < ($5::timestamptz, $6::text, $7::integer)
ORDER BY sampled_at DESC, worker DESC, shard DESC
LIMIT $8`

const forgetOwnersSQL = `DELETE FROM {schema}.queue_owners WHERE expires_at < now() - interval '30 days'`
