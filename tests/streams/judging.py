"""A judge, messages for it as records, and what it said."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec

from schemas import windows
from schemas.alerts import Alert
from schemas.reference import Reference
from schemas.windows import Finding, WindowPartial
from streams.judge import Judge
from streams.owner import Record, Role
from streams.references import References
from tests.streams.events import KEY, NS, START, reference, settings
from tests.streams.messages import LENGTH, partial

PUBLISHED = reference()
BEAT = {"ce_type": "inferwatch.heartbeat.v1"}


def judge(published: Reference | None = PUBLISHED, **sections: dict[str, Any]) -> Judge:
    references = References(KEY)
    if published is not None:
        references.put(published)
    return Judge(0, settings(**sections), references)


class Feed:
    """Gives a judge messages as records with offsets of their own."""

    def __init__(self, to: Judge) -> None:
        self.judge = to
        self._offsets = itertools.count()

    def raw(self, role: Role, value: bytes, at_ns: int = START, headers: dict[str, str] | None = None) -> bool:
        return self.judge.apply(Record(role, 0, next(self._offsets), value, at_ns, headers=headers or {}))

    def give(self, *messages: WindowPartial | Finding) -> None:
        for message in messages:
            if isinstance(message, WindowPartial):
                self.raw("windows", windows.encode(message), message.end_ns)
            else:
                self.raw("findings", windows.encode(message), message.at_ns)

    def window(self, number: int, **given: Any) -> None:
        """An ordinary share of this window, and the time at which it is judged."""
        self.give(partial(published=PUBLISHED, window=number, **({"n": 400} | given)))
        self.judge.tick(START + (number + 1) * LENGTH + 11 * NS)


def rows(of: Judge, table: str) -> list[Any]:
    return [msgspec.msgpack.decode(out.value) for out in of.outbox if out.to == "rows" and out.key == table.encode()]


def alerts(of: Judge) -> list[Alert]:
    return [msgspec.json.decode(out.value, type=Alert) for out in of.outbox if out.to == "alerts"]


def letters(of: Judge) -> list[Any]:
    return [out for out in of.outbox if out.to == "dlq"]


def judged(of: Judge) -> list[list[Any]]:
    return [[out.key, msgspec.msgpack.decode(out.value)] for out in of.outbox if out.to == "rows"]
