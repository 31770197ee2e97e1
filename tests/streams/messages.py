"""Small partials and findings for tests of the judge."""

from typing import Any

import msgspec
import numpy as np

from detectors.drift import DriftReference, WindowCounts
from schemas import latency
from schemas.reference import Reference
from schemas.windows import Finding, WindowPartial
from tests.streams.events import NS, START

LENGTH = 300 * NS


def partial(
    *, published: Reference | None = None, window: int = 0, seed: int = 0, shift: float = 0.0, n: int = 0, **changes: Any
) -> WindowPartial:
    """One partition's share of the window with this number: n events, ordinary ones, or moved by ``shift`` standard deviations."""
    counts = b""
    if published is not None:
        rng = np.random.default_rng([seed, window])
        leaf = WindowCounts(DriftReference.from_bytes(published.parts["drift"]))
        X = rng.normal(shift, 1.0, size=(n, 3))
        p = 1 / (1 + np.exp(-X[:, 0] - 0.5 * X[:, 1]))
        leaf.update(X, np.stack([1 - p, p], 1), (p > 0.5).astype(int), clients=rng.integers(1, 2**62, n))
        counts = leaf.to_bytes()
    plain = WindowPartial(
        model="m",
        version="1",
        reference=published.id if published else "",
        start_ns=START + window * LENGTH,
        end_ns=START + (window + 1) * LENGTH,
        partition=0,
        epoch=0,
        sequence=window,
        n=n,
        late=0,
        suspect=0,
        clients=n,
        counts=counts,
        rejected={},
        anomalies={},
        status={"ok": n} if n else {},
        latency=latency.counts_of(np.full(max(n, 0), 5.0)).tobytes(),
        classes={},
        producers={},
        lines=[],
    )
    return msgspec.structs.replace(plain, **changes)


def finding(**changes: Any) -> Finding:
    """A page about one client."""
    plain = Finding(
        model="m",
        version="1",
        partition=0,
        epoch=0,
        sequence=0,
        at_ns=START,
        family="evasion",
        severity="page",
        client="mallory",
        clients=[],
        n_events=50,
        log_evidence=20.0,
        statistic="boundary",
        evidence={},
        event_id="shop-1:49",
        renewed=False,
    )
    return msgspec.structs.replace(plain, **changes)
