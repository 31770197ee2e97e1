"""Compiles the detectors' kernels before the first record comes.

Numba compiles a kernel when it is first called, and keeps the result on disk. After an installation that takes about two minutes (120 s
of CPU), in which an event loop would not answer, so a worker does it before it joins its group.
"""

from __future__ import annotations

import gc

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.drift import DriftDetector, DriftReference, WindowCounts
from detectors.drift.features import WAVES_TO
from inferwatch import CONTENT_TYPE_COLUMNS, EventColumns, Label, Strings, encode
from schemas.reference import Feature
from streams.build import Rows, build
from streams.judge import Judge
from streams.owner import NS, Record
from streams.references import References
from streams.settings import Settings
from streams.shard import Shard

_KEY = b"only for compiling kernels"
_START_NS = 1_800_000_000 * NS


def settle_memory() -> None:
    """Takes what start-up has made, modules above all, out of the garbage collector's rounds: walking it holds up the loop for nothing."""
    gc.collect()
    gc.freeze()


def warm_up(settings: Settings, seed: int = 0) -> None:
    """Takes a small made-up stream through building, judging, snapshot and restore; nothing of it stays."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(300, 4)).astype(np.float32)
    scores = rng.dirichlet((1.0, 1.0), 300).astype(np.float32)
    features = tuple(Feature(name=f"f{j}", low=-9.0, high=9.0) for j in range(4))
    rows = Rows(features=features, X=X, scores=scores, classes=("a", "b"), y=scores.argmax(1).astype(np.int32), member=np.arange(300) < 150)
    reference = build("warm", "1", rows, membership_key=_KEY, built_at_ns=0).reference
    references = References(_KEY)
    references.put(reference)
    shard, judge = Shard(0, settings, references), Judge(0, settings, references)
    for offset in range(3):
        picked = X[rng.integers(0, 300, 60)] + (offset > 0) * rng.normal(scale=0.01, size=(60, 4)).astype(np.float32)
        batch = EventColumns(
            model="warm",
            version="1",
            service="",
            instance="i",
            client=Strings.of([f"c{k % 3}" for k in range(60)]),
            at_ns=_START_NS + offset * NS + np.arange(60),
            number=np.arange(60 * offset, 60 * offset + 60),
            status=np.zeros(60, np.uint8),
            latency_ms=np.ones(60, np.float32),
            names=tuple(f"f{j}" for j in range(4)),
            numeric=picked.astype(np.float32),
            scores=scores[:60],
        )
        shard.apply(Record("events", 0, offset, encode(batch), _START_NS + 5 * NS, headers={"content-type": CONTENT_TYPE_COLUMNS}))
    again = Shard(0, settings, references)
    again.restore(shard.snapshot())
    again.finish()
    for out in again.outbox:  # windows, rows of suspects for the swarms, answers
        if out.to in ("windows", "findings"):
            judge.apply(Record(out.to, 0, judge.next[out.to], out.value, _START_NS, headers=out.headers))
    label = Label(model="warm", event_id="i:0", truth="a")
    judge.apply(Record("labels", 0, 0, msgspec.json.encode(label), _START_NS + NS))
    judge.tick(_START_NS + 10_000 * NS)
    for width in (4, WAVES_TO + 1):
        _whole_rows(rng.normal(size=(1_000, width)).astype(np.float32))


def _whole_rows(X: NDArray[np.float32]) -> None:
    """The kernels of random features, of which there are two kinds and none for a reference of so few rows as above."""
    fitted = DriftReference.fit(X, [f"f{j}" for j in range(X.shape[1])], ["numeric"] * X.shape[1])
    reference = DriftReference.from_bytes(fitted.to_bytes())
    counts = WindowCounts(reference)
    counts.update(X[:100], clients=np.arange(100, dtype=np.uint64))
    DriftDetector(reference, false_pages=1.0, windows=8_640.0).step(WindowCounts.from_bytes(counts.to_bytes(), reference))
