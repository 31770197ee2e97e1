"""Small recordings, written as parquet: ordinary clients, and one that walks along the boundary between two classes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

WALKER = "wälker"


def answers(X: Any) -> Any:
    """What the recorded model says: probabilities of two classes."""
    p = 1 / (1 + np.exp(-np.nan_to_num(X[:, 0]) - 0.5 * np.nan_to_num(X[:, 1])))
    return np.stack([1 - p, p], 1).astype(np.float32)


def lists(rows: Any) -> pa.Array:
    return pa.array(list(np.asarray(rows, np.float32)), pa.list_(pa.float32()))


def reference_columns(n: int = 1_000, d: int = 3) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, d))
    scores = answers(X)
    return {
        "features": lists(X),
        "probs": lists(scores),
        "y": pa.array((rng.random(n) < scores[:, 1]).astype(np.int32)),
        "member": pa.array(np.arange(n) < n // 2),
    }


def event_columns(n: int = 1_500, walk: int = 300) -> dict[str, Any]:
    """Ordinary events of 12 clients over an hour, and the walk in its middle."""
    rng = np.random.default_rng(1)
    X = rng.normal(size=(n, 3))
    steps: list[Any] = []
    while len(steps) < walk:
        lo, hi = np.array([2.0, 2.0, 0.0]), np.array([-2.0, -2.0, 0.0]) + rng.normal(scale=0.01, size=3)
        for _ in range(14):
            middle = (lo + hi) / 2
            steps.append(middle)
            lo, hi = (middle, hi) if middle[0] + 0.5 * middle[1] > 0 else (lo, middle)
        steps += list(hi + rng.normal(scale=0.02, size=(10, 3)))
    ts = np.concatenate([np.sort(rng.uniform(0, 3_600, n)), 1_800 + 0.5 * np.arange(walk)])
    clients = np.array([f"c{k}" for k in rng.integers(0, 12, n)] + [WALKER] * walk)
    X = np.concatenate([X, np.array(steps[:walk]).reshape(walk, 3)])
    order = np.argsort(ts, kind="stable")
    scores = answers(X[order])
    return {
        "ts": pa.array(ts[order]),
        "client_id": pa.array(clients[order]),
        "features": lists(X[order]),
        "probs": lists(scores),
        "label": pa.array(np.argmax(scores, 1).astype(np.int32)),
    }


def write(folder: Path, *, reference: dict[str, Any] | None = None, events: dict[str, Any] | None = None, meta: Any = None) -> Path:
    """A recording in this folder; columns of None are left out."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, columns in (("reference", reference or reference_columns()), ("events", events or event_columns())):
        pq.write_table(pa.table({k: v for k, v in columns.items() if v is not None}), folder / f"{name}.parquet", row_group_size=500)
    if meta is not None:
        (folder / "meta.json").write_text(json.dumps(meta))
    return folder
