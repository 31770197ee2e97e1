"""What the SDK costs its host: `python bench/sdk.py`. Seeded, no network; the transport throws records away.

`record()` is timed call by call, in a tight loop (the sender competes for the interpreter all the time) and at 2,000 and 5,000 calls a
second (a busy service), also while Kafka cannot be reached. The p99.9 is the median of `RUNS` runs, with the lowest and the highest, of all
calls and of those from which the system did not take the core away (involuntary context switches: of a machine with other work they make
most of the tail). Two pieces of work that know nothing of the SDK and take about as long, timed the same way, stand for the machine: "plain
Python" keeps nothing; "plain, and keeps it" appends a kilobyte of new numbers to a deque, as whoever queues an event must. What the second
has of a tail, no queue in this process can be without. `record_many()` is timed until everything is encoded and handed to the transport.
"""

import gc
import logging
import resource
import sys
import time
from collections import deque
from collections.abc import Callable

import numpy as np

from inferwatch import Client, Record

KEY = "a key for benchmarks, no secret"
CALLS = 50_000
RUNS = 5
NOBODY = "127.0.0.1:9"
"""Where no broker listens."""


class Nowhere:
    """Takes everything, keeps nothing."""

    def __init__(self) -> None:
        self.bytes = self.records = 0

    def partitions(self, topic: str, timeout_s: float) -> int | None:
        """A real cluster's number."""
        return 12

    def send(self, record: Record, done: Callable[[str | None], None]) -> bool:
        """Delivered at once."""
        self.bytes += len(record.value)
        self.records += 1
        done(None)
        return True

    def poll(self) -> None:
        """Nothing is in flight."""

    def rest(self, timeout_s: float) -> None:
        """Nothing to let go of."""

    def close(self, timeout_s: float) -> None:
        """Nothing to do."""

    def after_fork(self) -> None:
        """Nothing to forget."""


def record(name: str, features: object, per_second: float | None, away: bool = False) -> None:
    """Percentiles of one call, over some runs."""
    _print(f"record, {name}", per_second, [_record(features, per_second, away) for _ in range(RUNS)])


def plain(per_second: float | None) -> None:
    """The same percentiles of work that is none of ours."""

    def work(_: int) -> None:
        {k: str(k) for k in range(30)}

    _print("plain Python", per_second, [(*_percentiles(work, per_second), 0.0, 0.0) for _ in range(RUNS)])


def plain_kept(per_second: float | None) -> None:
    """The same of work that keeps a kilobyte, as an event that waits does."""
    kept: deque[tuple[float, ...]] = deque()

    def work(i: int) -> None:
        for _ in range(6):
            kept.append((i * 1.0, i * 1.5, i * 2.5, i * 3.5))

    found: list[tuple[float, ...]] = []
    for _ in range(RUNS):
        found.append((*_percentiles(work, per_second), 0.0, 0.0))
        kept.clear()
    _print("plain, and keeps it", per_second, found)


def _print(name: str, per_second: float | None, found: list[tuple[float, ...]]) -> None:
    runs = np.array(found)
    p50, p99, p999, kept, cpu, dropped = np.median(runs, axis=0)
    pace = "tight loop" if per_second is None else f"{per_second:.0f}/s"
    print(
        f"{name:<32} {pace:>10}: p50 {p50:6.2f} us  p99 {p99:7.2f} us  p99.9 {p999:7.2f} us "
        f"({runs[:, 2].min():.0f}-{runs[:, 2].max():.0f}), undisturbed {kept:6.2f} us ({runs[:, 3].min():.0f}-{runs[:, 3].max():.0f})   "
        f"sender's CPU {cpu:5.2f} us an event {dropped or ''}",
        flush=True,
    )


def _record(features: object, per_second: float | None, away: bool) -> tuple[float, ...]:
    transport = None if away else Nowhere()
    watch = Client(
        NOBODY if away else None, service="bench", transport=transport, pseudonym_key=KEY, queue_max_events=200_000, queue_max_bytes=1 << 33
    )
    watch.record(model="m", version="1", client="c", features=features)
    clients = [f"client-{i}" for i in np.random.default_rng(1).integers(0, 5_000, _calls(per_second))]
    scores = [0.9, 0.1]

    def call(i: int) -> None:
        watch.record(model="m", version="1", client=clients[i], features=features, scores=scores, prediction="ok", latency_ms=3.5)

    cpu = time.process_time() - time.thread_time()
    percentiles = _percentiles(call, per_second)
    if not away:
        watch.flush(30)
    cpu = time.process_time() - time.thread_time() - cpu
    stats = watch.stats()
    watch.close(1.0)
    return *percentiles, cpu / len(clients) * 1e6, sum(stats.dropped.values())


def _calls(per_second: float | None) -> int:
    return CALLS if per_second is None else int(per_second * 5)


def _percentiles(call: Callable[[int], None], per_second: float | None) -> tuple[float, float, float, float]:
    calls = _calls(per_second)
    took, disturbed = np.empty(calls), np.zeros(calls, bool)
    clock, usage = time.perf_counter_ns, resource.getrusage
    gc.collect()
    begin = clock()
    for i in range(calls):
        if per_second is not None:
            while clock() < begin + i * 1e9 / per_second:
                time.sleep(0.0001)
        before = usage(resource.RUSAGE_THREAD).ru_nivcsw
        start = clock()
        call(i)
        took[i] = clock() - start
        disturbed[i] = usage(resource.RUSAGE_THREAD).ru_nivcsw != before
    p50, p99, p999 = np.percentile(took, [50, 99, 99.9]) / 1e3
    return p50, p99, p999, np.percentile(took[~disturbed], 99.9) / 1e3


def record_many(rows: int) -> None:
    """Events a second, end to end."""
    rng = np.random.default_rng(1)
    transport = Nowhere()
    watch = Client(service="bench", transport=transport, pseudonym_key=KEY, queue_max_events=5_000_000, queue_max_bytes=1 << 34)
    matrix = rng.normal(size=(rows, 20)).astype(np.float32)
    scores = rng.random((rows, 2)).astype(np.float32)
    names = [f"feature_{i}" for i in range(20)]
    clients = [f"client-{i}" for i in rng.integers(0, 5_000, rows)]
    predictions = rng.integers(0, 2, rows)
    times = max(1, 1_000_000 // rows)
    watch.record_many(model="m", version="1", client=clients, features=matrix, names=names, scores=scores, prediction=predictions)
    watch.flush(60)
    begin, call, cpu = time.perf_counter(), 0.0, time.process_time()
    for _ in range(times):
        start = time.perf_counter()
        watch.record_many(
            model="m", version="1", client=clients, features=matrix, names=names, scores=scores, prediction=predictions, latency_ms=3.5
        )
        call += time.perf_counter() - start
    assert watch.flush(60) == 0
    took, cpu = time.perf_counter() - begin, time.process_time() - cpu
    stats = watch.stats()
    watch.close()
    print(
        f"record_many, {rows:>6} x 20: {times * rows / took:12,.0f} events/s, CPU {cpu / times / rows * 1e9:5.0f} ns an event, "
        f"the caller {call / times / rows * 1e9:4.0f} ns, "
        f"{transport.bytes / stats.sent:.0f} B/event, {stats.sent / transport.records:.0f} events/record {stats.dropped or ''}"
    )


def main() -> None:
    """All of it."""
    logging.disable()
    print(f"Python {sys.version.split()[0]}, numpy {np.__version__}")
    numbers = {f"feature_{i}": float(i) for i in range(20)}
    mixed = numbers | {f"feature_{i}": f"category {i}" for i in range(5)}
    array = np.arange(20, dtype=np.float64)
    for pace in (2_000.0, 5_000.0, None):
        plain(pace)
        plain_kept(pace)
        record("dict of 20 numbers", numbers, pace)
        record("dict of 15 and 5 texts", mixed, pace)
        record("array of 20", array, pace)
        record("numbers, no broker", numbers, pace, away=True)
    for rows in (1_000, 10_000, 100_000):
        record_many(rows)


if __name__ == "__main__":
    main()
