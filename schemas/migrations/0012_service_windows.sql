-- Requests of each service in each window, by how they ended: who is refused where, beside who is refused.

CREATE TABLE IF NOT EXISTS service_windows
(
    revision UInt64,
    model LowCardinality(String),
    version LowCardinality(String),
    start DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    service LowCardinality(String),
    n UInt64,
    status Map(LowCardinality(String), UInt64),
    inserted_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(revision)
PARTITION BY toYYYYMM(start)
ORDER BY (model, version, start, service)
TTL toDateTime(start) + INTERVAL ${windows_months} MONTH
SETTINGS non_replicated_deduplication_window = 1000;
