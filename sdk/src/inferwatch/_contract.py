"""The event contract: what a service may say, in types. The JSON Schema in ``schemas/`` is generated from these.

An event belongs to a model version and a client (a pseudonym). Times are UTC: nanoseconds since 1970 as an integer, or RFC 3339 text in
JSON. New fields are added with defaults and never reused, so old producers and new servers understand each other, and the other way round.
"""

from __future__ import annotations

import datetime
import enum
from typing import Annotated, Literal

import msgspec

CONTENT_TYPE_COLUMNS = "application/vnd.inferwatch.events.v1+msgpack"
CONTENT_TYPE_JSON = "application/json"

MAX_RECORD_BYTES = 1_000_000
"""A Kafka record above this is refused as ``oversized``; the SDK flushes well below."""
MAX_EVENTS = 10_000
"""Events in one record."""
MAX_FEATURES = 4_096
"""Feature columns in one record, and scores of one event."""
MAX_TEXT = 256
"""Characters of a name, an id, a category or a prediction. The SDK cuts longer text; the server refuses it."""

RecordReason = Literal["truncated", "foreign", "oversized", "inconsistent", "unsupported_version", "invalid_event", "empty"]
"""Why a record (or one JSON event in it) could not be read: the dead letter's reason and the metric's label."""


class Status(enum.IntEnum):
    """How the service answered. Only `OK` answers carry scores that say something about the model."""

    OK = 0
    ERROR = 1
    UNAUTHENTICATED = 2
    FORBIDDEN = 3
    RATE_LIMITED = 4
    INVALID_INPUT = 5


StatusName = Literal["ok", "error", "unauthenticated", "forbidden", "rate_limited", "invalid_input"]
Text = Annotated[str, msgspec.Meta(max_length=MAX_TEXT)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_TEXT)]
Nanoseconds = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Time = Nanoseconds | datetime.datetime


class Event(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One inference: what was asked, by whom, and what the model answered."""

    model: Name
    version: Name
    client: Text = ""
    """The client's pseudonym. The SDK makes it by keyed HMAC; who sends JSON makes their own."""
    event_id: Text = ""
    """Names the event for labels and look-ups. Empty: ``instance:number``."""
    at: Time | None = None
    """When it was answered; without it the record's Kafka time counts."""
    service: Text = ""
    instance: Text = ""
    number: Count | None = None
    """The producer's running number for this model, from 0, so that lost events are counted."""
    features: dict[Name, float | bool | Text | None] | list[float | None] | None = None
    """By name (text and booleans are categories, null is missing), or all numbers in the reference's order (an embedding)."""
    scores: list[float] | dict[Name, float] | None = None
    """Class probabilities, in the reference's class order or by class name."""
    value: float | None = None
    """The answer of a regression."""
    prediction: Text | int | bool | None = None
    latency_ms: float | None = None
    status: StatusName = "ok"
    trace_id: Text | None = None
    owner: Text | None = None
    """Whose data the row is: owners asking about their own rows is no membership test."""
    source: Text | None = None
    """Where the request came from: links accounts of one attacker."""
    cost: float | None = None
    feature_view: Text | None = None
    """Lineage: the feature view or service that the features came from, with its version, such as ``driver_stats:3``."""
    feature_age_s: float | None = None
    """Freshness: seconds from when the oldest of the features was computed until they were used."""


class Label(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The truth about an earlier event, whenever it becomes known."""

    model: Name
    event_id: Name
    truth: Text | float | bool
    version: Text = ""
    at: Time | None = None
    source: Text | None = None


class Lifecycle(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A model version was loaded or unloaded by an instance, and what its signature check said."""

    kind: Literal["loaded", "unloaded"]
    model: Name
    version: Name
    service: Text = ""
    instance: Text = ""
    at: Time | None = None
    digest: Text = ""
    signature: Literal["valid", "invalid", "missing"] = "missing"
    key_id: Text = ""
    registry_url: Annotated[str, msgspec.Meta(max_length=2048)] = ""


class Heartbeat(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Every ten seconds, for each model that an instance serves: it lives, and this many events should have arrived.

    ``accepted == sent + dropped + queued`` holds at every heartbeat; numbers are per instance and model, since the start.
    """

    model: Text = ""
    version: Text = ""
    service: Text = ""
    instance: Text = ""
    at: Time | None = None
    accepted: Count = 0
    sent: Count = 0
    dropped: Count = 0
    queued: Count = 0
    rss_bytes: Count = 0
    cpu_seconds: float = 0.0
    closing: bool = False
    """The instance says goodbye: its silence afterwards is no gap."""
    pseudonym_key_id: Text = ""
    """Names the key behind the pseudonyms, so that its change is seen; empty: a random one, or none."""
    gauges: dict[Name, float] = {}
    """`memory_share`, `cpu_share`, and what the service adds (GPU memory, queue length); a name in ``_share`` is of a share, 0 to 1."""


class DecodeError(ValueError):
    """A record that can't be read. `reason` is one of `RecordReason`; the text says what and where."""

    def __init__(self, reason: RecordReason, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason: RecordReason = reason
