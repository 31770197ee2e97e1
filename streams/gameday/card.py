"""The power card: which attacks on this model are found, after how many queries, and what that costs in false pages."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from streams.gameday.attacks import Kind
from streams.gameday.traffic import Sent

_EARLY = 0.2


@dataclass(frozen=True)
class Found:
    """One attacking client.

    Attributes:
        queries: its attack queries, cover traffic not counted.
        paged: how many of them it had sent when a page named it; None if none did.
        alerted: the same for a page or a ticket.
        detectors: that named it, the first one first.
        exposure: agreement of the copy that its answers buy, in the end; None without a curve.
    """

    client: str
    queries: int
    paged: int | None
    alerted: int | None
    detectors: tuple[str, ...]
    exposure: float | None


@dataclass(frozen=True)
class Line:
    """One attack of the suite."""

    attack: str
    family: str
    expected: bool
    ids: tuple[Found, ...]

    @property
    def severity(self) -> str:
        """What every one of its clients got: page, ticket or nothing."""
        if all(one.paged is not None for one in self.ids):
            return "page"
        return "ticket" if all(one.alerted is not None for one in self.ids) else "nothing"

    @property
    def missed(self) -> bool:
        """Whether a client went without a page though the attack can be found."""
        return self.expected and self.severity != "page"


@dataclass(frozen=True)
class Card:
    """What a game day showed.

    Attributes:
        model: name.
        settings: those that matter for it: seed, clients, hours, queries, ids, pace, cover, false pages allowed.
        ordinary: clients, events, and who of them was named: `paged`, `ticketed`, `named` (client to detectors).
        lines: one an attack.
        skipped: attacks that were not run, and why.
        notes: of the reference.
    """

    model: str
    settings: dict[str, Any]
    ordinary: dict[str, Any]
    lines: tuple[Line, ...]
    skipped: dict[str, str]
    notes: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether every attack that can be found was paged, and no ordinary client was."""
        return not self.ordinary["paged"] and not any(line.missed for line in self.lines)

    def to_json(self) -> str:
        """For machines: the same input gives the same bytes."""
        attacks = [
            {
                "attack": line.attack,
                "family": line.family,
                "can_be_found": line.expected,
                "severity": line.severity,
                "paged": sum(one.paged is not None for one in line.ids),
                "paged_early": sum(one.paged is not None and one.paged <= _EARLY * one.queries for one in line.ids),
                "ids": [vars(one) for one in line.ids],
            }
            for line in self.lines
        ]
        body = {"model": self.model, "passed": self.passed, "settings": self.settings, "ordinary": self.ordinary, "attacks": attacks}
        return json.dumps(body | {"skipped": self.skipped, "notes": list(self.notes)}, indent=1) + "\n"


def cell(line: Line, what: str) -> str:
    """How many ids were reached by a page (``paged``) or alert (``alerted``), after how many queries and which share; medians.

    Example:
        >>> one = Found("a", 400, 40, 30, ("evasion",), None)
        >>> cell(Line("hopskipjump", "evasion", True, (one, one)), "paged"), cell(Line("x", "evasion", True, ()), "paged")
        ('2/2 after 40 (10 %)', '-')
    """
    reached = [(getattr(one, what), one.queries) for one in line.ids if getattr(one, what) is not None]
    if not reached:
        return f"0/{len(line.ids)}" if line.ids else "-"
    queries, share = np.median([n for n, _ in reached]), np.median([n / of for n, of in reached])
    return f"{len(reached)}/{len(line.ids)} after {queries:.0f} ({100 * share:.0f} %)"


def score(out: Path, sent: Sequence[Sent], kinds: Sequence[Kind]) -> tuple[dict[str, Any], tuple[Line, ...]]:
    """Judges a replay by who the clients really are.

    Args:
        out: folder with the replay's ``alerts.jsonl`` and ``clients.parquet``.
        sent: everything that was sent; truths are ``attack:FAMILY:NAME`` or ``benign:KIND``. Of an attacking client's rows those of another
            truth are cover traffic.
        kinds: the attacks, in the order of the card.

    Returns:
        What befell the ordinary clients, and a line an attack.
    """
    alerts = [json.loads(line) for line in (out / "alerts.jsonl").read_text().splitlines()]
    exposure = {row["client"]: row["exposure"] for row in pq.read_table(out / "clients.parquet").to_pylist()}
    named: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for alert in alerts:
        for client in dict.fromkeys([*([alert["client"]] if alert["client"] else []), *alert["clients"]]):
            named[client].append(alert)
    attacked = {one.client: one for one in sent if one.truth.startswith("attack:")}
    events: dict[str, int] = defaultdict(int)
    for one in sent:
        if one.client not in attacked:
            events[one.client] += len(one.X)
    severities = {client: {alert["severity"] for alert in named[client]} for client in events}
    ordinary = {
        "clients": len(events),
        "events": sum(events.values()),
        "paged": sum("page" in severity for severity in severities.values()),
        "ticketed": sum("ticket" in severity for severity in severities.values()),
        "named": {client: sorted({alert["detector"] for alert in named[client]}) for client in sorted(events) if severities[client]},
    }
    lines = []
    for kind in kinds:
        truth = f"attack:{kind.family}:{kind.name}"
        own = [_found(one, named[one.client], exposure.get(one.client)) for one in attacked.values() if one.truth == truth]
        lines.append(Line(kind.name, kind.family, kind.found, tuple(own)))
    return ordinary, tuple(lines)


def _found(one: Sent, alerts: list[dict[str, Any]], exposure: float | None) -> Found:
    when = np.sort(one.at_s)
    after = [alert for alert in alerts if alert["at"] >= when[0]]

    def reached(*severities: str) -> int | None:
        at = min((alert["at"] for alert in after if alert["severity"] in severities), default=None)
        return None if at is None else int(np.searchsorted(when, at, side="right"))

    known = None if exposure is None or np.isnan(exposure) else round(float(exposure), 4)
    detectors = tuple(dict.fromkeys(alert["detector"] for alert in after))
    return Found(one.client, len(when), reached("page"), reached("page", "ticket"), detectors, known)
