"""Snapshots of one partition with 100,000 clients: how long the event loop is held up, what is written, how long a restore takes.

    OMP_NUM_THREADS=1 python -m bench.state [--clients 100000] [--stores folder kafka]

A real shard with all client detectors on (20 features), the real stores, a broker of its own (one node, this machine's disk). The clients
that change between two snapshots are drawn at random, which is the worst case for pieces of neighbours. "at once": the longest time for
which a snapshot holds the loop up without a break; "in all": the sum of its slices. "CPU" is that of the loop's thread, for a machine that
does other things, too. Times are medians (and the largest) of the repetitions.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from bench.shard import CLASSES, FEATURES, KEY, START_NS, rows
from inferwatch import CONTENT_TYPE_COLUMNS, EventColumns, Strings, encode
from schemas.reference import Feature
from streams.build import Rows, build
from streams.custody import save_and_free
from streams.embedded.kafka import EmbeddedKafka
from streams.kafka import ensure_topics
from streams.owner import Record
from streams.references import References
from streams.settings import Kafka, Settings, load
from streams.shard import Shard
from streams.snapshots import SnapshotStore
from streams.state_folder import FolderStore
from streams.state_topic import TopicStore
from streams.tenure import Tenure

_EVENTS = 500
_SLICE_S = 0.01


class Fed:
    """A shard and who sends to it."""

    def __init__(self, clients: int) -> None:
        self.rng = rng = np.random.default_rng(1)
        X, scores = rows(rng, 6_000)
        features = tuple(Feature(name=f"feature_{j}") for j in range(FEATURES))
        classes = tuple(str(c) for c in range(CLASSES))
        y, member = scores.argmax(1).astype(np.int32), np.arange(6_000) < 3_000
        owner = Rows(features=features, X=X, scores=scores, classes=classes, y=y, member=member)
        self.references = References(KEY)
        self.references.put(build("bench", "1", owner, membership_key=KEY, built_at_ns=0).reference)
        self.settings: Settings = load(None, {"INFERWATCH_LIMITS_CLIENTS": str(max(clients, 10_000))})
        self.clients, self.offset = clients, 0
        self.shard = self.fresh()

    def fresh(self) -> Shard:
        """An empty shard."""
        return Shard(0, self.settings, self.references)

    def send(self, clients: np.ndarray) -> None:
        """One event of each of these clients."""
        for a in range(0, len(clients), _EVENTS):
            which = clients[a : a + _EVENTS]
            n = len(which)
            X, scores = rows(self.rng, n)
            number = np.arange(self.offset * _EVENTS, self.offset * _EVENTS + n)
            batch = EventColumns(
                model="bench",
                version="1",
                service="bench",
                instance="one",
                client=Strings.of([f"{c:032x}" for c in which.tolist()]),
                at_ns=START_NS + number * 1_000,
                number=number,
                status=np.zeros(n, np.uint8),
                latency_ms=np.ones(n, np.float32),
                names=tuple(f"feature_{j}" for j in range(FEATURES)),
                numeric=X,
                scores=scores,
                score_names=tuple(str(c) for c in range(CLASSES)),
            )
            headers = {"content-type": CONTENT_TYPE_COLUMNS}
            self.shard.apply(Record("events", 0, self.offset, encode(batch), START_NS + 10**10, headers=headers))
            self.offset += 1


def take(tenure: Tenure, store: SnapshotStore) -> tuple[float, float, float, float, int]:
    """Takes and saves one: longest hold, that in CPU, all holds in CPU, time to save, in s; bytes written."""
    began, cpu = time.perf_counter(), time.thread_time()
    taking = tenure.begin_snapshot(0)
    held = longest = longest_cpu = 0.0
    more = True
    while more:
        more = taking.step()
        now, now_cpu = time.perf_counter(), time.thread_time()
        if not more or now - began > _SLICE_S:
            held, longest, longest_cpu = held + now_cpu - cpu, max(longest, now - began), max(longest_cpu, now_cpu - cpu)
            began, cpu = time.perf_counter(), time.thread_time()
    began = time.perf_counter()
    snapshot = taking.snapshot
    size = save_and_free(store, snapshot)
    tenure.saved(snapshot, taking.below)
    return longest, longest_cpu, held, time.perf_counter() - began, size


def measure(fed: Fed, name: str, store: SnapshotStore, other: SnapshotStore, repeat: int) -> None:
    """Prints the lines of one store."""
    fence, _ = store.claim("shard", 0)
    tenure = Tenure("shard", fed.shard, fence=fence, generation=1, restored=False, failure_share=0.5)
    for model in fed.shard.models.values():  # another store knows nothing of what was saved before
        model.touch()
        model.watch.journal.touch(np.arange(fed.clients))
    _print(name, "first", [take(tenure, store)])
    for share, times in ((0.01, repeat), (0.1, repeat), (1.0, 2)):
        found = []
        for _ in range(times):
            fed.send(fed.rng.choice(fed.clients, round(share * fed.clients), replace=False))
            found.append(take(tenure, store))
        _print(name, f"{share:.0%} new", found)
    began, cpu = time.perf_counter(), time.process_time()
    _, saved = other.claim("shard", 0)
    assert saved is not None
    claimed = time.perf_counter() - began
    again = fed.fresh()
    again.begin_restore(saved.state)
    slowest = 0.0
    for piece, blob in other.pieces(saved):
        before = time.perf_counter()
        again.restore_piece(piece, blob)
        slowest = max(slowest, time.perf_counter() - before)
    before = time.perf_counter()
    again.end_restore()
    done = time.perf_counter()
    print(
        f"{name:7} restore   {done - began:.2f} s in all, CPU {time.process_time() - cpu:.2f} s, {claimed:.2f} s to claim; "
        f"{len(saved.keep)} pieces, the slowest "
        f"{slowest * 1e3:.1f} ms, the end {(done - before) * 1e3:.1f} ms",
        flush=True,
    )
    assert again.received == fed.shard.received
    if fed.clients <= 20_000:
        assert again.snapshot() == fed.shard.snapshot()
    again.close()


def _print(name: str, what: str, found: list[tuple[float, float, float, float, int]]) -> None:
    once, once_cpu, held, took, size = (statistics.median(column) for column in zip(*found, strict=True))
    print(
        f"{name:7} {what:9} at once {once * 1e3:6.1f} ms (at most {max(found)[0] * 1e3:.1f}), CPU {once_cpu * 1e3:5.1f} ms "
        f"(at most {max(one[1] for one in found) * 1e3:.1f}); in all {held * 1e3:6.0f} ms CPU; {took:5.2f} s to save {size / 1e6:6.1f} MB",
        flush=True,
    )


def main() -> None:
    """Measures, prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=100_000)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--stores", nargs="+", default=["folder", "kafka"])
    options = parser.parse_args()
    fed = Fed(options.clients)
    fed.send(np.arange(options.clients))
    model = fed.shard.models["bench", "1"]
    assert model.watch.journal.under_way is False
    print(f"{options.clients} clients, {sum(len(p) for p in _pieces(fed)) / 1e6:.0f} MB")
    with tempfile.TemporaryDirectory() as folder:
        if "folder" in options.stores:
            measure(fed, "folder", FolderStore(Path(folder) / "state"), FolderStore(Path(folder) / "state"), options.repeat)
        if "kafka" in options.stores:
            with EmbeddedKafka(folder=Path(folder) / "kafka") as broker:
                kafka = Kafka(bootstrap_servers=broker.bootstrap_servers, partitions=1)
                ensure_topics(kafka)
                store, other = TopicStore(kafka), TopicStore(kafka)
                measure(fed, "kafka", store, other, options.repeat)
                for one in (store, other):
                    one.release("shard", 0)


def _pieces(fed: Fed) -> list[bytes]:
    copy = fed.shard.begin_copy()
    while copy.step():
        pass
    return [copy.root, *copy.pieces.values()]


if __name__ == "__main__":
    main()
