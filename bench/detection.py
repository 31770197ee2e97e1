"""Detection on recorded or simulated services: who was found after which share of its queries, and which ordinary clients were named.

python -m bench.detection TRACES [--out FOLDER]

TRACES holds one folder a service: events.parquet (with a column `truth`: `benign:KIND` or `attack:FAMILY:NAME`), reference.parquet,
meta.json. Each goes through `streams.replay`, the same code as in production.

Rules: a client with an attack event is an attack id, and only its attack events are its queries. It is found by the first page (or alert)
at or after the first of them that names it; early is before a fifth of them. A benign client is wrong if a page or ticket names it alone;
so is an attack id before its first attack event. Explainers (LIME, SHAP against the service) are counted apart. Swarms, natural rows and
one-query membership tests are apart too: their rows cannot be told from ordinary ones client by client.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from streams.replay import replay
from streams.settings import Settings

APART = ("natural", "mia_blackbox", "label_only_gap")
LEAST = 64
"""Queries below which an attack id is not counted."""


@dataclass
class Found:
    """One attack id."""

    service: str
    truth: str
    queries: int
    paged: int | None
    """Its attack queries when the first page named it."""
    alerted: int | None


@dataclass
class Score:
    """Of one service."""

    service: str
    benign: int = 0
    wrong: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """By (page or ticket, alone or pool, kind)."""
    ids: list[Found] = field(default_factory=list)
    model_level: Counter[str] = field(default_factory=Counter)


def score(service: str, ts: Any, client: list[str], truth: list[str], alerts: list[dict[str, Any]]) -> Score:
    """One service's alerts against the truth.

    Example:
        >>> alert = {"at": 2.0, "severity": "page", "client": "b", "clients": [], "detector": "evasion"}
        >>> s = score("s", np.arange(4.0), ["a", "b", "b", "b"], ["benign:x"] + ["attack:evasion:y"] * 3, [alert])
        >>> s.ids[0].paged, s.benign, dict(s.wrong)
        (2, 1, {})
    """
    rows: dict[str, list[int]] = defaultdict(list)
    for i, name in enumerate(client):
        rows[name].append(i)
    named: dict[str, list[tuple[float, str, str]]] = defaultdict(list)
    out = Score(service)
    for alert in alerts:
        names = list(dict.fromkeys([*([alert["client"]] if alert["client"] else []), *(alert["clients"] or [])]))
        if not names:
            out.model_level[f"{alert['detector']}:{alert['severity']}"] += 1
        for name in names:
            named[name].append((alert["at"], alert["severity"], "pool" if len(names) > 1 else "alone"))
    for name, own in rows.items():
        attack = [i for i in own if truth[i].startswith("attack:")]
        kind = truth[own[0]] if not attack else "benign:past of " + truth[attack[0]].removeprefix("attack:")
        when = np.sort(np.asarray(ts)[attack])
        begin = when[0] if attack else np.inf
        out.benign += not attack and not kind.startswith("benign:explainer")
        for severity, how in {(s, how) for at, s, how in named[name] if at < begin}:
            out.wrong[severity, how, kind] += 1
        if attack:
            first: dict[str, int | None] = {}
            for key, wanted in (("paged", ("page",)), ("alerted", ("page", "ticket"))):
                at = min((at for at, s, _ in named[name] if s in wanted and at >= begin), default=None)
                first[key] = None if at is None else int(np.searchsorted(when, at, side="right"))
            out.ids.append(Found(service, truth[attack[0]], len(attack), first["paged"], first["alerted"]))
    return out


def _apart(truth: str) -> bool:
    name = truth.split(":", 2)[2]
    return name.startswith(APART) or "sybil" in name


def _line(ids: list[Found]) -> str:
    early = np.mean([i.paged is not None and i.paged <= i.queries / 5 for i in ids])
    share = [i.paged / i.queries for i in ids if i.paged is not None]
    median = f"{np.median(share):.1%}" if share else "-"
    paged, alerted = np.mean([i.paged is not None for i in ids]), np.mean([i.alerted is not None for i in ids])
    return f"{len(ids):5d} ids  alerted {alerted:6.1%}  paged {paged:6.1%}  before a fifth {early:6.1%}  median share of queries {median}"


def table(scores: list[Score]) -> str:
    """What is printed: benign clients by kind, then attack ids by family, by attack and by service left out."""
    wrong: Counter[tuple[str, str, str]] = sum((s.wrong for s in scores), Counter())
    ids = [i for s in scores for i in s.ids if i.queries >= LEAST]
    lines = [f"{len(scores)} services, {sum(s.benign for s in scores)} benign clients (explainers apart)"]
    for severity in ("page", "ticket"):
        for how in ("alone", "pool"):
            kinds = {kind: n for (a, b, kind), n in wrong.items() if (a, b) == (severity, how)}
            ordinary = sum(n for kind, n in kinds.items() if not kind.startswith("benign:explainer"))
            text = ", ".join(f"{kind.removeprefix('benign:')} {n}" for kind, n in sorted(kinds.items()))
            lines.append(f"  wrong {severity}, {how}: {ordinary}" + (f"   ({text})" if text else ""))
    lines.append(f"  model level: {dict(sorted(sum((s.model_level for s in scores), Counter()).items()))}")
    families = sorted({i.truth.split(":")[1] for i in ids})
    for family in families:
        own = [i for i in ids if i.truth.split(":")[1] == family and not _apart(i.truth)]
        if not own:
            continue
        lines.append(f"{family:12s} {_line(own)}")
        lines += [f"  {t.split(':', 2)[2]:18s} {_line([i for i in own if i.truth == t])}" for t in sorted({i.truth for i in own})]
        services = sorted({i.service for i in own})
        if len(services) > 1:
            lines += [f"  on {s:15s} {_line([i for i in own if i.service == s])}" for s in services]
    apart = sorted({i.truth for i in ids if _apart(i.truth)})
    lines += [f"apart: {t.removeprefix('attack:'):28s} {_line([i for i in ids if i.truth == t])}" for t in apart]
    return "\n".join(lines)


def run(folder: Path, out: Path) -> Score:
    """Replays one service and scores it."""
    replay(folder, out, Settings())
    events = pq.read_table(folder / "events.parquet", columns=["ts", "client_id", "truth"])
    alerts = [json.loads(line) for line in (out / "alerts.jsonl").read_text().splitlines() if line.strip()]
    return score(folder.name, events["ts"].to_numpy(), events["client_id"].to_pylist(), events["truth"].to_pylist(), alerts)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("traces", type=Path)
    parser.add_argument("--out", type=Path, help="keep the replays here, one folder a service")
    options = parser.parse_args()
    folders = sorted(path for path in options.traces.iterdir() if (path / "events.parquet").exists())
    if not folders:
        raise SystemExit(f"{options.traces}: no folder with an events.parquet")
    with tempfile.TemporaryDirectory() as scratch:
        scores = []
        for folder in folders:
            scores.append(run(folder, (options.out or Path(scratch)) / folder.name))
            print(f"{folder.name}: replayed", flush=True)
    print(table(scores))


if __name__ == "__main__":
    main()
