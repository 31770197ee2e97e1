"""One game day: ordinary traffic, the attacks, the replay, the card."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from streams.build import Rows
from streams.gameday import GamedayError, attacks
from streams.gameday.attacks import SUITE, Kind, Material
from streams.gameday.card import Card, score
from streams.gameday.oracle import Oracle, Space
from streams.gameday.service import Service
from streams.gameday.traffic import Sent, ordinary, sittings
from streams.replay import replay
from streams.settings import Settings

_LEAST_ROWS = 200
_OWN_SHARE, _OWN_MOST = 0.25, 1_000
_ANSWERED_AT_ONCE = 4_096


@dataclass(frozen=True)
class Plan:
    """How much of everything.

    Attributes:
        ids: clients an attack.
        queries: of each of them, at most.
        clients: ordinary ones.
        hours: length of the recording.
        pace: attack queries a second.
        cover: ordinary rows that an attacker sends with each attack query.
        seed: of all draws.
    """

    ids: int = 2
    queries: int = 400
    clients: int = 80
    hours: float = 48.0
    pace: float = 1.0
    cover: float = 0.0
    seed: int = 0


def chosen(names: Sequence[str], service: Service, rows: Rows) -> tuple[list[Kind], dict[str, str]]:
    """The attacks to run, and why others are not.

    Args:
        names: of attacks; empty for the whole suite.
        service: the model.
        rows: the reference's.

    Raises:
        GamedayError: no attack has such a name, or none is left.
    """
    known = {kind.name: kind for kind in SUITE}
    unknown = sorted(set(names) - known.keys())
    if unknown:
        raise GamedayError(f"no attack is called {', '.join(unknown)}; there are {', '.join(known)}")
    kinds, skipped = [], {}
    for kind in SUITE:
        if names and kind.name not in names:
            continue
        if kind.scores and not service.scores:
            skipped[kind.name] = "the model gives no probabilities"
        elif kind.members and (rows.member is None or not rows.member.any()):
            skipped[kind.name] = "the rows do not say which were trained on (column member)"
        elif kind.picture is not None and kind.picture != (rows.image is not None):
            skipped[kind.name] = "the rows are pictures" if rows.image else "the rows are no pictures"
        else:
            kinds.append(kind)
    if not kinds:
        raise GamedayError("no attack is left: " + "; ".join(f"{name}: {why}" for name, why in skipped.items()))
    return kinds, skipped


def hold(
    name: str,
    rows: Rows,
    service: Service,
    out: Path,
    settings: Settings,
    plan: Plan,
    names: Sequence[str] = (),
    progress: Callable[[str, int, int], None] = lambda what, done, of: None,
) -> Card:
    """Runs the attacks against the model, replays them amid ordinary traffic, and judges what was found.

    A quarter of the rows that were not trained on (at most 1,000) are the attackers'; they are in no reference. Ordinary clients resample
    the others. ``out`` gets ``recording/`` (which `inferwatch replay` reads), ``replay/`` and ``card.json``. The same rows, model and plan
    give the same card.

    Args:
        name: of the model.
        rows: the reference's, numeric; `member` and `y` if known.
        service: the model.
        out: folder.
        settings: budget and bounds.
        plan: how much of everything.
        names: attacks; empty for the whole suite.
        progress: told of what is done, how far, of how much.

    Raises:
        GamedayError: the rows do not do, an attack lacks a package, or the model fails.
    """
    kinds, skipped = chosen(names, service, rows)
    rng = np.random.default_rng(plan.seed)
    own, kept = _dealt(rows, rng)
    space = _space(rows)
    member = np.zeros(len(rows.X), bool) if rows.member is None else rows.member
    spread = np.nan_to_num(np.nanstd(rows.X, axis=0)).astype(np.float32)
    filled = np.where(np.isfinite(rows.X), rows.X, np.nanmedian(np.where(np.isfinite(rows.X), rows.X, np.nan), axis=0)).astype(np.float32)
    material = Material(filled[own], filled[member], spread)
    span_s = plan.hours * 3600
    usual = rows.X[kept & ~member]
    sent = list(ordinary(usual, plan.clients, span_s, rng))
    for k, kind in enumerate(kinds):
        for i in range(plan.ids):
            progress(f"Attack {kind.name}", k * plan.ids + i, len(kinds) * plan.ids)
            draw = np.random.default_rng([plan.seed, SUITE.index(kind), i])  # so that an attack is the same whatever else is chosen
            asked = attacks.run(kind, Oracle(service, space, plan.queries), material, draw)
            sent += _timed(kind, f"{kind.name}-{i}", asked, usual, plan, span_s, draw)
    recording, judged = out / "recording", out / "replay"
    _write(recording, rows, kept, service, space, sent)
    summary = replay(recording, judged, settings, lambda done, of: progress("Judging", done, of))
    found, lines = score(judged, sent, kinds)
    said = asdict(plan) | {"false_pages_per_30d": settings.budget.false_pages_per_30d, "rows": int(kept.sum())}
    card = Card(name, said, found, lines, skipped, summary.notes)
    (out / "card.json").write_text(card.to_json())
    return card


def _dealt(rows: Rows, rng: np.random.Generator) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Indices of the attackers' rows, and a mask of the reference's."""
    if any(feature.kind == "categorical" for feature in rows.features):
        names = [feature.name for feature in rows.features if feature.kind == "categorical"]
        raise GamedayError(
            f"features {', '.join(names[:5])} are text; a game day takes numbers only: give the rows as the model is given them"
        )
    free = np.arange(len(rows.X)) if rows.member is None else np.flatnonzero(~rows.member)
    if len(free) < _LEAST_ROWS:
        raise GamedayError(f"{len(free)} rows were not trained on; ordinary clients and attackers need at least {_LEAST_ROWS}")
    own = rng.permutation(free)[: min(int(_OWN_SHARE * len(free)), _OWN_MOST)]
    kept = np.ones(len(rows.X), bool)
    kept[own] = False
    return own, kept


def _space(rows: Rows) -> Space:
    X = np.where(np.isfinite(rows.X), rows.X, np.nan)
    X = np.where(np.isnan(X).all(axis=0), 0, X)
    low, high = np.nanmin(X, axis=0), np.nanmax(X, axis=0)
    low = np.array([a if f.low is None else f.low for f, a in zip(rows.features, low, strict=True)], np.float32)
    high = np.array([b if f.high is None else f.high for f, b in zip(rows.features, high, strict=True)], np.float32)
    return Space(low, np.maximum(low, high), np.array([f.integer for f in rows.features]), rows.image)


def _timed(
    kind: Kind, client: str, asked: NDArray[np.float32], usual: NDArray[np.float32], plan: Plan, span_s: float, rng: np.random.Generator
) -> list[Sent]:
    if not len(asked):
        raise GamedayError(f"attack {kind.name} asked nothing")
    at = rng.uniform(0.1, 0.6) * span_s + np.cumsum(rng.exponential(1 / plan.pace, len(asked)))
    out = [Sent(client, f"attack:{kind.family}:{kind.name}", at, asked)]
    n = round(plan.cover * len(asked))
    if n:
        out.append(Sent(client, "benign:cover", rng.uniform(at[0], at[-1], n), usual[rng.choice(len(usual), n)]))
    return out


def _write(folder: Path, rows: Rows, kept: NDArray[np.bool_], service: Service, space: Space, sent: Sequence[Sent]) -> None:
    """The recording in the layout that `inferwatch replay` reads, with a column of the truth."""
    folder.mkdir(parents=True, exist_ok=True)
    reference: dict[str, Any] = {"features": _lists(rows.X[kept])}
    if service.scores:
        reference["probs"] = _lists(_answers(service, rows.X[kept]))
    if rows.y is not None:
        reference["y"] = pa.array(rows.y[kept])
    if rows.member is not None:
        reference["member"] = pa.array(rows.member[kept])
    pq.write_table(pa.table(reference), folder / "reference.parquet")
    at = np.concatenate([one.at_s for one in sent])
    order = np.argsort(at, kind="stable")
    X = np.concatenate([one.X for one in sent])[order]
    who = np.repeat(np.arange(len(sent)), [len(one.X) for one in sent])[order].tolist()
    answers = _answers(service, X)
    events = {
        "ts": pa.array(at[order]),
        "client_id": pa.array([sent[k].client for k in who]),
        "features": _lists(X),
        "label": pa.array(answers.argmax(1).astype(np.int32)),
        "truth": pa.array([sent[k].truth for k in who]),
    }
    if service.scores:
        events["probs"] = _lists(answers)
    pq.write_table(pa.table(events), folder / "events.parquet")
    meta = {
        "features": [feature.name for feature in rows.features],
        "integer_features": space.integer.tolist(),
        "bounds": {"lo": space.low.tolist(), "hi": space.high.tolist()},
        "image": list(rows.image) if rows.image else None,
        "classes": list(service.classes),
    }
    (folder / "meta.json").write_text(json.dumps(meta))


def _answers(service: Service, X: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.concatenate([service.answer(X[a : a + _ANSWERED_AT_ONCE]) for a in range(0, len(X), _ANSWERED_AT_ONCE)])


def _lists(X: NDArray[np.float32]) -> pa.Array:
    values = pa.array(np.ascontiguousarray(X, np.float32).ravel())
    return pa.ListArray.from_arrays(pa.array(np.arange(0, X.size + 1, X.shape[1], dtype=np.int32)), values)


__all__ = ["Plan", "chosen", "hold", "sittings"]
