"""One service's recording: every client's rows, times and truth, answered by the model and written as `bench.detection` reads it."""

from __future__ import annotations

import contextlib
import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from bench.services import (
    benign,
    careless,
    evasion_by_decisions,
    evasion_by_scores,
    extraction_adaptive,
    extraction_drawn,
    membership,
    pace,
)
from bench.services.client import Attack, Client
from bench.services.tables import Rows
from bench.services.world import World
from streams.gameday.oracle import EnoughError

SUITES: dict[str, dict[str, Attack]] = {
    "evasion": evasion_by_decisions.ATTACKS | evasion_by_scores.ATTACKS,
    "extraction": extraction_drawn.ATTACKS | extraction_adaptive.ATTACKS,
    "membership": membership.ATTACKS,
}
VARIANTS = (
    ("evasion", "hopskipjump", "cover"),
    ("evasion", "hopskipjump", "slow"),
    ("evasion", "signopt", "past"),
    ("extraction", "uniform", "sybil"),
    ("extraction", "jacobian", "cover"),
    ("extraction", "jacobian", "sybil"),
    ("extraction", "copula", "slow"),
    ("extraction", "columns", "past"),
    ("extraction", "mixup", "cover"),
)
"""Cover: three natural rows a query. Slow: over four days. Past: two days of ordinary use before. Sybil: dealt to eight accounts."""
ACCOUNTS = 8


@dataclass(frozen=True)
class Traffic:
    """What one client sent, in order: times in seconds, rows, and the truth of each."""

    at: NDArray[np.float64]
    rows: Rows
    truth: list[str]


def _sent(how: pace.Pace, rng: np.random.Generator, rows: Rows, truth: str, begin: float | None = None) -> Traffic:
    return Traffic(pace.placed(how, rng, len(rows), begin), rows, [truth] * len(rows))


def _ordinary(world: World, seed: int, share: float) -> list[Traffic]:
    out = []
    for kind in (*benign.KINDS, *careless.KINDS):
        if kind.pictures is not None and kind.pictures != (world.table.image is not None):
            continue
        start = float(_rng(world, seed, kind.name).uniform(0.1, 0.5) * pace.SPAN) if kind.wave else None
        for k in range(max(1, round(share * kind.count))):
            rng = _rng(world, seed, f"{kind.name}/{k}")
            rows = world.schema.rounded(kind.make(world, rng))
            begin = None if start is None else start + rng.uniform(0, pace.HOUR)
            out.append(_sent(kind.pace, rng, rows, f"benign:{kind.name}", begin))
    return out


def _attacks(world: World, seed: int, queries: int) -> tuple[list[Traffic], list[dict[str, Any]]]:
    out, told = [], []
    plain = [(family, name, "") for family, suite in SUITES.items() for name in suite]
    for family, name, variant in [*plain, *VARIANTS]:
        rng = _rng(world, seed, f"{family}/{name}/{variant}")
        client = Client(world.service, world.schema, queries)
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            with contextlib.suppress(EnoughError):
                SUITES[family][name](client, world, rng)
        full = f"{name}_{variant}" if variant else name
        told.append({"family": family, "name": full, "queries": client.count, "outcome": outcome(family, client, world)})
        if client.count:
            out += _paced(world, rng, client.rows, f"attack:{family}:{full}", variant)
    return out, told


def _paced(world: World, rng: np.random.Generator, rows: Rows, truth: str, variant: str) -> list[Traffic]:
    if variant == "sybil":
        parts = (rows[k::ACCOUNTS] for k in range(ACCOUNTS))
        return [_sent(pace.sitting, rng, part, truth, 1e5 + rng.uniform(0, 900)) for part in parts if len(part)]
    if variant == "slow":
        return [_sent(pace.spread_over(4 * pace.DAY), rng, rows, truth)]
    if variant == "cover":
        mixed = world.pick(rng, 4 * len(rows), world.own).copy()
        mixed[3::4] = rows
        return [Traffic(pace.placed(pace.sitting, rng, len(mixed)), mixed, (["benign:cover"] * 3 + [truth]) * len(rows))]
    if variant == "past":
        past = world.pick(rng, 120, world.own)
        at = np.concatenate(
            [pace.placed(pace.spread_over(2 * pace.DAY), rng, 120, 0.0), pace.placed(pace.sitting, rng, len(rows), 2.1 * pace.DAY)]
        )
        return [Traffic(at, np.concatenate([past, rows]), ["benign:past"] * 120 + [truth] * len(rows))]
    return [_sent(pace.sitting, rng, rows, truth)]


def outcome(family: str, client: Client, world: World) -> dict[str, float]:
    """How well an attack did.

    Evasion: targets for which another class was found nearer than half of the distance between two rows;
    extraction: how often a forest fitted on the answers agrees on held rows, and how often the commonest class would.
    """
    rows = client.rows
    if family == "evasion" and client.targets:
        labels, usual = client.service.answer(rows).argmax(axis=1), np.linalg.norm((world.own[1:] - world.own[:-1]) / world.spread, axis=1)
        ends, least = [*(t[0] for t in client.targets[1:]), len(rows)], []
        for (begin, row, _), end in zip(client.targets, ends, strict=True):
            other = rows[begin:end][labels[begin:end] != int(client.service.answer(row[None]).argmax())]
            least.append(float(np.linalg.norm((other - row) / world.spread, axis=1).min()) if len(other) else np.inf)
        ratio = np.array(least) / np.median(usual)
        reached = ratio[np.isfinite(ratio)]
        nearest = float(np.median(reached)) if len(reached) else -1.0
        return {"targets": float(len(ratio)), "success": float(np.mean(ratio < 0.5)), "nearest": nearest}
    if family == "extraction" and len(rows):
        from sklearn.ensemble import RandomForestClassifier

        theirs, truth = client.service.answer(rows).argmax(axis=1), client.service.answer(world.held).argmax(axis=1)
        copy = RandomForestClassifier(20, random_state=0).fit(rows, theirs)
        return {"agreement": float(np.mean(copy.predict(world.held) == truth)), "commonest": float(np.bincount(truth).max() / len(truth))}
    return {}


def _rng(world: World, seed: int, what: str) -> np.random.Generator:
    """A generator of its own for each client: another kind of client changes nothing for the rest."""
    return np.random.default_rng([seed, crc32(f"{world.name}/{what}".encode())])


def _lists(rows: Rows) -> pa.Array:
    flat = pa.array(np.ascontiguousarray(rows, np.float32).ravel())
    return pa.ListArray.from_arrays(pa.array(np.arange(len(rows) + 1) * rows.shape[1], pa.int32()), flat)


def record(world: World, folder: Path, seed: int, *, queries: int = 700, share: float = 1.0) -> dict[str, int]:
    """Writes one service.

    Args:
        world: the service.
        folder: gets `events.parquet`, `reference.parquet`, `meta.json`; made if it isn't there.
        seed: of clients and attacks; the same gives the same files.
        queries: at most, of each attack.
        share: of the ordinary clients of each kind; one at least.

    Returns:
        Events of each truth.
    """
    attacks, told = _attacks(world, seed, queries)
    traffic = _ordinary(world, seed, share) + attacks
    ids = [f"{v:08x}" for v in _rng(world, seed, "ids").choice(2**32, len(traffic), replace=False)]
    at = np.concatenate([t.at for t in traffic])
    order = np.argsort(at, kind="stable")
    rows = np.concatenate([t.rows for t in traffic])[order]
    who = np.repeat(np.array(ids), [len(t.at) for t in traffic])[order]
    truth = np.array([name for t in traffic for name in t.truth])[order]
    probs = world.service.answer(rows)
    folder.mkdir(parents=True, exist_ok=True)
    events = {
        "ts": at[order],
        "client_id": who,
        "features": _lists(rows),
        "probs": _lists(probs),
        "label": probs.argmax(axis=1).astype(np.int32),
        "truth": truth,
    }
    pq.write_table(pa.table(events), folder / "events.parquet")
    reference = np.concatenate([world.members, world.held])
    known = {
        "features": _lists(reference),
        "probs": _lists(world.service.answer(reference)),
        "y": np.concatenate([world.member_y, world.held_y]).astype(np.int32),
        "member": np.arange(len(reference)) < len(world.members),
    }
    pq.write_table(pa.table(known), folder / "reference.parquet")
    counts = {str(name): int(n) for name, n in zip(*np.unique(truth, return_counts=True), strict=True)}
    meta = {
        "scenario": world.name,
        "seed": seed,
        "features": list(world.table.names),
        "integer_features": world.schema.integer.tolist(),
        "quantum": 1.0,
        "bounds": {"lo": world.schema.low.tolist(), "hi": world.schema.high.tolist()},
        "image": list(world.table.image) if world.table.image else None,
        "accuracy": {"train": world.accuracy[0], "test": world.accuracy[1]},
        "attacks": told,
        "counts": counts,
    }
    (folder / "meta.json").write_text(json.dumps(meta, indent=1) + "\n")
    return counts
