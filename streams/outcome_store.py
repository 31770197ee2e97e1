"""The answers of a model version that wait for their labels, at the model's owner: found by id, bounded in number and age."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from schemas.outcomes import Columns
from streams.owner import NS
from streams.settings import Labels

_TOGETHER = 8
"""Neighbours of one size that become one segment ..."""
_WHOLE = 5
"""... until it has 8^5 rows."""
_MAX_SEGMENTS = 1_024

Classes = tuple[str, ...]


class Segment(msgspec.Struct):
    """Answers with the same classes, sorted by key. Only `labelled` ever changes."""

    classes: Classes
    keys: NDArray[np.uint64]
    at_ns: NDArray[np.int64]
    answer: NDArray[np.uint16]
    scores: NDArray[np.uint16]
    labelled: NDArray[np.bool_]
    newest_ns: int
    piece: int = -1
    """In which it is kept; negative: in none."""

    def __len__(self) -> int:
        return len(self.keys)

    def body(self) -> dict[str, Any]:
        """What never changes, for a snapshot."""
        columns = {"keys": self.keys, "at_ns": self.at_ns, "answer": self.answer, "scores": self.scores}
        return {"classes": list(self.classes), "newest_ns": self.newest_ns} | columns


class OutcomeStore:
    """Answers by id, in segments that are sorted by key: what comes is a small one, eight of a size become one of the next size.

    So a row is sorted once and merged at most five times on its way to a segment that stays as it is, and is written into a snapshot that
    often. A search asks at most some dozens of segments, for all its keys together.

    An id that comes twice is two answers; a label finds the one that came first.

    Args:
        settings: how many, and for how long.

    Attributes:
        forgotten: answers that were dropped without a label, for lack of room or for their age.

    Memory: 19 bytes an answer, and 2 a class. Cost: 0.14 us an answer.
    """

    def __init__(self, settings: Labels) -> None:
        self._room, self._horizon_ns = settings.events, round(settings.horizon_s * NS)
        self._segments: list[Segment] = []
        self._fresh: list[NDArray[np.uint64]] = []
        self.forgotten = 0
        self.fresh = 0
        """Answers that came since `take_fresh`."""

    def __len__(self) -> int:
        return sum(map(len, self._segments))

    @property
    def oldest_ns(self) -> int | None:
        """Event time of the newest answer in the oldest segment: later ones are still there. None when there is none."""
        return self._segments[0].newest_ns if self._segments else None

    def add(self, columns: Columns, classes: Classes) -> None:
        """Takes answers."""
        order = np.argsort(columns.keys, kind="stable")
        keys = columns.keys[order]
        newest = int(columns.at_ns.max())
        rows = columns.at_ns[order], columns.answer[order], columns.scores[order]
        self._segments.append(Segment(classes, keys, *rows, np.zeros(len(keys), bool), newest))
        self._fresh.append(keys)
        self.fresh += len(keys)
        self._merge()
        while len(self) > self._room or len(self._segments) > _MAX_SEGMENTS:
            self._forget(0)

    def expire(self, now_ns: int) -> None:
        """Forgets what is older than the horizon."""
        for k in reversed(range(len(self._segments))):
            if self._segments[k].newest_ns < now_ns - self._horizon_ns:
                self._forget(k)

    def forget(self, keys: tuple[int, ...]) -> None:
        """Forgets answers by their keys. Their segments are written anew."""
        gone = np.array([key for key in keys if key], np.uint64)
        for k in reversed(range(len(self._segments))):
            one = self._segments[k]
            left = ~np.isin(one.keys, gone)
            if left.all():
                continue
            rest = (one.answer[left], one.scores[left], one.labelled[left], one.newest_ns)
            self._segments[k : k + 1] = [Segment(one.classes, one.keys[left], one.at_ns[left], *rest)] if left.any() else []
        self._fresh = [some[~np.isin(some, gone)] for some in self._fresh]
        self.fresh = sum(map(len, self._fresh))

    def take_fresh(self) -> NDArray[np.uint64]:
        """The keys, in order of size, of answers that came since this was asked last."""
        fresh, self._fresh, self.fresh = self._fresh, [], 0
        return np.sort(np.concatenate(fresh)) if fresh else np.empty(0, np.uint64)

    def drop_fresh(self) -> None:
        """Nobody waits for what came."""
        self._fresh, self.fresh = [], 0

    def find(self, keys: NDArray[np.uint64]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Where these keys are: segment and row, -1 for those that are nowhere."""
        segment, row = np.full(len(keys), -1, np.int32), np.full(len(keys), -1, np.int64)
        for k, one in enumerate(self._segments):
            left = np.flatnonzero(segment < 0)
            if not len(left):
                break
            at = np.minimum(np.searchsorted(one.keys, keys[left]), len(one) - 1)
            hit = one.keys[at] == keys[left]
            segment[left[hit]], row[left[hit]] = k, at[hit]
        return segment, row

    def __getitem__(self, segment: int) -> Segment:
        return self._segments[segment]

    def _merge(self) -> None:
        """Smaller ones join the larger one that comes after them, and eight of a size become one: of each size at most seven are left."""
        while True:
            last = self._segments[-1]
            tier, smaller, same = _tier(len(last)), 0, 0
            for one in reversed(self._segments):
                if one.classes != last.classes or one.scores.shape[1] != last.scores.shape[1] or _tier(len(one)) > tier:
                    break
                smaller += _tier(len(one)) < tier
                same += 1
            together = same if smaller else _TOGETHER
            if tier >= _WHOLE or together > same:
                return
            self._segments[-together:] = [_merged(self._segments[-together:])]

    def _forget(self, k: int) -> None:
        self.forgotten += int(np.count_nonzero(~self._segments.pop(k).labelled))

    # -- snapshots ----------------------------------------------------------------------------------------------------------------------

    @property
    def pieces(self) -> list[int]:
        """Ids of the pieces that hold segments."""
        return [one.piece for one in self._segments if one.piece >= 0]

    def cut(self, piece: int) -> dict[int, dict[str, Any]]:
        """The segments that are in no piece yet, by ids from this one on; they are in those from now on."""
        cut = {}
        for one in self._segments:
            if one.piece < 0:
                one.piece, cut[piece] = piece, one.body()
                piece += 1
        return cut

    def lost(self, pieces: set[int]) -> None:
        """These pieces were not saved."""
        for one in self._segments:
            if one.piece in pieces:
                one.piece = -1

    def dump(self, *, whole: bool) -> dict[str, Any]:
        """For a snapshot: the whole state, or all but what is in the pieces."""
        segments: list[dict[str, Any]] = []
        for one in self._segments:
            labelled = np.packbits(one.labelled) if one.labelled.any() else np.empty(0, np.uint8)
            segments.append({"labelled": labelled} | (one.body() if whole else {"piece": one.piece}))
        return {"segments": segments, "forgotten": self.forgotten}

    def load(self, body: dict[str, Any]) -> None:
        """From a snapshot, into a fresh object; of one that is not whole the pieces come next."""
        self.forgotten = int(body["forgotten"])
        self._segments = [_segment(one | {"piece": one.get("piece", -1)}) for one in body["segments"]]

    def load_piece(self, piece: int, body: dict[str, Any]) -> None:
        """From a snapshot: a piece. Of no use, if it is of a segment that is no more."""
        for k, one in enumerate(self._segments):
            if one.piece == piece:
                self._segments[k] = _segment(body | {"labelled": one.labelled, "piece": piece})


def _merged(some: list[Segment]) -> Segment:
    keys = np.concatenate([one.keys for one in some])
    order = np.argsort(keys, kind="stable")
    at_ns, answer, scores, labelled = (
        np.concatenate([getattr(one, name) for one in some])[order] for name in ("at_ns", "answer", "scores", "labelled")
    )
    return Segment(some[0].classes, keys[order], at_ns, answer, scores, labelled, max(one.newest_ns for one in some))


def _segment(body: dict[str, Any]) -> Segment:
    """From a snapshot; without its columns it is empty, and `labelled` stays packed until they come."""
    if "keys" not in body:
        empty = np.empty(0, np.int64)
        return Segment(
            (), empty.astype(np.uint64), empty, empty.astype(np.uint16), np.empty((0, 0), np.uint16), body["labelled"], 0, body["piece"]
        )
    n = len(body["keys"])
    packed = body["labelled"]
    labelled = np.unpackbits(packed, count=n).astype(bool) if len(packed) else np.zeros(n, bool)
    keys, at_ns, answer, scores = (body[name] for name in ("keys", "at_ns", "answer", "scores"))
    return Segment(tuple(body["classes"]), keys, at_ns, answer, scores, labelled, int(body["newest_ns"]), body["piece"])


def _tier(n: int) -> int:
    return (n.bit_length() - 1) // 3
