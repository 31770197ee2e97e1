"""Child processes that never outlive their parent, and ports that stay free until they are bound."""

import contextlib
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

# Waits for the end of the parent (the pipe's other end closes, however it dies), then kills the child and removes its folder,
# after a pause in which the killed process (and others with the same folder) give up their files.
_WATCHER = 'read _; kill -9 "$1"; [ -n "$2" ] && sleep 0.2 && rm -rf -- "$2"'

# A user's own JVM settings are meant for their programs, and some of them would stop ours from starting.
_NOT_INHERITED = ("JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS", "CLASSPATH")


class StartError(RuntimeError):
    """A child process ended or stayed silent before it was ready; the message ends with what it logged."""


def free_ports(count: int) -> list[int]:
    """Find ports on 127.0.0.1 that nobody listens on, below the range the system hands out to outgoing connections.

    Args:
        count: how many, 1 to 100.

    Returns:
        Distinct ports between 20000 and 31999. Another process may still take one before it is bound: start again then.

    Raises:
        ValueError: if count is out of range.

    Examples:
        >>> len(set(free_ports(3)))
        3
    """
    if not 1 <= count <= 100:
        raise ValueError(f"count must be 1 to 100, got {count}")
    ports: set[int] = set()
    while len(ports) < count:
        port = random.randrange(20_000, 32_000)
        if is_free(port):
            ports.add(port)
    return list(ports)


def is_free(port: int) -> bool:
    """Say whether a port of 127.0.0.1 can be bound now."""
    with socket.socket() as probe:
        # As the JVM and Go do: connections of a previous owner that are still closing do not make a port taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def clean_environment() -> dict[str, str]:
    """Return this process's environment without the variables that change how every JVM starts."""
    return {key: value for key, value in os.environ.items() if key not in _NOT_INHERITED}


class Child:
    """One child process, its log file, and a watcher that kills it when this Python dies in any way.

    Args:
        name: what error messages call it.
        argv: the command.
        log: where its output goes (appended).
        temporary: a folder to remove if this Python dies (children may share it); `stop` leaves it to the caller.

    Cost: one more process (a shell that sleeps in `read`).
    Misleads: a process *forked* from this one (not spawned) keeps the pipe open, and so the child alive, until it ends too.
    """

    def __init__(self, name: str, argv: Sequence[str], log: Path, *, temporary: Path | None = None) -> None:
        self.name, self.log = name, log
        with log.open("ab") as out:
            self._log_start = out.tell()
            # A session of its own: Ctrl-C in a terminal goes to the parent, which stops the child in order.
            self._process = subprocess.Popen(  # noqa: S603 - the command is ours, and no shell reads it
                argv, cwd=log.parent, env=clean_environment(), stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )
        self._watcher = subprocess.Popen(  # noqa: S603 - constant script, values are arguments
            ["/bin/sh", "-c", _WATCHER, "watcher", str(self._process.pid), str(temporary or "")],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """None while it runs; negative when a signal ended it."""
        return self._process.poll()

    def said(self) -> str:
        """What it has logged since it was started (the last megabyte)."""
        with self.log.open("rb") as stream:
            stream.seek(max(self._log_start, self.log.stat().st_size - 1_000_000))
            return stream.read().decode(errors="replace")

    def wait_until(self, ready: Callable[[], bool], timeout: float) -> None:
        """Block until `ready()` is true.

        Args:
            ready: asked every 20 ms.
            timeout: seconds.

        Raises:
            StartError: if the process ends or the time is over first. The process is left as it is.
        """
        end = time.monotonic() + timeout
        while not ready():
            if self.returncode is not None:
                raise StartError(f"{self.name} ended with code {self.returncode} before it was ready:\n{self.said()[-2000:]}")
            if time.monotonic() > end:
                raise StartError(f"{self.name} was not ready within {timeout:g} s:\n{self.said()[-2000:]}")
            time.sleep(0.02)

    def stop(self, *, kill: bool = False, timeout: float = 15.0) -> None:
        """End it: politely (SIGTERM), then by force after `timeout` seconds; by force at once with `kill`. Safe to call twice."""
        if not kill:
            self._process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout)
        self._process.kill()
        self._process.wait()
        self._watcher.kill()
        self._watcher.communicate()
