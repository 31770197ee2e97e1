"""The wish that a client or an event be forgotten: from `inferwatch delete` to every shard, and from the shards to the models' owners.

A record of the topic ``events`` in every partition, then a message on ``findings``, JSON both; the header ``ce_type`` tells them from their
neighbours. It is a record like others, so it is applied once, in its place between the events, whatever is killed.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from schemas.windows import Count

CE_TYPE = "inferwatch.forget.v1"
Text = Annotated[str, msgspec.Meta(max_length=256)]


class Forget(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Whom or what to forget: a client or an event, one of the two.

    Attributes:
        client: pseudonym, as in the events.
        event_id: as in the events, or ``instance:number``.
        model: of this model only; empty: of all.
        version: which version's owner is told; empty in a wish.
        partition: of the shard that tells it.
        epoch: of the shard's state.
        sequence: of the shard's messages.
    """

    client: Text = ""
    event_id: Text = ""
    model: Text = ""
    version: Text = ""
    partition: Count = 0
    epoch: Count = 0
    sequence: Count = 0

    def __post_init__(self) -> None:
        if bool(self.client) == bool(self.event_id):
            raise ValueError("either a client or an event is forgotten: one of the two must be given")


def encode(message: Forget) -> bytes:
    """The message's bytes."""
    return msgspec.json.encode(message)


def decode(payload: bytes) -> Forget:
    """The message of these bytes.

    Raises:
        msgspec.DecodeError: when they are anything else.

    Example:
        >>> decode(encode(Forget(client="c0ffee"))).client
        'c0ffee'
    """
    try:
        return msgspec.json.decode(payload, type=Forget)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(f"no wish to forget: {error}") from error
