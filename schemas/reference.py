"""The reference of a model version: what its owner says is ordinary, in the form in which it is built, published and loaded.

One value: who it is, the schema of its features, and one fitted part a detector (frozen bins, residual model, keyed fingerprints), each
with its own kind and version. It travels as zstd-compressed msgpack on the compacted topic ``inferwatch.references``, key ``model NUL
version``; one with another name than "training" beside it, key ``model NUL version NUL reference NUL name``. Drift is judged by the one
that a `Baseline` names, key ``model NUL version NUL baseline``.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, Literal

import cramjam
import msgspec

MAX_BYTES = 64 * 1024 * 1024
"""A reference that unpacks to more is refused."""
_MAGIC = b"IWREF1\n"
TRAINING = "training"
"""The name of the reference that all but drift is always judged by."""
MAX_NAMES = 8
"""References of one model version."""
NAME_PATTERN = "^[A-Za-z0-9._-]{1,64}$"
_MARK, _BASELINE = "reference", "baseline"


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
    name: Annotated[str, msgspec.Meta(pattern=NAME_PATTERN)] = TRAINING
    """What it is of: training, or say a month that somebody approved."""
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


class Baseline(msgspec.Struct, kw_only=True, frozen=True):
    """Which of a model version's references drift is judged by."""

    name: Annotated[str, msgspec.Meta(max_length=64)]
    since_ns: int
    by: Annotated[str, msgspec.Meta(max_length=100)]
    """Who chose it."""


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


def key_of(model: str, part: str) -> bytes:
    """The key on the compacted topic, where the newest value of a key wins: a model, and its version or `part_of`."""
    return f"{model}\0{part}".encode()


def part_of(version: str, name: str) -> str:
    """What stands for the version in the key of a reference's record.

    Example:
        >>> part_of("7", "training"), name_in(part_of("7", "training")), name_in(part_of("7", "november"))
        ('7', ('7', 'training'), ('7', 'november'))
    """
    return version if name == TRAINING else f"{version}\0{_MARK}\0{name}"


def name_in(part: str) -> tuple[str, str] | None:
    """Version and name, when the record is a reference's."""
    version, found, rest = part.partition("\0")
    mark, _, name = rest.partition("\0")
    return (version, name if found else TRAINING) if not found or (mark == _MARK and name) else None


def baseline_part(version: str) -> str:
    """What stands for the version in the key of a `Baseline`.

    Example:
        >>> is_baseline(baseline_part("7")), is_baseline("7"), name_in(baseline_part("7"))
        ('7', None, None)
    """
    return f"{version}\0{_BASELINE}"


def is_baseline(part: str) -> str | None:
    """The version, when the record is a baseline's."""
    version, found, mark = part.partition("\0")
    return version if found and mark == _BASELINE else None


def decode_baseline(blob: bytes) -> Baseline:
    """The baseline of these bytes, JSON.

    Raises:
        ReferenceFormatError: they are anything else.
    """
    try:
        return msgspec.json.decode(blob, type=Baseline)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ReferenceFormatError(f"no baseline: {error}") from error
