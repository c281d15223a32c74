-- Times are microseconds since 1970, so that they sort, compare and round trip exactly.

-- The audit log. WITHOUT ROWID: the rows lie in the key's order in one tree, so a new message is appended, a page of the
-- log is one run of pages, and there is no second index to write. Retention deletes at the other end.
CREATE TABLE health_messages (
    occurred_at     INTEGER NOT NULL,
    message_id      TEXT NOT NULL,
    received_at     INTEGER NOT NULL,
    channel         TEXT NOT NULL,
    service_name    TEXT NOT NULL,
    instance_id     TEXT NOT NULL,
    heartbeat_count INTEGER NOT NULL,
    status          TEXT NOT NULL,
    payload         TEXT,
    PRIMARY KEY (occurred_at, message_id)
) STRICT, WITHOUT ROWID;

-- The newest status of each instance.
CREATE TABLE instance_status (
    service_name    TEXT NOT NULL,
    instance_id     TEXT NOT NULL,
    current_status  TEXT NOT NULL,
    last_seen       INTEGER NOT NULL,
    heartbeat_count INTEGER NOT NULL,
    message_id      TEXT NOT NULL,
    PRIMARY KEY (service_name, instance_id)
) STRICT, WITHOUT ROWID;

-- The newest status of each service: that of its most recently seen instance.
CREATE VIEW service_status AS
SELECT service_name, current_status, last_seen, instance_id
FROM instance_status AS s
WHERE NOT EXISTS (
    SELECT 1 FROM instance_status AS newer
    WHERE newer.service_name = s.service_name
      AND (newer.last_seen, newer.instance_id) > (s.last_seen, s.instance_id)
);
