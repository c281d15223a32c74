-- What questions need and nothing had served yet. None of these indexes is on the log: writing to that costs what it did.

-- A metric of all services over time, and which minute was rolled up last. Only Maintain writes here.
CREATE INDEX health_rollups_by_metric ON health_rollups (metric, minute);

-- A service's timeline: the changes of its instances and the ends of its alerts, in the order of time. Its messages are
-- found by its rollups.
CREATE INDEX uptime_changes_by_time ON uptime_changes (service_name, changed_at, instance_id);
CREATE INDEX health_alerts_by_end ON health_alerts (service_name, resolved_at, alert_id) WHERE resolved_at IS NOT NULL;

-- The minutes of a log that is older than the rollups: it has to be rolled up once. From minute to minute by the log's
-- key, not over all its rows.
WITH RECURSIVE minutes (minute) AS (
    SELECT date_bin('1 minute', min(occurred_at), timestamptz 'epoch') FROM health_messages
    UNION ALL
    SELECT date_bin('1 minute', (SELECT min(occurred_at) FROM health_messages WHERE occurred_at >= minute + interval '1 minute'), timestamptz 'epoch')
    FROM minutes WHERE minute IS NOT NULL
)
INSERT INTO rollup_pending (minute) SELECT minute FROM minutes WHERE minute IS NOT NULL;
