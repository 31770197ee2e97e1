-- Who did what, and what was said: chains of rows that carry the hash of the row before (`inferwatch audit verify`). The hash is in the key,
-- so that a row with the same number and other contents stands beside the first, and never takes its place.

CREATE TABLE IF NOT EXISTS audit
(
    revision UInt64,
    chain String,
    number UInt64,
    at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    previous_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    kind LowCardinality(String),
    model LowCardinality(String),
    version LowCardinality(String),
    subject String,
    actor String,
    detail String,
    previous String,
    hash String,
    inserted_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(revision)
PARTITION BY toYYYYMM(at)
ORDER BY (chain, number, hash)
TTL toDateTime(at) + INTERVAL ${audit_months} MONTH
SETTINGS non_replicated_deduplication_window = 1000;
