-- Alerts, one row per episode. Whether one is open follows the newest transition, in whatever order transitions arrive:
-- a row with raise_count = 0 is a resolution whose raise is yet to come, kept so that the late raise opens nothing.
-- Raising an alert again touches no index (HOT).
CREATE TABLE health_alerts (
    alert_id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    fingerprint     text COLLATE "C" NOT NULL,
    service_name    text COLLATE "C" NOT NULL,
    instance_id     text COLLATE "C" NOT NULL,
    alert_name      text COLLATE "C" NOT NULL,
    severity        text COLLATE "C" NOT NULL,
    message         text NOT NULL,
    raised_at       timestamptz NOT NULL,
    last_raised_at  timestamptz NOT NULL,
    raise_count     bigint NOT NULL,
    acknowledged_at timestamptz,
    acknowledged_by text NOT NULL DEFAULT '',
    resolved_at     timestamptz,
    resolved_by     text NOT NULL DEFAULT ''
) WITH (fillfactor = 80);

-- One open episode per fingerprint, whoever writes.
CREATE UNIQUE INDEX health_alerts_open ON health_alerts (fingerprint) WHERE resolved_at IS NULL;
CREATE INDEX health_alerts_episodes ON health_alerts (fingerprint, resolved_at);
CREATE INDEX health_alerts_by_time ON health_alerts (raised_at, alert_id);
CREATE INDEX health_alerts_by_service ON health_alerts (service_name, raised_at, alert_id);

-- What an observer saw of an instance: its state from that moment until the next change. Points, not intervals: so what
-- comes late, twice or overlapping has nothing to be mended.
CREATE TABLE uptime_changes (
    service_name text COLLATE "C" NOT NULL,
    instance_id  text COLLATE "C" NOT NULL,
    changed_at   timestamptz NOT NULL,
    state        text COLLATE "C" NOT NULL, -- up, down, unknown, stopped
    reason       text NOT NULL,
    PRIMARY KEY (service_name, instance_id, changed_at)
);

-- The episodes that the changes make: ended_at is null for what still lasts.
CREATE VIEW uptime_episodes AS
SELECT service_name, instance_id, state, changed_at AS started_at,
       lead(changed_at) OVER (PARTITION BY service_name, instance_id ORDER BY changed_at) AS ended_at, reason
FROM (
    SELECT *, lag(state) OVER (PARTITION BY service_name, instance_id ORDER BY changed_at) AS before
    FROM uptime_changes
) c
WHERE before IS DISTINCT FROM state;

-- The log by the minute: the numbers at the top of the payloads of a service, and under metric '' its messages. The
-- average is total / samples. Bucket b counts bucket_counts[i] samples where buckets[i] = b; package store says
-- which values a bucket holds.
CREATE TABLE health_rollups (
    service_name  text COLLATE "C" NOT NULL,
    metric        text COLLATE "C" NOT NULL,
    minute        timestamptz NOT NULL,
    samples       bigint NOT NULL,
    minimum       double precision NOT NULL,
    maximum       double precision NOT NULL,
    total         double precision NOT NULL,
    buckets       smallint[] NOT NULL,
    bucket_counts bigint[] NOT NULL,
    PRIMARY KEY (service_name, metric, minute)
) PARTITION BY RANGE (minute);

-- The minutes whose rollups are behind the log. Each transaction that writes to the log adds the minutes it wrote to, and
-- waits for nobody; whoever makes the rollups takes away the rows that it sees, and then sees all that they stand for.
CREATE TABLE rollup_pending (
    minute timestamptz NOT NULL
);
CREATE INDEX rollup_pending_minute ON rollup_pending (minute);
