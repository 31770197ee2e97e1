"""The cache is filled once, whole, by one process."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from streams.embedded.cache import cache_root, filled_once

# Its fill ends only when the other process has asked too, and leaves it the time to fill as well if nothing held it back.
_FILLER = """
import pathlib, sys, time
from streams.embedded.cache import filled_once
folder, me = pathlib.Path(sys.argv[1]), sys.argv[2]
here = folder.parent
def fill(content):
    with (here / "fills").open("a") as log:
        log.write(me)
    end = time.monotonic() + 20
    while len(list(here.glob("asked-*"))) < 2:
        assert time.monotonic() < end
        time.sleep(0.01)
    end = time.monotonic() + 0.3
    while time.monotonic() < end and (here / "fills").read_text() == me:
        time.sleep(0.01)
    (content / "jar").write_text("whole")
(here / f"asked-{me}").touch()
print((filled_once(folder, fill, lambda f: (f / "jar").exists()) / "jar").read_text())
"""

_KILLED = """
import os, pathlib, signal, sys
from streams.embedded.cache import filled_once
def fill(content):
    (content / "jar").write_text("ha")
    os.kill(os.getpid(), signal.SIGKILL)
filled_once(pathlib.Path(sys.argv[1]), fill, lambda f: (f / "jar").exists())
"""


def _has_jar(folder: Path) -> bool:
    return (folder / "jar").exists()


def test_of_two_processes_that_want_an_empty_cache_one_fills_and_both_get_it(tmp_path: Path) -> None:
    fillers = [
        subprocess.Popen([sys.executable, "-c", _FILLER, str(tmp_path / "kafka"), me], stdout=subprocess.PIPE, text=True) for me in "ab"
    ]
    assert [filler.communicate(timeout=30)[0] for filler in fillers] == ["whole\n", "whole\n"]
    assert len((tmp_path / "fills").read_text()) == 1


def test_a_killed_filler_leaves_nothing_that_looks_complete_and_the_next_one_clears_up(tmp_path: Path) -> None:
    folder = tmp_path / "kafka"
    killed = subprocess.run([sys.executable, "-c", _KILLED, str(folder)])
    assert killed.returncode == -signal.SIGKILL
    assert not folder.exists()
    filled_once(folder, lambda content: (content / "jar").touch(), _has_jar)
    assert (folder / "jar").read_text() == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kafka", "kafka.lock"]


def test_an_incomplete_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    folder = tmp_path / "kafka"
    folder.mkdir()
    (folder / "old").touch()
    filled_once(folder, lambda content: (content / "jar").touch(), _has_jar)
    assert [path.name for path in folder.iterdir()] == ["jar"]


def test_a_failing_fill_is_told_and_tried_again_by_the_next(tmp_path: Path) -> None:
    def fail(content: Path) -> None:
        raise RuntimeError("no network")

    with pytest.raises(RuntimeError, match="no network"):
        filled_once(tmp_path / "kafka", fail, _has_jar)
    assert _has_jar(filled_once(tmp_path / "kafka", lambda content: (content / "jar").touch(), _has_jar))


def test_a_complete_folder_is_neither_locked_nor_filled(tmp_path: Path) -> None:
    started = time.monotonic()
    filled_once(tmp_path, lambda content: pytest.fail("filled"), lambda folder: True)
    assert time.monotonic() - started < 1
    assert list(tmp_path.iterdir()) == []


def test_the_cache_is_where_the_variable_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("INFERWATCH_CACHE", str(tmp_path))
    assert cache_root() == tmp_path
    monkeypatch.delenv("INFERWATCH_CACHE")
    assert cache_root() == Path.home() / ".cache" / "inferwatch"
