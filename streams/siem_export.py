"""Follows the topic of alerts and hands each on as an OCSF finding, at least once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from importlib.metadata import version

import msgspec
import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from prometheus_client import CollectorRegistry, Counter, Gauge

from schemas.alerts import Alert
from streams.kafka import client_config
from streams.ocsf import detection_finding
from streams.page_text import PageText
from streams.settings import Kafka, Settings
from streams.siem import Destination, RefusedError, UnavailableError

__all__ = ["ExportMetrics", "Exporter", "UnreadableError", "finding_of"]

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
"""Between two tries of one finding; doubled in between. Below Kafka's ``max.poll.interval.ms``, so the partitions stay ours."""

log = structlog.get_logger(__name__)


class UnreadableError(ValueError):
    """A record of the topic of alerts that makes no finding."""


class ExportMetrics:
    """What became of the alerts, for Prometheus."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.findings = Counter(
            "inferwatch_siem_findings", "Alerts read for the SIEM, by what became of them.", ("outcome",), registry=self.registry
        )
        self.failing = Gauge("inferwatch_siem_failing", "1 while the SIEM does not take findings.", registry=self.registry)
        self.last = Gauge("inferwatch_siem_last_success_timestamp_seconds", "When the SIEM last took a finding.", registry=self.registry)
        for outcome in ("delivered", "refused", "unreadable", "left_out", "retried"):
            self.findings.labels(outcome)


def finding_of(value: bytes, text: PageText, only: Collection[str], product_version: str) -> tuple[str, bytes] | None:
    """The alert's id and its finding as JSON; None for what is not exported: pending alerts, and detectors that are not asked for.

    Raises:
        UnreadableError: it is no alert, or one of a time that no clock shows.
    """
    try:
        alert = msgspec.json.decode(value, type=Alert)
        if alert.state == "pending" or (only and alert.detector not in only):
            return None
        return alert.alert_id, msgspec.json.encode(detection_finding(alert, text, product_version))
    except (msgspec.DecodeError, RecursionError, ValueError, OverflowError, OSError) as error:
        raise UnreadableError(str(error)[:300] or type(error).__name__) from error


class Exporter:
    """Reads with a consumer group, commits what was kept, and waits for a destination that is away.

    A finding that is not taken is tried again until it is, with pauses of 1 s to 1 min; only what the destination refuses for itself
    (`RefusedError`) is given up, counted and logged. Alerting does not know of any of it.

    Args:
        settings: Kafka, links.
        destination: who takes findings.
        group: consumer group; two exporters with one group share the work, with two each gets everything.
        only: detectors; empty: all.
        sleep: waits for seconds.
        now: seconds since 1970.
    """

    def __init__(
        self,
        settings: Settings,
        destination: Destination,
        *,
        group: str,
        only: Collection[str] = (),
        metrics: ExportMetrics,
        now: Callable[[], float],
    ) -> None:
        self._text, self._destination, self._only, self._metrics, self._now = PageText(settings), destination, only, metrics, now
        self._topic = f"{settings.kafka.topic_prefix}.alerts"
        self._version = version("inferwatch-server")
        self._consumer = Consumer(_config(settings.kafka, group))
        self._pause_s = FIRST_PAUSE_S

    async def run(self, over: asyncio.Event) -> None:
        """Until `over` is set.

        Raises:
            KafkaException: the consumer cannot go on: a wrong password, no right to read, no such topic.
        """
        self._consumer.subscribe([self._topic])
        try:
            while not over.is_set():
                message = await asyncio.to_thread(self._consumer.poll, 0.5)
                if message is None:
                    continue
                if error := message.error():
                    if error.fatal() or error.code() in _FINAL:
                        raise KafkaException(error)
                    log.warning("kafka", error=error.str())
                elif not await self._hand_on(message):
                    self._consumer.seek(_place(message))
                    await _wait(over, self._pause_s)
                    self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
                else:
                    self._pause_s = FIRST_PAUSE_S
                    self._commit(message)
        finally:
            await asyncio.to_thread(self._consumer.close)
            await self._destination.close()

    async def _hand_on(self, message: Message) -> bool:
        """False when it has to be tried again."""
        where = {"partition": message.partition(), "offset": message.offset()}
        value = message.value()
        if value is None:  # a tombstone
            return True
        try:
            made = finding_of(value, self._text, self._only, self._version)
        except UnreadableError as error:
            self._metrics.findings.labels("unreadable").inc()
            log.error("an alert cannot be read, so the SIEM does not get it", why=str(error), **where)
            return True
        if made is None:
            self._metrics.findings.labels("left_out").inc()
            return True
        try:
            await self._destination.put(*made)
        except UnavailableError as error:
            self._metrics.findings.labels("retried").inc()
            self._metrics.failing.set(1)
            log.warning("a finding was not taken; trying again", alert=made[0], why=str(error), pause_s=self._pause_s, **where)
            return False
        except RefusedError as error:
            self._metrics.findings.labels("refused").inc()
            log.error("a finding is refused and given up", alert=made[0], why=str(error), **where)
        else:
            self._metrics.findings.labels("delivered").inc()
            self._metrics.last.set(self._now())
        self._metrics.failing.set(0)
        return True

    def _commit(self, message: Message) -> None:
        try:
            self._consumer.commit(message=message, asynchronous=False)
        except KafkaException as error:  # a rebalance: whoever has the partition now sends it again, under the same uid
            log.warning("not committed; it will be sent again", error=error.args[0].str())


_FINAL = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
    }
)


def _config(kafka: Kafka, group: str) -> dict[str, object]:
    return client_config(kafka) | {
        "group.id": group,
        "enable.auto.commit": False,
        "auto.offset.reset": "earliest",
        "client.id": "inferwatch-ocsf",
        "session.timeout.ms": round(kafka.session_timeout_s * 1e3),
    }


def _place(message: Message) -> TopicPartition:
    return TopicPartition(message.topic() or "", message.partition() or 0, message.offset() or 0)


async def _wait(over: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(over.wait(), seconds)
    except TimeoutError:
        return
