"""What callers hand in, made safe to keep: copied where they may change it, cut where it may be long."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from inferwatch._contract import MAX_FEATURES, MAX_TEXT, Status
from inferwatch._item import packed

STATUS: dict[Any, int] = {status: int(status) for status in Status} | {status.name.lower(): int(status) for status in Status}
NUMBERS = frozenset({float, int})
PLAIN = frozenset({float, int, bool, str, type(None)})


class BadArgumentError(ValueError):
    """An argument that cannot be used. The text has names, sizes and types, and nothing of an event's content."""


class OversizedError(BadArgumentError):
    """More features or scores than the contract allows."""


def text(value: Any) -> str:
    """As text of at most MAX_TEXT characters."""
    whole: str = value if type(value) is str else str(value)
    return whole if len(whole) <= MAX_TEXT else whole[:MAX_TEXT]


def name_of(value: Any) -> str:
    """As `text`, and such as UTF-8 can write: half a surrogate pair becomes a question mark."""
    return text(text(value).encode("utf-8", "replace").decode())


def optional_text(value: Any) -> str | None:
    """As `text`; None stays none."""
    return None if value is None else text(value)


def plain(value: Any) -> float | bool | str | None:
    """A number, boolean, text or None of Python's own, out of numpy's and torch's scalars too; anything else becomes None (missing).

    Example:
        >>> plain(np.float32(0.5)), plain("é" * 300) == "é" * 256, plain([1, 2])
        (0.5, True, None)
    """
    kind = type(value)
    if kind is str:
        return text(value)
    if value is None or kind is float or kind is int or kind is bool:
        return value  # type: ignore[no-any-return]  # just checked
    if isinstance(value, str):
        return text(str.__str__(value))
    item = getattr(value, "item", None)
    if callable(item):
        value = item()
        return plain(value) if type(value) in (str, float, int, bool) else None
    try:
        return float(value)  # Decimal, Fraction
    except (TypeError, ValueError, OverflowError):
        return None


def features_of(features: Any) -> Any:
    """A copy: a dict of plain values, or a tuple or an array of numbers."""
    kind = type(features)
    if kind is dict:
        copy = features.copy()
    elif features is None:
        return None
    elif isinstance(features, Mapping):
        copy = dict(features)
    else:
        return vector(features, "features")
    if len(copy) > MAX_FEATURES:
        raise OversizedError(f"{len(copy)} features; at most {MAX_FEATURES}")
    kinds = set(map(type, copy.values()))
    if not kinds <= NUMBERS:
        if kinds <= PLAIN:
            for value in copy.values():
                if type(value) is str and len(value) > MAX_TEXT:
                    break
            else:
                return copy
        copy = {name: plain(value) for name, value in copy.items()}
    return copy


def scores_of(scores: Any) -> Any:
    """A copy of class probabilities: a dict, packed numbers, a tuple or an array."""
    if isinstance(scores, Mapping):
        if len(scores) > MAX_FEATURES:
            raise OversizedError(f"{len(scores)} scores; at most {MAX_FEATURES}")
        return dict(scores)
    kind = type(scores)
    return packed(scores) if (kind is list or kind is tuple) and len(scores) <= MAX_FEATURES else vector(scores, "scores")


def vector(values: Any, what: str) -> Any:
    """A tuple of the list's values, or a copy of a one-dimensional array of numbers."""
    kind = type(values)
    if kind is not list and kind is not tuple:
        values = np.array(values)
        if values.ndim != 1 or values.dtype.kind not in "fiub":
            raise BadArgumentError(
                f"{what} of one event must be a mapping or one-dimensional numbers, got {kind.__name__} of shape {values.shape}"
            )
    if len(values) > MAX_FEATURES:
        raise OversizedError(f"{len(values)} {what}; at most {MAX_FEATURES}")
    return tuple(values) if kind is list else values


def current_trace_id(trace: Any) -> str | None:
    """32 hexadecimal digits of OpenTelemetry's current span, or None outside of one; `trace` is the module ``opentelemetry.trace``."""
    context = trace.get_current_span().get_span_context()
    return f"{context.trace_id:032x}" if context.is_valid else None
