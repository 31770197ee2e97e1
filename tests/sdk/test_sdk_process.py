"""Shares of memory and CPU: of the container's limit, of either kind of cgroup; without one, of the machine."""

import os
from pathlib import Path

import pytest

from inferwatch import _process
from inferwatch._process import Use

S = 10**9


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Eight cores, and a process whose CPU time the test tells."""
    used = {"s": 5.0}
    monkeypatch.setattr(_process, "cores", lambda: 8)
    monkeypatch.setattr(_process, "cpu_seconds", lambda: used["s"])
    monkeypatch.setattr(os, "sysconf", lambda _: 4096)
    return used


def proc(root: Path, cgroup: str) -> None:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/meminfo").write_text("MemTotal:       16000000 kB\nMemFree: 1 kB\n")
    (root / "proc/self/statm").write_text("9 1000000 1")
    (root / "proc/self/cgroup").write_text(cgroup)


def group(folder: Path, files: dict[str, str]) -> Path:
    """A group's files, each a line."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(f"{text}\n")
    return folder


def test_without_a_limit_it_is_what_the_process_uses_of_the_machine(tmp_path: Path, machine: dict[str, float]) -> None:
    proc(tmp_path, "0::/user.slice\n")
    group(tmp_path / "sys/fs/cgroup/user.slice", {"memory.max": "max", "cpu.max": "max 100000"})
    use = Use(tmp_path)
    assert use.shares(0) == {"memory_share": 0.25}  # of a single reading nothing follows for CPU
    machine["s"] += 20.0
    assert use.shares(10 * S) == {"cpu_share": 0.25, "memory_share": 0.25}


@pytest.mark.parametrize("cgroup", ["0::/\n", "0::/kubepods/pod1/c1\n"])
def test_in_a_container_it_is_of_its_limits_without_the_page_cache(tmp_path: Path, cgroup: str) -> None:
    """Its own group is the root; or the path of the host, where only the pod has limits."""
    proc(tmp_path, cgroup)
    files = {"memory.max": "1000000000", "memory.current": "950000000", "memory.stat": "anon 5\ninactive_file 150000000"}
    files |= {"cpu.max": "150000 100000", "cpu.stat": "usage_usec 1000000\nuser_usec 5"}
    base = group(tmp_path / "sys/fs/cgroup" / ("kubepods/pod1" if "pod1" in cgroup else ""), files)
    use = Use(tmp_path)
    assert use.shares(0) == {"memory_share": 0.8}
    group(base, {"cpu.stat": "usage_usec 13000000\nuser_usec 5"})
    assert use.shares(10 * S) == {"cpu_share": 0.8, "memory_share": 0.8}


def test_the_older_cgroup_says_the_same(tmp_path: Path) -> None:
    proc(tmp_path, "9:memory:/docker/a\n4:cpu,cpuacct:/docker/a\n0::/\n")
    base = tmp_path / "sys/fs/cgroup"
    files = {"memory.limit_in_bytes": "1000000000", "memory.usage_in_bytes": "700000000", "memory.stat": "total_inactive_file 100000000"}
    memory = group(base / "memory", files)
    cpu = group(base / "cpu", {"cpu.cfs_quota_us": "50000", "cpu.cfs_period_us": "100000"})
    account = group(base / "cpuacct/docker/a", {"cpuacct.usage": "1000000000"})
    use = Use(tmp_path)
    assert use.shares(0) == {"memory_share": 0.6}
    group(account, {"cpuacct.usage": "3000000000"})
    assert use.shares(10 * S) == {"cpu_share": 0.4, "memory_share": 0.6}
    group(cpu, {"cpu.cfs_quota_us": "-1"})  # the limit is lifted: other books
    group(memory, {"memory.limit_in_bytes": "9223372036854771712"})  # no limit, as it writes it
    assert use.shares(20 * S) == {"memory_share": 0.25}
    assert use.shares(30 * S) == {"cpu_share": 0.0, "memory_share": 0.25}


def test_cpu_is_the_mean_of_a_minute(tmp_path: Path, machine: dict[str, float]) -> None:
    proc(tmp_path, "0::/\n")
    use, told = Use(tmp_path), []
    for ten in range(20):
        told.append(use.shares(10 * ten * S).get("cpu_share"))
        machine["s"] += 80.0 if ten == 9 else 0.0  # ten seconds of all cores
    assert told[:10] == [None] + [0.0] * 9
    assert told[10:16] == [pytest.approx(1 / 6)] * 6
    assert told[16:] == [0.0] * 4


@pytest.mark.parametrize("written", ["", "\n", "max", "-5 0\n", "ÿ 0\n", "0 0\n", "9" * 30 + "\n"])
def test_what_cannot_be_read_is_left_out(tmp_path: Path, written: str) -> None:
    for name in ("proc/meminfo", "proc/self/cgroup", "sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory.current", "sys/fs/cgroup/cpu.max",
                 "sys/fs/cgroup/cpu.stat", "sys/fs/cgroup/memory.stat"):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(written, encoding="utf-8")
    use = Use(tmp_path)
    assert set(use.shares(0)) <= {"memory_share"}
    assert all(0 <= share <= 1 for share in use.shares(10 * S).values())
    assert Use(tmp_path / "nowhere").shares(0) == {}
