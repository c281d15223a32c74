-- Times are microseconds since 1970, so that they sort, compare and round trip exactly; durations are nanoseconds.

-- Requests, finished or not, in the order of acceptance.
CREATE TABLE requests (
    place           INTEGER PRIMARY KEY,
    queue           TEXT NOT NULL,
    id              TEXT NOT NULL,
    owner           TEXT NOT NULL,
    accepted_at     INTEGER NOT NULL,
    finished_at     INTEGER,
    key             TEXT NOT NULL,
    priority        INTEGER NOT NULL,
    deadline        INTEGER,
    status          TEXT NOT NULL,
    worker          TEXT NOT NULL,
    attempts        INTEGER NOT NULL,
    created_at      INTEGER,
    queued_at       INTEGER,
    started_at      INTEGER,
    completed_at    INTEGER,
    processing_time INTEGER NOT NULL,
    step_results    TEXT,
    final_result    BLOB,
    error           TEXT,
    payload         BLOB,
    UNIQUE (queue, id)
) STRICT;

-- What an owner without a lease has left, in the order of acceptance, and how much waits.
CREATE INDEX requests_owner ON requests (queue, owner, place) WHERE finished_at IS NULL;

-- Pages of what waits and runs, newest first.
CREATE INDEX requests_accepted ON requests (accepted_at) WHERE finished_at IS NULL;

-- Pages and statistics of what has finished. The statistics are read from the index alone.
CREATE INDEX requests_finished ON requests (finished_at, queue, status, created_at, queued_at, started_at, processing_time)
    WHERE finished_at IS NOT NULL;

-- What went wrong, without reading over what went right.
CREATE INDEX requests_trouble ON requests (finished_at) WHERE finished_at IS NOT NULL AND status <> 'completed';

-- Who runs a queue, and until when the others leave his requests alone.
CREATE TABLE queue_owners (
    queue      TEXT NOT NULL,
    owner      TEXT NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (queue, owner)
) STRICT, WITHOUT ROWID;

-- How each shard of a queue stood.
CREATE TABLE queue_metrics (
    queue      TEXT NOT NULL,
    sampled_at INTEGER NOT NULL,
    worker     TEXT NOT NULL,
    shard      INTEGER NOT NULL,
    depth      INTEGER NOT NULL,
    active     INTEGER NOT NULL,
    processed  INTEGER NOT NULL,
    failed     INTEGER NOT NULL,
    refused    INTEGER NOT NULL,
    PRIMARY KEY (queue, sampled_at, worker, shard)
) STRICT, WITHOUT ROWID;

-- Retention deletes by time, across queues.
CREATE INDEX queue_metrics_time ON queue_metrics (sampled_at);
