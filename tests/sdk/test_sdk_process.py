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


def test_without_a_limit_it_is_what_the_process_uses_of_the_machine(tmp_path: Path, machine: dict[str, float]) -> None:
    proc(tmp_path, "0::/user.slice\n")
    group = tmp_path / "sys/fs/cgroup/user.slice"
    group.mkdir(parents=True)
    (group / "memory.max").write_text("max\n")
    (group / "cpu.max").write_text("max 100000\n")
    use = Use(tmp_path)
    assert use.shares(0) == {"memory_share": 0.25}  # of a single reading nothing follows for CPU
    machine["s"] += 20.0
    assert use.shares(10 * S) == {"cpu_share": 0.25, "memory_share": 0.25}


@pytest.mark.parametrize("cgroup", ["0::/\n", "0::/kubepods/pod1/c1\n"])
def test_in_a_container_it_is_of_its_limits_without_the_page_cache(tmp_path: Path, cgroup: str) -> None:
    """Its own group is the root; or the path of the host, where only the pod has limits."""
    proc(tmp_path, cgroup)
    base = tmp_path / "sys/fs/cgroup" / ("kubepods/pod1" if "pod1" in cgroup else "")
    base.mkdir(parents=True)
    (base / "memory.max").write_text("1000000000\n")
    (base / "memory.current").write_text("950000000\n")
    (base / "memory.stat").write_text("anon 5\ninactive_file 150000000\n")
    (base / "cpu.max").write_text("150000 100000\n")
    (base / "cpu.stat").write_text("usage_usec 1000000\nuser_usec 5\n")
    use = Use(tmp_path)
    assert use.shares(0) == {"memory_share": 0.8}
    (base / "cpu.stat").write_text("usage_usec 13000000\nuser_usec 5\n")
    assert use.shares(10 * S) == {"cpu_share": 0.8, "memory_share": 0.8}


def test_the_older_cgroup_says_the_same(tmp_path: Path) -> None:
    proc(tmp_path, "9:memory:/docker/a\n4:cpu,cpuacct:/docker/a\n0::/\n")
    memory, cpu = (tmp_path / "sys/fs/cgroup" / name for name in ("memory", "cpu"))
    account = tmp_path / "sys/fs/cgroup/cpuacct/docker/a"
    for folder in (memory, cpu, account):
        folder.mkdir(parents=True)
    (memory / "memory.limit_in_bytes").write_text("1000000000\n")
    (memory / "memory.usage_in_bytes").write_text("700000000\n")
    (memory / "memory.stat").write_text("total_inactive_file 100000000\n")
    (cpu / "cpu.cfs_quota_us").write_text("50000\n")
    (cpu / "cpu.cfs_period_us").write_text("100000\n")
    (account / "cpuacct.usage").write_text("1000000000\n")
    use = Use(tmp_path)
    assert use.shares(0) == {"memory_share": 0.6}
    (account / "cpuacct.usage").write_text("3000000000\n")
    assert use.shares(10 * S) == {"cpu_share": 0.4, "memory_share": 0.6}
    (cpu / "cpu.cfs_quota_us").write_text("-1\n")  # the limit is lifted: other books
    (memory / "memory.limit_in_bytes").write_text("9223372036854771712\n")  # no limit, as it writes it
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
