"""The model under attack: somebody's own, as a function of rows."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streams.gameday import GamedayError

_FILES = (".joblib", ".pkl", ".pickle")


@dataclass(frozen=True)
class Service:
    """What answers the attacker.

    Attributes:
        answer: (n, d) float32 rows to (n, classes) float32 probabilities; one-hot when the model gives classes only.
        classes: their names, in the order of the columns.
        scores: whether the answers are probabilities.
    """

    answer: Callable[[NDArray[np.float32]], NDArray[np.float32]]
    classes: tuple[str, ...]
    scores: bool


def load_model(spec: str, *, trust_file: bool) -> Any:
    """The object that ``spec`` names: ``FILE.joblib``, or ``module:attribute`` found from the current folder or the Python path.

    Args:
        spec: what to load.
        trust_file: that a file may run code of its own, as any pickle does when it is loaded.

    Raises:
        GamedayError: it cannot be loaded, or is a file and not trusted.
    """
    if spec.endswith(_FILES):
        if not trust_file:
            raise GamedayError(
                f"{spec}: loading such a file runs whatever code is in it. If you made it, or trust who did, add --trust-model"
            )
        if not Path(spec).is_file():
            raise GamedayError(f"{spec}: no such file")
        try:
            import joblib
        except ImportError as error:
            raise missing(error) from error
        try:
            return joblib.load(spec)
        except Exception as error:  # a pickle can fail in any way
            raise GamedayError(f"{spec}: cannot be loaded ({type(error).__name__}: {error})") from error
    module, _, attribute = spec.partition(":")
    if not module or not attribute:
        raise GamedayError(f"{spec}: neither a file that ends in {', '.join(_FILES)} nor module:attribute")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        return getattr(importlib.import_module(module), attribute)
    except Exception as error:  # importing runs the module
        raise GamedayError(f"{spec}: cannot be imported ({type(error).__name__}: {error})") from error


def service_of(model: Any, X: NDArray[np.float32], classes: tuple[str, ...] = ()) -> Service:
    """The model as a service, tried on some rows.

    Args:
        model: has `predict_proba` (n, d) -> (n, classes), or `predict` -> (n,), or is a function that does either.
        X: rows of the reference, to try it on.
        classes: their names if known.

    Raises:
        GamedayError: it raises, or answers with something else.
    """
    ask: Any = getattr(model, "predict_proba", None) or getattr(model, "predict", None) or model
    if not callable(ask):
        raise GamedayError(f"the model is a {type(model).__name__}; it needs predict_proba, predict, or to be a function of rows")
    raw = _asked(ask, X)
    if raw.ndim == 2:
        names = classes or tuple(str(name) for name in getattr(model, "classes_", range(raw.shape[1])))
        if len(names) != raw.shape[1]:
            raise GamedayError(f"the model answers with {raw.shape[1]} columns, but there are {len(names)} classes")
        if raw.shape[1] < 2 or not np.all((raw >= 0) & (raw <= 1)):
            raise GamedayError("the model's answers are no probabilities of two or more classes in [0, 1]")
        return Service(lambda rows: _asked(ask, rows).astype(np.float32), names, True)
    if raw.ndim != 1:
        raise GamedayError(f"the model answers to {len(X)} rows with an array of shape {raw.shape}")
    labels = list(dict.fromkeys([*getattr(model, "classes_", []), *np.unique(raw).tolist()]))
    column = {label: k for k, label in enumerate(labels)}

    def one_hot(rows: NDArray[np.float32]) -> NDArray[np.float32]:
        out = np.zeros((len(rows), len(labels)), np.float32)
        out[np.arange(len(rows)), [column.get(label, 0) for label in _asked(ask, rows).tolist()]] = 1
        return out

    return Service(one_hot, tuple(str(label) for label in labels), False)


def _asked(ask: Callable[[NDArray[np.float32]], Any], rows: NDArray[np.float32]) -> NDArray[Any]:
    try:
        answers = np.asarray(ask(rows))
    except Exception as error:  # somebody else's code
        raise GamedayError(f"the model failed on {len(rows)} rows of {rows.shape[1]} features ({type(error).__name__}: {error})") from error
    if len(answers) != len(rows):
        raise GamedayError(f"the model gave {len(answers)} answers to {len(rows)} rows")
    return answers


def missing(error: ImportError) -> GamedayError:
    """What to tell somebody who lacks a package."""
    return GamedayError(
        f"The package {error.name} is not installed. In the checkout: `uv sync --extra gameday`. Without it, choose attacks that need "
        "none: --attacks square,jacobian,shuffled,uniform,natural,augmentation,once"
    )
