"""Canary records in force: which rows of a batch are one, and which of a client's hits is news."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.exposure import ExposureLedger
from schemas.canaries import MAX_CANARIES, Canary, CanaryError

__all__ = ["Asker", "CanaryBook", "CanaryHits", "CanarySet", "hash_key", "key_tag"]

_FOLLOWED = 10_000
_ASKERS, _NAMES = 100, 5
"""Of a batch that are told of, and canaries that are named of each."""
_BITS = np.uint64(0xFFFF)


def hash_key(membership_key: str, model: str, version: str) -> bytes:
    """The key under which rows of a model version are hashed (`ExposureLedger`)."""
    return f"{membership_key}\0{model}\0{version}".encode()


def key_tag(membership_key: str) -> str:
    """Eight hex digits by which two parties see that they have the same key, and nothing else."""
    return hashlib.blake2b(membership_key.encode(), digest_size=4, person=b"canary key").hexdigest()


def codes_of(membership_key: str, model: str, version: str, X: NDArray[np.float32]) -> list[str]:
    """The published codes of rows (n, d) in the reference's columns."""
    codes = ExposureLedger(None, hash_key(membership_key, model, version), capacity=1).codes(X)
    return [f"{code:016x}" for code in codes.tolist()]


class Asker(NamedTuple):
    """A client who asked about canaries in a batch."""

    client: str
    first: int
    """The first row that is one."""
    hits: int
    """How many are."""
    names: list[str]
    """Of the canaries, five at most."""


class CanarySet:
    """The canaries of a model version that a shard looks for.

    Memory: 64 KB and 100 bytes a canary. Cost: 3 ns an event.
    """

    def __init__(self, canaries: Mapping[str, Canary]) -> None:
        self._names = {int(code, 16): one.name for code, one in canaries.items()}
        codes = np.array(sorted(self._names), np.uint64)
        self._maybe = np.zeros(int(_BITS) + 1, np.bool_)
        self._maybe[(codes & _BITS).astype(np.intp)] = True

    def find(self, codes: NDArray[np.uint64]) -> list[tuple[int, str]]:
        """Rows (n,) that are a canary, and which."""
        rows = np.flatnonzero(self._maybe[codes & _BITS]).tolist()
        return [(row, self._names[code]) for row in rows if (code := int(codes[row])) in self._names]

    def askers(self, codes: NDArray[np.uint64], client_of: Callable[[int], str], known: Collection[str]) -> list[Asker]:
        """Who asked about canaries in rows (n,), a hundred at most, without those who are known to have them."""
        found: dict[str, list[tuple[int, str]]] = {}
        for row, name in self.find(codes):
            if (client := client_of(row)) not in known:
                found.setdefault(client, []).append((row, name))
        return [
            Asker(client, hits[0][0], len(hits), list(dict.fromkeys(name for _, name in hits))[:_NAMES])
            for client, hits in list(found.items())[:_ASKERS]
        ]


class CanaryBook:
    """All canaries in force, by model version; filled from the topic.

    Args:
        membership_key: the installation's.
    """

    def __init__(self, membership_key: str = "") -> None:
        self._tag = key_tag(membership_key)
        self._canaries: dict[tuple[str, str], dict[str, Canary]] = {}
        self._sets: dict[tuple[str, str, str], CanarySet | None] = {}

    def put(self, model: str, version: str, code: str, canary: Canary | None) -> None:
        """Takes a canary into force, or (None) out of it.

        Raises:
            CanaryError: it can't be looked for; nothing has changed then.
        """
        mine = self._canaries.setdefault((model, version), {})
        if canary is None:
            mine.pop(code, None)
        elif canary.code != code:
            raise CanaryError(f"canary {canary.name} of {model} {version}: its key says {code}, its record {canary.code}")
        elif canary.key_tag != self._tag:
            raise CanaryError(f"canary {canary.name} of {model} {version} is locked: it was made with another INFERWATCH_MEMBERSHIP_KEY")
        elif len(mine) >= MAX_CANARIES and code not in mine:
            raise CanaryError(f"{model} {version} has {MAX_CANARIES:,} canaries; more are not looked for")
        else:
            mine[code] = canary
        self._sets = {key: one for key, one in self._sets.items() if key[:2] != (model, version)}

    def of(self, model: str, version: str, layout: str) -> CanarySet | None:
        """Those of a model version that were hashed in this layout of columns; None for none."""
        key = model, version, layout
        if key not in self._sets:
            fit = {code: one for code, one in self._canaries.get(key[:2], {}).items() if one.layout == layout}
            if len(self._sets) > 1_000:
                self._sets.clear()
            self._sets[key] = CanarySet(fit) if fit else None
        return self._sets[key]


class CanaryHits:
    """How often each client of a model version asked about canaries: the first time is a ticket, the second a page.

    A rule, without a budget: nobody but a thief has such a row.
    """

    def __init__(self) -> None:
        self._hits: OrderedDict[str, int] = OrderedDict()

    def add(self, client: str, hits: int) -> int:
        """All of this client's so far; those whose last one is longest ago are forgotten beyond 10,000."""
        self._hits[client] = self._hits.get(client, 0) + hits
        self._hits.move_to_end(client)
        if len(self._hits) > _FOLLOWED:
            self._hits.popitem(last=False)
        return self._hits[client]

    def forget(self, client: str) -> None:
        """As if it had never asked."""
        self._hits.pop(client, None)

    def dump(self) -> dict[str, Any]:
        """For a snapshot."""
        return dict(self._hits)

    def load(self, body: Mapping[str, int]) -> None:
        """From a snapshot."""
        self._hits = OrderedDict(body)
