"""Objectives of a model: the installation's, with what is promised otherwise for some models and versions; and which cannot be met."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from streams.settings import Objectives

__all__ = ["ObjectiveError", "check", "objectives_for", "parsed"]

PERCENT = {
    "availability": "a failed request", "latency_share": "a slow answer", "completeness": "a lost event", "accuracy": "a wrong answer",
    "drift_free": "a window with drift", "authorised": "a refused request", "signed": "an unsigned artefact",
    "valid_input": "a malformed value",
}  # fmt: skip
"""In percent; by name, what spends their budget."""
OPTIONAL = ("accuracy", "drift_free", "authorised", "signed", "valid_input", "auc", "f1", "mae", "log_loss")
"""0: no such objective."""
NAMES = (*PERCENT, "auc", "f1", "mae", "log_loss", "latency_ms", "saturation_share", "saturation_s", "saturation_cpu_s", "quiet_days")
_MOST = 99.9999
_MOST_DAYS = 366.0
_LEAST_MS = 1e-3
_LONGEST_MS = 3_600_000.0


class ObjectiveError(ValueError):
    """An objective that cannot be met, or makes no sense; the message says where, why, and what is possible."""


def objectives_for(objectives: Objectives, model: str, version: str) -> Objectives:
    """What is promised for a model version: the entries of ``by_model`` that fit it, a later one over an earlier one.

    Example:
        >>> from streams.settings import Objectives
        >>> all_ = Objectives(by_model=("fraud=latency_ms:50", "fraud/8.*=availability:99.5"))
        >>> one = objectives_for(all_, "fraud", "8.1")
        >>> one.latency_ms, one.availability, objectives_for(all_, "ads", "8.1").latency_ms
        (50.0, 99.5, 200.0)
    """
    changes: dict[str, float] = {}
    for entry in objectives.by_model:
        of_model, of_version, given = parsed(entry)
        if fnmatchcase(model, of_model) and fnmatchcase(version, of_version):
            changes |= given
    return msgspec.structs.replace(objectives, **changes)


def check(tree: Any) -> None:
    """Looks at the section ``objectives`` as it was given, before its types are.

    Raises:
        ObjectiveError: for the first one that cannot be met.

    Example:
        >>> check({"availability": 100})
        Traceback (most recent call last):
        streams.slo.ObjectiveError: objectives.availability: 100 leaves no budget: a failed request would spend it for ever; at most 99.9999
        >>> check({"by_model": ["fraud=latency_ms:0.0001"]})
        Traceback (most recent call last):
        streams.slo.ObjectiveError: objectives.by_model: fraud=latency_ms:0.0001: latencies are told apart from 0.001 ms on
    """
    if not isinstance(tree, Mapping):
        return
    for name in NAMES:
        if name in tree:
            _check(f"objectives.{name}", name, tree[name])
    models = tree.get("by_model", ())
    if isinstance(models, Sequence) and not isinstance(models, str):
        for entry in models:
            if isinstance(entry, str):
                for name, value in parsed(entry)[2].items():
                    _check(f"objectives.by_model: {entry}", name, value, entry=True)


def parsed(entry: str) -> tuple[str, str, dict[str, float]]:
    """Of an entry of ``by_model``: patterns of model and version, and what is promised."""
    whose, found, what = entry.rpartition("=")
    where = f"objectives.by_model: {entry}"
    model, _, version = whose.partition("/")
    if not found or not model or not what.strip():
        raise ObjectiveError(f"{where}: write MODEL=name:value or MODEL/VERSION=name:value name:value, such as fraud/8.*=availability:99.5")
    given: dict[str, float] = {}
    for part in what.split():
        name, colon, value = part.partition(":")
        if not colon or name not in NAMES:
            raise ObjectiveError(f"{where}: {part} is no objective; there are {', '.join(sorted(NAMES))}, each as name:value")
        try:
            given[name] = float(value)
        except ValueError as error:
            raise ObjectiveError(f"{where}: {value} is no number") from error
    return model, version or "*", given


def _check(where: str, name: str, value: Any, *, entry: bool = False) -> None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return  # the types are looked at later, and say it
    if isinstance(value, bool) or (not entry and math.isnan(number)):
        return
    if math.isnan(number):
        raise ObjectiveError(f"{where}: {name} is no number")
    if name in OPTIONAL and number == 0:
        return
    if name in PERCENT:
        if number > 100:
            raise ObjectiveError(f"{where}: {number:g} is more than all; it is in percent, at most {_MOST:g}")
        if number > _MOST and name != "signed":
            raise ObjectiveError(f"{where}: {number:g} leaves no budget: {PERCENT[name]} would spend it for ever; at most {_MOST:g}")
        if 0 < number <= 1:
            raise ObjectiveError(f"{where}: {number:g} is a share; it is in percent, such as {100 * number if number < 1 else 99.9:g}")
        if number < (0 if name == "accuracy" else 50):
            raise ObjectiveError(f"{where}: {number:g} promises less than half; at least 50")
    elif name in ("auc", "f1") and not 0 < number < 1:
        raise ObjectiveError(f"{where}: {number:g} is no {name.upper()} to promise; above 0 and below 1, or 0 for none")
    elif name in ("mae", "log_loss") and not 0 < number <= 1e12:
        raise ObjectiveError(f"{where}: {number:g} is no loss to promise; above 0, or 0 for none")
    elif name == "latency_ms":
        if number < _LEAST_MS:
            raise ObjectiveError(f"{where}: latencies are told apart from {_LEAST_MS:g} ms on")
        if number > _LONGEST_MS:
            raise ObjectiveError(f"{where}: {number:g} ms is longer than the longest that is told apart, {_LONGEST_MS:g} ms")
    elif name == "saturation_share" and not 0 < number <= 1:
        raise ObjectiveError(f"{where}: {number:g} is no share of a resource, above 0 and at most 1")
    elif name in ("saturation_s", "saturation_cpu_s") and not 0 < number <= 1e12:
        raise ObjectiveError(f"{where}: {number:g} s; it must be above 0")
    elif name == "quiet_days" and not 0 <= number <= _MOST_DAYS:
        raise ObjectiveError(f"{where}: {number:g} days; at least 0, which is never, and at most {_MOST_DAYS:g}")
