"""The tutorial, run as it stands: its files are written from the page, its commands said in the order and terminals of the page."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from inferwatch import pseudonym_of

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/tutorial.md").read_text()
SHELL: list[str] = re.findall(r"^```sh\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
FILES = dict(re.findall(r"^`(tutorial/\w+\.py)`(?:(?!```).)*```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE))

pytestmark = [pytest.mark.kafka, pytest.mark.clickhouse, pytest.mark.timeout(600)]


class Terminals:
    """Shells in the folder of a checkout; what runs until Ctrl-C is ended with the test."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.exports, self.open = folder, {}, []  # type: tuple[Path, dict[str, str], list[subprocess.Popen[str]]]
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("INFERWATCH_") or "CACHE" in name}

    def start(self, script: str, name: str) -> subprocess.Popen[str]:
        with (self.folder / f"{name}.log").open("w") as log:
            process = subprocess.Popen(
                ["bash", "-euc", re.sub(r"^(\.venv/bin/\S+)", r"exec \1", script, flags=re.MULTILINE)],
                cwd=self.folder, env=self.environment | self.exports, stdout=log, stderr=log, text=True,
            )  # fmt: skip
        self.open.append(process)
        return process

    def said(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def until(self, name: str, what: str, timeout_s: float = 120.0) -> str:
        end = time.monotonic() + timeout_s
        while not (found := re.search(what, self.said(name))):
            assert time.monotonic() < end, f"{name} did not say {what!r}:\n{self.said(name)[-3000:]}"
            assert all(process.poll() is None for process in self.open), self.said(name)[-3000:]
            time.sleep(0.1)
        return found[0]

    def run(self, script: str) -> str:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script], cwd=self.folder, env=self.environment | self.exports, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{script}\n{done.stdout[-1500:]}\n{done.stderr[-3000:]}"
        return done.stdout


@pytest.fixture
def terminals(tmp_path: Path) -> Iterator[Terminals]:
    """A folder that looks like the checkout after ``make setup``."""
    (tmp_path / ".venv/bin").mkdir(parents=True)
    for name in ("python", "inferwatch"):
        script = tmp_path / ".venv/bin" / name
        module = "" if name == "python" else "-m streams.cli "
        script.write_text(f'#!/bin/sh\nexec {sys.executable} {module}"$@"\n')
        script.chmod(0o755)
    one = Terminals(tmp_path)
    one.environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "sdk/src")])
    yield one
    for process in reversed(one.open):
        process.send_signal(signal.SIGINT)
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def test_the_page_leads_to_a_page_about_an_attacker_and_one_about_drift(terminals: Terminals) -> None:
    setup, broker, worker, build, ordinary, fire, look = SHELL
    assert setup.startswith("make setup\n")
    terminals.run(setup.replace("make setup\n", ""))
    for name, text in FILES.items():
        (terminals.folder / name).write_text(text)
    assert sorted(FILES) == ["tutorial/alerts.py", "tutorial/service.py", "tutorial/train.py"]
    terminals.start(broker, "broker")
    name, _, value = terminals.until("broker", r"export \S+").removeprefix("export ").partition("=")
    terminals.exports[name] = value
    terminals.start(worker, "worker")
    terminals.until("worker", "topics are right", 240)  # the first start compiles
    for export in re.findall(r"^export (\w+)=(\S+)$", worker, re.MULTILINE):
        terminals.exports[export[0]] = export[1].replace("$PWD", str(terminals.folder))
    assert "accuracy" in terminals.run(build)
    terminals.until("worker", r"\breference\b.*loans")
    terminals.run(ordinary)
    assert "PAGE" not in terminals.run(".venv/bin/python tutorial/alerts.py 4")
    said = terminals.run(fire.replace("alerts.py 15", "alerts.py 12"))
    pages = [line for line in said.splitlines() if line.startswith("PAGE")]
    mallory = pseudonym_of(b"tutorial, not a secret", "mallory")
    assert any(mallory in line and "gets wrong" in line for line in pages), said
    assert any("income" in line for line in pages), said
    assert not [line for line in pages if "Client" in line and mallory not in line], "no customer is paged"
    terminals.open[-1].send_signal(signal.SIGINT)
    assert terminals.open.pop().wait(60) == 0, terminals.said("worker")[-2000:]
    listed, ui = look.strip().splitlines()
    assert mallory in terminals.run(listed)
    terminals.start(ui.replace("inferwatch ui", "inferwatch ui --port 0"), "ui")
    terminals.until("ui", r"http://127\.0\.0\.1:\d+/")
