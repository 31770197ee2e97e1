"""The service whose model is watched: it answers, and tells inferwatch what it answered. This is all that a service has to do."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

import inferwatch
from inferwatch import Status
from streams.demo.model import NAME, Served
from streams.demo.traffic import Request


class Service:
    """Answers requests with a model.

    Args:
        served: the model.
        version: of the model.
        watch: the SDK's client.
        now_ns: UTC ns.
    """

    def __init__(self, served: Served, version: str, watch: inferwatch.Client, now_ns: Callable[[], int] = time.time_ns) -> None:
        self._served, self._version, self._watch, self._now_ns = served, version, watch, now_ns
        watch.loaded(model=NAME, version=version, digest=served.digest, signature="valid", key_id="demo")

    def handle(self, requests: Sequence[Request]) -> None:
        """Answers requests of any clients."""
        if not requests:
            return
        X = np.array([request.row for request in requests])
        for request, row, scores in zip(requests, X.tolist(), self._served.answer(X).tolist(), strict=True):
            self._record(request.client, row, scores if request.status is Status.OK else None, request.status, request.latency_ms)

    def ask(self, client: str, row: NDArray[np.float32]) -> NDArray[np.float32]:
        """Answers one request of one client: class probabilities, (classes,)."""
        began = time.perf_counter()
        scores: NDArray[np.float32] = self._served.answer(row[None])[0]
        self._record(client, row.tolist(), scores.tolist(), Status.OK, 1e3 * (time.perf_counter() - began))
        return scores

    def _record(self, client: str, row: list[float], scores: list[float] | None, status: Status, latency_ms: float) -> None:
        data = self._served.data
        self._watch.record(
            model=NAME,
            version=self._version,
            client=client,
            features=dict(zip(data.names, row, strict=True)),
            scores=scores,
            prediction=None if scores is None else data.classes[int(np.argmax(scores))],
            latency_ms=latency_ms,
            status=status,
            at_ns=self._now_ns(),
        )
