"""What is in the store and at the pager, against what must be there; every difference is named."""

from __future__ import annotations

import datetime
import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from streams.clickhouse import ClickHouse
from tests.faults.recompute import Arithmetic, Expected
from tests.pager import Notification

_KEYS = {
    "windows": ("model", "version", "start"),
    "feature_windows": ("model", "version", "start", "feature"),
    "client_windows": ("model", "version", "start", "client"),
    "quality_windows": ("model", "version", "start", "service", "kind"),
}
_EXACT = {
    "windows": (
        "end", "reference", "n", "n_clients", "accepted", "late", "rejected", "status", "errors", "denied", "latency_bins", "classes",
        "drift_severity",
    ),
    "feature_windows": ("kind", "n", "missing", "unseen", "below", "above", "cells", "severity"),
    "client_windows": ("n", "errors", "denied", "repeats", "severity"),
    "quality_windows": ("n",),
}  # fmt: skip
_NEAR = {
    "windows": ("drift_log_evidence",),
    "feature_windows": ("log_evidence",),
    "client_windows": ("ln_extraction", "ln_evasion", "ln_membership"),
    "quality_windows": (),
}


@dataclass
class Comparison:
    """Figures compared, by what they are, and the differences."""

    compared: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def check(self, kind: str, what: object, expected: object, found: object) -> None:
        """Counts one figure."""
        self.compared[kind] += 1
        if expected != found:
            self.wrong.append(f"{kind} {what}: expected {expected}, found {found}")


def stored(clickhouse: ClickHouse) -> dict[str, list[dict[str, Any]]]:
    """All rows that count, from the store; times as ns."""
    tables = (*_KEYS, "alerts", "producers", "accuracy_windows")
    return {
        table: [{name: _plain(value) for name, value in row.items()} for row in clickhouse.query(f"SELECT * FROM {table} FINAL")]
        for table in tables
    }


def _plain(value: Any) -> Any:
    if isinstance(value, datetime.datetime):
        return round(value.timestamp() * 1e3) * 1_000_000
    return list(value) if isinstance(value, tuple) else value


def compare(rows: dict[str, list[dict[str, Any]]], expected: Expected, sums: Arithmetic) -> Comparison:
    """The store's rows against the replay, figure by figure, and against the producers' account."""
    out = Comparison()
    for table, names in _KEYS.items():
        wanted = {tuple(getattr(row, name) for name in names): row for row in expected.rows.get(table, [])}
        found = {tuple(row[name] for name in names): row for row in rows[table]}
        for key in sorted(wanted.keys() | found.keys()):
            if key not in wanted or key not in found:
                out.check(table, key, key in wanted, key in found)
                continue
            for name in _EXACT[table]:
                want = _plain(getattr(wanted[key], name))
                out.check(table, (*key, name), want, found[key][name])
            for name in _NEAR[table]:
                near = math.isclose(getattr(wanted[key], name), found[key][name], rel_tol=1e-6, abs_tol=1e-6)
                out.check(table, (*key, name), getattr(wanted[key], name) if not near else True, found[key][name] if not near else True)
    _against_the_account(out, rows, sums)
    seen = Counter((r["model"], r["detector"], r["client"], r["severity"], r["state"]) for r in rows["alerts"])
    raised = Counter((a.model, a.detector, a.client or "", a.severity, a.state) for a in expected.alerts)
    for key in seen.keys() | raised.keys():
        out.check("alerts", key, raised[key], seen[key])
    return out


def _against_the_account(out: Comparison, rows: dict[str, list[dict[str, Any]]], sums: Arithmetic) -> None:
    accepted = {(row["model"], row["start"]): row["accepted"] for row in rows["windows"] if row["accepted"]}
    for window in accepted.keys() | sums.windows.keys():
        out.check("sums of windows", window, sums.windows.get(window, 0), accepted.get(window, 0))
    clients = {(row["model"], row["start"], row["client"]): row["n"] for row in rows["client_windows"]}
    for client in clients.keys() | sums.clients.keys():
        out.check("sums of clients", client, sums.clients.get(client, 0), clients.get(client, 0))
    cells = {(row["model"], row["start"], row["feature"]): row["cells"] for row in rows["feature_windows"]}
    for feature, counts in sums.bins.items():
        out.check("sums of bins", feature, counts, cells.get(feature))
    labels: dict[tuple[str, int], tuple[int, int]] = {}
    for row in rows["accuracy_windows"]:  # parts that add up
        n, errors = labels.get((row["model"], row["start"]), (0, 0))
        labels[row["model"], row["start"]] = n + row["n"], errors + row["errors"]
    for window in labels.keys() | sums.labels.keys():
        out.check("sums of labels", window, sums.labels.get(window, (0, 0)), labels.get(window, (0, 0)))
    received: dict[str, int] = {}
    by_model: dict[tuple[str, str], int] = {}
    for row in rows["producers"]:
        key = row["instance"], row["model"]
        by_model[key] = max(by_model.get(key, 0), row["received"])
    for (instance, _), n in by_model.items():
        received[instance] = received.get(instance, 0) + n
    for instance in received.keys() | sums.instances.keys():
        out.check("producers", instance, sums.instances.get(instance, 0), received.get(instance, 0))


def pages(out: Comparison, notifications: list[Notification], wanted: set[tuple[str, str, str]], models: set[str]) -> int:
    """One trigger for each page that must come, no second one, no resolution while it fires; returns the triggers seen."""
    mine = [n for n in notifications if n.receiver == "pagerduty" and any(n.mentions(f"{model} ") for model in models)]
    triggers = Counter(n.body["dedup_key"] for n in mine if not n.is_resolved)
    for key, n in triggers.items():
        out.check("triggers of a page", key, 1, n)
    out.check("resolutions while firing", "", 0, sum(n.is_resolved for n in mine))
    out.check("pages", sorted(wanted), len(wanted), len(triggers))
    for name, model, client in wanted:
        out.check("page", (name, model, client), True, any(n.mentions(name) and n.mentions(model) and n.mentions(client) for n in mine))
    return sum(triggers.values())
