-- What the workers say of themselves: lag, snapshots, evictions, restarts, clocks. For the view of the pipeline.

CREATE TABLE IF NOT EXISTS workers
(
    revision UInt64,
    worker LowCardinality(String),
    at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    started_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    gauges Map(LowCardinality(String), Float64),
    inserted_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(revision)
PARTITION BY toYYYYMM(at)
ORDER BY (worker, at)
TTL toDateTime(at) + INTERVAL ${producers_days} DAY
SETTINGS non_replicated_deduplication_window = 1000;
