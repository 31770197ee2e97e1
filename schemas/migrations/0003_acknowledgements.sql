-- How on-call judged each alert: what `inferwatch alert ack` writes, and what is shown beside the budget.

CREATE TABLE IF NOT EXISTS acknowledgements
(
    revision UInt64,
    alert_id String,
    opened_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    model LowCardinality(String),
    version LowCardinality(String),
    detector LowCardinality(String),
    severity LowCardinality(String),
    verdict LowCardinality(String),
    at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    judged_by String,
    note String,
    inserted_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(revision)
PARTITION BY toYYYYMM(opened_at)
ORDER BY (alert_id, opened_at)
TTL toDateTime(opened_at) + INTERVAL ${alerts_months} MONTH
SETTINGS non_replicated_deduplication_window = 1000;
