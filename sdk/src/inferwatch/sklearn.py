"""Records what a scikit-learn estimator answers: ``watched = watch(estimator, client, model="fraud", version="7")``."""

from __future__ import annotations

import copy
import operator
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.base import clone, is_regressor
from sklearn.exceptions import NotFittedError
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from inferwatch._arguments import BadArgumentError, OversizedError
from inferwatch._client import Client
from inferwatch._contract import MAX_FEATURES

__all__ = ["Watched", "watch"]

_ROWS = 5_000
"""Rows that enter the queue at once: of a batch that does not fit as a whole, what fits is kept."""


def watch(estimator: Any, client: Client, *, model: str, version: str, names: Sequence[str] | None = None) -> Watched:
    """The estimator, with its answers recorded.

    Args:
        estimator: Fitted, with one output: classifier, regressor, outlier detector, clusterer, or a pipeline that ends in one.
        client: Where answers go. One is enough for all models of a process.
        model: Name of the model.
        version: Its version: what the reference belongs to.
        names: Of the features, in order. Not given: a table's column names, else ``feature_names_in_``, else none.

    Raises:
        ValueError: the estimator answers with several outputs, or cannot predict.

    Example:
        >>> import numpy as np
        >>> from sklearn.linear_model import LogisticRegression
        >>> from inferwatch import Client, MemoryTransport
        >>> estimator = LogisticRegression().fit(np.array([[0.0], [1.0], [2.0], [3.0]]), ["ok", "ok", "fraud", "fraud"])
        >>> transport = MemoryTransport()
        >>> with Client(service="shop", transport=transport, pseudonym_key="an example, not a secret") as client:
        ...     watched = watch(estimator, client, model="fraud", version="7", names=["amount"])
        ...     watched.asked_by("alice").predict(np.array([[2.9]])).tolist()
        ['fraud']
        >>> [(event["features"], event["prediction"]) for event in transport.events()]
        [({'amount': 2.9000000953674316}, 'fraud')]
    """
    return Watched(estimator, client, model=model, version=version, names=names)


def _has(method: str) -> Callable[[Any], bool]:
    return lambda watched: hasattr(watched.estimator, method)


class Watched:
    """Behaves as the estimator does; `predict`, `predict_proba` and `predict_log_proba` are recorded besides. Made by `watch`.

    Each of the three calls is an answer, and an event a row: call the one whose answer is given out. ``decision_function``, ``score``
    and all else go to the estimator unrecorded, and so does what its own methods call.

    What is pickled, copied or cloned is the estimator alone: a model file needs no inferwatch, and neither the copies that a grid search
    fits nor those that `joblib` sends to other processes answer anybody.

    The latency of a row is that of its call. A call that raises is one event without features: ``invalid_input`` for a ValueError or
    TypeError, else ``error``. Costs a copy of the features and scores, nothing is sent here.
    """

    def __init__(
        self,
        estimator: Any,
        client: Client,
        *,
        model: str,
        version: str,
        names: Sequence[str] | None = None,
    ) -> None:
        if not hasattr(estimator, "predict"):
            raise ValueError(f"{type(estimator).__name__} has no predict: nothing of it can be recorded")
        outputs = getattr(estimator, "n_outputs_", 1)
        if outputs > 1 or isinstance(getattr(estimator, "classes_", None), list):
            raise ValueError(
                f"{type(estimator).__name__} answers with several outputs, an event has one. Call client.record_many yourself, under a "
                "model name an output, or for the output that matters"
            )
        for what, text in (("model", model), ("version", version)):
            if not isinstance(text, str) or not text:
                raise ValueError(f"{what} is missing: pass {what}='...'")
        self._estimator, self._client, self._model, self._version = estimator, client, model, version
        self._names = None if names is None else list(names)
        self._asked: dict[str, Any] = {}

    @property
    def estimator(self) -> Any:
        """What answers."""
        return self._estimator

    def asked_by(
        self, client: Any, *, event_id: Any = None, owner: Any = None, source: Any = None, trace_id: Any = None, cost: Any = None,
        feature_view: Any = None, feature_age_s: Any = None,
    ) -> Watched:  # fmt: skip
        """The same, knowing who asks; each is one value for all rows, or one a row. See `Client.record`."""
        bound = object.__new__(Watched)
        bound.__dict__.update(self.__dict__)
        given = {"client": client, "event_id": event_id, "owner": owner, "source": source, "trace_id": trace_id, "cost": cost,
                 "feature_view": feature_view, "feature_age_s": feature_age_s}  # fmt: skip
        bound._asked = {name: value for name, value in given.items() if value is not None}
        return bound

    def predict(self, X: Any, *args: Any, **kwargs: Any) -> Any:
        """As the estimator's; recorded as ``value`` for a regressor, else as ``prediction``."""
        what = "value" if _is_regressor(self._estimator) else "prediction"
        return self._answer("predict", X, args, kwargs, lambda answer: {what: _one_output(answer)})

    @available_if(_has("predict_proba"))  # type: ignore[untyped-decorator]  # scikit-learn has no types
    def predict_proba(self, X: Any, *args: Any, **kwargs: Any) -> Any:
        """As the estimator's; recorded as scores, under the names of its classes, and the likeliest class as prediction."""
        return self._answer("predict_proba", X, args, kwargs, self._scored)

    @available_if(_has("predict_log_proba"))  # type: ignore[untyped-decorator]  # scikit-learn has no types
    def predict_log_proba(self, X: Any, *args: Any, **kwargs: Any) -> Any:
        """As the estimator's; recorded as `predict_proba`."""
        return self._answer("predict_log_proba", X, args, kwargs, lambda answer: self._scored(np.exp(answer)))

    def __getattr__(self, name: str) -> Any:
        if name == "_estimator" or (name.startswith("__") and not name.startswith("__sklearn")):
            raise AttributeError(name)  # protocols that look here (copy, numpy) mean this object
        return getattr(self._estimator, name)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *dir(self._estimator)})

    def __repr__(self) -> str:
        return f"watch({self._estimator!r}, model={self._model!r}, version={self._version!r})"

    def __reduce_ex__(self, protocol: Any) -> Any:
        return operator.getitem, ((self._estimator,), 0)  # the estimator itself, by the standard library alone

    def __sklearn_is_fitted__(self) -> bool:
        try:
            check_is_fitted(self._estimator)
        except NotFittedError:
            return False
        return True

    def __sklearn_clone__(self) -> Any:
        return clone(self._estimator)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return copy.deepcopy(self._estimator, memo)

    def _answer(self, method: str, X: Any, args: tuple[Any, ...], kwargs: dict[str, Any], columns: Callable[[Any], dict[str, Any]]) -> Any:
        call = getattr(self._estimator, method)
        begun = time.perf_counter()
        try:
            answer = call(X, *args, **kwargs)
        except Exception as error:
            status: Any = "invalid_input" if isinstance(error, (ValueError, TypeError)) else "error"
            asked: dict[str, Any] = {name: value for name, value in self._asked.items() if isinstance(value, (str, int, float))}
            self._client.record(model=self._model, version=self._version, status=status, latency_ms=_since(begun), **asked)
            raise
        self._record(X, columns, answer, _since(begun))
        return answer

    def _record(self, X: Any, columns: Callable[[Any], dict[str, Any]], answer: Any, latency_ms: float) -> None:
        try:
            features, names = _features(X, self._names or getattr(self._estimator, "feature_names_in_", None))
            parts = {"features": features, **columns(answer)}
        except Exception as error:  # noqa: BLE001  # monitoring never breaks the service
            self._client._refuse(self._model, self._version, "invalid", len(answer), error)
            return
        n = len(answer)
        for start in range(0, n, _ROWS):
            rows = slice(start, start + _ROWS)
            self._client.record_many(
                model=self._model, version=self._version, names=names, latency_ms=latency_ms,
                **{name: _rows(value, rows, n) for name, value in {**parts, **self._asked}.items()},
            )  # fmt: skip

    def _scored(self, scores: Any) -> dict[str, Any]:
        if isinstance(scores, list):
            raise BadArgumentError(f"probabilities of {len(scores)} outputs; an event has one")
        classes = getattr(self._estimator, "classes_", None)
        if classes is None or len(classes) != scores.shape[1]:
            return {"scores": scores}
        names = [str(name) for name in classes]
        return {"scores": scores, "score_names": _Whole(names), "prediction": np.asarray(names, object)[scores.argmax(1)]}


class _Whole(list[Any]):
    """Not one a row, though it may be as long."""


def _rows(value: Any, rows: slice, n: int) -> Any:
    if isinstance(value, Mapping):
        return {name: column[rows] for name, column in value.items()}
    if isinstance(value, (_Whole, str)) or not hasattr(value, "__len__") or len(value) != n:
        return value
    return value[rows]


def _is_regressor(estimator: Any) -> bool:
    try:
        return bool(is_regressor(estimator))
    except AttributeError:  # not made after scikit-learn's base classes
        return getattr(estimator, "_estimator_type", "") == "regressor"


def _since(begun: float) -> float:
    return (time.perf_counter() - begun) * 1e3


def _one_output(answer: Any) -> Any:
    answer = np.asarray(answer)
    if answer.ndim == 2 and answer.shape[1] == 1:
        answer = answer[:, 0]
    if answer.ndim != 1:
        raise BadArgumentError(f"predictions of shape {answer.shape}; an event has one output")
    return answer


def _features(X: Any, names: Any) -> tuple[Any, Sequence[str] | None]:
    """A mapping of columns, or a matrix and the names of its columns. Tables: whatever has `columns` and gives a column by name."""
    if hasattr(X, "columns") and hasattr(X, "__getitem__"):
        if len(X.columns) > MAX_FEATURES:
            raise OversizedError(f"{len(X.columns)} features; at most {MAX_FEATURES}")
        labels = list(X.columns) if names is None or len(names) != len(X.columns) else list(names)
        return {str(label): _column(X[column]) for label, column in zip(labels, X.columns, strict=True)}, None
    if hasattr(X, "toarray"):  # sparse
        if X.shape[1] > MAX_FEATURES:
            raise OversizedError(f"{X.shape[1]} features; at most {MAX_FEATURES}")
        X = X.toarray()
    matrix = np.asarray(X)
    if matrix.ndim != 2:  # texts for a vectoriser, pictures
        raise BadArgumentError(f"features of shape {matrix.shape}; expected a table or a matrix. Call client.record_many yourself")
    names = None if names is None or len(names) != matrix.shape[1] else [str(name) for name in names]
    if matrix.dtype.kind in "fiub":
        return matrix, names
    named = names or [f"f{i}" for i in range(matrix.shape[1])]
    return {name: _column(matrix[:, i]) for i, name in enumerate(named)}, None


def _column(column: Any) -> Any:
    """Numbers as an array, NaN where one is missing; anything else as an array of text and booleans, None where one is missing."""
    if getattr(getattr(column, "dtype", None), "na_value", None) is not None and column.dtype.kind in "fiu":  # pandas' nullable numbers
        return column.to_numpy(dtype=float, na_value=np.nan)
    values = column.to_numpy() if hasattr(column, "to_numpy") else np.asarray(column)
    if values.dtype.kind in "fiu":
        return values
    listed = [None if _is_missing(value) else value for value in values.tolist()]
    if all(value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)) for value in listed):
        return np.array([np.nan if value is None else value for value in listed], float)
    texts = np.empty(len(listed), object)
    texts[:] = [value if value is None or isinstance(value, (str, bool)) else str(value) for value in listed]
    return texts


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and value != value) or type(value).__name__ in ("NAType", "NaTType")
