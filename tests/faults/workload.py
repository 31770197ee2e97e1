"""What the services send, and their own account of it.

Three producers (the SDK's clients, each an instance) send a beat every half second. Why the outcome is certain to the unit although faults
delay everything:

- An event's time lies `LEAD_S` ahead of the wall clock (less than the 300 s that the worker allows), so no fault lasts long enough for the
  clock to close a window while events of it are on their way. Windows close because later events have come.
- A beat is delivered before the next one begins, and later beats have later times, so no event comes after one of a later window: an event
  counts in the window of its own time, whatever the order within the beat.
- The judge waits `SETTLE_S` behind the window's end, which is at least `LEAD_S` ahead when its events are sent: longer than a fault.
- When all has been read, the workers' clock is stepped behind the last window's end, then behind its judgement.

Of every twelfth event, if it was answered, the truth is told: of half of these before the event is on its way, of the others with the next
beat. It is drawn with the answer's own probability, so that labels open no alert.

Ordinary clients answer to the model "calm", so that what its features' bins must hold follows from what was sent alone. One client of the
model "pressed" walks along the boundary between the classes, as HopSkipJump does.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from inferwatch import Client, KafkaTransport, decode
from inferwatch._transport import Record
from tests.faults.stage import LENGTH_S
from tests.streams.events import NAMES, NS

LEAD_S = 40
BEAT_S = 0.5
CLIENTS = 24
MODELS = ("calm", "pressed")
MALLORY = "mallory"
WANDERER = "wanderer"
_STATUS = ("ok", "ok", "ok", "ok", "ok", "ok", "error", "rate_limited")


class Unruly:
    """The SDK's way to Kafka, with a network that sends records twice and out of order when `unruly` says so."""

    def __init__(self, bootstrap_servers: str, seed: int) -> None:
        self._kafka = KafkaTransport(bootstrap_servers, {"message.timeout.ms": 300_000})
        self._random = random.Random(seed)
        self._held: dict[int, tuple[Record, Callable[[str | None], None], float]] = {}
        self.unruly = False
        self.twice = self.swapped = 0
        """Events sent twice; records that overtook another."""

    def partitions(self, topic: str, timeout_s: float) -> int | None:
        return self._kafka.partitions(topic, timeout_s)

    def send(self, record: Record, done: Callable[[str | None], None]) -> bool:
        if not (self.unruly and record.topic.endswith(".events")):
            return self._kafka.send(record, done)
        if record.partition not in self._held and self._random.random() < 0.4:
            self._held[record.partition] = record, done, time.monotonic()
            return True
        if not self._kafka.send(record, done):
            return False
        if self._random.random() < 0.4 and self._kafka.send(record, lambda _: None):
            self.twice += len(decode(record.value, dict(record.headers)["content-type"].decode())[0][0])
        if (held := self._held.pop(record.partition, None)) is not None:
            self.swapped += 1
            self._kafka.send(held[0], held[1])
        return True

    def poll(self) -> None:
        for partition, (record, done, since) in list(self._held.items()):
            if time.monotonic() - since > 0.1:  # nothing came to overtake it
                del self._held[partition]
                self._kafka.send(record, done)
        self._kafka.poll()

    def rest(self, timeout_s: float) -> None:
        self._kafka.rest(timeout_s)

    def close(self, timeout_s: float) -> None:
        for record, done, _ in self._held.values():
            self._kafka.send(record, done)
        self._held.clear()
        self._kafka.close(timeout_s)

    def after_fork(self) -> None:
        self._kafka.after_fork()


@dataclass
class Account:
    """What the producers say that they sent, one entry an accepted `record` call."""

    model: list[str] = field(default_factory=list)
    start_ns: list[int] = field(default_factory=list)
    client: list[str] = field(default_factory=list)
    features: list[Any] = field(default_factory=list)
    ok: list[bool] = field(default_factory=list)
    instance: list[str] = field(default_factory=list)
    labels: Counter[tuple[str, int]] = field(default_factory=Counter)
    """By model and start of the event's window."""
    errors: Counter[tuple[str, int]] = field(default_factory=Counter)
    """Of these, labels that say that the answer was wrong."""
    astray: Counter[str] = field(default_factory=Counter)
    """By instance: events whose time is hours or days off, which the worker must refuse."""


def answer(x: Any) -> list[float]:
    p = float(1 / (1 + np.exp(-x[0] - 0.5 * x[1])))
    return [1 - p, p]


def walk(rng: np.random.Generator) -> Iterator[Any]:
    """What HopSkipJump asks: bisections between the classes, then probes around the boundary."""
    while True:
        low, high = np.array([-2.0, -2.0, 0.0]) + rng.normal(scale=0.01, size=3), np.array([2.0, 2.0, 0.0])
        for _ in range(14):
            middle = (low + high) / 2
            yield middle
            low, high = (low, middle) if answer(middle)[1] > 0.5 else (middle, high)
        for _ in range(10):
            yield high + rng.normal(scale=0.02, size=3)


class Traffic:
    """Producers that send until they are stopped. Their thread's error is raised by `finish`."""

    def __init__(self, bootstrap_servers: str, prefix: str, seed: int, *, rate: int = 16) -> None:
        self.account = Account()
        self.attack = threading.Event()
        self.astray = threading.Event()
        self._rng, self._rate, self._walk = np.random.default_rng(seed), rate, walk(np.random.default_rng(seed + 1))
        self.transports = [Unruly(bootstrap_servers, seed + k) for k in range(3)]
        self.clients = [
            Client(service="shop", instance=f"shop-{k}", transport=transport, topic_prefix=prefix, pseudonym_key=b"k" * 32, heartbeat_s=2)
            for k, transport in enumerate(self.transports)
        ]
        self._later: list[Callable[[], bool]] = []
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._last = 0.0
        self.last_end_s = 0
        self.attacked = 0
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def unruly(self, on: bool) -> None:
        for transport in self.transports:
            transport.unruly = on

    def finish(self) -> None:
        """Stops, delivers everything, closes the producers."""
        self._stop.set()
        self._thread.join(180)
        assert all(tell() for tell in self._later), "the producer's queue of labels is full"
        assert not self._thread.is_alive(), "the producers cannot deliver"
        if self._error is not None:
            raise self._error
        for client in self.clients:
            assert client.close(30) == 0, "events were dropped"

    @property
    def sent(self) -> int:
        """Events that reached Kafka, repetitions included, by the SDK's own account."""
        stats = [client.stats() for client in self.clients]
        assert all(one.queued == 0 and not sum(one.dropped.values()) for one in stats), stats
        return sum(one.sent for one in stats) + self.twice

    @property
    def twice(self) -> int:
        return sum(transport.twice for transport in self.transports)

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                began = time.monotonic()
                self._beat()
                self._stop.wait(max(0.0, BEAT_S - (time.monotonic() - began)))
        except BaseException as error:  # noqa: BLE001  # raised by `finish`
            self._error = error

    def _beat(self) -> None:
        # Never twice in the same half second, and always the lead ahead: what a fault delayed is not caught up, it is left out.
        second = max(self._last + BEAT_S, np.floor((time.time() + LEAD_S) / BEAT_S) * BEAT_S)
        self._last = float(second)
        start_s = int(second // LENGTH_S * LENGTH_S)
        self.last_end_s = start_s + LENGTH_S
        later, self._later = self._later, []
        assert all(tell() for tell in later), "the producer's queue of labels is full"
        for k, client in enumerate(self.clients):
            for model in MODELS:
                for who in self._rng.integers(0, CLIENTS, self._rate):
                    self._ask(client, model, f"customer-{who}", self._rng.normal(size=3), start_s)
            if k == 0 and self.attack.is_set():
                for _ in range(12):
                    self.attacked += 1
                    self._ask(client, "pressed", MALLORY, next(self._walk), start_s, status="ok")
            if self.astray.is_set():
                hours = (3.0, -24.0 * 10)[int(self._rng.integers(2))]
                for _ in range(3):
                    self._record(client, "calm", WANDERER, self._rng.normal(size=3), round((time.time() + 3_600 * hours) * NS), "ok")
                    self.account.astray[client.instance] += 1
        for client in self.clients:
            deadline = time.monotonic() + 150
            while client.flush(5.0):
                assert time.monotonic() < deadline, "the producers cannot deliver"

    def _ask(self, client: Client, model: str, who: str, x: Any, start_s: int, status: str = "") -> None:
        status = status or _STATUS[int(self._rng.integers(len(_STATUS)))]
        at = self._last + float(self._rng.random()) * BEAT_S
        account = self.account
        number = len(account.model)
        if status == "ok" and number % 12 == 0:
            p = answer(x)[1]
            truth = bool(self._rng.random() < p)
            tell = partial(client.label, model=model, event_id=f"ask-{number}", truth="yes" if truth else "no")
            if number % 24:
                self._later.append(tell)
            else:
                assert tell(), "the producer's queue of labels is full"
            account.labels[model, start_s * NS] += 1
            account.errors[model, start_s * NS] += truth != (p > 0.5)
        self._record(client, model, who, x, int(at * 1e6) * 1_000, status, event_id=f"ask-{number}")
        account.model.append(model)
        account.start_ns.append(start_s * NS)
        account.client.append(client.pseudonym(who))
        account.features.append(np.float32(x))
        account.ok.append(status == "ok")
        account.instance.append(client.instance)

    def _record(self, client: Client, model: str, who: str, x: Any, at_ns: int, status: Any, event_id: str | None = None) -> None:
        scores = answer(x)
        taken = client.record(
            model=model,
            version="1",
            client=who,
            features=dict(zip(NAMES, map(float, x), strict=True)),
            scores=scores,
            prediction="yes" if scores[1] > 0.5 else "no",
            latency_ms=4.0,
            status=status,
            at_ns=at_ns,
            event_id=event_id,
        )
        assert taken, "the producer's queue is full"
