"""Damage to encoded values that keeps most of their structure: what random bytes never reach, one wrong field in a sound message does."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np

ARRAY = 1
"""msgpack extension of arrays; see `detectors.state`."""
MOST = 2_000_000
"""Bytes of an input: more than Kafka lets through for events."""
_DTYPES = (
    "|b1",
    "|u1",
    "|i1",
    "<u2",
    "<i2",
    "<u4",
    "<i4",
    "<u8",
    "<i8",
    "<f4",
    "<f8",
    ">i8",
    "|O",
    "|V8",
    "<U4",
    "<c16",
    "<M8[ns]",
    "nonsense",
)
_SHAPES: tuple[tuple[int, ...], ...] = ((), (0,), (-1,), (0, 2**40), (2**40, 0), (2**62, 4), (1,) * 70, (2**31, 2**31, 0))
_NASTY: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 7, 255, 256, 2**16, 2**31 - 1, 2**31, 2**40, 2**63 - 1, -(2**63), 2**64 - 1,
    0.0, -0.0, 0.5, -1.5, 1e308, -1e308, 5e-324, float("nan"), float("inf"), float("-inf"),
    "", "a", "x" * 300, "\0", "é\U0001f600" * 100, "NaN", "-1", "1e999", "../../etc/passwd", "numeric", "categorical",
    b"", b"\0", b"\xff" * 8, b"\0" * 64, b"\xc1", [], {}, [[[[]]]], {"": None}, {1: 2}, [None] * 300, [0] * 5_000,
)  # fmt: skip
_TOKENS = (
    b"\xc1", b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff",
    b"\xc9\xff\xff\xff\xff\x01", b"\x91" * 5_000, b"[" * 5_000, b'{"a":' * 2_000, b"1" * 5_000, b"1e999", b"null", b"\xff\xfe",
    b'"\\ud800"', b"-0", b"\0" * 64,
)  # fmt: skip


def mutated(draw: random.Random, blob: bytes, others: Sequence[bytes]) -> bytes:
    """One to four kinds of damage, in the tree of a msgpack value where it is one, else in the bytes."""
    for _ in range(draw.choice((1, 1, 1, 2, 4))):
        blob = (in_tree(draw, blob) if draw.random() < 0.75 else in_bytes(draw, blob, others))[:MOST]
    return blob


def in_bytes(draw: random.Random, blob: bytes, others: Sequence[bytes]) -> bytes:
    """Flips, cuts, splices, tokens that announce more than follows."""
    data = bytearray(blob)
    at = draw.randrange(len(data) + 1)
    kind = draw.randrange(7)
    if kind == 0 and data:
        for _ in range(draw.choice((1, 1, 2, 8))):
            data[draw.randrange(len(data))] = draw.randrange(256)
    elif kind == 1 and data:
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    elif kind == 2:
        del data[at:]
    elif kind == 3:
        del data[at : at + draw.choice((1, 2, 8, 64, 1_000))]
    elif kind == 4:
        data[at:at] = draw.choice(_TOKENS)
    elif kind == 5:
        other = draw.choice(others)
        data[at:] = other[draw.randrange(len(other) + 1) :]
    else:
        piece = bytes(data[at : at + draw.choice((1, 8, 100))])
        data[at:at] = piece * draw.choice((1, 2, 50))
    return bytes(data)


def in_tree(draw: random.Random, blob: bytes) -> bytes:
    """One node of a msgpack value becomes another. Bytes that are no msgpack are damaged as bytes."""
    tree = _parsed(blob)
    if tree is None:
        return in_bytes(draw, blob, [blob])
    try:
        return msgspec.msgpack.encode(_changed(draw, tree))
    except (OverflowError, UnicodeEncodeError, TypeError, ValueError, RecursionError):
        return in_bytes(draw, blob, [blob])


def _parsed(blob: bytes) -> Any:
    if len(blob) < 2:
        return None
    try:
        tree = msgspec.msgpack.decode(blob)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    return tree if isinstance(tree, (list, dict)) else None


def _changed(draw: random.Random, node: Any) -> Any:
    """The node with one random descendant changed; the deeper the rarer, so that large tables do not hide small fields."""
    children: dict[type, Callable[[random.Random, Any], Any]] = {list: _list, dict: _dict, bytes: _bytes, msgspec.msgpack.Ext: _array}
    inside = children.get(type(node))
    return inside(draw, node) if inside is not None and draw.random() < 0.9 else _replaced(draw, node)


def _replaced(draw: random.Random, node: Any) -> Any:
    if isinstance(node, bool) or node is None or draw.random() < 0.3:
        return draw.choice(_NASTY)
    if isinstance(node, int):
        return draw.choice((-node, node + 1, node - 1, node * 1_000, float(node), str(node), 2**63 - 1, -1, 2**40))
    if isinstance(node, float):
        return draw.choice((-node, node * 1e300, float("nan"), float("inf"), 0.0, str(node)))
    if isinstance(node, str):
        return draw.choice((node + "\0", node * 2, node[:-1], node.upper(), node.encode(), "", "x" * 300))
    return draw.choice(_NASTY)


def _list(draw: random.Random, node: list[Any]) -> Any:
    node = list(node)
    if not node:
        return [draw.choice(_NASTY)]
    at, kind = draw.randrange(len(node)), draw.randrange(12)
    if kind == 0:
        del node[at]
    elif kind == 1:
        node.insert(at, node[draw.randrange(len(node))])
    elif kind == 2:
        other = draw.randrange(len(node))
        node[at], node[other] = node[other], node[at]
    elif kind == 3:
        node = node * draw.choice((2, 50))
    else:
        node[at] = _changed(draw, node[at])
    return node


def _dict(draw: random.Random, node: dict[Any, Any]) -> Any:
    node = dict(node)
    if not node:
        return {draw.choice(("a", "", 3)): draw.choice(_NASTY)}
    key, kind = draw.choice(list(node)), draw.randrange(14)
    if kind == 0:
        del node[key]
    elif kind == 1:
        node[draw.choice(("unknown", "x" * 300, -5, 2**63))] = node[key]
    elif kind == 2:
        other = draw.choice(list(node))
        node[key], node[other] = node[other], node[key]
    elif kind == 3:
        node[draw.choice((str(key) + "x", ""))] = node.pop(key)
    else:
        node[key] = _changed(draw, node[key])
    return node


def _bytes(draw: random.Random, node: bytes) -> Any:
    if _parsed(node) is not None and draw.random() < 0.9:
        return in_tree(draw, node)
    kind = draw.randrange(6)
    if kind == 0 and len(node) >= 8:  # one number of a column
        width = draw.choice((4, 8))
        at = draw.randrange(len(node) // width) * width
        return node[:at] + _number(draw, width) + node[at + width :]
    if kind == 1:
        return node * draw.choice((0, 2, 3))
    if kind == 2:
        return node[: len(node) // 2 // 8 * 8]
    if kind == 3 and len(node) >= 8:  # all numbers of a column
        width = draw.choice((4, 8))
        return _number(draw, width) * (len(node) // width)
    return in_bytes(draw, node, [node])


def _number(draw: random.Random, width: int) -> bytes:
    whole = draw.choice((0, -1, 1, 2**31 - 1, -(2**31), draw.randrange(2**31)))
    real = draw.choice((float("nan"), float("inf"), float("-inf"), 3e38, -3e38, 1e-40))
    if draw.random() < 0.5:
        return np.array(real, f"<f{width}").tobytes()
    return int(whole if width == 4 else draw.choice((whole, 2**63 - 1, -(2**63)))).to_bytes(width, "little", signed=True)


def _array(draw: random.Random, node: msgspec.msgpack.Ext) -> Any:
    kind = draw.randrange(9)
    if kind == 0 or node.code != ARRAY:
        return msgspec.msgpack.Ext(draw.choice((ARRAY, 2, -1, 127)), in_bytes(draw, bytes(node.data), [b"\0"]))
    try:
        dtype, shape, raw = msgspec.msgpack.decode(node.data)
        size = int(np.dtype(dtype).itemsize)
    except (ValueError, TypeError, msgspec.DecodeError):
        return draw.choice(_NASTY)
    if kind == 1:
        dtype = draw.choice(_DTYPES)
    elif kind == 2:
        shape = draw.choice(_SHAPES)
        raw = b"" if 0 in shape else raw
    elif kind == 3:  # another shape of the same size
        count = len(raw) // size
        shape = draw.choice(((count,), (1, count), (count, 1), (count, 1, 1)))
    elif kind == 4:  # another length, consistently
        count = draw.choice((0, 1, len(raw) // size + 1, len(raw) // size // 2))
        shape, raw = (count,), (raw + bytes(size * count))[: size * count]
    elif kind == 5:  # the same bytes as another type of that width
        dtype = draw.choice([one for one in _DTYPES[:11] if int(one[2]) == size])
    elif raw:
        value = draw.choice((0, 1, -1, 2**31 - 1, 2**62, float("nan"), float("inf"), -1e30, 127))
        with np.errstate(all="ignore"):
            array = np.frombuffer(raw, dtype).copy()
            number = np.array([value]).astype(array.dtype)[0]
            if draw.random() < 0.5:
                array[draw.randrange(array.size)] = number
            else:
                array[:] = number
        raw = array.tobytes()
    return msgspec.msgpack.Ext(ARRAY, msgspec.msgpack.encode((dtype, shape, raw)))
