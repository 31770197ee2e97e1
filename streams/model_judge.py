"""One model version at its owner: partitions' counts become windows, windows become evidence, evidence becomes alerts and rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import chain
from typing import Any

import msgspec
import numpy as np

from detectors.completeness import CompletenessReport
from detectors.drift import WindowCounts
from detectors.quality import QualityCounts, QualityDetector
from detectors.state import pack, unpack
from inferwatch import Heartbeat
from schemas import latency
from schemas.alerts import Alert
from schemas.forget import Forget
from schemas.rows import Row
from schemas.suspects import SuspectRows
from schemas.windows import Finding, WindowPartial
from streams import pages
from streams.accuracy import ModelAccuracy
from streams.alerts import AlertBook
from streams.behaviour_judge import BehaviourJudge
from streams.budget_judge import BudgetJudge
from streams.canaries import CanaryHits
from streams.doubt import MODELS_DOING, Doubt
from streams.drift_judge import DriftJudge
from streams.duplicates import keys_of_id
from streams.forget import Forgotten
from streams.owner import NS
from streams.references import Loaded
from streams.segment_judge import merged
from streams.service_judge import ServiceJudge
from streams.settings import Settings, quality_pages, windows_in_30d
from streams.slices import SliceQueue
from streams.slo import objectives_for
from streams.swarm_state import SwarmState
from streams.telemetry import Telemetry
from streams.versions import VersionBook, name_of
from streams.window_rows import rows_of, services_of

_RESOLVE_WINDOWS, _RESOLVE_S = 12, 300.0
"""Windows, and seconds, without renewal after which an alert is over: both must have passed."""
_MAX_PENDING = 64
_KIND, _VERSION = "streams.model_judge", 2


class _Pending(msgspec.Struct):
    """A window whose partitions are still coming in."""

    partial: WindowPartial
    first_ns: int
    """When the judge heard of it first."""


class ModelJudge:
    """Owner of a model version's recursions and alerts.

    Args:
        model: its name.
        version: its version.
        settings: budget, window length, materiality.
        loaded: the reference in force, if any.
        emit: takes alerts and rows.
        versions: all of this model; none: this one alone.
    """

    def __init__(
        self,
        model: str,
        version: str,
        settings: Settings,
        loaded: Loaded | None,
        emit: Callable[[Alert | Row], None],
        versions: VersionBook | None = None,
    ) -> None:
        self.model, self.version = model, version
        self._settings, self._emit = settings, emit
        self._windows: dict[int, _Pending] = {}
        self._judged_until_ns = 0
        objectives = objectives_for(settings.objectives, model, version)
        self._telemetry = Telemetry(round(settings.window.length_s * NS), settings.limits.instances, objectives.completeness)
        over_after_ns = round(max(_RESOLVE_WINDOWS * settings.window.length_s, _RESOLVE_S) * NS)
        self.alerts = AlertBook(model, version, self._alert, over_after_ns, self._telemetry.service)
        self._quality = QualityDetector(false_pages=quality_pages(settings)[0], windows=windows_in_30d(settings.window))
        self._lost = self._sent = 0
        """Of what is known to have been sent since a window was judged: events that did not arrive, and all."""
        self.service = ServiceJudge(model, version, settings, self.alerts, emit)
        self._budgets = BudgetJudge(model, version, objectives, self.alerts)
        self._behaviour = BehaviourJudge(model, version, settings, self.alerts)
        self._canaries = CanaryHits()
        self._doubt = Doubt()
        self._versions = versions if versions is not None else VersionBook(settings)
        self.deploy: tuple[str, int] | None = None
        """The version of this model that was first loaded last, and when."""
        self.loaded: Loaded | None = None
        self._drift = DriftJudge(model, version, settings, self.alerts)
        self._slices = SliceQueue()
        self._forgotten = Forgotten()
        self.swarm = SwarmState(self.alerts, settings.swarm.clients)
        self.accuracy = ModelAccuracy(model, version, settings, self.alerts, emit, self._budgets.labels, self._budgets.losses)
        self.suspects_seen = 0
        """Rows of suspects that were looked at."""
        self.use(loaded)

    def use(self, loaded: Loaded | None) -> None:
        """Goes over to another reference: the recursions begin anew, but those whose part is the same."""
        before, self.loaded = self.loaded, loaded
        if before is None or loaded is None or before.drift_id != loaded.drift_id:
            self._drift.use(loaded)
        if before is None or loaded is None or before.id != loaded.id:
            self._behaviour.use(loaded)
            self._slices.clear()
            self.swarm.use(loaded)
            self.accuracy.use(loaded)

    # -- what comes in ------------------------------------------------------------------------------------------------------------------

    def partial(self, partial: WindowPartial, now_ns: int) -> None:
        """Takes one partition's share. For a window that was judged already it counts into the next one, as late.

        Raises:
            ValueError: its counts are damaged; nothing of it was taken.
        """
        if len(partial.latency) != 8 * latency.BINS:
            raise ValueError(f"{len(partial.latency)} bytes of latency counts; {latency.BINS} bins have {8 * latency.BINS}")
        bins = np.frombuffer(partial.latency, np.int64)
        if bins.min() < 0 or bins.sum(dtype=np.float64) > partial.n:
            raise ValueError(f"latency counts below 0, or of more than the {partial.n} events")
        if partial.counts and self._drift.reference is not None and partial.reference == self._drift_id:
            for counts in (partial.counts, *partial.segments.values()):
                WindowCounts.from_bytes(counts, self._drift.reference)
        if partial.quality:
            QualityCounts.from_bytes(partial.quality)
        self._behaviour.check(partial)
        self._telemetry.partial(partial.partition, partial.producers)
        partial = msgspec.structs.replace(partial, lines=self._forgotten.filter(partial.lines, partial.end_ns))
        start = max(partial.start_ns, self._judged_until_ns)
        if start > partial.start_ns:
            end = max(partial.end_ns, start + round(self._settings.window.length_s * NS))
            partial = msgspec.structs.replace(partial, start_ns=start, end_ns=end, late=partial.n)
        held = self._windows.get(start)
        if held is None:
            self._windows[start] = _Pending(partial, now_ns)
        else:
            held.partial = self._merged(held.partial, partial)
        while len(self._windows) > _MAX_PENDING:
            self._judge(min(self._windows), now_ns)

    def beside(self, partial: WindowPartial) -> None:
        """Hears of a share of another version of the model, which the same instances may serve."""
        self._telemetry.beside(partial.version, partial.partition, partial.producers)

    def finding(self, found: Finding) -> None:
        """Takes what a shard found out about a client."""
        if found.family == "canary":
            self._canary(found)
            return
        cause = found.client or ",".join(sorted(found.clients))
        if found.statistic == "rate":  # beside what the client was given, which is an alert of its own
            cause = f"{cause}\0rate"
        was_held = self._doubt.holds(found)
        severity, by = self._doubt.weigh(found, (one for one in MODELS_DOING if self.alerts.is_open(one)))
        released = was_held and severity == "page"
        if found.renewed and not released and self.alerts.renew(found.family, cause, found.at_ns, found.log_evidence):
            return
        self.alerts.raise_(
            found.family,
            cause,
            severity,
            found.at_ns,
            summary=pages.finding(found, by),
            log_evidence=found.log_evidence,
            evidence=dict(found.evidence) | {"event_id": found.event_id} | ({"in_doubt": by} if by else {}),
            client=found.client or None,
            clients=found.clients,
            n_events=found.n_events,
        )

    def forget(self, what: Forget, at_ns: int) -> None:
        """Forgets a client, or an event."""
        if what.client:
            self._forgotten.add(what.client, at_ns)
            for held in self._windows.values():
                left = [line for line in held.partial.lines if line.client != what.client]
                held.partial = msgspec.structs.replace(held.partial, lines=left)
            self._slices.forget(what.client)
            self.swarm.forget(what.client)
            self._canaries.forget(what.client)
            self._doubt.forget(what.client)
        else:
            self.accuracy.store.forget(keys_of_id(what.event_id))
        self.alerts.forget(what.client, what.event_id)

    def _canary(self, found: Finding) -> None:
        hits = self._canaries.add(found.client, found.n_events)
        self.alerts.raise_(
            "canary",
            found.client,
            "page" if hits > 1 else "ticket",
            found.at_ns,
            summary=pages.canary(found, hits),
            evidence={"hits": hits, "event_id": found.event_id} | dict(found.evidence),
            client=found.client or None,
            n_events=hits,
        )

    def suspects(self, rows: SuspectRows, now_ns: int) -> None:
        """Takes one partition's rows of a slice; those of another reference than ours are of no use.

        Raises:
            ValueError: its columns are damaged; nothing of it was taken.
        """
        if self.loaded is None or self.loaded.swarm is None or rows.reference != self.loaded.id:
            return
        if rows.width != self.loaded.swarm.width:
            raise ValueError(f"suspect rows of {rows.width} values; the reference has {self.loaded.swarm.width}")
        self._slices.add(rows, now_ns)

    def heartbeat(self, beat: Heartbeat, received_ns: int) -> None:
        """Takes a producer's sign of life."""
        self._telemetry.heartbeat(beat, received_ns)
        self.accuracy.feedback.service(beat.service)
        self.service.heartbeat(beat, received_ns)

    def tick(self, now_ns: int, settle_ns: int, heard_until_ns: int | None = None) -> None:
        """Judges the slices and windows whose partitions have had `settle_ns` to come in, then lets alerts end.

        Signs of life have been read until ``heard_until_ns`` (None: now); who is silent is asked of that time.
        """
        for part in self._slices.due(now_ns, settle_ns):
            self.suspects_seen += len(part.client)
            self.swarm.judge(part, max(part.end_ns, now_ns))
        for start in sorted(self._windows):
            held = self._windows[start]
            if now_ns >= max(held.partial.end_ns, held.first_ns) + settle_ns:
                self._judge(start, now_ns)
        self._forgotten.expire(now_ns - settle_ns - 2 * round(self._settings.window.length_s * NS))
        self.accuracy.tick(now_ns, settle_ns)
        telemetry = self._telemetry.judge(now_ns, heard_until_ns)
        if telemetry is not None:
            self._judge_telemetry(telemetry, now_ns)
        self.service.tick(now_ns, heard_until_ns)
        self.alerts.settle(now_ns)

    def set_back(self, now_ns: int) -> None:
        """The clock was ahead: no time that is kept lies beyond now."""
        self._telemetry.set_back(now_ns)
        self.accuracy.set_back(now_ns)

    # -- verdicts -----------------------------------------------------------------------------------------------------------------------

    def _merged(self, a: WindowPartial, b: WindowPartial) -> WindowPartial:
        ours, reference = self._drift_id, self._drift.reference
        chosen = max(a, b, key=lambda share: (bool(share.counts), share.reference == ours))
        counts = chosen.counts  # counts and the reference in whose bins they are go together
        if a.counts and b.counts and a.reference == b.reference == ours and reference is not None:
            whole = WindowCounts.from_bytes(a.counts, reference)
            whole.merge(WindowCounts.from_bytes(b.counts, reference))
            counts = whole.to_bytes()
        faults = QualityCounts()
        for share in (a, b):
            if share.quality:
                faults.merge(QualityCounts.from_bytes(share.quality))
        return msgspec.structs.replace(
            a,
            reference=chosen.reference,
            end_ns=max(a.end_ns, b.end_ns),
            n=a.n + b.n,
            late=a.late + b.late,
            suspect=a.suspect + b.suspect,
            clients=a.clients + b.clients,
            counts=counts,
            rare=self._behaviour.merged(a, b),
            rare_reference=self._reference_id,
            segments=merged(a, b, reference, ours),
            segments_other=dict(Counter(a.segments_other) + Counter(b.segments_other)),
            rejected=dict(Counter(a.rejected) + Counter(b.rejected)),
            anomalies=dict(Counter(a.anomalies) + Counter(b.anomalies)),
            quality=faults.to_bytes(),
            status=dict(Counter(a.status) + Counter(b.status)),
            services=services_of(a, b),
            latency=(np.frombuffer(a.latency, np.int64) + np.frombuffer(b.latency, np.int64)).tobytes(),
            classes=dict(Counter(a.classes) + Counter(b.classes)),
            confidence=[x + y for x, y in zip(a.confidence, b.confidence, strict=False)] or a.confidence or b.confidence,
            repeats=dict(Counter(a.repeats) + Counter(b.repeats)),
            producers={},
            lines=[*a.lines, *b.lines],
        )

    @property
    def _reference_id(self) -> str:
        return self.loaded.id if self.loaded else ""

    @property
    def _drift_id(self) -> str:
        return self.loaded.drift_id if self.loaded else ""

    def _judge(self, start_ns: int, now_ns: int) -> None:
        window = self._windows.pop(start_ns).partial
        self._judged_until_ns = max(self._judged_until_ns, window.end_ns)
        report = self._drift.window(window, now_ns, self._deploy_mark(max(window.end_ns, now_ns)))
        self._judge_quality(window, now_ns)
        self.service.window(window, now_ns)
        self._budgets.window(window, now_ns)
        self._behaviour.window(window, now_ns)
        self._compare_versions(window, now_ns)
        rows = rows_of(window, report, self._drift.reference, now_ns)
        for row in chain(rows, self._telemetry.rows(self.model, self.version, window.end_ns)):
            self._emit(row)

    def _compare_versions(self, window: WindowPartial, now_ns: int) -> None:
        found = self._versions.window(self.version, window)
        if found is None:
            return
        before, report = found
        moved = [(name_of(one.rate, self._versions.classes), one.before, one.after) for one in report.moved]
        self.alerts.raise_(
            "version",
            before,
            report.severity,
            max(window.end_ns, now_ns),
            summary=pages.version(moved, report, before, self.model, self.version),
            log_evidence=report.log_evidence,
            evidence={
                "before": before,
                "moved": {name: {"before": round(a, 4), "after": round(b, 4)} for name, a, b in moved},
                "windows": report.windows,
            },
            n_events=window.n,
        )

    def _deploy_mark(self, at_ns: int) -> dict[str, Any]:
        """What drift says of a version that is new: it is the likeliest cause."""
        if self.deploy is None or at_ns - self.deploy[1] > self._settings.routing.deploy_mark_s * NS:
            return {}
        return {"deploy": {"version": self.deploy[0], "loaded_at_ns": self.deploy[1]}}

    def _judge_quality(self, window: WindowPartial, now_ns: int) -> None:
        faults = QualityCounts.from_bytes(window.quality) if window.quality else QualityCounts()
        report = self._quality.update(faults, lost=self._lost, sent=self._sent)
        self._lost = self._sent = 0
        self.alerts.raise_(
            "quality",
            "",
            report.severity,
            max(window.end_ns, now_ns),
            summary=pages.quality(report, self.model, self.version),
            log_evidence=report.log_evidence,
            evidence={
                "per_10k": report.rates,
                "usual_per_10k": report.usual,
                "since_window": report.since,
                "log_page": round(report.log_page, 2),
            },
            n_events=report.received,
            continues=report.severity == "page" and not report.opened,
        )

    def _judge_telemetry(self, report: CompletenessReport, now_ns: int) -> None:
        lost, sent = self._telemetry.last
        self._lost, self._sent = self._lost + lost, self._sent + sent
        cause = "silent" if report.severity == "page" else "gap"
        self.alerts.raise_(
            "completeness",
            cause,
            report.severity,
            now_ns,
            summary=pages.completeness(report, self.model, self.version),
            evidence=msgspec.to_builtins(report),
            n_events=report.received,
            pending=report.severity == "ticket",
        )

    def _alert(self, alert: Alert) -> None:
        self.service.alert(alert)
        self._emit(alert)

    # -- snapshots ----------------------------------------------------------------------------------------------------------------------

    def snapshot(self, *, whole: bool = True) -> bytes:
        """The whole state; or all but the large part of the swarms', which is in a piece of its own (`SwarmState.cut`)."""
        windows = [(start, held.first_ns, held.partial) for start, held in self._windows.items()]
        return pack(
            _KIND,
            _VERSION,
            {
                "reference": self._reference_id,
                "drift_reference": self._drift_id,
                "judged_until_ns": self._judged_until_ns,
                "windows": msgspec.msgpack.encode(windows),
                "alerts": self.alerts.dump(),
                "quality": self._quality.snapshot(),
                "lost": [self._lost, self._sent],
                "slices": self._slices.dump(),
                "swarm": self.swarm.dump(whole=whole),
                "accuracy": self.accuracy.dump(whole=whole),
                "suspects_seen": self.suspects_seen,
                "service": self.service.dump(),
                "behaviour": self._behaviour.dump(),
                "canaries": self._canaries.dump(),
                "doubt": self._doubt.dump(),
                "deploy": self.deploy,
                "forgotten": self._forgotten.dump(),
                "budgets": self._budgets.dump(),
            }
            | self._drift.dump()
            | self._telemetry.dump(),
        )

    def restore(self, blob: bytes) -> None:
        """Goes on from a snapshot, in a fresh object; with another reference than then the drift recursion begins anew."""
        body = unpack(blob, _KIND, _VERSION)
        self._judged_until_ns = body["judged_until_ns"]
        windows = msgspec.msgpack.decode(body["windows"], type=list[tuple[int, int, WindowPartial]])
        self._windows = {start: _Pending(partial, first_ns) for start, first_ns, partial in windows}
        self.alerts.load(body["alerts"])
        self._telemetry.load(body)
        self._quality.restore(body["quality"])
        self._lost, self._sent = body.get("lost", (0, 0))
        if body.get("drift_reference", body["reference"]) == self._drift_id:
            self._drift.load(body)
        if "slices" in body and body["reference"] == self._reference_id:
            self._slices.load(body["slices"])
            self.swarm.load(body["swarm"])
        if "accuracy" in body:
            self.accuracy.load(body["accuracy"], same_reference=body["reference"] == self._reference_id)
        self.suspects_seen = body.get("suspects_seen", 0)
        self._forgotten.load(body.get("forgotten", []))
        self._doubt.load(body.get("doubt", {}))
        self._budgets.load(body.get("budgets", {}))
        if "service" in body:
            self.service.load(body["service"])
            self.deploy = tuple(body["deploy"]) if body["deploy"] else None
        if "behaviour" in body:
            self._behaviour.load(body["behaviour"], same_reference=body["reference"] == self._reference_id)
            self._canaries.load(body["canaries"])
