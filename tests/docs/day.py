"""A day with an installation, for the how-tos' commands: customers who ask, one who attacks, and a shell to say commands in.

Only what a page takes from the reader's day is put in for what stands there: dates, addresses, ids, files of secrets.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from confluent_kafka import Consumer

from inferwatch import Client
from streams.clickhouse import ClickHouse
from tests.commands import cli
from tests.docs.blocks import ROOT, runnable

__all__ = ["KEY", "Customers", "Desk", "ask", "rows_of_the_owner", "until"]

KEY = "k" * 32
"""Of the pseudonyms."""
_KCAT = """
import argparse, sys
from confluent_kafka import Producer
said = argparse.ArgumentParser()
said.add_argument("-P", action="store_true", required=True)
for name in "btKXH":
    said.add_argument(f"-{name}", required=True)
given = said.parse_args()
option, header = given.X.split("="), tuple(given.H.split("="))
producer = Producer({"bootstrap.servers": given.b, option[0]: option[1]})
for line in sys.stdin.buffer.read().splitlines():
    key, value = line.split(given.K.encode().decode("unicode_escape").encode())
    producer.produce(given.t, key=key, value=value, headers=[header])
assert producer.flush(20) == 0
"""
"""As much of kcat as the documents say, for machines that do not have it: librdkafka is the same."""


def until(fact: Callable[[], Any], what: str, timeout_s: float = 120.0) -> Any:
    """What is true at last."""
    end = time.monotonic() + timeout_s
    while not (found := fact()):
        assert time.monotonic() < end, f"not within {timeout_s:.0f} s: {what}"
        time.sleep(0.2)
    return found


class Desk:
    """A folder, an environment, and the shell of somebody who reads the pages.

    Args:
        folder: where they work; `inferwatch` and `.venv/bin/inferwatch` are this checkout's, and `kcat` ours where there is none.
        own: variables of this installation.
        instead: what stands in the pages, and what is said instead.
    """

    def __init__(self, folder: Path, own: dict[str, str], instead: dict[str, str]) -> None:
        self.folder, self.instead, self.own = folder, instead, own
        programs = {"bin/inferwatch": ["-m", "streams.cli"], ".venv/bin/inferwatch": ["-m", "streams.cli"]}
        (folder / "kcat.py").write_text(_KCAT)
        programs["late/kcat"] = [str(folder / "kcat.py")]
        for name, words in programs.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(f'#!/bin/sh\nexec {sys.executable} {" ".join(words)} "$@"\n')
            (folder / name).chmod(0o755)
        self.environment = cli.environment(**own) | {
            "PATH": f"{folder}/bin:{os.environ['PATH']}:{folder}/late",
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "sdk/src")]),
        }

    def put_in(self, text: str) -> str:
        """With days around today for those of the page, and what is said `instead`."""
        for there, here in self.instead.items():
            text = text.replace(there, here)
        for k, day in enumerate(sorted(set(re.findall(r"\d{4}-\d\d-\d\d", text)))):
            text = text.replace(day, f"{datetime.now(UTC) + timedelta(days=-10 if k == 0 else k):%Y-%m-%d}")
        return text

    def page(self, name: str) -> list[str]:
        """The page's blocks with commands of ours, in order."""
        mine = [block for block in runnable("sh") if block.document == ROOT / f"docs/{name}.md" and "inferwatch " in block.text]
        assert mine, f"docs/{name}.md shows no command"
        return [self.put_in(block.text) for block in mine]

    def run(self, script: str, code: int = 0, **more: str) -> str:
        """What the script says, when it ends with this code."""
        arguments = ["bash", "-euo", "pipefail", "-c", script]
        environment = self.environment | more
        done = subprocess.run(arguments, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == code, f"{done.returncode}:\n{script}\n{done.stdout[-1500:]}\n{done.stderr[-3000:]}"
        return done.stdout + done.stderr

    @contextmanager
    def running(self, command: str, log: str, **more: str) -> Iterator[Callable[[], str]]:
        """A command that runs until it is told to end, which it must do with code 0; gives what it has said."""
        path = self.folder / log
        with path.open("wb") as to:
            process = subprocess.Popen(
                ["bash", "-euc", f"exec {command}"], cwd=self.folder, env=self.environment | more, stdout=to, stderr=to
            )

        def said() -> str:
            text = path.read_text()
            assert process.poll() is None, f"{command} ended with {process.returncode}:\n{text[-3000:]}"
            return text

        try:
            yield said
            said()
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0, f"{command} ended with {process.returncode}:\n{path.read_text()[-3000:]}"
        finally:
            process.kill()
            process.wait()

    def rows(self, sql: str) -> list[dict[str, Any]]:
        """What the store has."""
        with ClickHouse(self.own["INFERWATCH_CLICKHOUSE_DSN"]) as clickhouse:
            return clickhouse.query(sql)

    def records(self, topic: str, enough: Callable[[list[Any]], bool]) -> list[Any]:
        """A topic's records from its beginning, until they are enough."""
        servers = self.own["INFERWATCH_KAFKA_BOOTSTRAP_SERVERS"]
        reader = Consumer({"bootstrap.servers": servers, "group.id": f"read-{topic}", "auto.offset.reset": "earliest"})
        reader.subscribe([topic])
        found: list[Any] = []

        def more() -> bool:
            found.extend(record for record in reader.consume(500, 0.5) if not record.error())
            return enough(found)

        try:
            until(more, f"records of {topic}", 60)
        finally:
            reader.close()
        return found


def answer(amount: float) -> list[float]:
    """The model: no, yes."""
    p = float(1 / (1 + np.exp(1 - amount)))
    return [1 - p, p]


def rows_of_the_owner(file: Path, n: int = 3_000) -> None:
    """Rows for a reference; half of them trained on."""
    rng = np.random.default_rng(1)
    amount, age, country = rng.lognormal(size=n), rng.normal(40, 10, n), rng.choice(["NO", "SE", "DK"], n)
    p = 1 / (1 + np.exp(1 - amount))
    y = np.where(rng.random(n) < p, "yes", "no")
    rows = {"amount": amount, "country": country, "age": age, "prob_no": 1 - p, "prob_yes": p, "y": y, "member": np.arange(n) < n // 2}
    pq.write_table(pa.table(rows), file)


def ask(watch: Client, who: str, amount: float, age: float, country: str, version: str = "7", event_id: str | None = None) -> None:
    """One request to the model."""
    scores = answer(amount)
    features = {"amount": amount, "country": country, "age": age}
    watch.record(
        model="fraud", version=version, client=who, features=features, scores=dict(zip(["no", "yes"], scores, strict=True)),
        prediction="yes" if scores[1] > 0.5 else "no", latency_ms=4.0, event_id=event_id,
    )  # fmt: skip


class Customers(threading.Thread):
    """Fifty customers ask version 7 and ten version 8, until told to stop; mallory walks along the boundary of 7 while told to."""

    def __init__(self, watch: Client) -> None:
        super().__init__(daemon=True)
        self._watch, self.over, self.attack = watch, threading.Event(), threading.Event()

    def run(self) -> None:
        """See the class."""
        rng, walk = np.random.default_rng(5), _walk(np.random.default_rng(6))
        while not self.over.is_set():
            for version, most in (("7", 50), ("7", 50), ("7", 50), ("8", 10)):
                row = float(rng.lognormal()), float(rng.normal(40, 10)), str(rng.choice(["NO", "SE", "DK"]))
                ask(self._watch, f"customer-{rng.integers(most)}", *row, version=version)
            if self.attack.is_set():
                ask(self._watch, "mallory", *next(walk))
            time.sleep(0.05)


def _walk(rng: np.random.Generator) -> Iterator[tuple[float, float, str]]:
    """What HopSkipJump asks: bisections between the classes, then probes around the boundary."""
    while True:
        low, high, age = 0.1 + abs(rng.normal(scale=0.01)), 4.0, 40.0 + rng.normal(scale=0.1)
        for _ in range(14):
            middle = (low + high) / 2
            yield middle, age, "NO"
            low, high = (low, middle) if answer(middle)[1] > 0.5 else (middle, high)
        for _ in range(10):
            yield high + float(rng.normal(scale=0.02)), age + float(rng.normal(scale=0.2)), "NO"
