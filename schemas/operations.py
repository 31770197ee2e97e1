"""The topic ``operations``: what people tell a model's judge. Key: the model; value: JSON with a ``kind``."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from inferwatch import Verdict

__all__ = ["Acknowledged", "ClearVerdict", "Operation", "SetVerdict", "decode"]

Text = Annotated[str, msgspec.Meta(max_length=256)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]


class SetVerdict(msgspec.Struct, tag_field="kind", tag="set_verdict", kw_only=True, frozen=True):
    """A person decides a verdict. It stands until it expires, is cleared, or is set again, whatever a judge finds meanwhile."""

    verdict: Verdict

    @property
    def model(self) -> str:
        """Whose judge is told."""
        return self.verdict.model


class ClearVerdict(msgspec.Struct, tag_field="kind", tag="clear_verdict", kw_only=True, frozen=True):
    """A person takes a verdict back, a judge's or a person's; the alert behind a judge's issues none for this client again."""

    model: Name
    client: Text = ""
    by: Text = ""
    at_ns: int = 0


class Acknowledged(msgspec.Struct, tag_field="kind", tag="acknowledged", kw_only=True, frozen=True):
    """How on-call judged an alert. ``false`` takes back every verdict that rests on it."""

    model: Name
    alert_id: Name
    verdict: Literal["true", "false", "benign-cause"]
    by: Text = ""
    at_ns: int = 0


Operation = SetVerdict | ClearVerdict | Acknowledged
_DECODER: msgspec.json.Decoder[Operation] = msgspec.json.Decoder(Operation)


def decode(value: bytes) -> Operation:
    """The operation of these bytes.

    Raises:
        msgspec.DecodeError: they are none.

    Example:
        >>> decode(b'{"kind": "clear_verdict", "model": "fraud", "client": "54cd255f"}').client
        '54cd255f'
    """
    return _DECODER.decode(value)
