"""One model version as a service: does it answer, soon enough, to those who may ask, and is what was loaded what was signed?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from detectors.access import AccessDetector
from inferwatch import Heartbeat, Lifecycle
from schemas import latency
from schemas.alerts import SECURITY, Alert
from schemas.rows import LoadRow, Row
from schemas.windows import WindowPartial
from streams import pages
from streams.alerts import AlertBook
from streams.burn import Burn, BurnRates
from streams.loads import FORGET_NS, Load, Loads, Problem
from streams.quiet import QuietTime
from streams.saturation import Saturation
from streams.settings import Settings, windows_in_30d
from streams.slo import objectives_for

__all__ = ["ServiceJudge"]

_NAMED = 3
"""Clients that an access alert names."""


class ServiceJudge:
    """Burn rates, refusals and loads of a model version.

    Args:
        model: its name.
        version: its version.
        settings: objectives, integrity, budget.
        alerts: where it raises.
        emit: takes rows.
    """

    def __init__(self, model: str, version: str, settings: Settings, alerts: AlertBook, emit: Callable[[Row], None]) -> None:
        self._model, self._version, self._alerts, self._emit = model, version, alerts, emit
        objectives, budget = objectives_for(settings.objectives, model, version), settings.budget
        self._slow_from = latency.bin_above_ms(objectives.latency_ms)
        self._latency_ms = objectives.latency_ms
        self._rates = {
            "availability": BurnRates(1 - objectives.availability / 100, objectives.incident_share),
            "latency": BurnRates(1 - objectives.latency_share / 100),
        }
        self._objective = {"availability": objectives.availability, "latency": objectives.latency_share}
        self._access = AccessDetector(false_pages=budget.false_pages_per_30d * budget.access_share, windows=windows_in_30d(settings.window))
        self._quiet = QuietTime(objectives.quiet_days)
        self._saturation = Saturation(
            objectives.saturation_share, objectives.saturation_s, objectives.saturation_cpu_s, settings.limits.instances
        )
        self._loads = Loads(model, version, settings.integrity, settings.limits.instances)

    def window(self, window: WindowPartial, now_ns: int) -> None:
        """Judges a window whose partitions are all in."""
        at_ns = max(window.end_ns, now_ns)
        ok, errors = window.status.get("ok", 0), window.status.get("error", 0)
        bins = np.frombuffer(window.latency, np.int64)
        slow, timed = int(bins[self._slow_from :].sum()), int(bins.sum())
        self._rates["availability"].add(window.start_ns, bad=errors, total=ok + errors)
        self._rates["latency"].add(window.start_ns, bad=slow, total=timed)
        for kind, rates in self._rates.items():
            burn = rates.judge(window.end_ns)
            if burn is not None:
                self._burns(kind, burn, at_ns)
        self._judge_access(window, at_ns)

    def _burns(self, kind: str, burn: Burn, at_ns: int) -> None:
        said = pages.burn(kind, burn, self._objective[kind], self._latency_ms, self._model, self._version)
        evidence = {
            "burn_long": round(burn.long, 2), "burn_short": round(burn.short, 2), "rule": burn.rule._asdict(),
            "bad": burn.bad, "requests": burn.total, "objective_percent": self._objective[kind],
        } | ({"security_pages": burn.incidents} if burn.incidents else {})  # fmt: skip
        self._alerts.raise_(
            "availability" if kind == "availability" else "latency", "", burn.severity, at_ns,
            summary=said, evidence=evidence, n_events=burn.total,
        )  # fmt: skip

    def alert(self, alert: Alert) -> None:
        """Hears of every alert of the model version: a page about security spends of the budget of availability."""
        if (
            alert.detector in SECURITY
            and alert.severity == "page"
            and alert.state == "firing"
            and self._rates["availability"].incident_share
        ):
            self._rates["availability"].incident(alert.alert_id, alert.at_ns)

    def _judge_access(self, window: WindowPartial, at_ns: int) -> None:
        requests = sum(window.status.values())
        denied = _denied(window.status)
        report = self._access.update(requests, min(denied, requests))
        quiet_days = self._quiet.take(window.start_ns, window.end_ns, refused=denied > 0)
        most: dict[str, int] = {}
        for line in window.lines:
            if line.denied:
                most[line.client] = most.get(line.client, 0) + line.denied
        first = sorted(most.items(), key=lambda one: (-one[1], one[0]))[:_NAMED]
        where = {name: _denied(of) for name, of in window.services.items()}
        services = dict(sorted((one for one in where.items() if one[1]), key=lambda one: (-one[1], one[0]))[:_NAMED])
        evidence = {"denied": report.denied, "requests": report.requests, "usual_per_10k": round(report.usual_per_10k, 2),
                    "clients": dict(first), "services": services}  # fmt: skip
        if quiet_days is not None:
            evidence["quiet_days"] = round(quiet_days, 2)
        told_alone = quiet_days is not None and report.severity == "none"
        self._alerts.raise_(
            "access", "", "ticket" if told_alone else report.severity, at_ns,
            summary=pages.access(report, first, self._model, self._version, quiet_days if told_alone else None),
            log_evidence=0.0 if told_alone else report.log_evidence, evidence=evidence,
            n_events=requests, continues=report.severity == "page" and not report.opened,
        )  # fmt: skip

    def lifecycle(self, message: Lifecycle, at_ns: int) -> None:
        """Takes a load or unload."""
        problem = self._loads.take(message, at_ns)
        self._tell_load(message, message.kind, at_ns, problem, message.registry_url)
        if problem is not None:
            self._integrity(
                Load(message.service, message.instance, message.digest, message.signature, message.key_id, at_ns), problem, at_ns
            )

    def _tell_load(self, load: Load | Lifecycle, kind: str, at_ns: int, problem: Problem | None = None, registry_url: str = "") -> None:
        self._emit(
            LoadRow(
                model=self._model, version=self._version, service=load.service, instance=load.instance, at=at_ns, kind=kind,
                digest=load.digest, signature=load.signature, key_id=load.key_id, registry_url=registry_url,
                problem=problem.why if problem else "",
            )
        )  # fmt: skip

    def _integrity(self, load: Load, problem: Problem, at_ns: int) -> None:
        self._alerts.raise_(
            "integrity", f"{load.service}\0{problem.why}", problem.severity, at_ns,
            summary=pages.integrity(load.service, load.instance, problem.why, self._model, self._version),
            evidence={"digest": load.digest, "signature": load.signature, "key_id": load.key_id, "instance": load.instance},
            service=load.service,
        )  # fmt: skip

    def heartbeat(self, beat: Heartbeat, received_ns: int) -> None:
        """Takes a producer's sign of life."""
        if (news := self._loads.heard(beat.service, beat.instance, received_ns, closing=beat.closing)) is not None:
            load, kind = news
            self._tell_load(load, kind, received_ns, self._loads.problem(load.digest, load.signature, load.key_id))
        self._saturation.heartbeat(beat, received_ns)

    def tick(self, now_ns: int, heard_ns: int | None = None) -> None:
        """Says again what still stands. Signs of life have been read until ``heard_ns`` (None: now)."""
        for gone in self._loads.silent(now_ns if heard_ns is None else min(heard_ns, now_ns)):
            self._tell_load(gone, "unloaded", gone.heard_ns + FORGET_NS)
        for load, problem in self._loads.standing():
            self._integrity(load, problem, now_ns)
        for full in self._saturation.full(now_ns):
            self._alerts.raise_(
                "saturation", f"{full.service}\0{full.gauge}", "ticket", now_ns,
                summary=pages.saturation(full, self._model, self._version), service=full.service,
                evidence={"instance": full.instance, "gauge": full.gauge, "share": round(full.share, 4), "since_ns": full.since_ns},
            )  # fmt: skip

    def dump(self) -> dict[str, Any]:
        """For a snapshot."""
        rates = {kind: rates.dump() for kind, rates in self._rates.items()}
        return {
            "rates": rates, "incidents": self._rates["availability"].incidents, "access": self._access.snapshot(),
            "quiet": self._quiet.dump(),
            "loads": self._loads.dump(), "saturation": self._saturation.dump(),
        }  # fmt: skip

    def load(self, body: dict[str, Any]) -> None:
        """From a snapshot."""
        for kind, state in body["rates"].items():
            self._rates[kind].load(state, body.get("incidents") if kind == "availability" else None)
        self._access.restore(body["access"])
        self._loads.load(body["loads"])
        if "quiet" in body:
            self._quiet.load(body["quiet"])
        if "saturation" in body:
            self._saturation.load(body["saturation"])


def _denied(status: dict[str, int]) -> int:
    """Requests refused at the door."""
    return status.get("unauthenticated", 0) + status.get("forbidden", 0)
