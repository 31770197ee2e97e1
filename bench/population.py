"""Ordinary clients when the whole population has moved, and when newcomers arrive in waves: who of them is named?

    OMP_NUM_THREADS=1 python -m bench.population TRACES [--only shift,region,season,waves] [--seed 0]

TRACES holds recordings as for `bench.detection`. Each is replayed as it is and in variants; attacks stay as they were recorded, and the
reference is not told. The variants:

- *shift*: deployment months after training: each feature of each ordinary row moves by its own amount, normal with .35 sd, and spreads
  by a tenth;
- *region*: other people: each ordinary row is replaced by one of the fifth of ordinary rows that lies furthest along a random direction;
- *season*: such amounts come and go with a sine of one period over the recording, in 48 steps; a row that is sent
  again stays as it was the first time;
- *waves*: three waves of 30 new clients within an hour each, every one with 15 to 80 rows, each a row of some ordinary client, those of
  the last wave shifted.

Where ordinary rows are drawn (*region*, *waves*), clients are, then their rows: by rows alone most would be of a few sensors, and everybody
would ask copies of the same readings.

A recording holds no model, so a moved row gets the mean answer of its five nearest recorded rows. Whole numbers stay whole, bounds hold.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench.detection import Score, run
from streams import tables

SHIFT_SD, SPREAD, REGION, NEAREST = 0.35, 1.1, 0.2, 5
WAVES, NEWCOMERS, SEASON_STEPS = 3, 30, 48


class Recording:
    """One folder's columns, and what is needed to move its rows."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.meta = tables.read_meta(folder / "meta.json")
        events = tables.read_table(folder / "events.parquet")
        self.ts = tables.numbers(folder, events["ts"], "ts")
        self.X = tables.matrix(folder, events["features"], "features")
        self.probs = tables.matrix(folder, events["probs"], "probs")
        self.client = np.array(events["client_id"].to_pylist(), object)
        self.truth = np.array(events["truth"].to_pylist(), object)
        self.benign = np.array([truth.startswith("benign:") for truth in self.truth])
        reference = tables.read_reference(folder / "reference.parquet", self.meta)
        self.scale = np.where(reference.X.std(0) > 0, reference.X.std(0), 1).astype(np.float32)
        self.integer = np.array(self.meta.integer_features or [False] * self.X.shape[1])
        self.low, self.high = np.minimum(reference.X.min(0), self.X.min(0)), np.maximum(reference.X.max(0), self.X.max(0))

    @cached_property
    def _by_client(self) -> tuple[Any, Any, Any]:
        """Ordinary rows client by client, where each one's begin, and how many they are."""
        _, whose, many = np.unique(self.client[self.benign], return_inverse=True, return_counts=True)
        return self.X[self.benign][np.argsort(whose, kind="stable")], np.cumsum(many) - many, many

    def draw(self, n: int, rng: np.random.Generator) -> Any:
        """Rows of ordinary clients, each client as often as another."""
        rows, first, many = self._by_client
        client = rng.integers(0, len(many), n)
        return rows[first[client] + rng.integers(0, many[client])]

    def legal(self, X: Any) -> Any:
        """Within what was seen of each feature; whole numbers whole."""
        X = np.clip(X, self.low, self.high).astype(np.float32)
        X[:, self.integer] = np.round(X[:, self.integer])
        return X

    def answers(self, X: Any) -> Any:
        """Mean of the answers to the five nearest of at most 8,000 recorded rows."""
        some = np.random.default_rng(0).permutation(len(self.X))[:8000]
        known, square = self.X[some] / self.scale, ((self.X[some] / self.scale) ** 2).sum(1)
        out = np.empty((len(X), self.probs.shape[1]), np.float32)
        for a in range(0, len(X), 500):
            apart = square - 2 * (X[a : a + 500] / self.scale) @ known.T
            out[a : a + 500] = self.probs[some][np.argpartition(apart, NEAREST, axis=1)[:, :NEAREST]].mean(1)
        return out

    def write(self, folder: Path, X: Any, probs: Any, extra: tuple[Any, Any, Any] | None = None) -> Path:
        """The recording with other rows, and with more events (times, clients, truths) at the end of ``X``."""
        folder.mkdir(parents=True)
        for name in ("reference.parquet", "meta.json"):
            shutil.copy(self.folder / name, folder / name)
        ts, client, truth = self.ts, self.client, self.truth
        if extra is not None:
            ts, client, truth = (np.concatenate([mine, more]) for mine, more in zip((ts, client, truth), extra, strict=True))
        order = np.argsort(ts, kind="stable")
        columns = {
            "ts": pa.array(ts[order]),
            "client_id": pa.array(client[order].tolist()),
            "features": pa.array(list(X[order]), pa.list_(pa.float32())),
            "probs": pa.array(list(probs[order]), pa.list_(pa.float32())),
            "label": pa.array(probs[order].argmax(1).astype(np.int32)),
            "truth": pa.array(truth[order].tolist()),
        }
        pq.write_table(pa.table(columns), folder / "events.parquet")
        return folder


def moved(of: Recording, rng: np.random.Generator, weight: Any = 1.0) -> Any:
    """All rows by the same amounts, times ``weight`` (a number, or one a row)."""
    weight = np.broadcast_to(weight, (len(of.X),))[:, None]
    by = rng.normal(size=of.X.shape[1]) * SHIFT_SD * of.scale
    centre = of.X[of.benign].mean(0)
    return of.legal(of.X + weight * (by + (SPREAD - 1) * (of.X - centre)))


def shift(of: Recording, folder: Path, rng: np.random.Generator) -> Path:
    """Everybody moved, for good."""
    return _replaced(of, folder, moved(of, rng))


def season(of: Recording, folder: Path, rng: np.random.Generator) -> Path:
    """Everybody moves there and back."""
    step = np.floor(SEASON_STEPS * (of.ts - of.ts.min()) / max(np.ptp(of.ts), 1))  # within one, what a client repeats or edits stays so
    _, first, which = np.unique(of.X, axis=0, return_index=True, return_inverse=True)
    return _replaced(of, folder, moved(of, rng, np.sin(2 * np.pi * step[first][which.ravel()] / SEASON_STEPS)))


def region(of: Recording, folder: Path, rng: np.random.Generator) -> Path:
    """Other people: rows of one end of the population; who repeated a row repeats its replacement."""
    rows = of.draw(int(of.benign.sum()), rng)
    along = (rows / of.scale) @ rng.normal(size=of.X.shape[1])
    end = rows[np.argsort(along)[-max(50, int(REGION * len(rows))) :]]
    _, first = np.unique(of.X, axis=0, return_inverse=True)
    return _replaced(of, folder, end[rng.integers(0, len(end), int(first.max()) + 1)][first.ravel()])


def waves(of: Recording, folder: Path, rng: np.random.Generator) -> Path:
    """Three waves of newcomers; the last one is of another kind."""
    by = (rng.normal(size=of.X.shape[1]) * SHIFT_SD * of.scale).astype(np.float32)
    X, ts, client = [], [], []
    for wave in range(WAVES):
        begin = of.ts.min() + np.ptp(of.ts) * rng.uniform(0.1, 0.8)
        for k in range(NEWCOMERS):
            n = int(rng.integers(15, 80))
            own = of.draw(n, rng)
            X.append(of.legal(own + by) if wave == WAVES - 1 else own)
            ts.append(begin + rng.uniform(0, 3600) + np.cumsum(rng.exponential(20, n)))
            client += [f"wave{wave}-{k}"] * n
    new = np.concatenate(X)
    extra = np.concatenate(ts), np.array(client, object), np.array(["benign:newcomer"] * len(new), object)
    return of.write(folder, np.concatenate([of.X, new]), np.concatenate([of.probs, of.answers(new)]), extra)


def _replaced(of: Recording, folder: Path, X: Any) -> Path:
    X = np.where(of.benign[:, None], X, of.X)
    probs = of.probs.copy()
    probs[of.benign] = of.answers(X[of.benign])
    return of.write(folder, X, probs)


VARIANTS: dict[str, Callable[[Recording, Path, np.random.Generator], Path]] = {f.__name__: f for f in (shift, region, season, waves)}


def line(name: str, score: Score) -> str:
    """Benign clients named, by how, explainers apart, and attack ids paged."""
    wrong = {
        f"{how} {severity}": sum(
            n for (s, h, kind), n in score.wrong.items() if (s, h) == (severity, how) and not kind.startswith("benign:explainer")
        )
        for severity in ("page", "ticket")
        for how in ("alone", "pool")
    }
    found = [one for one in score.ids if one.queries >= 64]
    paged = sum(one.paged is not None for one in found)
    kinds = ", ".join(f"{kind.removeprefix('benign:')} {n}" for (_, _, kind), n in sorted(score.wrong.items()) if "explainer" not in kind)
    counts = "  ".join(f"{what} {n}" for what, n in wrong.items())
    drift = score.model_level["drift:page"] + score.model_level["drift:ticket"]
    return (
        f"{score.service:18s} {name:10s} {score.benign:4d} benign: {counts}   drift alerts {drift}, ids paged {paged}/{len(found)}  {kinds}"
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("traces", type=Path)
    parser.add_argument("--only", default=",".join(VARIANTS), help="comma-separated variants")
    parser.add_argument("--seed", default=0, type=int)
    options = parser.parse_args()
    chosen = options.only.split(",")
    if unknown := set(chosen) - VARIANTS.keys():
        raise SystemExit(f"no variant {', '.join(sorted(unknown))}; there are {', '.join(VARIANTS)}")
    folders = sorted(path for path in options.traces.iterdir() if (path / "events.parquet").exists())
    if not folders:
        raise SystemExit(f"{options.traces}: no folder with an events.parquet")
    with tempfile.TemporaryDirectory() as scratch:
        for folder in folders:
            print(line("recorded", run(folder, Path(scratch) / "out" / folder.name)), flush=True)
            of = Recording(folder)
            for k, name in enumerate(VARIANTS):
                if name in chosen:
                    made = VARIANTS[name](of, Path(scratch) / name / folder.name, np.random.default_rng([options.seed, k]))
                    print(line(name, run(made, Path(scratch) / "out" / name / folder.name)), flush=True)


if __name__ == "__main__":
    main()
