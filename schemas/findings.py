"""The topic ``findings``: what shards tell a model's owner between windows. The header ``ce_type`` says which of four a message is."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from schemas import forget, outcomes, suspects, windows
from schemas.forget import Forget
from schemas.outcomes import Outcomes
from schemas.suspects import SuspectRows
from schemas.windows import Finding

Message = Finding | SuspectRows | Outcomes | Forget

_DECODERS: dict[str, Callable[[bytes], Message]] = {
    suspects.CE_TYPE: suspects.decode,
    outcomes.CE_TYPE: outcomes.decode,
    forget.CE_TYPE: forget.decode,
}
TYPES = frozenset(_DECODERS)
"""Values of ``ce_type`` of what is no finding about a client; a finding has none."""


def decode(payload: bytes, headers: Mapping[str, str]) -> Message:
    """The message of these bytes.

    Raises:
        msgspec.DecodeError: when they are not what the header says.

    Example:
        >>> answers = Outcomes(model="m", version="1", reference="", partition=0, epoch=0, sequence=0, classes=["a"], keys=b"", at_ns=b"",
        ...                    answer=b"", width=1, scores=b"")
        >>> decode(outcomes.encode(answers), {"ce_type": outcomes.CE_TYPE}) == answers
        True
    """
    return _DECODERS.get(headers.get("ce_type", ""), windows.decode_finding)(payload)
