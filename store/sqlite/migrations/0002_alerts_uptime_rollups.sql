-- Alerts, one row per episode. A row with raise_count = 0 is a resolution whose raise is yet to come, kept so that the late
-- raise opens nothing.
CREATE TABLE health_alerts (
    alert_id        INTEGER PRIMARY KEY AUTOINCREMENT,
    fingerprint     TEXT NOT NULL,
    service_name    TEXT NOT NULL,
    instance_id     TEXT NOT NULL,
    alert_name      TEXT NOT NULL,
    severity        TEXT NOT NULL,
    message         TEXT NOT NULL,
    raised_at       INTEGER NOT NULL,
    last_raised_at  INTEGER NOT NULL,
    raise_count     INTEGER NOT NULL,
    acknowledged_at INTEGER,
    acknowledged_by TEXT NOT NULL DEFAULT '',
    resolved_at     INTEGER,
    resolved_by     TEXT NOT NULL DEFAULT ''
) STRICT;

-- One open episode per fingerprint, whoever writes.
CREATE UNIQUE INDEX health_alerts_open ON health_alerts (fingerprint) WHERE resolved_at IS NULL;
CREATE INDEX health_alerts_episodes ON health_alerts (fingerprint, resolved_at);
CREATE INDEX health_alerts_by_time ON health_alerts (raised_at, alert_id);
CREATE INDEX health_alerts_by_service ON health_alerts (service_name, raised_at, alert_id);
CREATE INDEX health_alerts_by_end ON health_alerts (service_name, resolved_at, alert_id) WHERE resolved_at IS NOT NULL;

-- What an observer saw of an instance: its state from that moment until the next change. Points, not intervals: so what
-- comes late, twice or overlapping has nothing to be mended.
CREATE TABLE uptime_changes (
    service_name TEXT NOT NULL,
    instance_id  TEXT NOT NULL,
    changed_at   INTEGER NOT NULL,
    state        TEXT NOT NULL, -- up, down, unknown, stopped
    reason       TEXT NOT NULL,
    PRIMARY KEY (service_name, instance_id, changed_at)
) STRICT, WITHOUT ROWID;
CREATE INDEX uptime_changes_by_time ON uptime_changes (service_name, changed_at, instance_id);

-- The episodes that the changes make: ended_at is null for what still lasts.
CREATE VIEW uptime_episodes AS
SELECT service_name, instance_id, state, changed_at AS started_at,
       lead(changed_at) OVER (PARTITION BY service_name, instance_id ORDER BY changed_at) AS ended_at, reason
FROM (
    SELECT *, lag(state) OVER (PARTITION BY service_name, instance_id ORDER BY changed_at) AS before
    FROM uptime_changes
) AS c
WHERE before IS NOT state;

-- The log by the minute: the numbers at the top of the payloads of a service, and under metric '' its messages. Buckets and
-- their counts are JSON arrays.
CREATE TABLE health_rollups (
    service_name  TEXT NOT NULL,
    metric        TEXT NOT NULL,
    minute        INTEGER NOT NULL,
    samples       INTEGER NOT NULL,
    minimum       REAL NOT NULL,
    maximum       REAL NOT NULL,
    total         REAL NOT NULL,
    buckets       TEXT NOT NULL,
    bucket_counts TEXT NOT NULL,
    PRIMARY KEY (service_name, metric, minute)
) STRICT, WITHOUT ROWID;
CREATE INDEX health_rollups_by_metric ON health_rollups (metric, minute);

-- The minutes whose rollups are behind the log.
CREATE TABLE rollup_pending (minute INTEGER PRIMARY KEY) STRICT;

-- At first those of all that was recorded before, from minute to minute by the log's key.
WITH RECURSIVE minutes (minute) AS (
    SELECT min(occurred_at) / 60000000 * 60000000 FROM health_messages
    UNION ALL
    SELECT (SELECT min(occurred_at) FROM health_messages WHERE occurred_at >= minute + 60000000) / 60000000 * 60000000
    FROM minutes WHERE minute IS NOT NULL
)
INSERT INTO rollup_pending SELECT minute FROM minutes WHERE minute IS NOT NULL;
