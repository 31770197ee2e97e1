"""Small events and references for tests of shards and judges."""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec
import numpy as np

from inferwatch import CONTENT_TYPE_COLUMNS, EventColumns, Strings, encode
from schemas.reference import Feature, Reference
from streams.build import Rows, build
from streams.owner import Record
from streams.settings import Settings, load

NS = 1_000_000_000
START = 1_800_000_000 * NS
"""A multiple of 300 s."""
KEY = b"a key of sixteen bytes or more"
NAMES = ("age", "income", "score")


def settings(**sections: dict[str, Any]) -> Settings:
    """The default settings with some changed: ``settings(window={"length_s": 10})``."""
    plain = load(None, {})
    changed = {name: msgspec.structs.replace(getattr(plain, name), **values) for name, values in sections.items()}
    return msgspec.structs.replace(plain, **changed)


@cache
def reference(seed: int = 0, rows: int = 2_000, model: str = "m", version: str = "1", key: bytes = KEY) -> Reference:
    """Three normal features, two classes, half of the rows trained on. Built once: it takes half a second, and nobody changes one."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(rows, len(NAMES))).astype(np.float32)
    p = 1 / (1 + np.exp(-X[:, 0] - 0.5 * X[:, 1]))
    scores = np.stack([1 - p, p], 1).astype(np.float32)
    features = tuple(Feature(name=name, low=-10.0, high=10.0) for name in NAMES)
    y = (rng.random(rows) < p).astype(np.int32)
    owner = Rows(features=features, X=X, scores=scores, classes=("no", "yes"), y=y, member=np.arange(rows) < rows // 2)
    return build(model, version, owner, membership_key=key, built_at_ns=0).reference


def events(
    n: int, *, seed: int = 1, start_s: float = 0.0, rate: float = 10.0, clients: int = 5, number: int = 0, model: str = "m", **columns: Any
) -> EventColumns:
    """Ordinary events: n of them, ``rate`` a second, from ``start_s`` after `START`."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, len(NAMES))).astype(np.float32)
    p = 1 / (1 + np.exp(-X[:, 0] - 0.5 * X[:, 1]))
    given: dict[str, Any] = {
        "model": model,
        "version": "1",
        "service": "shop",
        "instance": "shop-1",
        "client": Strings.of([f"c{c}" for c in rng.integers(0, clients, n)]),
        "at_ns": START + np.round((start_s + np.arange(n) / rate) * NS).astype(np.int64),
        "number": np.arange(number, number + n),
        "status": np.zeros(n, np.uint8),
        "latency_ms": np.full(n, 5.0, np.float32),
        "names": NAMES,
        "numeric": X,
        "scores": np.stack([1 - p, p], 1).astype(np.float32),
        "score_names": ("no", "yes"),
    }
    return EventColumns(**given | columns)


def record(batch: EventColumns, offset: int, *, at_ns: int | None = None) -> Record:
    """A batch as the record of Kafka that carries it."""
    at = int(batch.at_ns.max()) if at_ns is None else at_ns
    return Record("events", 0, offset, encode(batch), at, headers={"content-type": CONTENT_TYPE_COLUMNS})
