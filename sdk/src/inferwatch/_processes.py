"""What happens to clients when their process forks or ends."""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import time
import weakref
from collections.abc import Callable
from typing import Protocol

FORK_WAIT_S = 3.0
"""How long a fork waits at most for connections to be let go of. Above what one question to a broker takes (2 s)."""


class Forks(Protocol):
    """Lets go of its connection before a fork, takes it up again in the parent, starts afresh in the child."""

    def _before_fork(self, timeout_s: float) -> None: ...

    def _after_fork_in_parent(self) -> None: ...

    def _after_fork(self) -> None: ...


class Ends(Protocol):
    """Delivers what it can before the interpreter ends."""

    def stop(self, timeout_s: float) -> None:
        """Begins to end."""

    def join(self, timeout_s: float) -> None:
        """Waits for the end."""


_clients: weakref.WeakSet[Forks] = weakref.WeakSet()
_senders: weakref.WeakKeyDictionary[Ends, float] = weakref.WeakKeyDictionary()


class Pause:
    """A thread's rest while its process forks.

    A fork copies the locks of other threads as they are at that moment, and no one is left in the child to open them: a Kafka library whose
    threads were drawing random numbers just then stops the child for ever (librdkafka 2.12, OpenSSL's lock; one fork in a thousand right
    after the start). So no thread of such a library may be alive at a fork.
    """

    def __init__(self, wake: threading.Event | None = None) -> None:
        self._go_on, self._rests, self._wake = threading.Event(), threading.Event(), wake
        self._go_on.set()

    def ask(self, thread: threading.Thread | None, timeout_s: float) -> None:
        """Waits until the thread rests or has ended, at most so long. One that starts only now rests first."""
        self._go_on.clear()
        if thread is None or not thread.is_alive() or thread is threading.current_thread():
            return
        if self._wake is not None:
            self._wake.set()
        self._rests.wait(timeout_s)

    @property
    def asked(self) -> bool:
        """Somebody wants to fork: the thread should let go of its library and `rest`."""
        return not self._go_on.is_set()

    def rest(self, meanwhile: Callable[[], object] = lambda: None) -> None:
        """The thread's: does something that takes no lock, while forks are free to happen; then waits until there is none."""
        self._rests.set()
        meanwhile()
        while True:
            self._go_on.wait()
            self._rests.clear()
            if self._go_on.is_set():  # who asks from now on waits for the next rest
                return
            self._rests.set()

    def over(self) -> None:
        """The fork is over."""
        self._go_on.set()

    def end(self) -> None:
        """The thread's last word: it has let go for good."""
        self._rests.set()


class Library:
    """Whether a library with threads of its own may be used in this process.

    Attributes:
        running: its threads may be there now.
        unusable: the process was forked beside them: the library may hold locks here that nobody will open.
    """

    def __init__(self) -> None:
        self.running = self.unusable = False

    def after_fork(self, owner: object | None) -> None:
        """In the child; `owner` is the object that the threads belonged to, if they did not end in time.

        It is left alone: to destroy it would wait for threads that the child does not have. One leaked object instead.
        """
        self.unusable |= self.running
        self.running = False
        if owner is not None:
            import ctypes

            ctypes.pythonapi.Py_IncRef(ctypes.py_object(owner))


_forking = threading.RLock()
"""Held during a fork: what rests for one must not wake beside another. The child is of the thread that holds it."""


def watch_forks(client: Forks) -> None:
    """Around every fork the client will be told, as long as it lives."""
    _clients.add(client)


def watch_exit(sender: Ends, timeout_s: float) -> None:
    """At the interpreter's exit the sender has that long."""
    _senders[sender] = timeout_s


def _before() -> None:
    _forking.acquire()
    end = time.monotonic() + FORK_WAIT_S
    for client in list(_clients):
        client._before_fork(max(0.0, end - time.monotonic()))


def _in_parent() -> None:
    for client in list(_clients):
        client._after_fork_in_parent()
    _forked()


def _in_child() -> None:
    _senders.clear()  # the parent's: their threads are there, not here
    for client in list(_clients):
        client._after_fork()
    _forked()


def _forked() -> None:
    with contextlib.suppress(RuntimeError):  # a server in C that forks may leave out what comes before
        _forking.release()


def _at_exit() -> None:
    senders = list(_senders.items())
    for sender, timeout_s in senders:
        sender.stop(timeout_s)
    end = time.monotonic() + max((timeout_s for _, timeout_s in senders), default=0.0) + 0.5
    for sender, _ in senders:
        sender.join(max(0.0, end - time.monotonic()))


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
atexit.register(_at_exit)
