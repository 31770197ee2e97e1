"""A judged window as rows of the tables: itself, its features, its clients, its faults."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from detectors.drift import DriftReference, DriftReport, WindowCounts
from schemas import latency
from schemas.rows import ClientWindowRow, FeatureWindowRow, QualityWindowRow, Row, ServiceWindowRow, WindowRow
from schemas.windows import SERVICES, WindowPartial
from streams.owner import NS


def rows_of(window: WindowPartial, report: DriftReport | None, reference: DriftReference | None, judged_at_ns: int) -> Iterator[Row]:
    """The rows of a window whose partitions have been merged.

    Args:
        window: the merged counts.
        report: the drift verdict; None where nothing was compared.
        reference: what it was compared with.
        judged_at_ns: when, UTC ns.
    """
    bins = np.frombuffer(window.latency, np.int64)
    status = Counter(window.status)
    key: dict[str, Any] = {"model": window.model, "version": window.version, "start": window.start_ns}
    yield WindowRow(
        **key,
        end=window.end_ns,
        reference=window.reference,
        n=window.n,
        n_clients=window.clients,
        n_effective=report.n_effective if report else 0.0,
        accepted=window.n,
        late=window.late,
        rejected=window.rejected,
        status=window.status,
        errors=status["error"],
        denied=status["unauthenticated"] + status["forbidden"],
        latency_bins=bins.tolist(),
        latency_p50=_measure(latency.percentile_ms(bins, 0.5)),
        latency_p95=_measure(latency.percentile_ms(bins, 0.95)),
        latency_p99=_measure(latency.percentile_ms(bins, 0.99)),
        classes=window.classes,
        drift_severity="" if report is None or report.severity == "none" else report.severity,
        drift_log_evidence=_finite(report.log_evidence) if report else 0.0,
        features=reference.n_features if report and reference else 0,
        features_beyond=sum(report.beyond[: reference.n_features]) if report and reference else 0,
        judged_at=judged_at_ns,
    )
    if report is not None and reference is not None:
        yield from _features(window, report, reference, key)
    for line in window.lines:
        yield ClientWindowRow(
            **key,
            client=line.client,
            n=line.n,
            errors=line.errors,
            denied=line.denied,
            repeats=line.repeats,
            ln_extraction=line.evidence.get("extraction", 0.0),
            ln_evasion=line.evidence.get("evasion", 0.0),
            ln_membership=line.evidence.get("membership", 0.0),
            severity="" if line.severity == "none" else line.severity,
            evidence=line.evidence,
        )
    for service, by_status in sorted(window.services.items()):
        yield ServiceWindowRow(**key, service=service, n=sum(by_status.values()), status=by_status)
    total = max(window.n + sum(window.rejected.values()), 1)
    for kind, n in sorted((Counter(window.anomalies) + Counter(window.rejected)).items()):
        yield QualityWindowRow(**key, service="", kind=kind, n=n, per_10k=1e4 * n / total)


def services_of(a: WindowPartial, b: WindowPartial) -> dict[str, dict[str, int]]:
    """Events by service and status of two partitions' shares; services beyond `SERVICES` together, under ""."""
    out = {service: dict(by_status) for service, by_status in a.services.items()}
    for service, by_status in b.services.items():
        name = service if service in out or len(out) < SERVICES else ""
        out[name] = dict(Counter(out.get(name, {})) + Counter(by_status))
    return out


def _features(window: WindowPartial, report: DriftReport, reference: DriftReference, key: dict[str, Any]) -> Iterator[Row]:
    counts = WindowCounts.from_bytes(window.counts, reference, together=False)
    cells, season = counts.cells, reference.season
    shares = reference.expected((window.start_ns / NS, window.end_ns / NS))
    expected = shares.astype(np.float32)
    carried = None if season is None else season.carry(counts.table, shares).sum(axis=0).astype(np.float32)
    tenths = np.split(reference.tenths, reference.tenth_starts[1:-1])
    for v, variable in enumerate(report.variables):
        n, mine, kind = variable.n, slice(int(reference.starts[v]), int(reference.starts[v + 1])), _kind(reference, v)
        severity = report.latency if kind == "latency" else report.severity if variable.name in report.leading else "none"
        yield FeatureWindowRow(
            **key,
            feature=variable.name,
            kind=kind,
            n=n,
            missing=round(variable.missing * n),
            unseen=round(variable.unseen * n),
            below=round(variable.below * n),
            above=round(variable.above * n),
            psi=_measure(variable.psi),
            w1=_measure(variable.w1),
            js=_measure(variable.js),
            ks=_measure(variable.ks),
            mean_shift=_finite(variable.mean_shift),
            log_evidence=_finite(variable.log_evidence),
            severity="" if severity == "none" else severity,
            cells=cells[mine].tolist(),
            carried=carried[mine].tolist() if carried is not None and season is not None and season.active[v] else (),
            expected=expected[mine].tolist(),
            past=reference.counts[mine].tolist(),
            widths=reference.widths[mine].tolist() if reference.kinds[v] == "numeric" else (),
            tenths=(tenths[v] - reference.starts[v]).tolist(),
            cell_names=reference.cell_names[v],
        )


def _kind(reference: DriftReference, v: int) -> str:
    """Of variable v, as the table has it."""
    if v < reference.n_features:
        return reference.kinds[v]
    return "latency" if reference.has_latency and v == len(reference.variables) - 1 else "output"


def _measure(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _finite(value: float) -> float:
    return float(min(max(value, -1e300), 1e300)) if not math.isnan(value) else 0.0
