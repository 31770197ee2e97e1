"""The whole demo, as a user starts it. Slow: a minute each."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from streams.embedded import MissingPartError
from streams.embedded.jars import java
from tests.parts import unavailable

pytestmark = [pytest.mark.slow, pytest.mark.kafka, pytest.mark.clickhouse, pytest.mark.timeout(600)]


@pytest.fixture(autouse=True)
def _parts() -> None:
    try:
        java()
    except MissingPartError as error:
        unavailable("The embedded Kafka", str(error))


def start(tmp_path: Path, *options: str) -> "subprocess.Popen[str]":
    """A demo whose temporary files all lie below this folder."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("INFERWATCH_WINDOW")}
    # What a user has set for their own worker must not reach the demo's.
    environment |= {"TMPDIR": str(tmp_path), "INFERWATCH_WINDOW_LENGTH_S": "300", "INFERWATCH_NO_SUCH": "1"}
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # in a shell's background job, and then in whatever it starts
        signal.signal(signal.SIGINT, signal.default_int_handler)
    return subprocess.Popen(
        [sys.executable, "-m", "streams.cli", "demo", "--quick", *options],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def left_behind(folder: Path) -> list[str]:
    """Command lines that name the folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = process.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in text and str(os.getpid()) != process.parent.name:
            found.append(text)
    return found


def eventually(true: Callable[[], bool], timeout: float = 15.0) -> bool:
    end = time.monotonic() + timeout
    while not true() and time.monotonic() < end:
        time.sleep(0.1)
    return true()


@pytest.mark.skipif(not Path("/proc").exists(), reason="looks for processes in /proc")
def test_the_quick_demo_finds_both_and_pages_nobody_else(tmp_path: Path) -> None:
    with start(tmp_path) as demo:
        output, _ = demo.communicate(timeout=500)
    assert demo.returncode == 0, output
    assert "Attack FOUND" in output
    assert "Drift FOUND" in output
    assert "Ordinary clients paged: 0" in output
    sent, accepted, rejected = map(
        int,
        re.findall(r"Events: ([\d]+) sent and acknowledged = ([\d]+) accepted by the worker \+ ([\d]+) rejected", output.replace(",", ""))[
            0
        ],
    )
    assert sent == accepted + rejected > 3000
    assert f"hold {accepted:,} accepted events" in output
    assert "warn" not in output.lower()
    assert list(tmp_path.iterdir()) == []
    assert left_behind(tmp_path) == []


@pytest.mark.skipif(not Path("/proc").exists(), reason="looks for processes in /proc")
@pytest.mark.parametrize("at", ["starting a worker", "1  ordinary traffic"])
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_leaves_nothing(tmp_path: Path, at: str, how: signal.Signals) -> None:
    with start(tmp_path) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if at in line:
                break
        demo.send_signal(how)
        output = demo.stdout.read()
        assert demo.wait(60) == 130, output
    assert "Traceback" not in output
    assert eventually(lambda: left_behind(tmp_path) == [])
    assert eventually(lambda: not list(tmp_path.glob("inferwatch-*")))


def test_a_killed_demo_leaves_no_process(tmp_path: Path) -> None:
    with start(tmp_path) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if "trained" in line:
                break
        assert left_behind(tmp_path)
        demo.kill()
        demo.wait(10)
    assert eventually(lambda: left_behind(tmp_path) == [])


def test_a_kept_folder_has_everything_of_every_run(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    with start(tmp_path, "--folder", str(kept)) as demo:
        output, _ = demo.communicate(timeout=500)
    assert demo.returncode == 0, output
    (run,) = kept.iterdir()
    assert {"clickhouse", "kafka", "state", "worker.log"} <= {path.name for path in run.iterdir()}
    assert str(run) in output
