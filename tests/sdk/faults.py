"""What a service sees of the SDK while things break: the books at every moment, and how long `record` keeps it."""

from __future__ import annotations

import resource
import socket
import threading
import time
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from inferwatch import Client
from tests.sdk.helpers import KEY

FEATURES = {f"feature_{i}": float(i) for i in range(20)}


def kafka_client(servers: str, **settings: Any) -> Client:
    """A client of a real broker, quick to flush."""
    defaults: dict[str, Any] = {"service": "svc", "pseudonym_key": KEY, "flush_age_s": 0.02, "heartbeat_s": 0.5}
    return Client(servers, **defaults | settings)


def balanced(watch: Client) -> bool:
    """sent + dropped + queued == accepted, of events and of signals."""
    stats = watch.stats()
    return all(one.sent + sum(one.dropped.values()) + one.queued == one.accepted for one in (stats, stats.signals))


class Calls:
    """Threads that record all the time, and one that looks at the books; afterwards how long the calls took.

    A call counts as a wait when the thread slept in it (voluntary context switches: a lock, the interpreter, I/O). Calls from which the
    system took the core away say nothing about the SDK on a busy test machine, so they are left out of `p999_us`.
    """

    def __init__(self, watch: Client, threads: int = 1, per_second: float = 2_000.0) -> None:
        self.watch, self.made, self.kept, self.broken = watch, 0, 0, 0
        self._pause = threads / per_second
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._took, self._waited, self._lost = array("q"), array("q"), array("q")  # no lists of tuples: those make garbage collections
        self._threads = [threading.Thread(target=self._record, args=(k,)) for k in range(threads)]
        self._threads.append(threading.Thread(target=self._observe))

    def __enter__(self) -> Calls:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    @property
    def p999_us(self) -> float:
        """Of calls that kept their core."""
        return float(np.percentile(np.array(self._took)[np.array(self._lost) == 0], 99.9)) / 1e3

    @property
    def waits(self) -> float:
        """Share of calls that slept."""
        return float(np.mean(np.array(self._waited) > 0)) if self._took else 0.0

    def _record(self, number: int) -> None:
        took, waited, lost, kept, made = array("q"), array("q"), array("q"), 0, 0
        clock, usage = time.perf_counter_ns, resource.getrusage
        while not self._over.is_set():
            before = usage(resource.RUSAGE_THREAD)
            start = clock()
            kept += self.watch.record(
                model="m", version="1", client=f"c{made % 9}", features=FEATURES, scores=[0.9, 0.1], event_id=f"{number}:{made}"
            )
            end = clock() - start
            after = usage(resource.RUSAGE_THREAD)
            took.append(end)
            waited.append(after.ru_nvcsw - before.ru_nvcsw)
            lost.append(after.ru_nivcsw - before.ru_nivcsw)
            made += 1
            time.sleep(self._pause)
        with self._lock:
            self.made, self.kept = self.made + made, self.kept + kept
            self._took += took
            self._waited += waited
            self._lost += lost

    def _observe(self) -> None:
        while not self._over.is_set():
            self.broken += not balanced(self.watch)
            time.sleep(0.01)


@contextmanager
def hung_broker() -> Iterator[str]:
    """Takes every connection and never says a word."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(128)
        listening.settimeout(0.1)
        taken: list[socket.socket] = []
        over = threading.Event()

        def accept() -> None:
            while not over.is_set():
                try:
                    taken.append(listening.accept()[0])
                except TimeoutError:
                    continue

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield f"127.0.0.1:{listening.getsockname()[1]}"
        finally:
            over.set()
            thread.join()
            for one in taken:
                one.close()
