"""Events per CPU-second from a Kafka record to window partials, all detectors on: the shard's hot path, columnar and JSON.

    OMP_NUM_THREADS=1 python -m bench.shard

20 features, 10 scores, 1,000 active clients, 500 events a record, 2,000 events a second of event time: a busy partition as it comes. The
same events spread over ten windows (67 a second) are the backlog of a quiet partition: each record then closes four slices of suspect rows,
and each 44 a window. Everything runs in one process and one thread, so CPU-seconds are the
process's own; the share of each part is measured in the same run. The reference is fitted on rows of the same law, and all clients are
ordinary: attackers cost no more, since every event takes the same path.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import msgspec
import numpy as np

from detectors.drift import WindowCounts
from inferwatch import CONTENT_TYPE_COLUMNS, CONTENT_TYPE_JSON, EventColumns, Strings, decode, encode
from schemas.reference import Feature
from streams.build import Rows, build
from streams.owner import Record
from streams.references import References, unpack
from streams.settings import load
from streams.shard import Shard
from streams.warmup import settle_memory

FEATURES, CLASSES, CLIENTS, EVENTS = 20, 10, 1_000, 500
RATE = 2_000
WINDOWS_NS = 3_000_000_000_000
KEY = b"benchmark key of sixteen bytes"
START_NS = 1_800_000_000_000_000_000


def rows(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Features of ten overlapping populations, and a softmax of their distances as scores."""
    centres = np.random.default_rng(7).normal(size=(CLASSES, FEATURES))
    which = rng.integers(0, CLASSES, n)
    X = (centres[which] + rng.normal(size=(n, FEATURES))).astype(np.float32)
    logits = -((X[:, None] - centres[None]) ** 2).sum(2) / 4
    scores = np.exp(logits - logits.max(1, keepdims=True))
    return X, (scores / scores.sum(1, keepdims=True)).astype(np.float32)


def records(rng: np.random.Generator, count: int, step_ns: int) -> list[EventColumns]:
    """Batches of events, one each ``step_ns``."""
    names = tuple(f"feature_{j}" for j in range(FEATURES))
    out = []
    for k in range(count):
        X, scores = rows(rng, EVENTS)
        number = np.arange(k * EVENTS, (k + 1) * EVENTS)
        out.append(
            EventColumns(
                model="bench",
                version="1",
                service="bench",
                instance="one",
                client=Strings.of([f"{c:032x}" for c in (CLIENTS * rng.random(EVENTS) ** 2).astype(int)]),
                at_ns=START_NS + number * step_ns,
                number=number,
                status=np.zeros(EVENTS, np.uint8),
                latency_ms=rng.gamma(4, 5, EVENTS).astype(np.float32),
                names=names,
                numeric=X,
                scores=scores,
                score_names=tuple(str(c) for c in range(CLASSES)),
            )
        )
    return out


def as_json(events: EventColumns) -> bytes:
    """The same events as a JSON producer sends them."""
    assert events.scores is not None
    return msgspec.json.encode(
        [
            {
                "model": events.model,
                "version": events.version,
                "service": events.service,
                "instance": events.instance,
                "client": events.client[i],
                "at": int(events.at_ns[i]),
                "number": int(events.number[i]),
                "latency_ms": round(float(events.latency_ms[i]), 3),
                "features": {name: round(float(v), 6) for name, v in zip(events.names, events.numeric[i], strict=True)},
                "scores": {str(c): round(float(v), 6) for c, v in enumerate(events.scores[i])},
            }
            for i in range(len(events))
        ]
    )


def cpu(work: Callable[[], None]) -> float:
    """CPU-seconds of a call."""
    before = time.process_time()
    work()
    return time.process_time() - before


def main() -> None:
    """Measures, prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=400)
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    rng = np.random.default_rng(1)
    X, scores = rows(rng, 6_000)
    member = np.arange(6_000) < 3_000
    features = tuple(Feature(name=f"feature_{j}") for j in range(FEATURES))
    classes = tuple(str(c) for c in range(CLASSES))
    owner = Rows(features=features, X=X, scores=scores, classes=classes, y=scores.argmax(1).astype(np.int32), member=member)
    reference = build("bench", "1", owner, membership_key=KEY, built_at_ns=0).reference
    loaded = unpack(reference, KEY)
    batches = records(rng, options.records, 10**9 // RATE)
    n = options.records * EVENTS
    columnar = [encode(b) for b in batches]
    sparse = [encode(b) for b in records(np.random.default_rng(2), options.records, WINDOWS_NS // n)]
    text = [as_json(b) for b in batches]
    settings = load(None, {})

    def shard_run(payloads: list[bytes], content_type: str) -> Callable[[], None]:
        def run() -> None:
            references = References(KEY)
            references.put(reference)
            shard = Shard(0, settings, references)
            for offset, payload in enumerate(payloads):
                shard.apply(Record("events", 0, offset, payload, START_NS + 3 * 10**12, headers={"content-type": content_type}))
                shard.outbox.ack([out.id for out in shard.outbox])
            assert shard.received == len(payloads) * EVENTS
            assert not shard.rejected

        return run

    def drift_run() -> None:
        assert loaded.drift is not None
        counts = WindowCounts(loaded.drift)
        for b in batches:
            counts.update(b.numeric, b.scores, np.zeros(EVENTS, np.int32), None, b.number.astype(np.uint64))

    def decode_run(payloads: list[bytes], content_type: str) -> Callable[[], None]:
        def run() -> None:
            for payload in payloads:
                decode(payload, content_type)

        return run

    work = {
        "columnar record -> partials": (shard_run(columnar, CONTENT_TYPE_COLUMNS), n),
        "columnar, a backlog of 67 a second": (shard_run(sparse, CONTENT_TYPE_COLUMNS), n),
        "JSON record -> partials": (shard_run(text, CONTENT_TYPE_JSON), len(text) * EVENTS),
        "of it: columnar decode": (decode_run(columnar, CONTENT_TYPE_COLUMNS), n),
        "of it: JSON decode": (decode_run(text, CONTENT_TYPE_JSON), len(text) * EVENTS),
        "of it: drift counts": (drift_run, n),
    }
    for function, _ in work.values():
        function()  # compiles, warms
    settle_memory()  # as a worker does
    what = f"{options.records} records of {EVENTS} events, {CLIENTS} clients, {FEATURES} features, {CLASSES} scores"
    print(f"{what}; median of {options.repeat}")
    for name, (function, events) in work.items():
        seconds = [cpu(function) for _ in range(options.repeat)]
        median = statistics.median(seconds)
        low, high = events / max(seconds), events / min(seconds)
        print(f"{name:36} {events / median:12,.0f} events/CPU-s  ({low:,.0f} to {high:,.0f})  {median / events * 1e6:6.3f} us/event")


if __name__ == "__main__":
    main()
