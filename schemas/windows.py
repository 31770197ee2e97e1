"""What a shard tells the judge: counts of a closed window, and findings about clients. Messages on Kafka, msgpack, keyed by model.

Every message carries its partition and a running number of that partition's shard; the judge skips a number that it has seen, so a message
sent twice counts once.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

NUMBERS_PER_BLOCK = 1_024
Family = Literal["extraction", "evasion", "membership", "cost"]
Subject = Literal["extraction", "evasion", "membership", "cost", "canary"]
"""What a finding about a client is of: a family, or canary records."""
Severity = Literal["none", "ticket", "page"]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Events = Annotated[int, msgspec.Meta(ge=0, le=2**40)]
"""Of one partition in one window: sums over partitions and kinds stay within 64 bits."""
Finite = Annotated[float, msgspec.Meta(ge=-1e300, le=1e300)]


class Producer(msgspec.Struct, kw_only=True):
    """What arrived from one instance on one partition, since the shard first saw it. Cumulative, so the last message wins."""

    service: str
    received: Count
    highest: int
    """Highest running number seen; -1 when the instance gives none."""
    lowest: int
    """Lowest running number seen; -1 when the instance gives none."""
    blocks: dict[int, int] = {}
    """Of the newest blocks of `NUMBERS_PER_BLOCK` running numbers: how many arrived here. Over all partitions they add up to that."""
    last_at_ns: int


class ClientLine(msgspec.Struct, kw_only=True):
    """One client in one window, for the client table: only those that stand out, at most some hundreds."""

    client: str
    n: Count
    errors: Count
    denied: Count
    repeats: Count
    severity: Severity
    evidence: dict[str, float]
    """ln evidence by family."""


SERVICES = 64
"""Services of a model version that are told apart in one window."""


class WindowPartial(msgspec.Struct, kw_only=True):
    """One partition's share of one window of one model version. Shares add up."""

    model: str
    version: str
    reference: str
    """Id of the reference whose bins `counts` are in; empty without one."""
    start_ns: Count
    end_ns: Count
    partition: Count
    epoch: Count
    """Of the shard's state: sequence numbers begin again with a new one."""
    sequence: Count
    n: Events
    """Accepted events."""
    late: Events
    """Of these, events of an earlier window that had closed already."""
    suspect: Events
    """Of these, events of clients under suspicion: counted here, left out of `counts`."""
    clients: Events
    """Distinct clients seen."""
    counts: bytes
    """`detectors.drift.WindowCounts` in the reference's bins; empty without a reference."""
    segments: Annotated[dict[Annotated[str, msgspec.Meta(max_length=600)], bytes], msgspec.Meta(max_length=64)] = {}
    """`counts` of parts of the traffic, by ``field=value``."""
    segments_other: dict[str, Events] = {}
    """Events of values that are not followed, by field."""
    rejected: dict[str, Events]
    anomalies: dict[str, Events]
    """Accepted events with something wrong in them, by kind."""
    quality: bytes = b""
    """`detectors.quality.QualityCounts`: faults by groups of clients, those under suspicion left out."""
    status: dict[str, Events]
    services: Annotated[dict[str, dict[str, Events]], msgspec.Meta(max_length=SERVICES + 1)] = {}
    """`status` by service; of those beyond the first `SERVICES` under ""."""
    latency: bytes
    """int64 counts of the latency bins of `schemas.latency`."""
    classes: dict[str, Events]
    rare: bytes = b""
    """`detectors.rare_cells.RareCounts` in the reference's cells; empty without."""
    rare_reference: str = ""
    """Id of the reference whose cells `rare` is in; empty, from workers of before: `reference`."""
    confidence: Annotated[list[Events], msgspec.Meta(max_length=10)] = []
    """Answers by tenths of the probability of their class; empty without."""
    repeats: dict[str, Events] = {}
    """Rows that were answered before, by what of the answer was compared (`detectors.consistency.KINDS`); with `_other`: of these, those
    answered otherwise."""
    producers: dict[str, Producer]
    lines: list[ClientLine]


class Finding(msgspec.Struct, kw_only=True):
    """A client's evidence rose to a ticket or a page, or still stands there (`renewed`)."""

    model: str
    version: str
    partition: Count
    epoch: Count
    sequence: Count
    at_ns: Count
    family: Subject
    severity: Severity
    client: str
    clients: list[str]
    """Members, for a pooled finding; empty for one client."""
    n_events: Count
    log_evidence: Finite
    statistic: str
    evidence: dict[str, Any]
    event_id: str
    renewed: bool


Message = WindowPartial | Finding


def encode(message: Message) -> bytes:
    """The message's bytes."""
    return msgspec.msgpack.encode(message)


def decode_partial(payload: bytes) -> WindowPartial:
    """The partial of these bytes.

    Raises:
        msgspec.DecodeError: when they are anything else.
    """
    return msgspec.msgpack.decode(payload, type=WindowPartial)


def decode_finding(payload: bytes) -> Finding:
    """The finding of these bytes.

    Raises:
        msgspec.DecodeError: when they are anything else.
    """
    return msgspec.msgpack.decode(payload, type=Finding)
