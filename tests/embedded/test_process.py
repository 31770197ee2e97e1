"""Children end with their parent, and say why they did not start."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from streams.embedded.process import Child, StartError, free_ports, is_free

_PARENT = """
import pathlib, sys, time
from streams.embedded.process import Child
home = pathlib.Path(sys.argv[1])
child = Child("sleeper", ["sleep", "60"], home / "log", temporary=home)
print(child.pid, flush=True)
time.sleep(60)
"""


def eventually(condition: Callable[[], bool], timeout: float = 10.0) -> bool:
    """Whether the condition comes true in time."""
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def is_running(pid: int) -> bool:
    """Whether the process runs; a zombie nobody has waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
def test_a_child_and_its_temporary_folder_go_when_the_parent_is_killed(tmp_path: Path) -> None:
    home = tmp_path / "kafka"
    home.mkdir()
    with subprocess.Popen([sys.executable, "-c", _PARENT, str(home)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert is_running(pid)
        parent.send_signal(signal.SIGKILL)
    assert eventually(lambda: not is_running(pid))
    assert eventually(lambda: not home.exists())


def test_a_child_that_ends_early_is_told_with_its_last_words(tmp_path: Path) -> None:
    child = Child("node", ["/bin/sh", "-c", "echo no disk left >&2; exit 3"], tmp_path / "log")
    with pytest.raises(StartError, match=r"node ended with code 3 before it was ready:\nno disk left"):
        child.wait_until(lambda: False, timeout=20)
    child.stop()


def test_a_silent_child_is_given_up_and_can_be_stopped_twice(tmp_path: Path) -> None:
    child = Child("node", ["sleep", "60"], tmp_path / "log")
    with pytest.raises(StartError, match=r"was not ready within 0\.05 s"):
        child.wait_until(lambda: False, timeout=0.05)
    child.stop()
    child.stop(kill=True)
    assert child.returncode == -signal.SIGTERM


def test_a_child_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    child = Child("node", ["/bin/sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.05; done"], tmp_path / "log")
    child.wait_until(lambda: "ready" in child.said(), timeout=20)
    child.stop(timeout=0.1)
    assert child.returncode == -signal.SIGKILL


def test_only_what_this_start_logged_counts(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("Kafka Server started\n")
    child = Child("node", ["/bin/sh", "-c", "echo again; exec sleep 60"], tmp_path / "log")
    child.wait_until(lambda: "again" in child.said(), timeout=20)
    assert "Kafka Server started" not in child.said()
    child.stop()


def test_java_settings_of_the_user_do_not_reach_a_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", "-Xmx1k")
    child = Child("node", ["/bin/sh", "-c", 'echo "options=$JAVA_TOOL_OPTIONS."; exec sleep 60'], tmp_path / "log")
    child.wait_until(lambda: "options=." in child.said(), timeout=20)
    child.stop()
    assert os.environ["JAVA_TOOL_OPTIONS"] == "-Xmx1k"


def test_free_ports_are_distinct_free_and_below_the_range_of_outgoing_connections() -> None:
    ports = free_ports(50)
    assert len(set(ports)) == 50
    assert all(20_000 <= port < 32_000 and is_free(port) for port in ports)
    with pytest.raises(ValueError, match="1 to 100, got 0"):
        free_ports(0)
