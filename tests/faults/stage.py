"""The real parts of one run: brokers, store, Alertmanager, pager, and workers under a supervisor that starts them again."""

from __future__ import annotations

import datetime
import itertools
import json
import os
import re
import signal
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import get_args

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from streams.clickhouse import ClickHouse
from streams.embedded.alertmanager import EmbeddedAlertmanager
from streams.embedded.kafka import EmbeddedKafka
from streams.embedded.process import Child, free_ports
from streams.kafka import ends, ensure_topics
from streams.migrate import migrate
from streams.settings import Settings, load
from streams.snapshots import Kind, SnapshotError
from streams.state_folder import FolderStore
from streams.state_topic import TopicStore
from streams.tenure import ROLES
from streams.worker import Exit
from tests.faults.store import Store, python
from tests.pager import Pager
from tests.streams.events import KEY

PARTITIONS = 4
LENGTH_S = 2
SETTLE_S = 60
_METRIC = re.compile(r"^(\w+)(?:\{[^}]*\})? (\S+)$", re.MULTILINE)


_EXPLAINED = (-signal.SIGKILL, int(Exit.REPLACED))
"""How workers end that were killed, or that slept while another took over."""


class Worker:
    """One worker process, to be killed, stopped and started again."""

    def __init__(self, name: str, folder: Path, environment: Mapping[str, str]) -> None:
        self.name, self.wanted = name, False
        (self.port,) = free_ports(1)
        self.log = folder / f"{name}.log"
        self._command = [*python(**environment, INFERWATCH_METRICS_PORT=str(self.port)), "-m", "tests.faults.worker"]
        self._child: Child | None = None

    def start(self) -> None:
        """Starts it; does not wait."""
        if self._child is not None:
            self._child.stop(kill=True)  # its watcher
        self.wanted = True
        self._child = Child(self.name, self._command, self.log)

    @property
    def returncode(self) -> int | None:
        """None while it runs, and when it was ended for good."""
        child = self._child
        return None if child is None else child.returncode

    def send(self, number: int) -> None:
        """Sends it a signal, when it is there."""
        if self._child is not None and self._child.returncode is None:
            os.kill(self._child.pid, number)

    def stop(self, *, kill: bool = False) -> None:
        """Ends it for good."""
        self.wanted = False
        if self._child is not None:
            self.send(signal.SIGCONT)
            self._child.stop(kill=kill, timeout=30)
        self._child = None

    def metrics(self) -> Counter[str]:
        """Sums of its metrics by name; empty while it does not answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=2) as page:
                text = page.read().decode()
        except OSError:
            return Counter()
        sums: Counter[str] = Counter()
        for name, value in _METRIC.findall(text):
            sums[name] += float(value)  # type: ignore[assignment]  # gauges and counters are floats here
        return sums

    def is_ready(self) -> bool:
        """Whether /healthz says so."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/healthz", timeout=2) as page:
                return bool(page.status == 200)
        except OSError:
            return False


class Stage:
    """Everything of one run; `with Stage(...) as stage:`. Brokers, store and Alertmanager are the caller's.

    Args:
        folder: Of this run.
        kafka: Its brokers; the run has topics of its own.
        store: ClickHouse's engine; the run has a database of its own.
        alertmanager: Posts to the pager.
        pager: What it received.
        name: Prefix of topics, group, database and models.
        extra: More settings of the workers, ``INFERWATCH_...``.
        state: Where snapshots lie; default: in the folder.
    """

    def __init__(
        self,
        folder: Path,
        kafka: EmbeddedKafka,
        store: Store,
        alertmanager: EmbeddedAlertmanager,
        pager: Pager,
        name: str,
        extra: Mapping[str, str] | None = None,
        state: Path | None = None,
    ) -> None:
        self.folder, self.kafka, self.store, self.alertmanager, self.pager, self.name = folder, kafka, store, alertmanager, pager, name
        folder.mkdir(parents=True, exist_ok=True)
        self.state = state or folder / "state"
        self._clock = folder / "clock"
        self.reread, self.no_commits = folder / "reread", folder / "no-commits"
        """While they are there, workers read records again, and cannot commit."""
        self.step_clock(0.0)
        self.environment = {
            "INFERWATCH_KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
            "INFERWATCH_KAFKA_TOPIC_PREFIX": name,
            "INFERWATCH_KAFKA_GROUP": name,
            "INFERWATCH_KAFKA_PARTITIONS": str(PARTITIONS),
            "INFERWATCH_KAFKA_REPLICATION": str(len(kafka.nodes)),
            "INFERWATCH_KAFKA_SESSION_TIMEOUT_S": "6",
            "INFERWATCH_CLICKHOUSE_DSN": store.dsn(name),
            "INFERWATCH_STATE_FOLDER": str(self.state),
            "INFERWATCH_STATE_SNAPSHOT_S": "0.2",
            "INFERWATCH_ALERTMANAGER_URLS": alertmanager.url,
            "INFERWATCH_ALERTMANAGER_RESEND_S": "30",
            "INFERWATCH_WINDOW_LENGTH_S": str(LENGTH_S),
            "INFERWATCH_WINDOW_SETTLE_S": str(SETTLE_S),
            "INFERWATCH_METRICS_HOST": "127.0.0.1",
            "INFERWATCH_MEMBERSHIP_KEY": KEY.decode(),
            **(extra or {}),
        }
        self.settings: Settings = load(None, self.environment)
        self.admin = self._new_admin()
        self._onlooker = Consumer({"bootstrap.servers": kafka.bootstrap_servers, "group.id": name, "log_level": 0})
        self._looking = threading.Lock()
        self.workers: list[Worker] = []
        self.ends: Counter[str] = Counter()
        """How often workers ended by themselves or were ended, by exit code."""
        self.last_words: list[str] = []
        """How the logs end of workers that ended and that no fault explains."""
        self.progress: list[tuple[float, int]] = []
        """Monotonic time, records of events that are durable in some state."""
        self._durable: list[tuple[float, dict[tuple[str, int], int]]] = []
        self.overwritten: list[str] = []
        """Snapshots in the folder that came after a later owner's: nobody was fenced."""
        self._fences: Counter[tuple[Kind, int]] = Counter()
        self._snapshots = FolderStore(self.state) if self.settings.state.store == "folder" else TopicStore(self.settings.kafka)
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="supervisor", daemon=True)

    def __enter__(self) -> Stage:
        ensure_topics(self.settings.kafka)
        with ClickHouse(self.store.dsn(self.name)) as clickhouse:
            migrate(clickhouse)
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._watcher.join()
        for worker in self.workers:
            worker.stop(kill=True)
        self._onlooker.close()

    def join(self) -> Worker:
        """One more worker, which the supervisor keeps alive."""
        files = {"TEST_CLOCK": self._clock, "TEST_REREAD": self.reread, "TEST_NO_COMMITS": self.no_commits}
        environment = {name: str(path) for name, path in files.items()} | self.environment
        worker = Worker(f"worker{len(self.workers)}", self.folder, environment)
        worker.start()
        self.workers.append(worker)
        return worker

    def wait_until_ready(self) -> None:
        """Until all wanted workers own partitions."""
        self.until(lambda: all(worker.is_ready() for worker in self.workers if worker.wanted), "workers are ready", 120)

    def step_clock(self, by_s: float) -> None:
        """Sets the workers' wall clocks ahead of real time by so much in all."""
        part = self._clock.with_suffix(".new")
        part.write_text(f"{round(by_s * 1e9):<23d}\n")
        if self._clock.exists():
            with self._clock.open("r+") as file:  # in place: the workers hold it open
                file.write(part.read_text())
        else:
            part.rename(self._clock)

    def topics(self, role: str) -> list[tuple[str, int]]:
        """All partitions of a topic."""
        return [(f"{self.name}.{role}", p) for p in range(PARTITIONS)]

    def read(self, role: str) -> list[list[object]]:
        """Every record of a topic, by partition, in order of offsets."""
        out: list[list[object]] = []
        for topic, partition in self.topics(role):
            reader = Consumer({"bootstrap.servers": self.kafka.bootstrap_servers, "group.id": "reader", "enable.auto.commit": False})
            until = ends(self.admin, [(topic, partition)])[topic, partition]
            reader.assign([TopicPartition(topic, partition, 0)])
            found: list[object] = []
            deadline = time.monotonic() + 60
            while len(found) < until:
                found += [message for message in reader.consume(5_000, 1.0) if message.error() is None]
                assert time.monotonic() < deadline, f"{topic} {partition}: {len(found)} of {until} records read"
            reader.close()
            out.append(found)
        return out

    def durable(self) -> dict[tuple[str, int], int]:
        """Offsets that the group shows as durable."""
        wanted = [TopicPartition(topic, p) for roles in ROLES.values() for role in roles for topic, p in self.topics(role)]
        with self._looking:  # a consumer's look: librdkafka's admin call for the same asserts when its broker goes away
            return {(one.topic, one.partition): max(one.offset, 0) for one in self._onlooker.committed(wanted, timeout=5)}

    def in_states(self) -> dict[tuple[str, int], int]:
        """Offsets of events at which the saved states end, whatever the group shows.

        Raises:
            SnapshotError, KafkaException: they cannot be read now.
        """
        found = ((topic, p, self._snapshots.read("shard", p)) for topic, p in self.topics("events"))
        return {(topic, p): 0 if snapshot is None else snapshot.next["events"] for topic, p, snapshot in found}

    def ends_of_events(self) -> dict[tuple[str, int], int]:
        """Where the events' partitions end now."""
        found: dict[tuple[str, int], int] = {}

        def asked() -> bool:
            try:
                with self._looking:
                    for topic, p in self.topics("events"):
                        found[topic, p] = self._onlooker.get_watermark_offsets(TopicPartition(topic, p), timeout=5)[1]
            except KafkaException:
                with self._looking, suppress(KafkaException):  # else it goes on asking the leader of before, for minutes
                    self._onlooker.list_topics(timeout=5)
                return False
            return True

        self.until(asked, "the brokers say where the events end", 90)
        return found

    def holds(self, wanted: Mapping[tuple[str, int], int]) -> bool:
        """Whether all before these offsets is durable."""
        try:
            durable = self.durable()
        except KafkaException:
            return False
        return all(durable[key] >= offset for key, offset in wanted.items())

    def applies(self, wanted: Mapping[tuple[str, int], int]) -> bool:
        """Whether the saved states hold all events before these offsets."""
        try:
            held = self.in_states()
        except (SnapshotError, KafkaException):
            return False
        return all(held[key] >= offset for key, offset in wanted.items())

    def move_commits(self) -> None:
        """Sets what Kafka holds as committed: every other partition to its end, the others to 0. No worker may be running."""
        until = ends(self.admin, [key for roles in ROLES.values() for role in roles for key in self.topics(role)])
        wanted = [TopicPartition(topic, p, at if p % 2 else 0) for (topic, p), at in until.items()]

        def moved() -> bool:
            (future,) = self.admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(self.name, wanted)]).values()
            try:
                return all(one.error is None for one in future.result(timeout=10).topic_partitions)
            except KafkaException:  # the group still has members, which Kafka finds dead when their sessions end
                return False

        self.until(moved, "commits are moved", 60)

    def is_read(self) -> bool:
        """Nothing waits in the topics: all that is there is durable in its owner's state."""
        try:
            before = self.durable()
            until = ends(self.admin, before)
        except (KafkaException, TimeoutError, OSError):
            return False
        if len(until) < len(before):  # after a broker's restart a client may never again get the ends of some partitions
            self.admin = self._new_admin()
        return len(until) == len(before) and all(before[key] >= until[key] for key in before)

    def _new_admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.kafka.bootstrap_servers, "log_level": 0})

    def is_drained(self) -> bool:
        """Nothing waits anywhere: in the topics, in outboxes, on the way to the store."""
        if not self.is_read():
            return False
        for worker in self.workers:
            if worker.wanted:
                sums = worker.metrics()
                if not sums or sums["inferwatch_outbox_messages"] or sums["inferwatch_sink_pending_rows"] or not worker.is_ready():
                    return False
        return True

    def drain(self, what: str, timeout_s: float = 120.0, *, read_only: bool = False) -> None:
        """Waits until nothing has waited anywhere for longer than the gauges' period.

        ``read_only``: nothing in the topics; while windows come due by the clock, their rows are on the way to the store all the time.
        """
        is_done = self.is_read if read_only else self.is_drained

        def quiet() -> bool:
            before = ends(self.admin, [key for roles in ROLES.values() for role in roles for key in self.topics(role)])
            if not is_done():
                return False
            time.sleep(1.2)
            return is_done() and before == ends(self.admin, before)

        self.until(quiet, what, timeout_s)

    def until(self, holds: Callable[[], bool], what: str, timeout_s: float = 60.0) -> None:
        """Polls; an AssertionError says what did not come, and how the workers' logs end."""
        deadline = time.monotonic() + timeout_s
        while not holds():
            if time.monotonic() > deadline:
                logs = "\n".join(f"--- {w.name} ({w.returncode})\n{w.log.read_text()[-1500:]}" for w in self.workers)
                raise AssertionError(f"not within {timeout_s:.0f} s: {what}; durable {self.durable()}\n{logs}")
            time.sleep(0.1)

    def longest_standstill(self) -> float:
        """The longest time without any event becoming durable, in seconds, between the first and the last that did."""
        moved = [self.progress[k][0] for k in range(1, len(self.progress)) if self.progress[k][1] > self.progress[k - 1][1]]
        return max((b - a for a, b in itertools.pairwise(moved)), default=0.0)

    def went_back(self) -> list[str]:
        """Partitions that were taken over in an older state than was known to be durable: a replaced owner wrote over its successor's."""
        found = []
        for worker in self.workers:
            for line in worker.log.read_text().splitlines():
                if not line.startswith("{") or (said := json.loads(line)).get("event") != "owns":
                    continue
                at = datetime.datetime.fromisoformat(said["timestamp"]).timestamp()
                known = next((offsets for since, offsets in reversed(self._durable) if since < at), {})
                for role, offset in said["next"].items():
                    key = f"{self.name}.{role}", said["partition"]
                    if offset < known.get(key, 0):
                        found.append(f"{worker.name} took over {key} at {offset}, durable was {known[key]}")
        return found

    def events_of(self, name: str) -> int:
        """How often the workers logged this."""
        lines = (line for worker in self.workers for line in worker.log.read_text().splitlines() if line.startswith("{"))
        return sum(json.loads(line).get("event") == name for line in lines)

    def _look_for_overwritten(self) -> None:
        """Compares each snapshot's fence with the highest that was seen; a stale one lies there until the owner saves again."""
        for key in itertools.product(get_args(Kind), range(PARTITIONS)):
            with suppress(SnapshotError):  # being written, or the disk is full
                fence = 0 if (found := self._snapshots.read(*key)) is None else found.fence
                if fence < self._fences[key]:
                    self.overwritten.append(f"{key}: owner {fence} over owner {self._fences[key]}")
                self._fences[key] = max(fence, self._fences[key])

    def _watch(self) -> None:
        looked = 0.0
        while not self._over.wait(0.1):
            if self.settings.state.store == "folder":
                self._look_for_overwritten()
            for worker in list(self.workers):
                if worker.wanted and (code := worker.returncode) is not None:
                    self.ends[str(code)] += 1
                    if code not in _EXPLAINED:
                        self.last_words.append(f"{worker.name} ended with {code}; its log ends:\n{worker.log.read_text()[-3000:]}")
                    worker.start()
            if time.monotonic() - looked > 0.5:
                looked = time.monotonic()
                try:
                    at = self.in_states() if self.no_commits.exists() else self.durable()
                except Exception:  # noqa: BLE001  # the broker is away: no progress, which is what is measured
                    continue
                self._durable.append((time.time(), at))
                total = sum(offset for (topic, _), offset in at.items() if topic.endswith(".events"))
                self.progress.append((time.monotonic(), max(total, self.progress[-1][1] if self.progress else 0)))
