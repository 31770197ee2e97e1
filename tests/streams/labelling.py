"""A shard and a judge with labels between them."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import numpy as np

from inferwatch import EventColumns, Label
from schemas.outcomes import CE_TYPE
from streams.judge import Judge
from streams.owner import Record
from streams.references import References
from streams.shard import Shard
from tests.streams.events import KEY, NS, START, record, reference, settings

PUBLISHED = reference()
CLASSES = ("no", "yes")
LENGTH = 300 * NS


def label(number: int, truth: Any = "no", *, instance: str = "shop-1", **given: Any) -> Label:
    return Label(model="m", event_id=f"{instance}:{number}", truth=truth, **given)


def answers(batch: EventColumns) -> list[str]:
    """What the model answered."""
    assert batch.scores is not None
    return [CLASSES[k] for k in batch.scores.argmax(1).tolist()]


def other(name: str) -> str:
    return CLASSES[1 - CLASSES.index(name)]


class Pair:
    """Shards of some partitions, and the judge of their model; ``restart`` replaces each by one that was restored."""

    def __init__(self, partitions: int = 1, published: Any = PUBLISHED, **sections: dict[str, Any]) -> None:
        self.references = References(KEY)
        if published is not None:
            self.references.put(published)
        self.settings = settings(**sections)
        self.shards = [self._shard(p) for p in range(partitions)]
        self.judge = self._judge()
        self._offsets = itertools.count()
        self._sent = [itertools.count() for _ in range(partitions)]
        self.now = START

    def _shard(self, partition: int) -> Shard:
        return Shard(partition, self.settings, self.references, epoch=7)

    def _judge(self) -> Judge:
        return Judge(0, self.settings, self.references)

    def restart(self) -> None:
        for p, shard in enumerate(self.shards):
            blob = shard.snapshot()
            shard.close()
            self.shards[p] = self._shard(p)
            self.shards[p].restore(blob)
            assert self.shards[p].snapshot() == blob
        blob = self.judge.snapshot()
        self.judge.close()
        self.judge = self._judge()
        self.judge.restore(blob)
        assert self.judge.snapshot() == blob

    def events(self, batch: EventColumns, partition: int = 0) -> None:
        plain = record(batch, next(self._sent[partition]))
        self.shards[partition].apply(Record("events", partition, plain.offset, plain.value, plain.at_ns, headers=plain.headers))
        self.flush(partition)

    def close_windows(self) -> None:
        """What the shards hold leaves them."""
        for p, shard in enumerate(self.shards):
            shard.finish()
            self.flush(p)

    def flush(self, partition: int) -> None:
        shard = self.shards[partition]
        for out in shard.outbox:
            if out.headers.get("ce_type") == CE_TYPE:
                self.raw("findings", out.value, headers=out.headers)
        shard.outbox.ack([out.id for out in shard.outbox])

    def labels(self, *given: Label, at_ns: int | None = None) -> None:
        for one in given:
            self.raw("labels", msgspec.json.encode(one), at_ns=self.now if at_ns is None else at_ns)

    def raw(self, role: Any, value: bytes, at_ns: int | None = None, headers: dict[str, str] | None = None) -> None:
        at = self.now if at_ns is None else at_ns
        self.judge.apply(Record(role, 0, next(self._offsets), value, at, headers=headers or {}))

    def tick(self, seconds: float = 1.0) -> None:
        self.now += round(seconds * NS)
        self.judge.tick(self.now)

    def fates(self) -> dict[str, int]:
        return {fate: n for fate, n in self.judge.fates().items() if n}

    def rows(self, table: str) -> list[Any]:
        return [msgspec.msgpack.decode(out.value) for out in self.judge.outbox if out.to == "rows" and out.key == table.encode()]


def accuracy(rows: list[Any]) -> dict[tuple[int, str], tuple[int, int]]:
    """Labels and errors by window and delay."""
    out: dict[tuple[int, str], tuple[int, int]] = {}
    for row in rows:
        n, errors = out.get((row["start"], row["delay"]), (0, 0))
        out[row["start"], row["delay"]] = n + row["n"], errors + row["errors"]
    return out


def truths(batch: EventColumns, seed: int, wrong: float) -> list[str]:
    """The answers, some of them wrong."""
    rng = np.random.default_rng(seed)
    return [other(a) if flip else a for a, flip in zip(answers(batch), (rng.random(len(batch)) < wrong).tolist(), strict=True)]
