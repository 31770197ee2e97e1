"""The rows that leave the worker: one frozen struct a ClickHouse table, and their way into Arrow columns.

Every table is a ``ReplacingMergeTree(revision)`` ordered by `Row.key`. A row sent again replaces itself; one with the
same key and a higher ``revision`` replaces the older. So a worker that restarts may repeat what it sent, and no count
doubles: read with ``FINAL`` or ``argMax(..., revision)``.

Times are UTC nanoseconds since 1970 as everywhere in inferwatch, and are stored with millisecond resolution.
A measure that was not taken is ``None`` (``NULL``), so averages skip it; infinities have no place in a table.
"""

from typing import ClassVar

from msgspec import field

from schemas.columns import (
    Column,
    Count,
    CountOf,
    Counts,
    MaybeTime,
    Measure,
    Name,
    Names,
    Number,
    NumberOf,
    Row,
    RowError,
    Scores,
    Shares,
    Text,
    TextOf,
    Texts,
    Time,
    columns,
    to_arrow,
)

__all__ = [
    "TABLES",
    "AccuracyEstimateRow",
    "AccuracyWindowRow",
    "AckRow",
    "AlertRow",
    "AuditRow",
    "ClientWindowRow",
    "Column",
    "FeatureWindowRow",
    "LoadRow",
    "MembershipGaugeRow",
    "ProducerRow",
    "QualityWindowRow",
    "Row",
    "RowError",
    "SampledEventRow",
    "ServiceWindowRow",
    "WindowRow",
    "WorkerRow",
    "columns",
    "to_arrow",
]


class WindowRow(Row, frozen=True, kw_only=True):
    """One judged window of one model version: how much, how fast, how well, how far from its reference.

    Attributes:
        start: Begin of the window, inclusive.
        end: End of the window, exclusive.
        reference: Id of the reference the window was judged against, "" when there was none.
        n: Events counted in the window.
        n_effective: Effective sample size after the measured overdispersion.
        late: Events of this window that came after it was judged, and went into the next.
        rejected: Refused events by reason.
        status: Events by status (ok, error, unauthenticated, ...).
        errors: Events with status error.
        denied: Events with status unauthenticated or forbidden.
        latency_bins: Counts of answered requests in log-spaced bins; add them to merge windows.
        latency_p50: Median latency of answered requests, ms; ``None`` when nothing was answered.
        classes: Events by predicted class.
        drift_severity: "", "ticket" or "page".
        drift_log_evidence: ln of the Shiryaev-Roberts statistic over all features.
        features: Features compared with the reference.
        features_beyond: Of these, beyond the materiality: their own evidence alone is enough for a ticket.
        judged_at: When the judge closed the window.
    """

    table: ClassVar[str] = "windows"
    key: ClassVar[tuple[str, ...]] = ("model", "version", "start")

    model: Name
    version: Name
    start: Time
    end: Time
    reference: Name = ""
    n: Count
    n_clients: Count = 0
    n_effective: Number = 0.0
    accepted: Count = 0
    late: Count = 0
    rejected: CountOf = field(default_factory=dict)
    status: CountOf = field(default_factory=dict)
    errors: Count = 0
    denied: Count = 0
    latency_bins: Counts = ()
    latency_p50: Measure = None
    latency_p95: Measure = None
    latency_p99: Measure = None
    classes: CountOf = field(default_factory=dict)
    drift_severity: Name = ""
    drift_log_evidence: Number = 0.0
    features: Count = 0
    features_beyond: Count = 0
    judged_at: Time


class FeatureWindowRow(Row, frozen=True, kw_only=True):
    """One feature of one judged window: effect sizes, the evidence, and the cell counts behind both.

    Attributes:
        kind: "numeric", "categorical", "embedding", "output" or "latency".
        n: Events that carried the feature.
        missing: Events without it.
        unseen: Values of a category the reference does not know.
        below: Values under the reference's range.
        above: Values over the reference's range.
        psi: Population stability index, nats.
        w1: Wasserstein-1 distance in reference standard deviations.
        js: Jensen-Shannon divergence, nats.
        ks: Kolmogorov-Smirnov distance.
        mean_shift: Mean of the window less the reference's, in its standard deviations; 0 for categories.
        log_evidence: ln of this feature's Shiryaev-Roberts statistic.
        severity: "", "ticket" or "page".
        cells: Counts by the reference's cells.
        carried: The same, carried from what the window's hours are expected to look like to the whole reference; empty without a season.
        expected: Share of each cell that the reference expects at the window's time; empty in rows of before there was the column.
        past: Rows of the reference by cell; empty in rows of before there was the column.
        widths: Of each cell, in the reference's standard deviations, 0 where it has no ends; empty for categories.
        tenths: First cell, from 0, of each bin of about a tenth, of which PSI and JS are.
        cell_names: What the cells are called: the ends of a bin, a category, "below", "above", "unseen", "missing".
    """

    table: ClassVar[str] = "feature_windows"
    key: ClassVar[tuple[str, ...]] = ("model", "version", "start", "feature")

    model: Name
    version: Name
    start: Time
    feature: Name
    kind: Name
    n: Count
    missing: Count = 0
    unseen: Count = 0
    below: Count = 0
    above: Count = 0
    psi: Measure = None
    w1: Measure = None
    js: Measure = None
    ks: Measure = None
    mean_shift: Number = 0.0
    log_evidence: Number = 0.0
    severity: Name = ""
    cells: Counts = ()
    carried: Shares = ()
    expected: Shares = ()
    past: Counts = ()
    widths: Shares = ()
    tenths: Counts = ()
    cell_names: Names = ()


class ClientWindowRow(Row, frozen=True, kw_only=True):
    """One client of one window: what it did and the evidence against it, by family.

    Attributes:
        client: Pseudonym, as in the events.
        repeats: Requests that repeat an earlier input of this client.
        ln_extraction: ln of the e-process for model extraction.
        ln_evasion: ln of the e-process for adversarial search.
        ln_membership: ln of the e-process for membership probing.
        severity: "", "ticket" or "page".
        evidence: Named figures behind the three, for the analyst.
    """

    table: ClassVar[str] = "client_windows"
    key: ClassVar[tuple[str, ...]] = ("model", "version", "start", "client")

    model: Name
    version: Name
    start: Time
    client: Text
    n: Count
    errors: Count = 0
    denied: Count = 0
    repeats: Count = 0
    ln_extraction: Number = 0.0
    ln_evasion: Number = 0.0
    ln_membership: Number = 0.0
    severity: Name = ""
    evidence: NumberOf = field(default_factory=dict)


class AlertRow(Row, frozen=True, kw_only=True):
    """One transition of one alert. The history of an alert is all its rows; its present is the row with the largest ``at``.

    Attributes:
        severity: "ticket" or "page".
        state: "pending", "firing" or "resolved".
        opened_at: When this alert opened; an alert id that opens again has another.
        at: When it came to this state and severity.
        client: The client it is about, or "".
        clients: Members, when it is about several.
        n_events: Events behind it.
        summary: One sentence.
        evidence: A JSON object.
        techniques: MITRE ATLAS technique ids.
        owasp: OWASP ML Top 10 ids.
        runbook: Link.
    """

    table: ClassVar[str] = "alerts"
    key: ClassVar[tuple[str, ...]] = ("alert_id", "opened_at", "state", "severity")

    alert_id: Text
    model: Name
    version: Name
    detector: Name
    alertname: Name
    severity: Name
    state: Name
    opened_at: Time
    at: Time
    resolved_at: MaybeTime = None
    client: Text = ""
    clients: Texts = ()
    feature: Name = ""
    n_events: Count = 0
    log_evidence: Number = 0.0
    summary: Text = ""
    evidence: Text = "{}"
    techniques: Names = ()
    owasp: Names = ()
    runbook: Text = ""


class SampledEventRow(Row, frozen=True, kw_only=True):
    """One event that was kept whole, and why. Features are already redacted by the allow-list.

    Attributes:
        feature_view: Where its features came from, as its service says.
        feature_age_s: Seconds since the oldest of them was computed; ``None`` when nobody said.
        reason: "random", "evidence" or "dead-letter".
    """

    table: ClassVar[str] = "sampled_events"
    key: ClassVar[tuple[str, ...]] = ("model", "version", "at", "event_id")

    model: Name
    version: Name
    at: Time
    event_id: Text
    client: Text = ""
    service: Name = ""
    instance: Name = ""
    trace_id: Text = ""
    features: NumberOf = field(default_factory=dict)
    categories: TextOf = field(default_factory=dict)
    scores: Scores = ()
    prediction: Text = ""
    latency_ms: Measure = None
    status: Name = "ok"
    feature_view: Name = ""
    feature_age_s: Measure = None
    reason: Name


class ProducerRow(Row, frozen=True, kw_only=True):
    """One heartbeat of one producer: what it says it sent, beside what arrived. Counts are totals since it started.

    Attributes:
        accepted: Events its ``record`` calls took.
        sent: Events handed to Kafka.
        dropped: Events it threw away, because its buffer was full.
        received: Events of it that the worker has read.
        highest_number: Highest running number read.
        completeness: received / (sent + dropped), 0 to 1; ``None`` before the first event.
        gauges: `memory_share`, `cpu_share`, and what the service adds; the first eight by name, those that end in ``_share`` first.
    """

    table: ClassVar[str] = "producers"
    key: ClassVar[tuple[str, ...]] = ("service", "instance", "model", "version", "at")

    service: Name
    instance: Name
    model: Name = ""
    version: Name = ""
    at: Time
    accepted: Count = 0
    sent: Count = 0
    dropped: Count = 0
    received: Count = 0
    highest_number: Count = 0
    rss_bytes: Count = 0
    cpu_seconds: Number = 0.0
    completeness: Measure = None
    gauges: NumberOf = {}


class QualityWindowRow(Row, frozen=True, kw_only=True):
    """One kind of bad input of one service in one window.

    Attributes:
        kind: missing, wrong_type, out_of_bounds, unseen_category, wrong_width, ...
        n: Events with it.
        per_10k: The same per 10,000 events of the service.
        severity: "", "ticket" or "page".
    """

    table: ClassVar[str] = "quality_windows"
    key: ClassVar[tuple[str, ...]] = ("model", "version", "start", "service", "kind")

    model: Name
    version: Name
    start: Time
    service: Name
    kind: Name
    n: Count
    per_10k: Number
    severity: Name = ""


class ServiceWindowRow(Row, frozen=True, kw_only=True):
    """Requests of one service in one window, by how they ended.

    Attributes:
        service: As in the events; "" those of services beyond the first 64 of a window, and of events that name none.
        n: Accepted events.
        status: The same by status (ok, error, unauthenticated, ...).
    """

    table: ClassVar[str] = "service_windows"
    key: ClassVar[tuple[str, ...]] = ("model", "version", "start", "service")

    model: Name
    version: Name
    start: Time
    service: Name
    n: Count
    status: CountOf = field(default_factory=dict)


class WorkerRow(Row, frozen=True, kw_only=True):
    """What one worker says of itself, every half a minute.

    Attributes:
        worker: Its host, and the port of its /metrics.
        at: By its clock; ``inserted_at`` is by the store's.
        started_at: When it started: another one is a restart.
        gauges: ``lag:TOPIC``, ``snapshot_age_s``, ``snapshot_bytes:OWNER``, ``evicted:WHAT``, ``least_delay_s`` and others
            (`streams.self_report`); totals are since the start.
    """

    table: ClassVar[str] = "workers"
    key: ClassVar[tuple[str, ...]] = ("worker", "at")

    worker: Name
    at: Time
    started_at: Time
    gauges: NumberOf = field(default_factory=dict)


class AckRow(Row, frozen=True, kw_only=True):
    """How on-call judged one opening of an alert. Said again, the later one counts.

    Attributes:
        opened_at: Of the alert.
        severity: Of the alert, when it was judged.
        verdict: "true", "false" or "benign-cause".
        at: When it was judged.
        judged_by: Who says so.
        note: Why.
    """

    table: ClassVar[str] = "acknowledgements"
    key: ClassVar[tuple[str, ...]] = ("alert_id", "opened_at")

    alert_id: Text
    opened_at: Time
    model: Name
    version: Name
    detector: Name
    severity: Name
    verdict: Name
    at: Time
    judged_by: Text = ""
    note: Text = ""


class AccuracyWindowRow(Row, frozen=True, kw_only=True):
    """Labels of the events of one window that came with one delay: a part of them, those that came together. Parts add up.

    Attributes:
        start: Begin of the window in which the events were.
        delay: How long after its event a label came, at most: "1m", "1h", "1d", "1w" or "more".
        part: Running number of what is told.
        known_at: When the part was told.
        n: Labels.
        errors: Those that said that the answer was wrong. Accuracy: 1 - sum(errors) / sum(n).
        log_loss_n: Labels of answers that came with a probability of every class.
        log_loss: Sum of their log loss, nats.
        expected_n: Labels of answers with a confidence.
        expected_errors: Errors that this confidence let expect of them, by the reference.
        classes: How many there are.
        answer_codes: Truths and answers that were counted (`schemas.measures`), beside `answer_counts`.
        score_codes: Truths and bins of scores that were counted, beside `score_counts`.
        value_n: Labels of a regression's answers; ``n`` is without them.
        abs_error: Sum of |answer - truth| over these. Mean absolute error: sum(abs_error) / sum(value_n).
    """

    table: ClassVar[str] = "accuracy_windows"
    key: ClassVar[tuple[str, ...]] = ("model", "version", "start", "delay", "part")

    model: Name
    version: Name
    start: Time
    delay: Name
    part: Count
    known_at: Time
    n: Count
    errors: Count
    log_loss_n: Count = 0
    log_loss: Number = 0.0
    expected_n: Count = 0
    expected_errors: Number = 0.0
    classes: Count = 0
    answer_codes: Counts = ()
    answer_counts: Counts = ()
    score_codes: Counts = ()
    score_counts: Counts = ()
    value_n: Count = 0
    abs_error: Number = 0.0


class AccuracyEstimateRow(Row, frozen=True, kw_only=True):
    """An estimate: the accuracy of one window's answers without any label, from their confidence and the reference.

    Attributes:
        start: Begin of the window.
        n: Answers.
        unscored: Answers without a confidence; the estimate is of the others.
        accuracy: Share of right answers, expected.
        low: Lower end of its 95 % interval.
        high: Upper end.
    """

    table: ClassVar[str] = "accuracy_estimates"
    key: ClassVar[tuple[str, ...]] = ("model", "version", "start")

    model: Name
    version: Name
    start: Time
    n: Count
    unscored: Count = 0
    accuracy: Number
    low: Number
    high: Number


class MembershipGaugeRow(Row, frozen=True, kw_only=True):
    """How far confidence alone gives training rows of a model version away, once a day while labels come. A lower bound.

    Attributes:
        at: The day.
        source: "reference": its own rows; "live": its members against the labelled answers since it is in force.
        reference: Its id.
        members: Rows on the training side.
        non_members: Rows on the other.
        balanced_accuracy: Of the LOSS attack; 0.5 is chance. Beside it the ends of its 95 % interval.
        tnr: Share of non-members with a higher loss than 99 % of the members have.
        tpr_1pct: Members found at 1 % false positives, and the ends of its 95 % interval; ``None`` with too few rows.
        tpr_01pct: The same at 0.1 %.
        generalisation_gap: Accuracy on members less that on the others.
    """

    table: ClassVar[str] = "membership_gauge"
    key: ClassVar[tuple[str, ...]] = ("model", "version", "at", "source")

    model: Name
    version: Name
    at: Time
    source: Name
    reference: Name
    members: Count
    non_members: Count
    balanced_accuracy: Measure = None
    balanced_accuracy_low: Measure = None
    balanced_accuracy_high: Measure = None
    tnr: Measure = None
    tpr_1pct: Measure = None
    tpr_1pct_low: Measure = None
    tpr_1pct_high: Measure = None
    tpr_01pct: Measure = None
    tpr_01pct_low: Measure = None
    tpr_01pct_high: Measure = None
    generalisation_gap: Measure = None


class LoadRow(Row, frozen=True, kw_only=True):
    """A model version was loaded or unloaded by an instance, and what its signature check said.

    Attributes:
        at: When Kafka got it.
        kind: "loaded" or "unloaded", which also is told of an instance that said goodbye, or was silent for an hour.
        digest: Of the artefact.
        signature: "valid", "invalid" or "missing".
        key_id: Of the key that signed it.
        registry_url: Where it comes from.
        problem: What was wrong with it, "" when nothing.
    """

    table: ClassVar[str] = "loads"
    key: ClassVar[tuple[str, ...]] = ("model", "version", "service", "instance", "at")

    model: Name
    version: Name
    service: Name
    instance: Name
    at: Time
    kind: Name
    digest: Text = ""
    signature: Name = "missing"
    key_id: Text = ""
    registry_url: Text = ""
    problem: Text = ""


class AuditRow(Row, frozen=True, kw_only=True):
    """One thing that was done or said, in a chain of hashes: `inferwatch audit verify` finds what was changed afterwards.

    Attributes:
        chain: Who writes: one judge, or one person's commands on one host.
        number: Running number in the chain, from 0.
        at: When; never before the row before it.
        previous_at: When the row before was.
        kind: "alert", "verdict", "acknowledgement", "reference", "settings", "key", "export", "report" or "deletion".
        subject: What it is about: an alert's id, a client, a reference's or key's id, a digest.
        actor: Who did it.
        detail: A JSON object.
        previous: Hash of the row before; 64 zeros for the first.
        hash: SHA-256 of `previous` and the other columns.
    """

    table: ClassVar[str] = "audit"
    key: ClassVar[tuple[str, ...]] = ("chain", "number", "hash")

    chain: Text
    number: Count
    at: Time
    previous_at: Time
    kind: Name
    model: Name = ""
    version: Name = ""
    subject: Text = ""
    actor: Text = ""
    detail: Text = "{}"
    previous: Text
    hash: Text = ""


TABLES: tuple[type[Row], ...] = (
    WindowRow,
    FeatureWindowRow,
    ClientWindowRow,
    AlertRow,
    SampledEventRow,
    ProducerRow,
    WorkerRow,
    QualityWindowRow,
    ServiceWindowRow,
    AckRow,
    AccuracyWindowRow,
    AccuracyEstimateRow,
    MembershipGaugeRow,
    LoadRow,
    AuditRow,
)
