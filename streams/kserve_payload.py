"""Payloads of KServe's inference protocols, version 1 and 2, as columns: what was asked, and what was answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np

__all__ = ["Answers", "Features", "PayloadError", "answers_of", "features_of"]

MAX_ROWS = 10_000
MAX_COLUMNS = 4_096
MAX_NAME = 256
_READ_ERRORS = (msgspec.DecodeError, ValueError, TypeError, RecursionError, OverflowError)

Why = Literal["foreign", "oversized", "ragged"]


class PayloadError(ValueError):
    """A payload that cannot be used; `why` is one of a few words, for counting."""

    def __init__(self, why: Why, message: str) -> None:
        super().__init__(f"{why}: {message}")
        self.why: Why = why


class Features(NamedTuple):
    """n rows: a matrix (n, d), or a mapping of names to n values, as `Client.record_many` takes them."""

    rows: int
    columns: Any


class Answers(NamedTuple):
    """n answers, as keyword arguments of `Client.record_many`; and the model's version, where it is said."""

    rows: int
    columns: dict[str, Any]
    version: str


def features_of(body: bytes) -> Features:
    """What was asked.

    Version 1: ``instances``, each a list (of lists: a picture, flattened), an object of named values, or one number or text.
    Version 2: ``inputs``. One tensor of shape (n, d, ...) is a matrix; several are columns under their names, ``name_0``, ``name_1``
    where one has a width.

    Raises:
        PayloadError: it is neither, has more than 10,000 rows or 4,096 columns, or rows of unequal length.

    Example:
        >>> features_of(b'{"instances": [[1, 2], [3, 4]]}').columns.tolist()
        [[1.0, 2.0], [3.0, 4.0]]
        >>> features_of(b'{"inputs": [{"name": "a", "shape": [2], "datatype": "FP32", "data": [1, 2]}]}').columns
        {'a': array([1., 2.])}
    """
    tree = _object(body)
    try:
        if isinstance(tree.get("instances"), list):
            return _instances(tree["instances"])
        if isinstance(tree.get("inputs"), list) and tree["inputs"]:
            return _inputs([_tensor(one) for one in tree["inputs"]])
    except PayloadError:
        raise
    except _READ_ERRORS as error:
        raise PayloadError("ragged", type(error).__name__) from error
    raise PayloadError("foreign", "neither instances nor inputs")


def answers_of(body: bytes) -> Answers:
    """What was answered.

    Version 1: ``predictions``. Version 2: ``outputs``. Whole numbers, text and booleans are classes, other numbers values of a regression,
    rows of numbers that add up to 1 class probabilities. Objects, and tensors, that are named ``scores``, ``probabilities``,
    ``prediction``, ``label``, ``value`` and the like are what they are called.

    Raises:
        PayloadError: it is neither, or too large.

    Example:
        >>> answers_of(b'{"predictions": [[0.9, 0.1]]}').columns["scores"].tolist()
        [[0.9, 0.1]]
        >>> answers_of(b'{"model_version": "7", "outputs": [{"name": "y", "shape": [2], "datatype": "INT64", "data": [0, 1]}]}')[1:]
        ({'prediction': [0, 1]}, '7')
    """
    tree = _object(body)
    version = tree.get("model_version")
    version = version[:256] if isinstance(version, str) else ""
    try:
        if isinstance(tree.get("predictions"), list):
            predictions = tree["predictions"]
            _bound(len(predictions), 0)
            return Answers(len(predictions), _predictions(predictions), version)
        if isinstance(tree.get("outputs"), list) and tree["outputs"]:
            tensors = [_tensor(one) for one in tree["outputs"]]
            rows = tensors[0][1].shape[0]
            columns: dict[str, Any] = {}
            for name, array in tensors:
                if array.shape[0] == rows:
                    columns |= {kind: value for kind, value in _named(name, array).items() if kind not in columns}
            return Answers(rows, columns, version)
    except PayloadError:
        raise
    except _READ_ERRORS as error:
        raise PayloadError("ragged", type(error).__name__) from error
    raise PayloadError("foreign", "neither predictions nor outputs")


def _object(body: bytes) -> dict[str, Any]:
    try:
        tree = msgspec.json.decode(body)
    except _READ_ERRORS as error:
        raise PayloadError("foreign", "no JSON; KServe's binary tensors are not read") from error
    if not isinstance(tree, dict):
        raise PayloadError("foreign", "no JSON object")
    return tree


def _bound(rows: int, columns: int) -> None:
    if rows > MAX_ROWS or columns > MAX_COLUMNS:
        raise PayloadError("oversized", f"{rows} rows of {columns} columns; at most {MAX_ROWS} of {MAX_COLUMNS}")


def _instances(instances: list[Any]) -> Features:
    n = len(instances)
    _bound(n, 0)
    if not n:
        return Features(0, np.empty((0, 0)))
    if all(isinstance(one, dict) for one in instances):
        names = dict.fromkeys(name for one in instances for name in one)
        _bound(n, len(names))
        if any(len(name) > MAX_NAME for name in names):
            raise PayloadError("oversized", f"a name of more than {MAX_NAME} characters")
        return Features(n, {name: _column([one.get(name) for one in instances]) for name in names})
    if not isinstance(instances[0], list):
        return Features(n, {"x": _column(instances)})
    flat = np.asarray(instances, object if any(isinstance(value, (str, bool)) for value in instances[0]) else float)
    return Features(n, _columns_of(flat.reshape(n, -1)))


def _inputs(tensors: Sequence[tuple[str, Any]]) -> Features:
    n = tensors[0][1].shape[0]
    if any(array.shape[0] != n for _, array in tensors):
        raise PayloadError("ragged", f"inputs of {[array.shape[0] for _, array in tensors][:8]} rows")
    arrays = [(name, array.reshape(n, -1)) for name, array in tensors] if n else []
    _bound(n, sum(array.shape[1] for _, array in arrays))
    if len(arrays) == 1 and tensors[0][1].ndim > 1:
        return Features(n, _columns_of(arrays[0][1]))
    columns: dict[str, Any] = {}
    for name, array in arrays:
        for i in range(array.shape[1]):
            columns[name if array.shape[1] == 1 else f"{name}_{i}"] = _column(array[:, i].tolist())
    return Features(n, columns)


def _columns_of(matrix: Any) -> Any:
    _bound(*matrix.shape)
    if matrix.dtype.kind == "f":
        return matrix
    return {f"f{i}": _column(matrix[:, i].tolist()) for i in range(matrix.shape[1])}


def _column(values: list[Any]) -> Any:
    """Numbers, NaN where one is missing; else text and booleans, None for what is missing or neither."""
    if all(value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)) for value in values):
        return np.array([np.nan if value is None else value for value in values], float)
    column = np.empty(len(values), object)
    column[:] = [
        value if isinstance(value, (str, bool)) else None if value is None or isinstance(value, (dict, list)) else str(value)
        for value in values
    ]
    return column


def _tensor(one: Any) -> tuple[str, Any]:
    """Its name, and an array of its shape: of floats, integers, or objects."""
    if not isinstance(one, dict) or not isinstance(one.get("data"), list) or not isinstance(one.get("shape"), list):
        raise PayloadError("foreign", "a tensor without data and shape")
    shape = one["shape"]
    if not shape or not all(type(side) is int and 0 <= side <= 1 << 31 for side in shape):
        raise PayloadError("foreign", f"shape {str(shape)[:80]}")
    _bound(shape[0], int(np.prod(shape[1:], dtype=float)) if len(shape) > 1 else 1)
    datatype = str(one.get("datatype", ""))
    kind: Any = float if datatype.startswith(("FP", "BF")) else np.int64 if datatype.startswith(("INT", "UINT")) else object
    array = np.asarray(one["data"], kind)
    return str(one.get("name", ""))[: MAX_NAME - 8], array.reshape(shape)


_NAMES = {
    "scores": ("scores", "score", "probabilities", "probability", "probs", "output_probability", "predict_proba"),
    "prediction": ("prediction", "label", "class", "output_label", "predicted_class"),
    "value": ("value", "variable", "regression"),
}
_KIND = {name: kind for kind, names in _NAMES.items() for name in names}


def _named(name: str, array: Any) -> dict[str, Any]:
    n = array.shape[0]
    flat = array.reshape(n, -1) if n else array.reshape(0, 0)
    kind = _KIND.get(name.lower())
    if flat.shape[1] == 1:
        column = flat[:, 0].tolist()
        if kind in ("prediction", "value"):
            return _labels(column) if kind == "prediction" else _values(column)
        return _predictions(column, whole=array.dtype.kind != "f")
    return {"scores": flat.astype(float)} if kind == "scores" else _rows(flat) if array.dtype.kind == "f" else {}


def _predictions(predictions: Sequence[Any], *, whole: bool | None = None) -> dict[str, Any]:
    """Columns of answers; {} where they say nothing that an event can hold."""
    if not predictions:
        return {}
    first = predictions[0]
    if isinstance(first, dict):
        columns: dict[str, Any] = {}
        for name in first:
            kind = _KIND.get(str(name).lower())
            if kind is None or kind in columns:
                continue
            values = [one.get(name) if isinstance(one, Mapping) else None for one in predictions]
            columns |= _scores(values) if kind == "scores" else _labels(values) if kind == "prediction" else _values(values)
        return columns
    if isinstance(first, list):
        if all(isinstance(one, list) and len(one) == 1 for one in predictions):
            return _predictions([one[0] for one in predictions])
        return _rows(np.asarray(predictions, float))
    if whole is None:
        whole = not any(type(one) is float for one in predictions)
    return _labels(predictions) if whole else _values(predictions)


def _labels(values: Sequence[Any]) -> dict[str, Any]:
    return {"prediction": [one if isinstance(one, (str, int, float)) else None for one in values]}


def _values(values: Sequence[Any]) -> dict[str, Any]:
    return {"value": np.array([np.nan if value is None else float(value) for value in values])}


def _scores(values: list[Any]) -> dict[str, Any]:
    if isinstance(values[0], dict):
        names = list(values[0])
        matrix = np.array([[one[name] for name in names] for one in values], float)
        return {"scores": matrix, "score_names": [str(name)[:256] for name in names]}
    return {"scores": np.asarray(values, float)} if isinstance(values[0], list) else {}


def _rows(matrix: Any) -> dict[str, Any]:
    """Class probabilities, when rows add up to 1."""
    _bound(*matrix.shape)
    likely = matrix.ndim == 2 and matrix.shape[1] > 1 and bool((matrix >= 0).all()) and bool((abs(matrix.sum(axis=1) - 1) < 1e-2).all())
    return {"scores": matrix} if likely else {}
