-- Names are unqualified: they land in the first schema of search_path.

-- Requests that are not finished: what waits and what runs. It holds no more than the queues do, and every row leaves it, so
-- nothing that changes often is indexed, and each page keeps room: a change of status touches no index (HOT).
CREATE TABLE open_requests (
    queue         text COLLATE "C" NOT NULL,
    id            text COLLATE "C" NOT NULL,
    owner         text COLLATE "C" NOT NULL,
    accepted_at   timestamptz NOT NULL,
    key           text COLLATE "C" NOT NULL,
    priority      integer NOT NULL,
    deadline      timestamptz,
    status        text COLLATE "C" NOT NULL,
    worker        text COLLATE "C" NOT NULL,
    attempts      integer NOT NULL,
    created_at    timestamptz,
    queued_at     timestamptz,
    started_at    timestamptz,
    completed_at  timestamptz,
    processing_ns bigint NOT NULL,
    steps         text,
    result        bytea,
    error         text,
    payload       bytea,
    handover      bigint, -- which call of Unfinished has given it to its owner
    PRIMARY KEY (queue, id)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);

-- What an owner without a lease has left, in the order of acceptance. It doesn't lead with the queue, so that no planner takes
-- it for a way to a request by its queue and id.
CREATE INDEX open_requests_owner ON open_requests (owner, queue, accepted_at);

-- Pages of what waits and runs, newest first.
CREATE INDEX open_requests_accepted ON open_requests (accepted_at);

-- Requests that are finished, in one partition per week (of UTC days, from Monday) of finished_at, the server's time at which the
-- end was recorded: retention drops partitions. A row is written once. It comes here in the transaction that deletes it from
-- open_requests: it is always in exactly one of the two.
CREATE TABLE finished_requests (
    LIKE open_requests,
    finished_at timestamptz NOT NULL DEFAULT now()
) PARTITION BY RANGE (finished_at);

-- A request by its id, and whether a new one's id is known: one look per partition.
CREATE INDEX finished_requests_id ON finished_requests (id, queue);

-- Pages and statistics over a range of time. The statistics are read from the index alone.
CREATE INDEX finished_requests_time ON finished_requests (finished_at)
    INCLUDE (queue, status, created_at, queued_at, started_at, processing_ns);

-- What went wrong, without reading over what went right.
CREATE INDEX finished_requests_trouble ON finished_requests (finished_at) WHERE status <> 'completed';

-- Who runs a queue, and until when the others leave his requests alone.
CREATE TABLE queue_owners (
    queue      text COLLATE "C" NOT NULL,
    owner      text COLLATE "C" NOT NULL,
    expires_at timestamptz NOT NULL,
    lapsed     boolean NOT NULL DEFAULT false, -- it had run out before it was last renewed
    PRIMARY KEY (queue, owner)
) WITH (fillfactor = 50);

-- All requests, by the names that people ask for.
CREATE VIEW requests AS
SELECT r.id, r.queue, r.payload, r.worker, r.status, r.created_at, r.queued_at, r.started_at, r.completed_at,
       r.processing_ns / 1000 * interval '1 microsecond' AS processing_time, r.steps AS step_results, r.result AS final_result,
       r.error, r.attempts, r.owner, o.expires_at AS lease_expires_at, r.key, r.priority, r.deadline, r.accepted_at,
       NULL::timestamptz AS finished_at
FROM open_requests r LEFT JOIN queue_owners o USING (queue, owner)
UNION ALL
SELECT r.id, r.queue, r.payload, r.worker, r.status, r.created_at, r.queued_at, r.started_at, r.completed_at,
       r.processing_ns / 1000 * interval '1 microsecond', r.steps, r.result,
       r.error, r.attempts, r.owner, NULL, r.key, r.priority, r.deadline, r.accepted_at, r.finished_at
FROM finished_requests r;

-- How each shard of a queue stood, in one partition per UTC day.
CREATE TABLE queue_metrics (
    queue      text COLLATE "C" NOT NULL,
    sampled_at timestamptz NOT NULL,
    worker     text COLLATE "C" NOT NULL,
    shard      integer NOT NULL,
    depth      integer NOT NULL,
    active     integer NOT NULL,
    processed  bigint NOT NULL,
    failed     bigint NOT NULL,
    refused    bigint NOT NULL,
    PRIMARY KEY (queue, sampled_at, worker, shard)
) PARTITION BY RANGE (sampled_at);
