-- Which instance loaded which artefact, and what its signature check said: the share of signed models, and what the gate asks.

CREATE TABLE IF NOT EXISTS loads
(
    revision UInt64,
    model LowCardinality(String),
    version LowCardinality(String),
    service LowCardinality(String),
    instance LowCardinality(String),
    at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    kind LowCardinality(String),
    digest String,
    signature LowCardinality(String),
    key_id String,
    registry_url String,
    problem String,
    inserted_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(revision)
PARTITION BY toYYYYMM(at)
ORDER BY (model, version, service, instance, at)
TTL toDateTime(at) + INTERVAL ${alerts_months} MONTH
SETTINGS non_replicated_deduplication_window = 1000;
