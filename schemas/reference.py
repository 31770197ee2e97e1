"""The reference of a model version: what its owner says is ordinary, in the form in which it is built, published and loaded.

One value: who it is, the schema of its features, and one fitted part a detector (frozen bins, residual model, keyed fingerprints), each
with its own kind and version. It travels as zstd-compressed msgpack on the compacted topic ``inferwatch.references``, key ``model NUL
version``.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, Literal

import cramjam
import msgspec

MAX_BYTES = 64 * 1024 * 1024
"""A reference that unpacks to more is refused."""
_MAGIC = b"IWREF1\n"


class ReferenceFormatError(ValueError):
    """The bytes are no reference, or no sound one; the message says why."""


class Feature(msgspec.Struct, kw_only=True, frozen=True):
    """One column of the model's input, in schema order."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    kind: Literal["numeric", "categorical"] = "numeric"
    low: float | None = None
    high: float | None = None
    integer: bool = False
    categories: tuple[str, ...] = ()


class Reference(msgspec.Struct, kw_only=True, frozen=True):
    """A built reference. `parts` are the detectors' own bytes, by detector."""

    model: str
    version: str
    built_at_ns: int
    source: Literal["file", "stream", "provisional"]
    rows: int
    members: int
    features: tuple[Feature, ...]
    classes: tuple[str, ...]
    image: tuple[int, ...] | None
    parts: dict[str, bytes]
    gauge: dict[str, Any]
    """What the membership gauge measured; for people."""
    registry_url: str = ""
    """Where the model registry shows this version."""
    digest: str = ""
    """Of the stored model, as whoever loads it should report it."""
    dataset: str = ""
    """``name@digest`` of the rows it was trained on, as the registry has them."""
    origin: str = ""
    """Of one from the stream: which events its rows are; for people."""

    @property
    def id(self) -> str:
        """12 hex digits of its content: two references with the same id judge alike."""
        digest = hashlib.blake2b(digest_size=6)
        for name, part in sorted(self.parts.items()):
            digest.update(name.encode() + b"\0" + len(part).to_bytes(8, "little") + part)
        digest.update(msgspec.msgpack.encode((self.model, self.version, self.features, self.classes, self.image)))
        return digest.hexdigest()


def encode(reference: Reference) -> bytes:
    """Its bytes: a magic line, the unpacked length, zstd of msgpack."""
    body = msgspec.msgpack.encode(reference)
    return _MAGIC + len(body).to_bytes(8, "little") + bytes(cramjam.zstd.compress(body))


def decode(blob: bytes) -> Reference:
    """The reference of these bytes.

    Raises:
        ReferenceFormatError: when they are damaged, too large, or no reference.
    """
    head = len(_MAGIC) + 8
    if not blob.startswith(_MAGIC) or len(blob) < head:
        raise ReferenceFormatError("not a reference: it does not begin with IWREF1. Build one with `inferwatch reference build`.")
    size = int.from_bytes(blob[len(_MAGIC) : head], "little")
    if size > MAX_BYTES:
        raise ReferenceFormatError(f"a reference of {size} bytes; at most {MAX_BYTES}")
    body = bytearray(size)
    try:
        written = cramjam.zstd.decompress_into(blob[head:], body)
        if written != size:
            raise ReferenceFormatError(f"truncated reference: {written} of {size} bytes")
        return msgspec.msgpack.decode(bytes(body), type=Reference)
    except (cramjam.DecompressionError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ReferenceFormatError(f"damaged or truncated reference: {error}") from error


def key_of(model: str, version: str) -> bytes:
    """The key on the compacted topic: the newest value for a model version wins."""
    return f"{model}\0{version}".encode()
