"""`inferwatch ui` opens a store that is there and free, says where it listens, and ends when told; otherwise it says what to do."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.parts import unavailable

_FILL = """
import sys
from streams.clickhouse import ClickHouse
from streams.migrate import migrate
from tests.dashboards.rows import insert, rows
with ClickHouse(sys.argv[1]) as clickhouse:
    migrate(clickhouse)
    insert(clickhouse, rows())
"""


@pytest.fixture(scope="module")
def dsn(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder of the engine, which a process of its own has filled and left."""
    try:
        import chdb  # noqa: F401 - only to know whether it is there
    except ImportError:
        unavailable("chDB, the embedded ClickHouse engine,", "Install inferwatch-server with the extra `embedded`.")
    dsn = f"chdb://{tmp_path_factory.mktemp('ui')}/clickhouse?database=inferwatch"
    subprocess.run([sys.executable, "-c", _FILL, dsn], check=True, timeout=120)
    return dsn


def ui(*arguments: str) -> subprocess.Popen[str]:
    argv = [sys.executable, "-m", "streams.cli", "ui", *arguments]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def told(*arguments: str) -> tuple[int, str]:
    process = ui(*arguments)
    _, error = process.communicate(timeout=60)
    return process.returncode, error


@pytest.fixture(scope="module")
def serving(dsn: str) -> Iterator[str]:
    process = ui("--dsn", dsn, "--port", "0")
    try:
        assert process.stdout is not None
        yield re.findall(r"http://\S+", process.stdout.readline())[0]
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
        assert process.returncode == 0
    finally:
        process.kill()
        process.communicate()


def test_it_says_where_it_listens_and_serves_there(serving: str) -> None:
    assert serving.startswith("http://127.0.0.1:")
    with urllib.request.urlopen(f"{serving}view/pipeline", timeout=60) as answer:
        assert b"Pipeline health" in answer.read()


def test_a_folder_that_another_process_has_open_is_said_with_the_ways_out(serving: str, dsn: str) -> None:
    code, error = told("--dsn", dsn, "--port", "0")
    assert code == 1
    assert "is open in another process, most likely the worker or demo that fills it" in error
    assert "Stop that one and try again; or let the workers write to a ClickHouse server" in error
    assert "Traceback" not in error


def test_a_folder_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    code, error = told("--dsn", f"chdb://{tmp_path}/none?database=inferwatch")
    assert code == 2
    assert "no ClickHouse folder is there" in error
    assert not (tmp_path / "none").exists()


def test_a_port_that_is_taken_is_said(dsn: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        other = f"chdb://{tmp_path}/clickhouse?database=inferwatch"
        subprocess.run([sys.executable, "-c", _FILL, other], check=True, timeout=120)
        code, error = told("--dsn", other, "--port", port)
    assert (code, f"127.0.0.1:{port} cannot be listened on" in error, "--port, 0 for any" in error) == (1, True, True)


@pytest.mark.parametrize(
    ("given", "code", "text"),
    [
        ("mysql://x", 2, "the scheme is neither http, https nor chdb"),
        ("http://u:hunter2@127.0.0.1:9/inferwatch", 1, "u:***@127.0.0.1:9"),
    ],
)
def test_a_store_that_cannot_be_asked_is_said_without_its_password(given: str, code: int, text: str) -> None:
    found, error = told("--dsn", given)
    assert (found, text in error, "hunter2" in error, "Traceback" in error) == (code, True, False, False), error
