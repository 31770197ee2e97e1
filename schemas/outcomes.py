"""What a model answered, on its way to the model's owner, where delayed labels come: enough of an event to say later whether it was right.

A message on the topic ``findings``, msgpack, keyed by model like its neighbours; the header ``ce_type`` tells them apart.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
import numpy as np
from numpy.typing import NDArray

from schemas.suspects import Text
from schemas.windows import Count

CE_TYPE = "inferwatch.outcomes.v1"
MAX_ROWS = 4_096
"""In one message: 80 to 200 KB."""
MAX_SCORES = 16
"""Classes up to which an event's probabilities travel; of more, only that of the answer does."""
MAX_CLASSES = 4_096
MAX_FIELDS = 8
MAX_CELL = 15
VALUE_WIDTH = 4
"""Of a regression the value travels in place of probabilities: the 64 bits of a float in four of 16."""
P_ONE = 65_534
"""A probability p travels as round(p x 65,534) in 16 bits ..."""
P_NONE = 65_535
"""... and what is no probability as this."""


class Outcomes(msgspec.Struct, kw_only=True):
    """Answers of one partition, in order of arrival. At most `MAX_ROWS`."""

    model: str
    version: str
    reference: str
    """Id of the reference in force at the shard: its classes are meant."""
    partition: Count
    epoch: Count
    sequence: Count
    classes: Annotated[list[Text], msgspec.Meta(max_length=MAX_CLASSES)]
    """Empty: a regression."""
    keys: bytes
    """uint64 of each event: `streams.duplicates.keys_of_ids`. Never 0."""
    at_ns: bytes
    """int64 event time."""
    answer: bytes
    """uint16 index into `classes`: the predicted one; 0 for a regression."""
    width: Annotated[int, msgspec.Meta(ge=0, le=MAX_SCORES)]
    """Probabilities of an event: one a class, 1 for that of the answer alone, 0 for none."""
    scores: bytes
    """uint16 (rows, width); of a regression the little-endian float64 of its values."""
    fields: Annotated[list[Text], msgspec.Meta(max_length=MAX_FIELDS)] = []
    """Names of what `cells` say: `detectors.feedback.SegmentCodes`."""
    cells: bytes = b""
    """uint8 (rows, fields), below 16."""


class Columns(msgspec.Struct, frozen=True):
    """Outcomes as arrays."""

    keys: NDArray[np.uint64]
    at_ns: NDArray[np.int64]
    answer: NDArray[np.uint16]
    scores: NDArray[np.uint16]
    fields: tuple[str, ...] = ()
    cells: NDArray[np.uint8] | None = None
    """(n, fields)."""

    def __len__(self) -> int:
        return len(self.keys)


def columns_of(message: Outcomes) -> Columns:
    """The arrays of a message.

    Raises:
        ValueError: when they do not fit each other, or are more than a shard sends.
    """
    n, left = divmod(len(message.keys), 8)
    sizes = (len(message.at_ns), len(message.answer), len(message.scores))
    if left or sizes != (8 * n, 2 * n, 2 * n * message.width) or not 0 < n <= MAX_ROWS:
        raise ValueError(f"outcomes do not fit each other: {len(message.keys)} bytes of keys, {sizes} of times, answers and probabilities")
    if not message.classes and message.width != VALUE_WIDTH:
        raise ValueError(f"outcomes without classes are values of {2 * VALUE_WIDTH} bytes, not of {2 * message.width}")
    if message.classes and message.width > 1 and message.width != len(message.classes):
        raise ValueError(f"outcomes with {message.width} probabilities of {len(message.classes)} classes")
    keys, at_ns = np.frombuffer(message.keys, "<u8"), np.frombuffer(message.at_ns, "<i8")
    answer, scores = np.frombuffer(message.answer, "<u2"), np.frombuffer(message.scores, "<u2")
    if answer.max() >= max(len(message.classes), 1) or at_ns.min() < 0 or not keys.all():
        raise ValueError(f"outcomes name class {answer.max()} of {len(message.classes)}, or have an event without key or time")
    fields, cells = tuple(message.fields), np.frombuffer(message.cells, np.uint8)
    if len(cells) != n * len(fields) or (len(cells) and cells.max() > MAX_CELL):
        raise ValueError(f"outcomes have {len(cells)} cells of {len(fields)} fields for {n} events, {MAX_CELL} being the last cell")
    return Columns(
        keys.astype(np.uint64), at_ns.astype(np.int64), answer.astype(np.uint16), scores.astype(np.uint16).reshape(n, message.width),
        fields, cells.reshape(n, len(fields)).copy(),
    )  # fmt: skip


def values_of(scores: NDArray[np.uint16]) -> NDArray[np.float64]:
    """(n,) values of a regression."""
    return np.ascontiguousarray(scores, "<u2").view("<f8")[:, 0]


def encode(message: Outcomes) -> bytes:
    """The message's bytes."""
    return msgspec.msgpack.encode(message)


def decode(payload: bytes) -> Outcomes:
    """The message of these bytes.

    Raises:
        msgspec.DecodeError: when they are anything else.
    """
    return msgspec.msgpack.decode(payload, type=Outcomes)
