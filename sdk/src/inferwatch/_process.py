"""What this process uses, and how much of what it may use."""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

_MINUTE_NS = 60 * 10**9
_SYSTEM = Path("/")


def rss_bytes(root: Path = _SYSTEM) -> int:
    """Resident memory now (Linux), or its peak (elsewhere), or 0 where neither can be told."""
    try:
        return int((root / "proc/self/statm").read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        pass
    try:
        import resource
    except ImportError:  # Windows
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def cpu_seconds() -> float:
    """User and system time of all threads since the start."""
    return time.process_time()


def cores() -> int:
    """Cores that this process may run on."""
    try:
        return len(os.sched_getaffinity(0))
    except (AttributeError, OSError):  # not Linux
        return os.cpu_count() or 1


class Use:
    """Shares of memory and CPU, 0 to 1, that are used up: the gauges ``memory_share`` and ``cpu_share`` of the heartbeats.

    In a container with a limit (cgroup 2 or 1): what all its processes use, of the limit; of memory without the page cache that can be
    given back, as Kubernetes counts it. Without one: what this process uses of the machine's memory and of the cores it may run on, so a
    machine that other processes have filled is not told. CPU is the mean over the last minute: a busy moment is no shortage. A share that
    can't be told (no ``/proc``, no permission) is left out. A dozen small files of the kernel a heartbeat, half a millisecond.

    Args:
        root: Where ``proc`` and ``sys`` are; for tests.

    Example:
        >>> use = Use()
        >>> all(0 <= share <= 1 for share in use.shares(10**9).values())
        True
    """

    def __init__(self, root: Path = _SYSTEM) -> None:
        self._root = root
        self._seen: deque[tuple[int, float, float]] = deque()
        """Times (ns), CPU seconds used until then, and cores' worth that might be used, of a minute."""

    def shares(self, now_ns: int) -> dict[str, float]:
        """Those that can be told. CPU from the second call on.

        Args:
            now_ns: of a clock that is never set back.
        """
        memory = self._memory()
        return {name: min(max(share, 0.0), 1.0) for name, share in (("cpu_share", self._cpu(now_ns)), ("memory_share", memory))
                if share is not None}  # fmt: skip

    def _cpu(self, now_ns: int) -> float | None:
        limited = self._cpu_limited()
        used, most = (cpu_seconds(), float(cores())) if limited is None else limited
        if self._seen and (used < self._seen[-1][1] or most != self._seen[-1][2]):  # another container, or another limit
            self._seen.clear()
        self._seen.append((now_ns, used, most))
        while len(self._seen) > 2 and self._seen[1][0] <= now_ns - _MINUTE_NS:
            self._seen.popleft()
        began_ns, before, _ = self._seen[0]
        return (used - before) / ((now_ns - began_ns) / 1e9 * most) if now_ns > began_ns else None

    def _cpu_limited(self) -> tuple[float, float] | None:
        """CPU seconds that the container has used, and the cores it may use; None without a limit."""
        for folder in self._folders(""):
            quota = _words(folder / "cpu.max")
            used = _counter(folder / "cpu.stat", "usage_usec")
            if len(quota) == 2 and used is not None and (most := _ratio(quota[0], quota[1])) is not None:
                return used / 1e6, min(most, float(cores()))
        for folder in self._folders("cpu"):
            quota = [*_words(folder / "cpu.cfs_quota_us"), *_words(folder / "cpu.cfs_period_us")]
            if len(quota) == 2 and (most := _ratio(quota[0], quota[1])) is not None:
                for account in self._folders("cpuacct"):
                    used_ns = _number(_words(account / "cpuacct.usage"))
                    if used_ns is not None:
                        return used_ns / 1e9, min(most, float(cores()))
        return None

    def _memory(self) -> float | None:
        machine = _counter(self._root / "proc/meminfo", "MemTotal:")
        total = None if machine is None else 1024 * machine
        for controller, most, used, cache in (
            ("", "memory.max", "memory.current", "inactive_file"),
            ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            for folder in self._folders(controller):
                limit, current = _number(_words(folder / most)), _number(_words(folder / used))
                if limit and current is not None and (total is None or limit < total):
                    return (current - (_counter(folder / "memory.stat", cache) or 0)) / limit
        rss = rss_bytes(self._root)
        return rss / total if rss and total else None

    def _folders(self, controller: str) -> Iterator[Path]:
        """Where a controller of this process may be, nearest first: a container sees its own group as the root, or not at all."""
        base = self._root / "sys/fs/cgroup" / controller
        for line in _lines(self._root / "proc/self/cgroup"):
            _, _, named = line.partition(":")
            controllers, _, path = named.partition(":")
            if (controller in controllers.split(",")) if controller else not controllers:
                inside = path.strip("/")
                while inside and ".." not in inside:
                    yield base / inside
                    inside = inside.rpartition("/")[0]
        yield base


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return []


def _words(path: Path) -> list[str]:
    lines = _lines(path)
    return lines[0].split() if lines else []


def _number(words: list[str]) -> int | None:
    return int(words[0]) if words and words[0].isdigit() else None  # "max" is no limit


def _counter(path: Path, name: str) -> int | None:
    for line in _lines(path):
        words = line.split()
        if words[:1] == [name]:
            return _number(words[1:])
    return None


def _ratio(quota: str, period: str) -> float | None:
    """Cores' worth; None where there is no limit ("max", -1)."""
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() and int(quota) and int(period) else None
