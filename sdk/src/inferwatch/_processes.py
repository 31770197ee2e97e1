"""What happens to clients when their process forks or ends."""

from __future__ import annotations

import atexit
import os
import time
import weakref
from typing import Protocol


class Forks(Protocol):
    """Starts afresh in a forked child."""

    def _after_fork(self) -> None: ...


class Ends(Protocol):
    """Delivers what it can before the interpreter ends."""

    def stop(self, timeout_s: float) -> None:
        """Begins to end."""

    def join(self, timeout_s: float) -> None:
        """Waits for the end."""


_clients: weakref.WeakSet[Forks] = weakref.WeakSet()
_senders: weakref.WeakKeyDictionary[Ends, float] = weakref.WeakKeyDictionary()


def watch_forks(client: Forks) -> None:
    """In every forked child the client will be told, as long as it lives."""
    _clients.add(client)


def watch_exit(sender: Ends, timeout_s: float) -> None:
    """At the interpreter's exit the sender has that long."""
    _senders[sender] = timeout_s


def _in_child() -> None:
    _senders.clear()  # the parent's: their threads are there, not here
    for client in list(_clients):
        client._after_fork()


def _at_exit() -> None:
    senders = list(_senders.items())
    for sender, timeout_s in senders:
        sender.stop(timeout_s)
    end = time.monotonic() + max((timeout_s for _, timeout_s in senders), default=0.0) + 0.5
    for sender, _ in senders:
        sender.join(max(0.0, end - time.monotonic()))


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_in_child)
atexit.register(_at_exit)
