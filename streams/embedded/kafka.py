"""Apache Kafka itself, one to three KRaft nodes, with nothing to install but the extra `embedded`."""

import base64
import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from streams.embedded.cache import filled_once
from streams.embedded.jars import Progress, java, kafka_jars
from streams.embedded.process import Child, StartError, clean_environment, free_ports, is_free
from streams.embedded.security import Security

# Small and quick to start: a demo's and a test's broker is not CPU-bound (250 MB/s measured with these).
_JVM = (
    "-Xms64m",
    "-Xmx256m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:-UsePerfData",
    "-Xlog:disable",
    "-Xlog:all=error:stderr",
    "--enable-native-access=ALL-UNNAMED",
    "--sun-misc-unsafe-memory-access=allow",
)
_LOG4J = """\
rootLogger=warn,c
appender.c.type=Console
appender.c.name=c
appender.c.layout.type=PatternLayout
appender.c.layout.pattern=%d %p %c{1} %m%n
logger.r.name=kafka.server.KafkaRaftServer
logger.r.level=info
"""
_READY = "Kafka Server started"  # logged once the broker may serve, with any security
# Kafka's defaults are for big clusters: these make groups, restarts, retention and compaction react within seconds.
_QUICK = {
    "group.initial.rebalance.delay.ms": "0",
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
    "log.retention.check.interval.ms": "500",
    "log.initial.task.delay.ms": "100",
    "log.cleaner.backoff.ms": "200",
    "log.segment.delete.delay.ms": "200",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
}


class KafkaNode:
    """One broker-and-controller process on its own folder and port; `EmbeddedKafka.nodes` has them."""

    def __init__(self, number: int, home: Path, command: Sequence[str], temporary: Path | None) -> None:
        self.number, self.home, self._command, self._temporary = number, home, command, temporary
        self.port = 0
        self._child: Child | None = None

    @property
    def pid(self) -> int | None:
        """The process id, None when it is not running."""
        return self._child.pid if self._child else None

    def configure(self, port: int, properties: Mapping[str, str]) -> None:
        """Write the node's files; they may hold the administrator's password, so for this user only."""
        self.port = port
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self.home / "server.properties").write_text("".join(f"{key}={value}\n" for key, value in properties.items()))
        (self.home / "log4j2.properties").write_text(_LOG4J)

    def format(self, java_command: Sequence[str], cluster_id: str, extra: Sequence[str]) -> None:
        """Prepare an empty data folder; does nothing on one that is prepared."""
        if (self.home / "data" / "meta.properties").exists():
            return
        tool = [*java_command, "kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", "server.properties", *extra]
        # Its output is dropped because it prints the users' keys.
        done = subprocess.run(  # noqa: S603 - the command is ours, and no shell reads it
            tool,
            cwd=self.home,
            env=clean_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            check=False,
            timeout=60,
        )
        if done.returncode:
            error = done.stderr.decode(errors="replace")[-2000:]
            raise StartError(f"Kafka node {self.number}: formatting {self.home} ended with code {done.returncode}:\n{error}")

    def start(self, timeout: float = 60.0) -> None:
        """Start it, also again after `stop` or `kill`: same data, same port.

        Raises:
            StartError: if it ends or is not ready within `timeout` seconds; the message ends with the broker's log.
        """
        if self._child is not None and self._child.returncode is None:
            return
        self.kill()  # an ended child still has its watcher
        self._child = child = Child(f"Kafka node {self.number}", self._command, self.home / "broker.log", temporary=self._temporary)
        child.wait_until(lambda: _READY in child.said(), timeout)

    def stop(self, timeout: float = 15.0) -> None:
        """Shut it down in order; data and port are kept for `start`."""
        if self._child is not None:
            self._child.stop(timeout=timeout)
        self._child = None

    def kill(self) -> None:
        """End it as a power failure would (SIGKILL); data and port are kept for `start`."""
        if self._child is not None:
            self._child.stop(kill=True)
        self._child = None


class EmbeddedKafka:
    """A Kafka cluster of this process: `with EmbeddedKafka() as kafka: Producer({"bootstrap.servers": kafka.bootstrap_servers})`.

    The nodes are child processes on 127.0.0.1 and die with this Python, however it dies. Topics must be created (a typing
    mistake would otherwise make one), with 4 partitions unless said.

    Args:
        nodes: 1 to 3. Three replicate every topic three times and stay writable when one is gone.
        folder: where the data lives. None: a temporary folder, removed at the end. A given one is kept, and continues with
            the same data and, when they are still free, the same ports at the next start.
        properties: broker settings that replace the defaults here.
        security: TLS, users and ACLs; None: plaintext.
        progress: told (bytes, total bytes) while Kafka is fetched for the first time.
        java_options: more options of the JVM.

    Raises:
        ValueError: if nodes is out of range, or is not what the folder was made with.
        MissingPartError: from `start`, when Java or Kafka cannot be had; says what to do.
        StartError: from `start`, when a node does not come up (ends with its log), or another one uses the folder.

    Cost: start 2.5-4 s, 1.3 s once `record_startup` has run; 300 MB of memory a node. The first use fetches 45 MB.
    Misleads: everything is on one disk and one machine, so no latency measured here says anything about a real cluster.

    Methods are not for several threads at once.
    """

    def __init__(
        self,
        nodes: int = 1,
        *,
        folder: Path | None = None,
        properties: Mapping[str, str] | None = None,
        security: Security | None = None,
        progress: Progress | None = None,
        java_options: Sequence[str] = (),
    ) -> None:
        if not 1 <= nodes <= 3:
            raise ValueError(f"nodes must be 1 to 3, got {nodes}")
        self._count, self._folder, self._security = nodes, folder, security
        self._properties, self._progress, self._java_options = dict(properties or {}), progress, tuple(java_options)
        self._home: Path | None = None
        self._lock: IO[bytes] | None = None
        self.nodes: list[KafkaNode] = []

    @property
    def bootstrap_servers(self) -> str:
        """The addresses for clients, `host:port,...`.

        Raises:
            RuntimeError: before `start`.
        """
        if not self.nodes:
            raise RuntimeError("the embedded Kafka is not running: use `with EmbeddedKafka() as kafka:` or call start() first")
        return ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def start(self) -> Self:
        """Start all nodes and wait until they serve. Does nothing when it runs."""
        if self.nodes:
            return self
        program, version = java()
        jars = kafka_jars(self._progress)
        recorded = _recording(jars, version)
        for attempts_left in (2, 1, 0):
            startup = self._java_options or [f"-XX:AOTCache={recorded}"]  # the JVM goes on without it when it is absent or unfit
            try:
                self._start([str(program), *_JVM, *startup, "-cp", os.pathsep.join(map(str, jars))])
            except StartError as error:
                self.stop()
                if not attempts_left or not _can_cure(str(error), recorded):
                    raise
            except BaseException:
                self.stop()
                raise
            else:
                break
        return self

    def _start(self, java_command: Sequence[str]) -> None:
        kept = self._folder is not None
        home = self._folder.expanduser().resolve() if self._folder else Path(tempfile.mkdtemp(prefix="inferwatch-kafka-"))
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._home = home
        if kept:
            self._lock = _hold(home / "lock")
        before = len([*home.glob("node[0-9]")])
        if before not in (0, self._count):
            raise ValueError(f"{home} was made with nodes={before}, got nodes={self._count}: use that number or another folder")
        java_here = [*java_command, "-Dlog4j2.configurationFile=log4j2.properties"]
        run = [*java_here, "kafka.Kafka", "server.properties"]
        self.nodes = [KafkaNode(n + 1, home / f"node{n + 1}", run, None if kept else home) for n in range(self._count)]
        ports = _kept_ports(home / "ports", 2 * self._count)
        for node, port, controller in zip(self.nodes, ports, ports[self._count :], strict=False):
            node.configure(port, self._node_properties(node, port, controller, ports[self._count :]))
        cluster = _kept_cluster_id(home / "cluster-id")
        users = self._security.format_arguments() if self._security else []
        with ThreadPoolExecutor(self._count) as pool:  # together: a node waits for the majority
            list(pool.map(lambda node: node.format(java_here, cluster, users), self.nodes))
            list(pool.map(KafkaNode.start, self.nodes))

    def _node_properties(self, node: KafkaNode, port: int, controller: int, controllers: Sequence[int]) -> dict[str, str]:
        listener = "SASL_SSL" if self._security else "PLAINTEXT"
        copies, in_sync = str(self._count), str(max(1, self._count - 1))
        properties = {
            "node.id": str(node.number),
            "process.roles": "broker,controller",
            "log.dirs": str(node.home / "data"),
            "listeners": f"{listener}://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}",
            "inter.broker.listener.name": listener,
            "controller.listener.names": "CONTROLLER",
            "controller.quorum.voters": ",".join(f"{n + 1}@127.0.0.1:{p}" for n, p in enumerate(controllers)),
            "num.partitions": "4",
            "auto.create.topics.enable": "false",
            "default.replication.factor": copies,
            "min.insync.replicas": in_sync,
        }
        for topic in ("offsets.topic", "transaction.state.log", "share.coordinator.state.topic"):
            properties |= {f"{topic}.num.partitions": "4", f"{topic}.replication.factor": copies, f"{topic}.min.isr": in_sync}
        return properties | _QUICK | (self._security.properties() if self._security else {}) | self._properties

    def stop(self) -> None:
        """Stop all nodes: in order with a kept folder, at once with a temporary one, which is removed. Safe to call twice."""
        if self.nodes:
            with ThreadPoolExecutor(self._count) as pool:
                list(pool.map(KafkaNode.stop if self._folder is not None else KafkaNode.kill, self.nodes))
        self.nodes = []
        if self._home is not None and self._folder is None:
            shutil.rmtree(self._home, ignore_errors=True)
        self._home = None
        if self._lock is not None:
            self._lock.close()
        self._lock = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()


def record_startup(progress: Progress | None = None) -> None:
    """Record what a starting broker loads (the JVM's AOT cache), after which every start takes half the time.

    Any number of processes may call it: one records, the others wait and find it done. Starting a broker meanwhile is fine:
    it sees no recording or a whole one. Does nothing when there is a recording.

    Args:
        progress: told (bytes, total bytes) while Kafka is fetched for the first time.

    Raises:
        MissingPartError: when Java or Kafka cannot be had.
        StartError: when the broker does not come up.

    Cost: 11-15 s once, 65 MB beside the jars.
    """

    def record(folder: Path) -> None:
        with EmbeddedKafka(java_options=[f"-XX:AOTCacheOutput={folder / recording.name}"]) as kafka:
            kafka.nodes[0].stop(timeout=120)  # the JVM writes the recording as it ends
        if not (folder / recording.name).exists():
            raise StartError("the JVM ended without writing its AOT cache")

    recording = _recording(kafka_jars(progress), java()[1])
    filled_once(recording.parent, record, lambda folder: (folder / recording.name).exists())


def _recording(jars: Sequence[Path], java_version: str) -> Path:
    """Name the AOT cache: it lies with the jars, because it holds for these very files and this JVM only."""
    return jars[0].parent / f"startup-jdk{java_version}" / "kafka.aot"


def _can_cure(error: str, recording: Path) -> bool:
    """Say whether another attempt to start makes sense, after clearing what broke this one."""
    if "ended with code -" in error and recording.exists():
        recording.unlink(missing_ok=True)  # a damaged recording can crash the JVM; without it the start is only slower
        return True
    return "Address already in use" in error  # somebody took a port just now; the next attempt takes others


def _hold(file: Path) -> IO[bytes]:
    """Lock a kept folder for as long as the file is open: a second start would rewrite the first one's ports."""
    stream = file.open("ab")
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        stream.close()
        raise StartError(f"{file.parent} is used by another embedded Kafka that is running: stop that one or give another folder") from None
    return stream


def _kept_ports(file: Path, count: int) -> list[int]:
    """Return the folder's ports of the last time if all are free, so clients find it again; else new ones."""
    ports = [int(word) for word in file.read_text().split()] if file.exists() else []
    if len(ports) != count or not all(map(is_free, ports)):
        ports = free_ports(count)
        file.write_text(" ".join(map(str, ports)))
    return ports


def _kept_cluster_id(file: Path) -> str:
    """Return the folder's cluster id, the same for all nodes, also when a first start was cut short."""
    if not file.exists():
        # "k" in front: an id that begins with "-" would be read as an option.
        file.write_text("k" + base64.urlsafe_b64encode(os.urandom(16)).decode()[1:22])
    return file.read_text()
