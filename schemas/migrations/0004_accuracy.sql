-- What delayed labels said, in parts that add up, and what confidence promised without them.

CREATE TABLE IF NOT EXISTS accuracy_windows
(
    revision UInt64,
    model LowCardinality(String),
    version LowCardinality(String),
    start DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    delay LowCardinality(String),
    part UInt64,
    known_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    n UInt64,
    errors UInt64,
    log_loss_n UInt64,
    log_loss Float64,
    expected_n UInt64,
    expected_errors Float64,
    inserted_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(revision)
PARTITION BY toYYYYMM(start)
ORDER BY (model, version, start, delay, part)
TTL toDateTime(start) + INTERVAL ${windows_months} MONTH
SETTINGS non_replicated_deduplication_window = 1000;

CREATE TABLE IF NOT EXISTS accuracy_estimates
(
    revision UInt64,
    model LowCardinality(String),
    version LowCardinality(String),
    start DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    n UInt64,
    unscored UInt64,
    accuracy Float64,
    low Float64,
    high Float64,
    inserted_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(revision)
PARTITION BY toYYYYMM(start)
ORDER BY (model, version, start)
TTL toDateTime(start) + INTERVAL ${windows_months} MONTH
SETTINGS non_replicated_deduplication_window = 1000;
