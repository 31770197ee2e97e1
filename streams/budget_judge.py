"""Error budgets that an owner set for right answers, refusals and input: a ticket while one is spent faster than its objective allows.

They never page: what wakes somebody is a change against the model's own past, which detectors tell within the page budget. A budget tells
what no change shows: a model that was never as right as was promised.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dashboards.budgets import LOSSES, VIOLATIONS
from schemas.alerts import Detector
from schemas.windows import WindowPartial
from streams import pages
from streams.alerts import AlertBook
from streams.burn import RULES, BurnRates
from streams.loss_budget import LossRates
from streams.owner import NS
from streams.settings import Objectives

__all__ = ["DETECTORS", "BudgetJudge"]

DETECTORS: dict[str, Detector] = {"accuracy": "accuracy", "authorised": "access", "valid_input": "quality"}
"""Whose alert it is, by objective; of losses it is accuracy's. The other optional ones: drift and signatures are told by their detectors
each time that they spend; AUC and F1 are of all answers together, no sum over labels."""
BUDGET = "budget"
_RULES = tuple(rule._replace(severity="ticket") for rule in RULES)


class BudgetJudge:
    """Burn rates of a model version's optional objectives, by the rules of `streams.burn`.

    Args:
        model: its name.
        version: its version.
        objectives: what is promised for it; 0 is no objective.
        alerts: where it raises.
    """

    def __init__(self, model: str, version: str, objectives: Objectives, alerts: AlertBook) -> None:
        self._model, self._version, self._alerts = model, version, alerts
        self._promised: dict[str, float] = {name: promised for name in DETECTORS if (promised := getattr(objectives, name)) > 0}
        self._rates = {name: BurnRates(1 - promised / 100, rules=_RULES) for name, promised in self._promised.items()}
        self._losses = {name: LossRates(most, rules=_RULES) for name in LOSSES if (most := getattr(objectives, name)) > 0}

    def window(self, window: WindowPartial, now_ns: int) -> None:
        """Counts a judged window: refused requests of all, and schema violations of the events (one event may have several)."""
        if not self._rates:
            return
        requests = sum(window.status.values())
        refused = window.status.get("unauthenticated", 0) + window.status.get("forbidden", 0)
        faults = Counter(window.anomalies) + Counter(window.rejected)
        times = window.start_ns, window.end_ns, max(window.end_ns, now_ns)
        self._spend("authorised", refused, requests, *times)
        violations = sum(n for kind, n in faults.items() if kind in VIOLATIONS)
        self._spend("valid_input", violations, window.n + sum(window.rejected.values()), *times)

    def labels(self, n: int, errors: int, now_ns: int) -> None:
        """Counts labels, by the time at which they came: only then their answers could be known for wrong."""
        self._spend("accuracy", errors, n, now_ns, now_ns, now_ns)
        for name, rates in self._losses.items():
            rates.close(now_ns)
            if (excess := rates.judge(now_ns)) is not None:
                part = f"{BUDGET} {name}"
                self._alerts.raise_(
                    "accuracy", part, excess.rule.severity, now_ns, part=part, n_events=excess.n, patience_ns=excess.rule.short_s * NS,
                    summary=pages.loss(name, excess, rates.most, self._model, self._version),
                    evidence={
                        "mean_long": excess.long * rates.most, "mean_short": excess.short * rates.most, "rule": excess.rule._asdict(),
                        "of": excess.n, "objective_most": rates.most,
                    },
                )  # fmt: skip

    def losses(self, name: str, losses: NDArray[np.float64]) -> None:
        """Takes the losses (`mae`: what an answer was off; `log_loss`) of labels that `labels` will tell the time of."""
        if name in self._losses:
            self._losses[name].take(losses)

    def _spend(self, name: str, bad: int, total: int, start_ns: int, end_ns: int, at_ns: int) -> None:
        rates = self._rates.get(name)
        if rates is None or not total:
            return
        rates.add(start_ns, bad=bad, total=total)
        burn = rates.judge(end_ns)
        if burn is None:
            return
        promised = self._promised[name]
        self._alerts.raise_(
            DETECTORS[name], BUDGET, burn.severity, at_ns, part=BUDGET, n_events=burn.total, patience_ns=burn.rule.short_s * NS,
            summary=pages.burn(name, burn, promised, 0.0, self._model, self._version),
            evidence={
                "burn_long": round(burn.long, 2), "burn_short": round(burn.short, 2), "rule": burn.rule._asdict(),
                "bad": burn.bad, "of": burn.total, "objective_percent": promised,
            },
        )  # fmt: skip

    def dump(self) -> dict[str, Any]:
        """For a snapshot."""
        return {name: rates.dump() for name, rates in self._rates.items()} | {name: rates.dump() for name, rates in self._losses.items()}

    def load(self, body: dict[str, Any]) -> None:
        """From a snapshot; an objective that is new begins with nothing."""
        for name, state in body.items():
            if (rates := self._rates.get(name) or self._losses.get(name)) is not None:
                rates.load(state)
