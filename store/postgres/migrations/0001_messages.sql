-- Names are unqualified: they land in the first schema of search_path.

-- The audit log, in one partition per UTC day. The key leads with the time, so that rows are appended to the index and
-- not spread over it, and it is the only index: every further one costs a third of the write rate.
--
-- Sorted by bytes ("C"): cheaper to compare, and the same order on every machine.
--
-- payload is text, not json: what is written has been checked to be JSON (or is null), so payload::json never
-- fails in a query, and the server is spared a second check that costs a quarter of the write rate. jsonb would
-- besides reorder the keys and refuse \u0000: an audit log gives back what it got.
CREATE TABLE health_messages (
    occurred_at     timestamptz NOT NULL,
    message_id      text COLLATE "C" NOT NULL,
    received_at     timestamptz NOT NULL DEFAULT now(),
    channel         text COLLATE "C" NOT NULL,
    service_name    text COLLATE "C" NOT NULL,
    instance_id     text COLLATE "C" NOT NULL,
    heartbeat_count bigint NOT NULL,
    status          text COLLATE "C" NOT NULL,
    payload         text,
    PRIMARY KEY (occurred_at, message_id)
) PARTITION BY RANGE (occurred_at);

-- The newest status of each instance. No column that changes is indexed, and each page keeps room: an update stays in
-- its page and touches no index (HOT).
CREATE TABLE instance_status (
    service_name    text COLLATE "C" NOT NULL,
    instance_id     text COLLATE "C" NOT NULL,
    current_status  text COLLATE "C" NOT NULL,
    last_seen       timestamptz NOT NULL,
    heartbeat_count bigint NOT NULL,
    message_id      text COLLATE "C" NOT NULL,
    PRIMARY KEY (service_name, instance_id)
) WITH (fillfactor = 50);

-- The newest status of each service: that of its most recently seen instance. A view, so that the instances of
-- a service never queue for one row.
CREATE VIEW service_status AS
SELECT DISTINCT ON (service_name) service_name, current_status, last_seen, instance_id
FROM instance_status
ORDER BY service_name, last_seen DESC, instance_id DESC;
