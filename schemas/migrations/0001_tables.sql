-- The tables of schemas/rows.py. A test compares the two, so columns are in the order of the structs.
-- ReplacingMergeTree(revision): what is sent again replaces itself. The deduplication window lets an insert that is
-- retried with the same token vanish before it becomes a part.

CREATE TABLE IF NOT EXISTS windows
(
    revision UInt64,
    model LowCardinality(String),
    version LowCardinality(String),
    start DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    end DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    reference LowCardinality(String),
    n UInt64,
    n_clients UInt64,
    n_effective Float64,
    accepted UInt64,
    late UInt64,
    rejected Map(LowCardinality(String), UInt64),
    status Map(LowCardinality(String), UInt64),
    errors UInt64,
    denied UInt64,
    latency_bins Array(UInt64),
    latency_p50 Nullable(Float64),
    latency_p95 Nullable(Float64),
    latency_p99 Nullable(Float64),
    classes Map(LowCardinality(String), UInt64),
    drift_severity LowCardinality(String),
    drift_log_evidence Float64,
    judged_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    inserted_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(revision)
PARTITION BY toYYYYMM(start)
ORDER BY (model, version, start)
TTL toDateTime(start) + INTERVAL ${windows_months} MONTH
SETTINGS non_replicated_deduplication_window = 1000;

CREATE TABLE IF NOT EXISTS feature_windows
(
    revision UInt64,
    model LowCardinality(String),
    version LowCardinality(String),
    start DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    feature LowCardinality(String),
    kind LowCardinality(String),
    n UInt64,
    missing UInt64,
    unseen UInt64,
    below UInt64,
    above UInt64,
    psi Nullable(Float64),
    w1 Nullable(Float64),
    js Nullable(Float64),
    ks Nullable(Float64),
    log_evidence Float64,
    severity LowCardinality(String),
    cells Array(UInt64),
    inserted_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(revision)
PARTITION BY toYYYYMM(start)
ORDER BY (model, version, start, feature)
TTL toDateTime(start) + INTERVAL ${windows_months} MONTH
SETTINGS non_replicated_deduplication_window = 1000;

CREATE TABLE IF NOT EXISTS client_windows
(
    revision UInt64,
    model LowCardinality(String),
    version LowCardinality(String),
    start DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    client String,
    n UInt64,
    errors UInt64,
    denied UInt64,
    repeats UInt64,
    ln_extraction Float64,
    ln_evasion Float64,
    ln_membership Float64,
    severity LowCardinality(String),
    evidence Map(LowCardinality(String), Float64),
    inserted_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC'),
    INDEX by_client client TYPE bloom_filter GRANULARITY 4
)
ENGINE = ReplacingMergeTree(revision)
PARTITION BY toYYYYMM(start)
ORDER BY (model, version, start, client)
TTL toDateTime(start) + INTERVAL ${windows_months} MONTH
SETTINGS non_replicated_deduplication_window = 1000;

CREATE TABLE IF NOT EXISTS alerts
(
    revision UInt64,
    alert_id String,
    model LowCardinality(String),
    version LowCardinality(String),
    detector LowCardinality(String),
    alertname LowCardinality(String),
    severity LowCardinality(String),
    state LowCardinality(String),
    opened_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    resolved_at Nullable(DateTime64(3, 'UTC')),
    client String,
    clients Array(String),
    feature LowCardinality(String),
    n_events UInt64,
    log_evidence Float64,
    summary String,
    evidence String,
    techniques Array(LowCardinality(String)),
    owasp Array(LowCardinality(String)),
    runbook String,
    inserted_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(revision)
PARTITION BY toYYYYMM(opened_at)
ORDER BY (alert_id, opened_at, state, severity)
TTL toDateTime(opened_at) + INTERVAL ${alerts_months} MONTH
SETTINGS non_replicated_deduplication_window = 1000;

CREATE TABLE IF NOT EXISTS sampled_events
(
    revision UInt64,
    model LowCardinality(String),
    version LowCardinality(String),
    at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    event_id String,
    client String,
    service LowCardinality(String),
    instance LowCardinality(String),
    trace_id String,
    features Map(LowCardinality(String), Float64),
    categories Map(LowCardinality(String), String),
    scores Array(Float32),
    prediction String,
    latency_ms Nullable(Float64),
    status LowCardinality(String),
    reason LowCardinality(String),
    inserted_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC'),
    INDEX by_client client TYPE bloom_filter GRANULARITY 4,
    INDEX by_event event_id TYPE bloom_filter GRANULARITY 4
)
ENGINE = ReplacingMergeTree(revision)
PARTITION BY toYYYYMM(at)
ORDER BY (model, version, at, event_id)
TTL toDateTime(at) + INTERVAL ${sampled_days} DAY
SETTINGS non_replicated_deduplication_window = 1000;

CREATE TABLE IF NOT EXISTS producers
(
    revision UInt64,
    service LowCardinality(String),
    instance LowCardinality(String),
    model LowCardinality(String),
    version LowCardinality(String),
    at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    accepted UInt64,
    sent UInt64,
    dropped UInt64,
    received UInt64,
    highest_number UInt64,
    rss_bytes UInt64,
    cpu_seconds Float64,
    completeness Nullable(Float64),
    inserted_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(revision)
PARTITION BY toYYYYMM(at)
ORDER BY (service, instance, model, version, at)
TTL toDateTime(at) + INTERVAL ${producers_days} DAY
SETTINGS non_replicated_deduplication_window = 1000;

CREATE TABLE IF NOT EXISTS quality_windows
(
    revision UInt64,
    model LowCardinality(String),
    version LowCardinality(String),
    start DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    service LowCardinality(String),
    kind LowCardinality(String),
    n UInt64,
    per_10k Float64,
    severity LowCardinality(String),
    inserted_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(revision)
PARTITION BY toYYYYMM(start)
ORDER BY (model, version, start, service, kind)
TTL toDateTime(start) + INTERVAL ${windows_months} MONTH
SETTINGS non_replicated_deduplication_window = 1000;
