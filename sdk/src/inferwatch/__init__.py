"""inferwatch: records what a machine-learning service answers, without ever getting in its way.

`Client` is what services use, `MemoryTransport` what their tests use; `Verdicts` is what gateways ask. The rest is the contract with the
server: events as columns (`EventColumns`), their bytes (`encode`, `decode`), the JSON messages (`Event`, `Label`, `Lifecycle`,
`Heartbeat`), verdicts (`Verdict`, `read_verdict`) and who goes where (`partition_of`, `partition_of_key`).
"""

from inferwatch._account import Account, DropReason, Stats
from inferwatch._client import Client
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
from inferwatch._kafka import KafkaTransport
from inferwatch._memory import MemoryTransport, rows_of
from inferwatch._partition import partition_of, partition_of_key
from inferwatch._pseudonym import key_id_of, pseudonym_of
from inferwatch._transport import Record, Transport
from inferwatch._verdict import NOTHING, Verdict, VerdictAction, read_verdict, verdict_key
from inferwatch._verdicts import Verdicts, VerdictStats

__all__ = [
    "CONTENT_TYPE_COLUMNS",
    "CONTENT_TYPE_JSON",
    "NOTHING",
    "Account",
    "Client",
    "DecodeError",
    "DropReason",
    "Event",
    "EventColumns",
    "Heartbeat",
    "KafkaTransport",
    "Label",
    "Lifecycle",
    "MemoryTransport",
    "Record",
    "Stats",
    "Status",
    "Strings",
    "Transport",
    "Verdict",
    "VerdictAction",
    "VerdictStats",
    "Verdicts",
    "decode",
    "encode",
    "key_id_of",
    "partition_of",
    "partition_of_key",
    "pseudonym_of",
    "read_verdict",
    "rows_of",
    "verdict_key",
]
