"""Rows of a day in the life of two models, so that every panel has something to show."""

from datetime import UTC, datetime

from schemas.rows import (
    AccuracyEstimateRow,
    AccuracyWindowRow,
    AckRow,
    AlertRow,
    ClientWindowRow,
    FeatureWindowRow,
    LoadRow,
    MembershipGaugeRow,
    ProducerRow,
    QualityWindowRow,
    Row,
    SampledEventRow,
    ServiceWindowRow,
    WindowRow,
    WorkerRow,
)
from streams.clickhouse import ClickHouse

END = datetime(2090, 1, 1, 12, tzinfo=UTC)  # far ahead: rows older than their retention vanish at the next merge
END_NS = int(END.timestamp()) * 10**9
MINUTE = 60 * 10**9
HOSTILE = "o'brien \\ (x, y) $model"
"""A client and model name that breaks naive quoting."""


def insert(clickhouse: ClickHouse, given: list[Row]) -> None:
    """Puts rows of several tables into the store."""
    by_table: dict[str, list[Row]] = {}
    for row in given:
        by_table.setdefault(row.table, []).append(row)
    for table, part in by_table.items():
        clickhouse.insert(part, f"rows of {table}")


def rows(models: tuple[str, ...] = ("fraud", "churn"), minutes: int = 30) -> list[Row]:
    """Windows, features, clients, input quality and heartbeats of ``models``, and a few alerts in all states."""
    found: list[Row] = []
    for model in models:
        for i in range(minutes):
            start = END_NS - (minutes - i) * MINUTE
            found += _minute(model, start, i)
    return found + _alerts(models)


def _minute(model: str, start: int, i: int) -> list[Row]:
    window = WindowRow(
        model=model, version="1", start=start, end=start + MINUTE, reference="r1", n=600, n_clients=2, n_effective=400.0, accepted=600,
        rejected={"unknown_model": 2, "not_finite": 1}, status={"ok": 590, "error": 6, "forbidden": 4}, errors=6, denied=4,
        latency_bins=(0, 500, 90), latency_p50=12.0, latency_p95=40.0, latency_p99=90.0, classes={"a": 400, "b": 200},
        drift_log_evidence=0.3 * i, features=4, features_beyond=int(i > 20), judged_at=start + MINUTE + 2 * 10**9,
    )  # fmt: skip
    features = [
        FeatureWindowRow(
            model=model, version="1", start=start, feature=name, kind="numeric", n=600, psi=0.01 * i * k, w1=0.02 * i,
            log_evidence=0.3 * i, severity="ticket" if i > 20 else "", cells=(100, 500),
            expected=(0.25, 0.75), cell_names=("low", "high"), past=(250, 750), widths=(1.0, 0.0), tenths=(0, 1), mean_shift=0.1,
        )
        for k, name in enumerate(("amount", "age"), 1)
    ]  # fmt: skip
    clients = [
        ClientWindowRow(
            model=model, version="1", start=start, client=name, n=300, denied=2, repeats=i, ln_extraction=0.2 * i, ln_evasion=0.1 * i,
            severity="ticket" if i > 25 and name != "quiet" else "",
            evidence={"distinct_answers": 290.0 * i, "copy_agreement": 0.5 + 0.01 * i, "members_touched": 1.0 * i, "flagged_answers": 0.0,
                      "distinct_rows": 20.0 * i, "near_rows": 15.0 * i, "edited_rows": 2.0 * i, "near_flips": 1.0 * i},
        )
        for name in ("c0ffee", HOSTILE, "quiet")
    ]  # fmt: skip
    sampled = [
        SampledEventRow(
            model=model, version="1", at=start + k * 10**9, event_id=f"{i}-{k}", client=name, service="shop", instance="shop-1",
            trace_id="4bf92f35", features={"amount": 9.5, "age": 40.0}, categories={"city": HOSTILE}, scores=(0.3, 0.7), prediction="b",
            latency_ms=12.0, feature_view=("customers:3", "")[k], feature_age_s=(60.0 + i, None)[k], reason="random",
        )
        for k, name in enumerate(("c0ffee", HOSTILE))
    ]  # fmt: skip
    quality = QualityWindowRow(model=model, version="1", start=start, service="shop", kind="missing", n=3, per_10k=50.0)
    worker = WorkerRow(
        worker=f"host-{len(model)}:9464", at=start, started_at=END_NS - (40 if i < 20 else 9) * MINUTE,
        gauges={"lag:inferwatch.events": 5.0 * i, "lag:inferwatch.labels": 1.0, "partitions:shard": 4.0, "snapshot_age_s": 1.5,
                "snapshot_bytes:shard": 1e6, "snapshot_bytes:judge": 2e6, "evicted:clients": 10.0 * i, "least_delay_s": 0.02,
                "labels:joined": 9.0 * i, "dead_letters:truncated": 2.0, "labels:unknown": 1.0 * i},
    )  # fmt: skip
    by_service = ServiceWindowRow(model=model, version="1", start=start, service="shop", n=600, status=window.status)
    beats = [
        ProducerRow(
            service="shop", instance="shop-1", model=model, version="1", at=start + k * 10**10, accepted=600 * i, sent=600 * i, dropped=i,
            received=599 * i, highest_number=600 * i, rss_bytes=2 * 10**8, gauges={"memory_share": 0.5, "queue": 3.0},
            cpu_seconds=6.0 * i + k, completeness=0.995,
        )
        for k in range(6)
    ]  # fmt: skip
    labels = [
        AccuracyWindowRow(
            model=model, version="1", start=start, delay=delay, part=part, known_at=start + 5 * MINUTE, n=50, errors=5 + part,
            log_loss_n=50, log_loss=20.0, expected_n=50, expected_errors=4.0, classes=2, answer_codes=(0, 1, 2, 3),
            answer_counts=(25, 3, 2 + part, 20 - part), score_codes=(2 * 90 + 40, 2 * 90 + 50, 3 * 90 + 40, 3 * 90 + 50),
            score_counts=(20, 8, 4, 18), value_n=10, abs_error=25.0,
        )
        for delay in ("1h", "1d")
        for part in (0, 1)
    ]  # fmt: skip
    estimate = AccuracyEstimateRow(model=model, version="1", start=start, n=600, unscored=100, accuracy=0.92, low=0.9, high=0.94)
    return [window, *features, *clients, *sampled, quality, by_service, worker, *beats, *labels, estimate]


CHAIN = (
    '{"statistic":"two_valued","seen":"<b>columns</b>","hits":40,"judged":50,"near_rows":60,"exact_repeats":3,"event_id":"7-1",'
    '"chain":[{"event_id":"7-0","answer":"a"},{"event_id":"7-1","answer":"b","changed":3}]}'
)
"""Of the alert of the hostile client: what it rests on."""


def _alerts(models: tuple[str, ...]) -> list[Row]:
    def alert(alert_id: str, state: str, minutes_ago: int, severity: str, **fields: str | tuple[str, ...]) -> AlertRow:
        about = {"model": models[0], "version": "1", "detector": "drift", "alertname": "InputDrift"} | fields
        opened = END_NS - 20 * MINUTE
        at = END_NS - minutes_ago * MINUTE
        given = {"opened_at": opened, "at": at, "log_evidence": 9.0, "n_events": 100, "resolved_at": at if state == "resolved" else None}
        return AlertRow(alert_id=alert_id, state=state, severity=severity, runbook="https://runbooks.example/x", **about, **given)  # type: ignore[arg-type]  # names are AlertRow's

    return [
        alert("a1", "firing", 20, "ticket", summary="amount moved"),
        alert("a1", "firing", 10, "page", summary="amount moved by 0.3 PSI"),
        alert("a2", "firing", 15, "page", client=HOSTILE, detector="evasion", evidence=CHAIN, techniques=("AML.T0043",), owasp=("ML01",)),
        alert("a2", "resolved", 5, "page", client=HOSTILE, detector="evasion"),
        alert("a3", "firing", 12, "ticket", clients=("c0ffee", "beef"), detector="extraction", evidence=CHAIN, techniques=("AML.T0021",)),
        alert("a4", "pending", 1, "ticket", detector="completeness"),
        alert("a5", "resolved", 8, "page", client="beef", detector="canary"),
        AckRow(
            alert_id="a2", opened_at=END_NS - 20 * MINUTE, model=models[0], version="1", detector="evasion", severity="page",
            verdict="false", at=END_NS, judged_by="ada",
        ),
        MembershipGaugeRow(
            model=models[0], version="1", at=END_NS - 60 * MINUTE, source="reference", reference="r1", members=900, non_members=900,
            balanced_accuracy=0.56, balanced_accuracy_low=0.54, balanced_accuracy_high=0.58, tpr_1pct=0.03, tpr_1pct_low=0.02,
            tpr_1pct_high=0.05, tpr_01pct=0.004, tpr_01pct_low=0.001, tpr_01pct_high=0.01, generalisation_gap=0.05,
        ),
        LoadRow(
            model=models[0], version="1", service="shop", instance="shop-1", at=END_NS - 25 * MINUTE, kind="loaded", digest="sha256:1",
            signature="valid", key_id="k1",
        ),
        *(
            LoadRow(model=models[0], version="1", service="shop", instance=name, at=END_NS - minutes * MINUTE, kind=kind, digest="sha256:0")
            for name, minutes, kind in (
                ("shop-0", 300, "loaded"), ("shop-0", 60, "unloaded"), ("old", 999, "loaded"), ("old", 998, "unloaded")
            )
        ),
    ]  # fmt: skip
