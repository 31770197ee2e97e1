"""One service of the drill: it answers a mode's clients with the model, and tells inferwatch what it answered."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

import inferwatch
from inferwatch import Status
from inferwatch._kafka import KafkaTransport
from inferwatch._transport import Record
from streams.demo.attack import Attack, Outcome
from streams.demo.model import Served
from streams.demo.traffic import Request, Traffic
from streams.drill.modes import TRUSTED_KEY, Mode

__all__ = ["Desk", "LossyTransport"]

_QUERY_S = 0.02


class LossyTransport(KafkaTransport):
    """Says that it sent, and loses one record in five once it is told to: a network that lies."""

    lossy = False

    def send(self, record: Record, done: Callable[[str | None], None]) -> bool:
        """Loses it, or hands it on."""
        if self.lossy and record.topic.endswith(".events") and self._dice.random() < 0.2:
            done(None)
            return True
        return super().send(record, done)

    def __init__(self, bootstrap_servers: str) -> None:
        super().__init__(bootstrap_servers)
        self._dice = Random(7)


class Desk:
    """The service of one mode.

    Args:
        mode: What will go wrong.
        served: The model.
        watch: The SDK's client of its instance.
        rate: Ordinary requests a second.
        window_s: Of the worker.
        step_s: How often it is called.
        seed: Of its traffic.

    Attributes:
        events: Recorded since the onset, by anybody.
        counted: A counter of the mode's own.
    """

    def __init__(
        self, mode: Mode, served: Served, watch: inferwatch.Client, *, rate: float, window_s: float, step_s: float, seed: int
    ) -> None:
        self.mode, self.served, self.watch = mode, served, watch
        self.window_s, self.step_s = window_s, step_s
        self.rng = np.random.default_rng(seed)
        self.events = self.counted = self._recorded = 0
        self.version = mode.version
        self._traffic = Traffic(served.data.traffic.X, rate, seed)
        self._onset: float | None = None
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self.load()

    def load(self, *, digest: str = "", signature: str = "valid", key_id: str = TRUSTED_KEY) -> None:
        """Tells inferwatch of a load."""
        told: dict[str, Any] = {"model": self.mode.model, "version": self.version, "digest": digest or self.served.digest,
                                "signature": signature, "key_id": key_id}  # fmt: skip
        self.watch.loaded(**told)

    def promote(self, version: str) -> None:
        """Serves another version from now on."""
        self.version = version
        self.load(digest="sha256:2")

    def begin(self, now: float) -> None:
        """From now on the mode's failure happens."""
        self._onset, self.events = now, 0
        if self.mode.own_client == "full":
            self.watch.gauge("memory_share", 0.95)
        if self.mode.begin is not None:
            self.mode.begin(self)

    def step(self, now: float) -> None:
        """Answers what was asked since the last step."""
        requests = self._traffic.until(now)
        failing = self._onset is not None
        if failing and self.mode.spoil is not None and requests:
            requests = self.mode.spoil(self, requests, now - (self._onset or 0.0))
        if not requests:
            return
        X = np.array([one.row for one in requests])
        sound = scores = self.served.answer(np.nan_to_num(X))
        if failing and self.mode.tamper is not None:
            scores = self.mode.tamper(self, X, scores)
        truths = sound.argmax(1)
        if failing and self.mode.mislabel is not None:
            truths = self.mode.mislabel(self, X, truths)
        for one, row, answer, truth in zip(requests, X.tolist(), scores.tolist(), truths.tolist(), strict=True):
            self._record(one, row, answer if one.status is Status.OK else None)
            if self.mode.labelled:
                self.watch.label(model=self.mode.model, event_id=self._name(), truth=self.served.data.classes[truth])

    def attack(self, attack: Attack) -> None:
        """Runs it in a thread of its own, until `end`."""
        data = self.served.data
        low, high = data.bounds

        def ask(row: NDArray[np.float32]) -> NDArray[np.float32]:
            time.sleep(_QUERY_S)
            scores: NDArray[np.float32] = self.served.answer(row[None])[0]
            self._record(Request("mallory", row, Status.OK, 9.0), row.tolist(), scores.tolist())
            return scores

        self._thread = threading.Thread(
            target=attack, args=(ask, data.attacker.X, low, high),
            kwargs={"classes": len(data.classes), "outcome": Outcome(), "stop": self._over.is_set, "seed": 1}, daemon=True,
        )  # fmt: skip
        self._thread.start()

    def end(self) -> None:
        """Ends what it has started."""
        self._over.set()
        if self._thread is not None:
            self._thread.join(10)

    def _name(self) -> str:
        """Of the event that was recorded last."""
        return f"{self.mode.key}-{self._recorded}"

    def _record(self, request: Request, row: list[float], scores: list[float] | None) -> None:
        data = self.served.data
        with self._lock:
            self.events += 1
            self._recorded += 1
        self.watch.record(
            model=self.mode.model,
            version=self.version,
            client=request.client,
            features={name: None if math.isnan(value) else value for name, value in zip(data.names, row, strict=True)},
            scores=scores,
            prediction=None if scores is None else data.classes[int(np.argmax(scores))],
            latency_ms=request.latency_ms,
            status=request.status,
            at_ns=time.time_ns(),
            event_id=self._name() if self.mode.labelled else None,
        )
