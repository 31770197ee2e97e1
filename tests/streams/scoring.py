"""Scores a replay against what a recorded trace knows: who attacked, from when, with which queries.

A client is an attacker if any of its events is of an attack; found is the first page at or after its first such event. A benign client is
wrongly paged when a page names it alone. The explainers (LIME against the service) are benign, but an owner may want to know: apart.
"""

import json
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq


@dataclass
class Score:
    """What pages and tickets hit."""

    wrongly_paged: list[str] = field(default_factory=list)
    """Truths of benign clients that a page names alone."""
    paged_after: dict[str, list[float]] = field(default_factory=dict)
    """By attack: for each of its clients the share of its queries sent until its page; infinite when there was none."""


def score(trace: Path, alerts: Path) -> Score:
    """The score of these alerts on this trace."""
    table = pq.read_table(trace / "events.parquet", columns=["ts", "client_id", "truth"])
    ts: defaultdict[str, list[float]] = defaultdict(list)
    truth: dict[str, str] = {}
    for at, client, of in zip(*(table[name].to_pylist() for name in ("ts", "client_id", "truth")), strict=True):
        if of.startswith("attack:"):
            ts[client].append(at)
            truth[client] = of
        else:
            truth.setdefault(client, of)
    pages: defaultdict[str, list[float]] = defaultdict(list)
    for line in alerts.read_text().splitlines():
        alert = json.loads(line)
        if alert["severity"] == "page" and alert["client"]:
            pages[alert["client"]].append(alert["at"])
    out = Score()
    for client, when in ts.items():
        found = min((at for at in pages.get(client, []) if at >= when[0]), default=np.inf)
        after = float(np.mean(np.array(when) <= found)) if np.isfinite(found) else np.inf
        out.paged_after.setdefault(truth[client], []).append(after)
    for client, at in pages.items():
        before = min(at) < min(ts[client]) if client in ts else True
        if before and not truth[client].startswith("benign:explainer"):
            out.wrongly_paged.append(truth[client])
    return out
