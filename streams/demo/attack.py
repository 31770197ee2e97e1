"""The attacker: HopSkipJump of the Adversarial Robustness Toolbox, which sees nothing of the model but its answers.

Each query is one request to the service, like anybody's. The attacker owns some rows, knows the features' ranges, and looks for the
smallest change that turns the model's answer.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streams.demo import missing

Ask = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""One row (d,) to the service; class probabilities (c,) back."""


class _EnoughError(Exception):
    """The attacker is to stop."""


@dataclass
class Outcome:
    """What the attacker has reached so far."""

    queries: int = 0
    rows: int = 0
    fooled: int = 0


def check_installed() -> None:
    """Imports ART.

    Raises:
        DemoError: it is not installed; says how to install it.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # ART warns of every framework that is not installed
            import art.attacks.evasion
            import art.estimators.classification  # noqa: F401
    except ImportError as error:
        raise missing(error) from error


def hop_skip_jump(
    ask: Ask,
    rows: NDArray[np.float32],
    low: NDArray[np.float32],
    high: NDArray[np.float32],
    *,
    classes: int,
    outcome: Outcome,
    stop: Callable[[], bool],
    seed: int,
) -> None:
    """Attacks one row after another until told to stop, or until there are no more.

    Args:
        ask: the service.
        rows: (n, d), what the attacker wants to be answered otherwise.
        low: (d,) lowest value of each feature.
        high: (d,) highest.
        classes: number of them.
        outcome: kept up to date.
        stop: asked before every query.
        seed: ART draws from numpy's global generator, which is seeded with it.
    """
    check_installed()
    span = np.maximum(high - low, 1e-6)

    def predict(unit: NDArray[np.float32]) -> NDArray[np.float32]:
        answers = []
        for row in unit:
            if stop():
                raise _EnoughError
            outcome.queries += 1
            answers.append(ask((low + row * span).astype(np.float32)))
        return np.stack(answers)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from art.attacks.evasion import HopSkipJump
        from art.estimators.classification import BlackBoxClassifier

        np.random.seed(seed)  # noqa: NPY002 - ART's generator
        service = BlackBoxClassifier(predict, input_shape=rows.shape[1:], nb_classes=classes, clip_values=(0.0, 1.0))
        attack = HopSkipJump(service, norm=2, max_iter=4, max_eval=100, init_eval=20, init_size=50, verbose=False)
        try:
            for row in rows:
                start = np.clip((row - low) / span, 0, 1).astype(np.float32)[None]
                before = int(np.argmax(predict(start)[0]))
                found = attack.generate(start)
                outcome.rows += 1
                outcome.fooled += int(np.argmax(predict(found)[0])) != before
        except _EnoughError:
            pass
