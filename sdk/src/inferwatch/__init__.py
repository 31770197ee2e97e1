"""inferwatch: records what a machine-learning service answers, without ever getting in its way."""

from inferwatch._codec import decode, encode
from inferwatch._columns import EventColumns, Strings
from inferwatch._contract import (
    CONTENT_TYPE_COLUMNS,
    CONTENT_TYPE_JSON,
    DecodeError,
    Event,
    Heartbeat,
    Label,
    Lifecycle,
    Status,
)
from inferwatch._partition import partition_of

__all__ = [
    "CONTENT_TYPE_COLUMNS",
    "CONTENT_TYPE_JSON",
    "DecodeError",
    "Event",
    "EventColumns",
    "Heartbeat",
    "Label",
    "Lifecycle",
    "Status",
    "Strings",
    "decode",
    "encode",
    "partition_of",
]
