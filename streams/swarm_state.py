"""The swarms' state of a model version in snapshots: large, so written anew only from time to time; between, what came since is enough.

A swarm detector holds megabytes and changes with every slice. What it becomes follows from what it was and the slices since, so a copy
names the piece in which it was written last, and holds those slices; a restore judges them again, without a word.
"""

from __future__ import annotations

from typing import Any

from streams.alerts import AlertBook
from streams.pools import SwarmWatch
from streams.references import Loaded
from streams.slices import Slice

MAX_LOG_SLICES = 128
MAX_LOG_BYTES = 512 * 1024
"""Of rows since the piece; beyond, the next copy writes the state anew."""


class SwarmState:
    """A `SwarmWatch` that is made when the first rows come, and its snapshots.

    Args:
        alerts: takes the alerts.
        clients: how many clients are followed at most.

    Attributes:
        piece: in which the state was written last; negative: in none.
    """

    def __init__(self, alerts: AlertBook, clients: int) -> None:
        self._alerts, self._clients = alerts, clients
        self._loaded: Loaded | None = None
        self._watch: SwarmWatch | None = None
        self._log: list[tuple[Slice, int]] = []
        self._log_bytes = 0
        self.piece = -1

    def use(self, loaded: Loaded | None) -> None:
        """Goes over to another reference: everything begins anew."""
        self._loaded, self._watch = loaded, None
        self._begin_log(-1)

    def judge(self, part: Slice, now_ns: int) -> None:
        """Takes the rows of a slice; nothing happens without a reference that has a part for swarms."""
        if self._watch is None:
            self._watch = self._new(self._alerts)
        if self._watch is not None:
            self._watch.judge(part, now_ns)
            self._log.append((part, now_ns))
            self._log_bytes += part.X.nbytes

    def forget(self, client: str) -> None:
        """Forgets a client; the next copy writes the state anew, without them."""
        if self._watch is not None:
            self._watch.forget(client)
        self._begin_log(-1)

    def cut(self, piece: int) -> bytes:
        """The state for a new piece with this id, when it is time to write it; else empty, and the last one is good."""
        if self._watch is None or (self.piece >= 0 and len(self._log) <= MAX_LOG_SLICES and self._log_bytes <= MAX_LOG_BYTES):
            return b""
        self._begin_log(piece)
        return self._watch.snapshot()

    def lost(self, pieces: set[int]) -> None:
        """These pieces were not saved."""
        if self.piece in pieces:
            self.piece = -1

    def dump(self, *, whole: bool) -> dict[str, Any]:
        """For a snapshot: the whole state, or the piece in which it is and what came since."""
        if whole:
            return {"whole": b"" if self._watch is None else self._watch.snapshot()}
        log = [[now_ns, part.end_ns, part.clients, part.client, part.at_s, part.X] for part, now_ns in self._log]
        return {"piece": self.piece, "log": log}

    def load(self, body: dict[str, Any]) -> None:
        """From a snapshot, into a fresh object; of one that is not whole the piece comes next.

        Raises:
            StateError: it does not fit.
        """
        if "whole" in body:
            self._watch = self._new(self._alerts) if body["whole"] else None
            if self._watch is not None:
                self._watch.restore(body["whole"])
            return
        self.piece = int(body["piece"])
        self._log = [(Slice(end, clients, client, at_s, X), now) for now, end, clients, client, at_s, X in body["log"]]
        self._log_bytes = sum(part.X.nbytes for part, _ in self._log)

    def load_piece(self, piece: int, state: bytes) -> None:
        """From a snapshot: the piece that `load` named, then what came since; another one is of no use.

        Raises:
            StateError: it does not fit.
        """
        if piece != self.piece:
            return
        self._watch = self._new(AlertBook(self._alerts.model, self._alerts.version, lambda alert: None, 1))
        if self._watch is not None:
            self._watch.restore(state)
            for part, now_ns in self._log:
                self._watch.judge(part, now_ns)
            self._watch.tell_to(self._alerts)

    def _new(self, alerts: AlertBook) -> SwarmWatch | None:
        if self._loaded is None or self._loaded.swarm is None:
            return None
        return SwarmWatch(self._loaded, self._clients, alerts)

    def _begin_log(self, piece: int) -> None:
        self.piece, self._log, self._log_bytes = piece, [], 0
