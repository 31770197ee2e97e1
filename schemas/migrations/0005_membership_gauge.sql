-- How far a model's confidence gives training rows away, once a day: by the reference, and by live rows with their labels.

CREATE TABLE IF NOT EXISTS membership_gauge
(
    revision UInt64,
    model LowCardinality(String),
    version LowCardinality(String),
    at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    source LowCardinality(String),
    reference LowCardinality(String),
    members UInt64,
    non_members UInt64,
    balanced_accuracy Nullable(Float64),
    balanced_accuracy_low Nullable(Float64),
    balanced_accuracy_high Nullable(Float64),
    tnr Nullable(Float64),
    tpr_1pct Nullable(Float64),
    tpr_1pct_low Nullable(Float64),
    tpr_1pct_high Nullable(Float64),
    tpr_01pct Nullable(Float64),
    tpr_01pct_low Nullable(Float64),
    tpr_01pct_high Nullable(Float64),
    generalisation_gap Nullable(Float64),
    inserted_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(revision)
PARTITION BY toYYYYMM(at)
ORDER BY (model, version, at, source)
TTL toDateTime(at) + INTERVAL ${windows_months} MONTH
SETTINGS non_replicated_deduplication_window = 1000;
