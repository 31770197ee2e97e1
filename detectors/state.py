"""State as a value: what a detector or a reference holds, as bytes that say what they are.

A snapshot carries its kind and version, so that bytes of another detector, of a newer release or of an attacker are refused with a
message instead of being misread. Arrays travel as dtype, shape and raw little-endian bytes (msgpack extension 1).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

_ARRAY = 1
_DTYPES = frozenset(["|b1", "|u1", "|i1", "<u2", "<i2", "<u4", "<i4", "<u8", "<i8", "<f4", "<f8"])


class StateError(ValueError):
    """The bytes are not a state of this kind and version; the message says what they are."""


class _Envelope(msgspec.Struct, array_like=True):
    kind: str
    version: int
    body: dict[str, Any]


def pack(kind: str, version: int, body: dict[str, Any]) -> bytes:
    """The bytes of a state: numbers, strings, lists, dicts and numpy arrays (of bool, int or float).

    Args:
        kind: what it is, such as ``"drift.detector"``; `unpack` refuses any other.
        version: of the layout of ``body``; raise it when the meaning of a field changes.
        body: by field name.

    Example:
        >>> import numpy as np
        >>> blob = pack("counts", 1, {"n": 3, "cells": np.arange(4)})
        >>> unpack(blob, "counts", 1)["cells"].sum()
        np.int64(6)
    """
    return msgspec.msgpack.encode(_Envelope(kind, version, body), enc_hook=_encode_array)


def unpack(blob: bytes, kind: str, version: int) -> dict[str, Any]:
    """The body that `pack` was given; arrays are fresh and writable.

    Raises:
        StateError: when the bytes are damaged, or of another kind or version.
    """
    try:
        envelope = msgspec.msgpack.decode(blob, type=_Envelope, ext_hook=_decode_array)
    except (msgspec.DecodeError, ValueError, TypeError) as error:
        raise StateError(f"not a {kind} state: {error}") from error
    if (envelope.kind, envelope.version) != (kind, version):
        raise StateError(f"expected {kind} version {version}, got {envelope.kind} version {envelope.version}")
    return envelope.body


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Around code that reads an unpacked body, also as a decorator: a field that is missing or of another kind is a StateError.

    Bytes of the right kind and version may still hold anything: of a half-finished release, or of somebody who may write the topic.

    Raises:
        StateError: instead of the KeyError, TypeError, ValueError and so on that a damaged body causes; MemoryError stays.

    Example:
        >>> with reading("a count"):
        ...     {}["n"]
        Traceback (most recent call last):
        detectors.state.StateError: damaged a count: KeyError: 'n'
    """
    try:
        yield
    except StateError:
        raise
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError, RecursionError, msgspec.MsgspecError) as error:
        raise StateError(f"damaged {what}: {type(error).__name__}: {error}") from error


def arrays_like(owner: object, names: Iterable[str], body: Mapping[str, Any]) -> dict[str, NDArray[np.float64]]:
    """The arrays of a snapshot that take the place of the owner's of these names.

    Raises:
        KeyError, TypeError, ValueError: one is missing, holds no numbers, or has another shape than the owner's.
    """
    found = {name: np.asarray(body[name], np.float64) for name in names}
    for name, values in found.items():
        if values.shape != getattr(owner, name).shape:
            raise ValueError(f"{name} of shape {values.shape}, not {getattr(owner, name).shape}")
    return found


def _encode_array(value: Any) -> msgspec.msgpack.Ext:
    if isinstance(value, np.generic):
        value = np.asarray(value)
    if not isinstance(value, np.ndarray):
        raise NotImplementedError(f"a state holds numbers, strings, lists, dicts and arrays, not {type(value).__name__}")
    little = np.ascontiguousarray(value, value.dtype.newbyteorder("<"))
    if little.dtype.str not in _DTYPES:
        raise NotImplementedError(f"arrays of {value.dtype} have no place in a state")
    return msgspec.msgpack.Ext(_ARRAY, msgspec.msgpack.encode((little.dtype.str, value.shape, little.tobytes())))


def _decode_array(code: int, data: memoryview) -> NDArray[Any]:
    if code != _ARRAY:
        raise ValueError(f"unknown extension {code}")
    dtype, shape, raw = msgspec.msgpack.decode(data, type=tuple[str, tuple[int, ...], bytes])
    if dtype not in _DTYPES:
        raise ValueError(f"unknown dtype {dtype!r}")
    kind = np.dtype(dtype)
    if min(shape, default=0) < 0 or math.prod(shape) * kind.itemsize != len(raw):
        raise ValueError(f"{len(raw)} bytes are not an array of {dtype} and shape {shape}")
    return np.frombuffer(raw, kind).reshape(shape).copy()
