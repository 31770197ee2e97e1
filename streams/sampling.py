"""Which events are kept whole for people to look at: a few of each window, whatever the batches, and those that tipped a scale."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from inferwatch import EventColumns
from schemas.rows import SampledEventRow
from streams.window import STATUSES

MAX_FEATURES = 256
"""Features kept of one event: a picture of thousands of pixels is no row for a table."""


class Sampler:
    """Bottom-k sample of each open window by the events' 64-bit keys: uniform over events, mergeable, no randomness.

    Events without id and running number have no key; their times and places in the batch stand in for one.

    Args:
        per_window: k; 0 keeps none, not even those that evidence points at.
        features: whether their features are kept.
        allow: names of those that may be; empty: all.
        reason: why a sampled event was kept.
    """

    def __init__(
        self, per_window: int, features: bool, allow: Collection[str] = (), reason: Literal["random", "evidence"] = "random"
    ) -> None:
        self._k, self._features, self._allow, self._reason = per_window, features, frozenset(allow), reason
        self._kept: dict[int, list[tuple[int, SampledEventRow]]] = {}

    def offer(
        self,
        start_ns: int,
        events: EventColumns,
        rows: NDArray[np.intp],
        at_ns: NDArray[np.int64],
        keys: NDArray[np.uint64],
    ) -> None:
        """Shows the sampler accepted events of a window."""
        if not self._k:
            return
        nameless = keys == 0  # without id and number; left at 0 they would crowd out all others
        if nameless.any():
            keys = np.where(nameless, (at_ns.astype(np.uint64) + rows.astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15), keys)
        kept = self._kept.setdefault(start_ns, [])
        best = np.flatnonzero(keys < np.uint64(kept[-1][0])) if len(kept) >= self._k else np.arange(len(rows))
        if len(best) > self._k:
            best = best[np.argpartition(keys[best], self._k)[: self._k]]
        if len(best):
            kept += [(int(keys[i]), self._row(events, int(rows[i]), int(at_ns[i]), self._reason)) for i in best.tolist()]
            kept.sort(key=lambda one: one[0])
            del kept[self._k :]

    def keep(self, events: EventColumns, row: int, at_ns: int, emit: Callable[[SampledEventRow], None]) -> None:
        """Keeps an event that a finding points at."""
        if self._k:
            emit(self._row(events, row, at_ns, "evidence"))

    def close(self, start_ns: int, emit: Callable[[SampledEventRow], None]) -> None:
        """The sample of a window that closed leaves."""
        for _, row in self._kept.pop(start_ns, []):
            emit(row)

    def forget(self, client: str, event_id: str) -> None:
        """What is kept of this client, or of this event, goes."""
        for start, kept in self._kept.items():
            self._kept[start] = [
                (key, row) for key, row in kept if not (client and row.client == client) and not (event_id and row.event_id == event_id)
            ]

    def _row(self, events: EventColumns, row: int, at_ns: int, reason: str) -> SampledEventRow:
        features: dict[str, float] = {}
        categories: dict[str, str] = {}
        if self._features:
            features = self._numbers(events, row)
            for name, column in zip(events.category_names, events.categories, strict=True):
                value = column[row]
                if value is not None and len(categories) < MAX_FEATURES and self._may_keep(name):
                    categories[name] = value
        scores = [] if events.scores is None else events.scores[row, :MAX_FEATURES].tolist()
        latency = float(events.latency_ms[row])
        age = math.nan if events.feature_age_s is None else float(events.feature_age_s[row])
        return SampledEventRow(
            revision=0 if reason == "random" else 1,  # evidence stands over the same event drawn at random
            model=events.model,
            version=events.version,
            at=at_ns,
            event_id=events.id_of(row),
            client=events.client[row] or "",
            service=events.service,
            instance=events.instance,
            trace_id=(events.trace_id[row] if events.trace_id is not None else None) or "",
            features=features,
            categories=categories,
            scores=scores if all(map(math.isfinite, scores)) else [s if math.isfinite(s) else 0.0 for s in scores],
            prediction=(events.prediction[row] if events.prediction is not None else None) or "",
            latency_ms=latency if math.isfinite(latency) else None,
            status=STATUSES[events.status[row]],
            feature_view=(events.feature_view[row] if events.feature_view is not None else None) or "",
            feature_age_s=age if math.isfinite(age) else None,
            reason=reason,
        )

    def _numbers(self, events: EventColumns, row: int) -> dict[str, float]:
        if self._allow:
            names = events.names or tuple(str(j) for j in range(events.numeric.shape[1]))
            kept = [j for j, name in enumerate(names) if name in self._allow][:MAX_FEATURES]
            values = {names[j]: float(events.numeric[row, j]) for j in kept}
        else:
            names = events.names or tuple(str(j) for j in range(min(events.numeric.shape[1], MAX_FEATURES)))
            values = dict(zip(names, events.numeric[row, :MAX_FEATURES].tolist(), strict=False))
        if all(map(math.isfinite, values.values())):
            return values
        return {name: value for name, value in values.items() if math.isfinite(value)}

    def _may_keep(self, name: str) -> bool:
        return not self._allow or name in self._allow

    def dump(self) -> dict[str, Any]:
        """For a snapshot."""
        return {str(start): msgspec.msgpack.encode(kept) for start, kept in self._kept.items()}

    def load(self, body: dict[str, Any]) -> None:
        """From a snapshot."""
        kind = list[tuple[int, SampledEventRow]]
        self._kept = {int(start): msgspec.msgpack.decode(kept, type=kind) for start, kept in body.items()}
