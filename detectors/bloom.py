"""Keyed Bloom filter of float32 rows: was this exact row put in, answered without keeping any row.

Who has the bytes of a filter but not its key can test nothing: every position is a keyed hash (SipHash-2-4, Aumasson and Bernstein,
INDOCRYPT 2012) of the row. Rows are equal when their float32 bytes are, after -0.0 became 0.0 and every NaN the same NaN.
"""

from __future__ import annotations

import hashlib
import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from detectors.state import StateError, pack, unpack

_KIND = "bloom"
_VERSION = 1
_MIN_KEY = 16
_MAX_ROWS = 100_000_000
_NEGATIVE_ZERO = np.uint32(0x80000000)
_MAGNITUDE = np.uint32(0x7FFFFFFF)
_INFINITY = np.uint32(0x7F800000)
_ONE_NAN = np.uint32(0x7FC00000)
_HALF = np.uint64(32)
_LOW = np.uint64(0xFFFFFFFF)
_SIP = (np.uint64(0x736F6D6570736575), np.uint64(0x646F72616E646F6D), np.uint64(0x6C7967656E657261), np.uint64(0x7465646279746573))


@njit(inline="always")
def _rotl(x: Any, bits: int) -> Any:
    return (x << np.uint64(bits)) | (x >> np.uint64(64 - bits))


@njit(inline="always")
def _sip_round(v0: Any, v1: Any, v2: Any, v3: Any) -> Any:
    v0 = v0 + v1
    v2 = v2 + v3
    v1 = _rotl(v1, 13) ^ v0
    v3 = _rotl(v3, 16) ^ v2
    v0 = _rotl(v0, 32)
    v2 = v2 + v1
    v0 = v0 + v3
    v1 = _rotl(v1, 17) ^ v2
    v3 = _rotl(v3, 21) ^ v0
    v2 = _rotl(v2, 32)
    return v0, v1, v2, v3


@njit(inline="always")
def _canonical(bits: Any) -> Any:
    if bits == _NEGATIVE_ZERO:
        return np.uint64(0)
    if (bits & _MAGNITUDE) > _INFINITY:
        return np.uint64(_ONE_NAN)
    return np.uint64(bits)


@njit(cache=True)
def hash_row(row: Any, seed: Any) -> Any:
    """SipHash-2-4 of one row, given as the uint32 bits of its float32 values, under the two uint64 words of ``seed``."""
    d = row.shape[0]
    v0, v1, v2, v3 = seed[0] ^ _SIP[0], seed[1] ^ _SIP[1], seed[0] ^ _SIP[2], seed[1] ^ _SIP[3]
    for j in range(0, d - 1, 2):
        word = _canonical(row[j]) | (_canonical(row[j + 1]) << _HALF)
        v3 ^= word
        v0, v1, v2, v3 = _sip_round(v0, v1, v2, v3)
        v0, v1, v2, v3 = _sip_round(v0, v1, v2, v3)
        v0 ^= word
    word = np.uint64((4 * d) & 0xFF) << np.uint64(56)
    if d % 2:
        word |= _canonical(row[d - 1])
    v3 ^= word
    v0, v1, v2, v3 = _sip_round(v0, v1, v2, v3)
    v0, v1, v2, v3 = _sip_round(v0, v1, v2, v3)
    v0 ^= word
    v2 ^= np.uint64(0xFF)
    for _ in range(4):
        v0, v1, v2, v3 = _sip_round(v0, v1, v2, v3)
    return v0 ^ v1 ^ v2 ^ v3


@njit(cache=True)
def _hash_rows(rows: Any, seed: Any) -> Any:
    out = np.empty(rows.shape[0], np.uint64)
    for i in range(rows.shape[0]):
        out[i] = hash_row(rows[i], seed)
    return out


@njit(inline="always")
def _position(code: Any, i: int, bits: int) -> Any:
    # Double hashing (Kirsch and Mitzenmacher 2006); an odd step visits distinct values, and the product maps 32 bits to [0, bits).
    step = ((code & _LOW) + np.uint64(i) * ((code >> _HALF) | np.uint64(1))) & _LOW
    return (step * np.uint64(bits)) >> _HALF


@njit(cache=True)
def holds(table: Any, bits: int, probes: int, code: Any) -> bool:
    """Whether the filter ``table`` (uint8, eight positions a byte) holds the row hash ``code``."""
    for i in range(probes):
        at = _position(code, i, bits)
        if not (table[at >> np.uint64(3)] >> np.uint8(at & np.uint64(7))) & np.uint8(1):
            return False
    return True


@njit(cache=True)
def _contains(table: Any, bits: int, probes: int, codes: Any) -> Any:
    out = np.empty(codes.shape[0], np.bool_)
    for i in range(codes.shape[0]):
        out[i] = holds(table, bits, probes, codes[i])
    return out


@njit(cache=True)
def _add(table: Any, bits: int, probes: int, codes: Any) -> None:
    for k in range(codes.shape[0]):
        for i in range(probes):
            at = _position(codes[k], i, bits)
            table[at >> np.uint64(3)] |= np.uint8(1) << np.uint8(at & np.uint64(7))


def key_words(key: bytes, purpose: bytes) -> NDArray[np.uint64]:
    """Two uint64 words of a secret for one purpose (keyed BLAKE2b), so that one deployment key serves several hashes.

    Raises:
        ValueError: when the key is shorter than 16 bytes: rows could then be tested by guessing the key.
    """
    if len(key) < _MIN_KEY:
        raise ValueError(f"the key has {len(key)} bytes; at least {_MIN_KEY} random bytes are needed")
    return np.frombuffer(hashlib.blake2b(purpose, digest_size=16, key=hashlib.sha512(key).digest()).digest(), "<u8").astype(np.uint64)


def float_bits(rows: NDArray[Any]) -> NDArray[np.uint32]:
    """The rows (n, d) as the uint32 bits of their float32 values; a view when they are contiguous float32 already."""
    return np.ascontiguousarray(rows, np.float32).view(np.uint32)


class BloomFilter:
    """Keyed set of rows with false positives at a chosen rate and no false negatives.

    m = -n ln p / ln^2 2 bits and k = log2(1/p) positions a row: 2.4 MB for 10^6 rows at p = 1e-4. More rows than announced raise the rate,
    which `false_positive_rate` tells. About 0.1 us a row of 20 values.

    Args:
        key: secret, at least 16 bytes; never part of `to_bytes`.
        rows: how many rows will be put in (1 to 10^8).
        width: values in a row.
        p: false-positive rate at that many rows, in (1e-9, 0.5).

    Raises:
        ValueError: for a short key, or numbers out of range.

    Example:
        >>> import numpy as np
        >>> members = np.random.default_rng(0).normal(size=(1000, 8)).astype(np.float32)
        >>> seen = BloomFilter(b"sixteen bytes or more", rows=1000, width=8)
        >>> seen.add(members)
        >>> bool(seen.contains(members).all()), int(seen.contains(members + 1).sum())
        (True, 0)
    """

    def __init__(self, key: bytes, *, rows: int, width: int, p: float = 1e-4) -> None:
        if not 1 <= rows <= _MAX_ROWS:
            raise ValueError(f"rows is {rows}; it must be between 1 and {_MAX_ROWS}")
        if width < 1:
            raise ValueError(f"width is {width}; it must be at least 1")
        if not 1e-9 < p < 0.5:
            raise ValueError(f"p is {p}; it must be in (1e-9, 0.5)")
        self.width = width
        self.bits = max(64, math.ceil(-rows * math.log(p) / math.log(2) ** 2))
        self.probes = max(1, round(-math.log2(p)))
        self.table = np.zeros((self.bits + 7) // 8, np.uint8)
        self.seed = key_words(key, b"inferwatch bloom rows")
        self._tag = _key_tag(key)

    def hashes(self, rows: NDArray[Any]) -> NDArray[np.uint64]:
        """The keyed 64-bit hash of each row (n, width).

        Raises:
            ValueError: when the rows have another width.
        """
        if rows.ndim != 2 or rows.shape[1] != self.width:
            raise ValueError(f"rows have shape {rows.shape}; expected (n, {self.width})")
        codes: NDArray[np.uint64] = _hash_rows(float_bits(rows), self.seed)
        return codes

    def add(self, rows: NDArray[Any]) -> None:
        """Put rows (n, width) in; rows that are there already change nothing."""
        _add(self.table, self.bits, self.probes, self.hashes(rows))

    def contains(self, rows: NDArray[Any]) -> NDArray[np.bool_]:
        """Whether each row (n, width) was put in; wrongly True at `false_positive_rate`, never wrongly False."""
        found: NDArray[np.bool_] = _contains(self.table, self.bits, self.probes, self.hashes(rows))
        return found

    def false_positive_rate(self) -> float:
        """The chance that a row which was not put in is taken for one: (share of set bits)^k, as it stands now."""
        return float((np.unpackbits(self.table).sum() / self.bits) ** self.probes)

    def to_bytes(self) -> bytes:
        """The filter without its key."""
        body = {"width": self.width, "bits": self.bits, "probes": self.probes, "tag": self._tag.hex(), "table": self.table}
        return pack(_KIND, _VERSION, body)

    @classmethod
    def from_bytes(cls, blob: bytes, key: bytes) -> BloomFilter:
        """The filter of `to_bytes`, with the key it was made with.

        Raises:
            StateError: when the bytes are not a filter, or the key is another one.
        """
        body = unpack(blob, _KIND, _VERSION)
        try:
            width, bits, probes, table = int(body["width"]), int(body["bits"]), int(body["probes"]), body["table"]
            tag = bytes.fromhex(body["tag"])
        except (KeyError, TypeError, ValueError) as error:
            raise StateError(f"a Bloom filter lacks a field or has a wrong one: {error}") from error
        if not (isinstance(table, np.ndarray) and table.dtype == np.uint8 and table.shape == ((bits + 7) // 8,) and bits >= 64):
            raise StateError(f"a Bloom filter of {bits} bits has a table of another size")
        if not (1 <= probes <= 64 and width >= 1):
            raise StateError(f"a Bloom filter with {probes} probes of rows {width} wide makes no sense")
        if tag != _key_tag(key):
            raise StateError("the Bloom filter was made with another key")
        filter_ = cls(key, rows=1, width=width)
        filter_.bits, filter_.probes, filter_.table = bits, probes, table
        return filter_


def _key_tag(key: bytes) -> bytes:
    return key_words(key, b"inferwatch bloom key check").tobytes()[:8]
