"""A worker of counting owners in a process of its own, to be killed, stopped and looked into."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from streams.embedded.kafka import EmbeddedKafka
from streams.kafka import partition_for_key
from streams.settings import Kafka
from streams.snapshots import Kind, Snapshot, SnapshotError
from streams.state_folder import FolderStore
from streams.state_topic import TopicStore
from tests.streams.counting import CountingJudge, CountingShard

REPOSITORY = Path(__file__).parents[2]
PARTITIONS = 4


class Worker:
    """A worker in a process of its own, with its own topics and snapshots, that can be killed and started again."""

    def __init__(self, kafka: EmbeddedKafka, prefix: str, folder: Path, *, store: str = "folder", **metrics: float) -> None:
        self.folder, self.bootstrap_servers, self.prefix, self.name = folder, kafka.bootstrap_servers, prefix, "one"
        self.log = folder / "log"
        self.environment: dict[str, str] = {}
        settings = f"""
            kafka = {{bootstrap_servers = "{kafka.bootstrap_servers}", topic_prefix = "{prefix}", partitions = {PARTITIONS},
                      group = "{prefix}", session_timeout_s = 6}}
            state = {{store = "{store}", folder = "{folder}/state", snapshot_s = 0.2}}
            metrics = {{host = "127.0.0.1", port = 0, stall_s = {metrics.get("stall_s", 30)}}}
        """
        self.store = store
        (folder / "settings.toml").write_text(settings.replace("\n                      ", " "))
        self.process: subprocess.Popen[bytes] | None = None

    def another(self) -> "Worker":
        """A second worker of the same group, with the same snapshots."""
        other = Worker.__new__(Worker)
        other.__dict__ |= self.__dict__ | {"log": self.folder / "other-log", "process": None, "name": "other", "environment": {}}
        return other

    def start(self) -> None:
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "tests.streams.counting", str(self.folder / "settings.toml")]
            own = {"TEST_ROWS": str(self.rows_file), "TEST_SINK_AWAY": str(self.sink_away)}
            environment = os.environ | own | self.environment
            self.process = subprocess.Popen(command, cwd=REPOSITORY, stdout=log, stderr=log, env=environment)

    def end(self, number: int = signal.SIGTERM, timeout: float = 20.0) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def lines(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]

    def health(self) -> tuple[int, str]:
        port = [line["port"] for line in self.lines() if line["event"] == "health and metrics are served"][-1:]
        if not port:
            return 0, ""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port[0]}/healthz", timeout=2) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def metric(self, name: str) -> float:
        """A sample of its metrics, by its whole name with labels; 0 when it is not there."""
        port = [line["port"] for line in self.lines() if line["event"] == "health and metrics are served"][-1]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=2) as answer:
            samples = dict(line.rsplit(" ", 1) for line in answer.read().decode().splitlines() if not line.startswith("#"))
        return float(samples.get(name, 0))

    @property
    def sink_away(self) -> Path:
        """While this file exists, the worker's store of rows takes nothing."""
        return self.folder / f"away-{self.name}"

    @property
    def rows_file(self) -> Path:
        """Where this worker writes the rows that it stores, as `ROWS` has them."""
        return self.folder / f"rows-{self.name}"

    def rows(self) -> list[tuple[float, int, int]]:
        """Time of storing, start, revision of each row that this worker stored."""
        lines = self.rows_file.read_text().splitlines() if self.rows_file.exists() else []
        return [(float(at), int(start), int(revision)) for at, start, revision in (line.split() for line in lines)]

    def snapshot(self, kind: Kind, partition: int) -> Snapshot | None:
        """What is stored now."""
        if self.store == "folder":
            return FolderStore(self.folder / "state").read(kind, partition)
        settings = Kafka(bootstrap_servers=self.bootstrap_servers, topic_prefix=self.prefix, partitions=PARTITIONS)
        for _ in range(10):
            try:
                return TopicStore(settings).read(kind, partition)
            except SnapshotError:  # a newer one took its place
                continue
        raise AssertionError("a snapshot cannot be read")

    def shards(self) -> list[CountingShard]:
        shards = [CountingShard(p) for p in range(PARTITIONS)]
        for shard in shards:
            if (snapshot := self.snapshot("shard", shard.partition)) is not None:
                shard.restore(snapshot.state)
        return shards

    def judge(self) -> CountingJudge:
        judge = CountingJudge(partition_for_key(b"fraud", PARTITIONS))
        if (snapshot := self.snapshot("judge", judge.partition)) is not None:
            judge.restore(snapshot.state)
        return judge


def until(worker: Worker, holds: Callable[[], bool], timeout: float = 40.0) -> None:
    deadline = time.monotonic() + timeout
    while not holds():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s; health {worker.health()}; its log ends with:\n{worker.log.read_text()[-3000:]}")
        time.sleep(0.05)
