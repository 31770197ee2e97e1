"""Canary records: rows that the owner put among the training data and nowhere else. Whoever asks the model about one has seen that data.

On the topic ``references``, compacted: one record a canary, key ``model NUL version NUL canary NUL code``, a tombstone takes it back. What
is published is the row's keyed hash, so that who reads the topic does not learn the rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Annotated

import msgspec

from schemas.reference import Feature

__all__ = ["MAX_CANARIES", "Canary", "CanaryError", "decode", "encode", "is_canary", "layout_of", "part_of"]

MAX_CANARIES = 10_000
"""Of one model version."""
_MARK = "canary"


class CanaryError(ValueError):
    """No canary record; the message says what is wrong."""


class Canary(msgspec.Struct, kw_only=True, frozen=True):
    """A canary as it is published."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    """What alerts call it."""
    code: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{16}$")]
    """The row's hash under the installation's membership key, hexadecimal."""
    layout: Annotated[str, msgspec.Meta(max_length=64)]
    """Of the reference in whose columns the row was hashed; with another one in force the canary is not looked for."""
    key_tag: Annotated[str, msgspec.Meta(max_length=64)]
    """Tells whether a worker has the same key."""
    added_at_ns: int


def part_of(version: str, code: str) -> str:
    """What stands for the version in the record's key.

    Example:
        >>> is_canary(part_of("7", "00" * 8)), is_canary("7")
        (('7', '0000000000000000'), None)
    """
    return f"{version}\0{_MARK}\0{code}"


def is_canary(part: str) -> tuple[str, str] | None:
    """Version and code, when the record is a canary's and not a reference's."""
    version, found, rest = part.partition("\0")
    mark, _, code = rest.partition("\0")
    return (version, code) if found and mark == _MARK else None


def layout_of(features: Sequence[Feature]) -> str:
    """12 hex digits of the columns' names, order and categories: with the same ones a row has the same hash."""
    body = [(one.name, one.kind, one.categories) for one in features]
    return hashlib.blake2b(msgspec.msgpack.encode(body), digest_size=6).hexdigest()


def encode(canary: Canary) -> bytes:
    """The record's bytes, JSON."""
    return msgspec.json.encode(canary)


def decode(blob: bytes) -> Canary:
    """The canary of these bytes.

    Raises:
        CanaryError: they are anything else.
    """
    try:
        return msgspec.json.decode(blob, type=Canary)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CanaryError(f"no canary record: {error}") from error
