"""Rows on their way to the model's owner, where those of all partitions come together: one swarm's clients are spread over them.

A message on the topic ``findings``, msgpack, keyed by model like its neighbours; the header ``ce_type`` tells them apart.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
import numpy as np
from numpy.typing import NDArray

from schemas.windows import Count

CE_TYPE = "inferwatch.suspects.v1"
MAX_BYTES = 512 * 1024
"""Of rows in one message; the topic takes 1 MiB."""
MAX_ROWS = 20_000
"""In one message."""
MAX_WIDTH = 4_096
Text = Annotated[str, msgspec.Meta(max_length=1_024)]


class SuspectRows(msgspec.Struct, kw_only=True):
    """Rows of one partition in one slice of time, in order of arrival. A slice may come in several messages."""

    model: str
    version: str
    reference: str
    """Id of the reference in force at the shard; by it the columns have their order."""
    partition: Count
    epoch: Count
    sequence: Count
    start_ns: Count
    end_ns: Count
    width: Annotated[int, msgspec.Meta(ge=1, le=MAX_WIDTH)]
    clients: list[Text]
    """Distinct clients of the rows."""
    client: bytes
    """int32 index into `clients` of each row."""
    at_ns: bytes
    """int64 event time of each row."""
    rows: bytes
    """float32 (rows, width)."""
    dropped: Count
    """Rows of the slice that were not sent, for lack of room."""


class Columns(msgspec.Struct, frozen=True):
    """Rows as arrays."""

    clients: list[str]
    client: NDArray[np.int32]
    at_ns: NDArray[np.int64]
    X: NDArray[np.float32]


def columns_of(message: SuspectRows) -> Columns:
    """The arrays of a message.

    Raises:
        ValueError: when they do not fit each other, or are more than a shard sends.
    """
    n, left = divmod(len(message.at_ns), 8)
    if left or len(message.client) != 4 * n or len(message.rows) != 4 * n * message.width or not 0 < n <= MAX_ROWS:
        sizes = f"{len(message.at_ns)} bytes of times, {len(message.client)} of clients, {len(message.rows)} of rows {message.width} wide"
        raise ValueError(f"suspect rows do not fit each other: {sizes}")
    client = np.frombuffer(message.client, "<i4").astype(np.int32)
    at_ns = np.frombuffer(message.at_ns, "<i8").astype(np.int64)
    named = len(message.clients)
    if not 0 <= client.min() <= client.max() < named or named > n or not all(message.clients) or len(set(message.clients)) < named:
        raise ValueError(f"suspect rows name {named} clients, and point at {client.min()} to {client.max()}")
    if at_ns.min() < 0 or message.end_ns <= message.start_ns:
        raise ValueError(f"suspect rows begin at {at_ns.min()} ns, in a slice from {message.start_ns} to {message.end_ns}")
    return Columns(message.clients, client, at_ns, np.frombuffer(message.rows, "<f4").reshape(n, message.width).astype(np.float32))


def without(message: SuspectRows, client: str) -> SuspectRows | None:
    """The message without the rows of a client; None when there is no other row. The message itself when there is none of theirs.

    Raises:
        ValueError: the columns do not fit each other.
    """
    if client not in message.clients:
        return message
    columns, gone = columns_of(message), message.clients.index(client)
    left = columns.client != gone
    if not left.any():
        return None
    number = columns.client[left]
    return msgspec.structs.replace(
        message,
        clients=[name for name in message.clients if name != client],
        client=(number - (number > gone)).astype("<i4").tobytes(),
        at_ns=columns.at_ns[left].astype("<i8").tobytes(),
        rows=columns.X[left].astype("<f4").tobytes(),
    )


def encode(message: SuspectRows) -> bytes:
    """The message's bytes."""
    return msgspec.msgpack.encode(message)


def decode(payload: bytes) -> SuspectRows:
    """The message of these bytes.

    Raises:
        msgspec.DecodeError: when they are anything else.
    """
    return msgspec.msgpack.decode(payload, type=SuspectRows)
