"""The worker's measures of itself, all in one place, for Prometheus.

A client id, a feature or an alert id is never a label: who sends events would choose how many series we keep. Labels are topics,
partitions, owners (shard, judge), and reasons from the code's own lists, capped all the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

__all__ = ["Counting", "Metrics"]

MAX_REASONS = 64
"""Different values of one ``reason`` label; what comes after them is counted as "other"."""
_SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)


@runtime_checkable
class Counting(Protocol):
    """An owner that counts what happens in it."""

    def counters(self) -> Mapping[str, int]:
        """Totals that only grow, by name: ``name`` or ``name.reason``, the name one of `Metrics.OWNER_COUNTS`."""


class Metrics:
    """Every measure, in a registry of its own, so that several workers of one process (tests) do not meet.

    Example:
        >>> metrics = Metrics()
        >>> metrics.count_owner("shard", {"rejected.truncated": 3})
        >>> metrics.registry.get_sample_value("inferwatch_events_rejected_total", {"owner": "shard", "reason": "truncated"})
        3.0
    """

    OWNER_COUNTS: Mapping[str, tuple[str, str]] = {
        "events": ("inferwatch_events", "Events taken into a state."),
        "rejected": ("inferwatch_events_rejected", "Events refused, by reason."),
        "late": ("inferwatch_events_late", "Events of a window that had closed."),
        "anomalies": ("inferwatch_events_anomalous", "Accepted events with something wrong in them, by kind."),
        "dead_letters": ("inferwatch_dead_letters", "Records put into the dead-letter topic, by reason."),
        "evicted": ("inferwatch_evictions", "State given up to stay within a bound, by what it was."),
        "windows": ("inferwatch_windows", "Windows closed or judged."),
        "findings": ("inferwatch_findings", "Findings about clients, by family."),
        "suspects": ("inferwatch_suspect_rows", "Rows passed on to where swarms are looked for, or looked at there."),
        "suspects_dropped": ("inferwatch_suspect_rows_dropped", "Rows that were not passed on, or not looked at, for lack of room."),
        "outcomes": ("inferwatch_outcomes", "Answers passed on to where labels are joined, or remembered there."),
        "outcomes_forgotten": ("inferwatch_outcomes_forgotten", "Answers that were forgotten, for room or age, before a label came."),
        "forgotten": ("inferwatch_forgotten", "Requests to forget a client or an event that were carried out."),
        "labels": ("inferwatch_labels", "Labels of events, by what became of them."),
        "verdicts": ("inferwatch_verdicts", "Verdicts on clients, by what became of them."),
        "alerts": ("inferwatch_alert_transitions", "Alerts that changed their state, by the new state."),
    }

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self._reasons: dict[str, set[str]] = {}

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"inferwatch_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"inferwatch_{name}", text, labels, registry=registry)

        self._owner_counts = {
            name: Counter(metric, text, ("owner", "reason"), registry=registry) for name, (metric, text) in self.OWNER_COUNTS.items()
        }
        self.records = counter("records", "Kafka records applied.", "topic")
        self.record_bytes = counter("record_bytes", "Bytes of the values of applied records.", "topic")
        self.records_skipped = counter("records_skipped", "Kafka records read again, or of an ended assignment; not applied.", "topic")
        self.records_lost = counter("records_lost", "Offsets that the topic no longer had when we came to them.", "topic")
        self.internal_errors = counter("internal_errors", "Records or ticks at which our own code failed.", "where")
        self.apply_seconds = Histogram(
            "inferwatch_apply_seconds", "Time to apply one record.", ("owner",), registry=registry, buckets=_SECONDS
        )
        self.tick_seconds = Histogram("inferwatch_tick_seconds", "Time of one tick.", ("owner",), registry=registry, buckets=_SECONDS)

        self.lag = gauge("lag_records", "Records that wait in a partition, behind what the state holds.", "topic", "partition")
        self.owned = gauge("owned_partitions", "Partitions that this worker owns.", "owner")
        self.stopped = gauge("stopped_partitions", "Partitions that stopped because of bad records or errors.", "owner")
        self.rebalances = counter("rebalances", "Assignments received from the group.")

        self.snapshots = counter("snapshots", "Snapshots made durable.", "owner")
        self.snapshot_failures = counter("snapshot_failures", "Snapshots that could not be made or written.", "owner")
        self.snapshot_bytes = gauge("snapshot_bytes", "Size of the last snapshot.", "owner", "partition")
        self.snapshot_age = gauge("snapshot_age_seconds", "Age of the oldest snapshot among partitions with something new to save.")
        self.snapshot_copy_seconds = Histogram(
            "inferwatch_snapshot_copy_seconds", "Time in which a snapshot held up everything else.", registry=registry, buckets=_SECONDS
        )
        self.snapshot_seconds = Histogram(
            "inferwatch_snapshot_seconds", "Time from a snapshot's begin until it was durable.", registry=registry, buckets=_SECONDS
        )

        self.outbox = gauge("outbox_messages", "Messages and rows that wait to be durable or delivered, largest partition.", "owner")
        self.held = counter("held_seconds", "Seconds in which reading waited for a full outbox.")
        self.sent = counter("messages_delivered", "Messages that Kafka or the store acknowledged.", "to")
        self.undeliverable = counter("messages_undeliverable", "Messages given up because they can never be delivered.", "to")
        self.retried = counter("messages_retried", "Messages sent again after a failure.", "to")

        self.sink_pending = gauge("sink_pending_rows", "Rows that wait for ClickHouse.")
        self.sink_inserted = gauge("sink_inserted_rows", "Rows that ClickHouse has acknowledged since the start.")
        self.sink_refused = gauge("sink_refused_rows", "Rows that cannot be stored, since the start.")
        self.sink_retried = gauge("sink_retried_batches", "Batches sent again since the start.")

        self.alerts_open = gauge("alerts_open", "Alerts that are kept firing at Alertmanager.")
        self.alertmanager_posts = counter("alertmanager_posts", "Requests to Alertmanager, by outcome.", "outcome")
        self.alerts_refused = counter("alerts_refused", "Alerts that Alertmanager or our own check refused.")
        self.alertmanager_last = gauge("alertmanager_last_success_timestamp_seconds", "When a URL last took our alerts.", "target")

        self.clock_ahead = gauge("clock_ahead_seconds", "Our clock less that of an Alertmanager, by its last answer.", "target")
        self.clock_set_back = counter("clock_set_back", "Times that this machine's clock went back by more than time servers correct.")

        self.references = counter("references", "References read from their topic, by what became of them.", "outcome")
        self.start_time = gauge("start_time_seconds", "When this worker started; changes tell restarts.")
        self.ready = gauge("ready", "1 when /healthz says so.")

    def count_owner(self, owner: str, grown: Mapping[str, int]) -> None:
        """Adds what an owner's counters have grown by; names that are not in `OWNER_COUNTS` are left out."""
        for name, by in grown.items():
            what, _, reason = name.partition(".")
            if by > 0 and what in self._owner_counts:
                self._owner_counts[what].labels(owner, self._capped(what, reason)).inc(by)

    def forget_partition(self, owner: str, partition: int, topics: tuple[str, ...]) -> None:
        """Drops the series of a partition that somebody else owns now."""
        for topic in topics:
            self.lag.remove_by_labels({"topic": topic, "partition": str(partition)})
        self.snapshot_bytes.remove_by_labels({"owner": owner, "partition": str(partition)})

    def text(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self.registry)

    def _capped(self, what: str, reason: str) -> str:
        known = self._reasons.setdefault(what, set())
        if reason not in known:
            if len(known) >= MAX_REASONS:
                return "other"
            known.add(reason)
        return reason
