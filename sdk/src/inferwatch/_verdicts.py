"""Looking up verdicts: a thread follows the compacted topic, a look-up reads a dictionary."""

from __future__ import annotations

import functools
import os
import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Literal

import msgspec

from inferwatch import _processes
from inferwatch._log import RateLimited
from inferwatch._pseudonym import pseudonym_of
from inferwatch._settings import between, key_of, previous_key_of
from inferwatch._verdict import NOTHING, STRENGTH, Verdict, read_verdict

LookUp = Literal["found", "none", "stale", "failed"]
_POLL_S = 0.2
_ASK_S = 2.0


class VerdictStats(msgspec.Struct, frozen=True, kw_only=True):
    """Counts since the start; those of look-ups may miss a few where many threads look up at once."""

    found: int
    """Look-ups that found a verdict in force."""
    none: int
    """Look-ups of clients without one, or with one that is not in force yet or any more."""
    stale: int
    """Look-ups answered with "observe" because the topic was not read to its end lately: no broker, no topic, not begun."""
    failed: int
    """Look-ups answered with "observe" because of an error."""
    held: int
    """Verdicts in memory."""
    bad: int
    """Records that are no verdicts; dropped."""
    full: int
    """Verdicts for which there was no room; dropped."""


class Verdicts:
    """The verdicts on a model's clients, for gateways. A look-up waits for nothing and never raises: in doubt it says "observe".

    It fails open. When the broker is away, the topic is missing, or it was not read to its end for `stale_s`, every answer is "observe",
    and counted. An expired verdict is never served. Safe to share between threads and to fork; begins to read at the first look-up.

    Cost: a look-up takes 0.3 us for a model without verdicts, else 3 us (an HMAC), 5 us with a previous key. 0.6 KB a verdict held. One
    thread, one connection to each broker, one question to each partition's leader every `stale_s` / 4.

    Args:
        bootstrap_servers: ``host:port`` of the Kafka cluster; else ``INFERWATCH_BOOTSTRAP_SERVERS`` or ``KAFKA_BOOTSTRAP_SERVERS``.
        pseudonym_key: The services' secret, else ``INFERWATCH_PSEUDONYM_KEY``. Without it no client can be looked up, so it must be there.
        previous_pseudonym_key: The key before this one, else ``INFERWATCH_PSEUDONYM_KEY_PREVIOUS``: verdicts on the old name go on.
        topic_prefix: Of the topics' names.
        max_verdicts: Held in memory, 1 to 10,000,000; beyond it new ones are dropped and counted.
        stale_s: 1 to 3,600.
        kafka_options: More of librdkafka's options (SASL, TLS).
        environment: Instead of the process's.

    Raises:
        ValueError: no servers, no key, or a number out of range.

    Example:
        >>> with Verdicts("127.0.0.1:1", pseudonym_key="k" * 16) as verdicts:  # nobody is there
        ...     verdicts.look_up("fraud", "alice").action
        'observe'
    """

    def __init__(
        self,
        bootstrap_servers: str | None = None,
        *,
        pseudonym_key: str | bytes | None = None,
        previous_pseudonym_key: str | bytes | None = None,
        topic_prefix: str = "inferwatch",
        max_verdicts: int = 100_000,
        stale_s: float = 30.0,
        kafka_options: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        environment = os.environ if environment is None else environment
        servers = bootstrap_servers or environment.get("INFERWATCH_BOOTSTRAP_SERVERS") or environment.get("KAFKA_BOOTSTRAP_SERVERS")
        if not servers:
            raise ValueError("bootstrap_servers is missing: pass 'host:9092', or set INFERWATCH_BOOTSTRAP_SERVERS")
        if not (pseudonym_key or environment.get("INFERWATCH_PSEUDONYM_KEY")):
            raise ValueError(
                "pseudonym_key is missing: verdicts are on pseudonyms; pass the services' key, or set INFERWATCH_PSEUDONYM_KEY"
            )
        between("max_verdicts", max_verdicts, 1, 10_000_000)
        between("stale_s", stale_s, 1, 3_600)
        self._log = RateLimited()
        key = key_of(pseudonym_key, environment, self._log)
        previous = previous_key_of(previous_pseudonym_key, environment, key)
        self._keys = (key,) if previous is None else (key, previous)
        self._topic = f"{topic_prefix}.verdicts"
        self._config: dict[str, Any] = {
            "bootstrap.servers": servers,
            "reconnect.backoff.max.ms": 3_000,
            "log_level": 0,
            **(kafka_options or {}),
            "error_cb": self._on_error,
        }
        self._group = f"{topic_prefix}-verdicts"  # required, never joined
        self._max, self._stale_s = max_verdicts, stale_s
        self._found = self._none = self._stale = self._failed = self._bad = self._full = 0
        self._lock = threading.Lock()
        self._closed = False
        self._library = _processes.Library()
        self._stopped = self._caught_up = threading.Event()
        self._begin()
        _processes.watch_forks(self)

    def __repr__(self) -> str:
        return f"Verdicts({self._config['bootstrap.servers']!r}, {self._topic!r})"

    def __enter__(self) -> Verdicts:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def look_up(self, model: str, client: str | int = "") -> Verdict:
        """The strongest verdict in force on this client of the model, or on the model as a whole; `NOTHING` ("observe") when there is none.

        Args:
            model: As in `Client.record`.
            client: The raw id, as in `Client.record`; without one only the model's own verdict is looked up.
        """
        try:
            if time.monotonic() >= self._fresh_until:
                if not self._started:
                    self._start()
                self._stale += 1
                return NOTHING
            of_model = self._table.get(model)
            best = NOTHING
            if of_model is not None:
                now_ns = time.time_ns()
                names = [""]
                if client != "":
                    names += [pseudonym_of(key, str(client)) for key in self._keys]
                for name in names:
                    one = of_model.get(name)
                    if one is not None and one.holds(now_ns) and (best is NOTHING or STRENGTH[one.action] > STRENGTH[best.action]):
                        best = one
            if best is NOTHING:
                self._none += 1
            else:
                self._found += 1
        except Exception as error:  # noqa: BLE001  # a gateway must go on answering
            self._failed += 1
            self._log.line("look_up", "a verdict could not be looked up (%s); the answer is observe", type(error).__name__)
            return NOTHING
        return best

    def wait(self, timeout_s: float) -> bool:
        """Begins to read, and waits until the topic was read to its end; False when that took longer. For the gateway's start."""
        self._start()
        return self._caught_up.wait(timeout_s)

    def stats(self) -> VerdictStats:
        """What was looked up and read so far."""
        return VerdictStats(
            found=self._found, none=self._none, stale=self._stale, failed=self._failed,
            held=self._held, bad=self._bad, full=self._full,
        )  # fmt: skip

    def close(self) -> None:
        """Ends the thread; look-ups then say "observe". Closing twice is fine."""
        self.stop(0.0)
        self.join(_ASK_S + 3.0)

    def stop(self, timeout_s: float) -> None:
        """Begins to end."""
        self._closed = True
        self._stopped.set()
        self._fresh_until = 0.0

    def join(self, timeout_s: float) -> None:
        """Waits for the thread's end."""
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout_s)

    # -- the thread ---------------------------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        self._table: dict[str, dict[str, Verdict]] = {}
        self._held = 0
        self._fresh_until = 0.0
        self._started = False
        self._thread: threading.Thread | None = None
        self._consumer: Any = None
        self._pause = _processes.Pause()
        self._stopped, self._caught_up = threading.Event(), threading.Event()

    def _before_fork(self, timeout_s: float) -> None:
        self._pause.ask(self._thread, timeout_s)

    def _after_fork_in_parent(self) -> None:
        self._pause.over()

    def _after_fork(self) -> None:
        """In the child: begins anew at the next look-up. A consumer that did not end in time is left alone, and so is its library."""
        self._library.after_fork(self._consumer)
        self._lock, self._log = threading.Lock(), RateLimited()
        self._begin()

    def _start(self) -> None:
        with self._lock:
            if self._started or self._closed:
                return
            if self._library.unusable:
                self._log.line(
                    "fork", "this process was forked while verdicts were read: look-ups say observe. Make Verdicts after the fork."
                )
                return
            self._thread = threading.Thread(target=self._run, name="inferwatch-verdicts", daemon=True)
            self._started = True
            _processes.watch_exit(self, 1.0)
            self._thread.start()

    def _run(self) -> None:
        try:
            while not self._stopped.is_set():
                self._library.running, there = True, False
                try:
                    there = self._follow()
                except Exception as error:  # noqa: BLE001  # whatever it is, look-ups fail open meanwhile, and reading begins again
                    self._log.line("follow", "verdicts cannot be read now (%s); look-ups say observe", _brief(error))
                self._library.running = False
                self._pause.rest(functools.partial(self._stopped.wait, 0.0 if there else 1.0))
        finally:
            self._pause.end()

    def _follow(self) -> bool:
        """Reads from the beginning, then whatever comes; returns to begin again when the topic's partitions have changed, or for a fork.

        False when there is no topic.
        """
        from confluent_kafka import Consumer, KafkaError, TopicPartition
        from confluent_kafka.admin import AdminClient

        reading = {
            "group.id": self._group,
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            "queued.max.messages.kbytes": 16_384,
            "allow.auto.create.topics": False,
        }
        self._consumer = consumer = Consumer(self._config | reading)
        admin = AdminClient(self._config)  # on a connection of its own: what is asked on the consumer's waits behind its fetches
        try:
            partitions = self._partitions(admin)
            if not partitions:
                return False
            consumer.assign([TopicPartition(self._topic, p, 0) for p in range(partitions)])
            book = _Book(self._max)
            reached = dict.fromkeys(range(partitions), -1)  # offset behind the last record that was read
            wanted: dict[int, int] = {}  # where the partitions ended when they were asked last
            asked_at = next_at = 0.0
            while not (self._stopped.is_set() or self._pause.asked):
                now = time.monotonic()
                if now >= next_at:
                    next_at = now + self._stale_s / 4
                    if self._partitions(admin) != partitions:
                        return True
                    wanted, asked_at = self._ends(admin, partitions), now
                for message in consumer.consume(500, _POLL_S):
                    error, partition, offset = message.error(), message.partition() or 0, message.offset() or 0
                    if error is None:
                        reached[partition] = offset + 1
                        self._take(book, message.key(), message.value())
                    elif error.code() == KafkaError._PARTITION_EOF:
                        reached[partition] = offset
                    else:
                        self._log.line(error.name(), "verdicts cannot be read now: %s", error.str())
                if len(wanted) == partitions and all(reached[p] >= end for p, end in wanted.items()):
                    self._table, self._held = book.by_model, book.held
                    if not self._stopped.is_set():
                        self._fresh_until = asked_at + self._stale_s
                    self._caught_up.set()
            return True
        finally:
            consumer.close()
            self._consumer = None

    def _partitions(self, admin: Any) -> int:
        """Of the topic; 0 while it is not there."""
        found = admin.list_topics(self._topic, timeout=_ASK_S).topics.get(self._topic)
        if found is None or found.error is not None or not found.partitions:
            self._log.line("topic", "topic %s is not there or may not be read; look-ups say observe", self._topic)
            return 0
        return len(found.partitions)

    def _ends(self, admin: Any, partitions: int) -> dict[int, int]:
        """Where each partition ends now; a leader that does not answer is left out, and the feed grows stale."""
        from confluent_kafka import KafkaException, TopicPartition
        from confluent_kafka.admin import OffsetSpec  # type: ignore[attr-defined]  # public by its docs, not by its annotations

        latest: Any = OffsetSpec
        asked = {TopicPartition(self._topic, p): latest.latest() for p in range(partitions)}
        ends = {}
        for place, future in admin.list_offsets(asked, request_timeout=_ASK_S).items():
            try:
                end = future.result(timeout=_ASK_S + 1.0).offset
            except (KafkaException, TimeoutError) as error:
                self._log.line("ends", "verdicts: a partition's leader does not answer (%s)", _brief(error))
                continue
            if end >= 0:  # a client that asked a broker which has just died says -1001, without an error
                ends[place.partition] = end
        return ends

    def _take(self, book: _Book, key: bytes | None, value: bytes | None) -> None:
        if not value:
            book.drop(key)
            return
        try:
            self._full += not book.put(read_verdict(key, value), time.time_ns())
        except (ValueError, msgspec.DecodeError, RecursionError) as error:
            self._bad += 1
            self._log.line("bad", "a record on %s is no verdict (%s); dropped", self._topic, type(error).__name__)

    def _on_error(self, error: Any) -> None:
        self._log.line(error.name(), "Kafka: %s", error.str())


class _Book:
    """Verdicts by model and pseudonym; written by one thread, read by any."""

    def __init__(self, most: int) -> None:
        self.by_model: dict[str, dict[str, Verdict]] = {}
        self.held = 0
        self._most = most
        self._earliest_ns = 0
        """No verdict expires before: until then there is no room to be made."""

    def put(self, verdict: Verdict, now_ns: int) -> bool:
        """False when there is no room, or it has expired already."""
        if verdict.expires_ns <= now_ns:
            self.drop(verdict.key)
            return True
        of_model = self.by_model.get(verdict.model)
        if of_model is None or verdict.client not in of_model:
            if self.held >= self._most and now_ns >= self._earliest_ns:
                self._clear(now_ns)
            if self.held >= self._most:
                return False
            self.held += 1
        self._earliest_ns = min(self._earliest_ns, verdict.expires_ns) if self.held > 1 else verdict.expires_ns
        self.by_model.setdefault(verdict.model, {})[verdict.client] = verdict
        return True

    def drop(self, key: bytes | None) -> None:
        model, _, client = (key or b"").decode("utf-8", "surrogatepass").partition("\0")
        of_model = self.by_model.get(model, {})
        if of_model.pop(client, None) is not None:
            self.held -= 1
            if not of_model:
                del self.by_model[model]

    def _clear(self, now_ns: int) -> None:
        held = [one for of_model in self.by_model.values() for one in of_model.values()]
        self._earliest_ns = min((one.expires_ns for one in held if one.expires_ns > now_ns), default=0)
        for verdict in held:
            if verdict.expires_ns <= now_ns:
                self.drop(verdict.key)


def _brief(error: Exception) -> str:
    cause = error.args[0] if error.args else None
    return str(cause.name()) if cause is not None and hasattr(cause, "name") else type(error).__name__
