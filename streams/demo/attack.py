"""The attacker: HopSkipJump or Square of the Adversarial Robustness Toolbox, which see nothing of the model but its answers.

Each query is one request to the service, like anybody's. The attacker owns some rows, knows the features' ranges, and looks for the
smallest change that turns the model's answer.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from streams.demo import missing

Ask = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""One row (d,) to the service; class probabilities (c,) back."""

_RADIUS, _STEPS = 0.05, 100


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


class Attack(Protocol):
    """One of the toolbox's attacks, run against rows of the attacker's."""

    def __call__(
        self,
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
    """Chen et al. 2020: walks along the border between two classes; needs no more than the class. See `Attack`."""
    check_installed()
    span = np.maximum(high - low, 1e-6)

    def count(row: NDArray[np.float32]) -> NDArray[np.float32]:
        outcome.queries += 1
        return ask(row)

    def predict(unit: NDArray[np.float32]) -> NDArray[np.float32]:
        return _answers(count, low + unit * span, stop)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from art.attacks.evasion import HopSkipJump
        from art.estimators.classification import BlackBoxClassifier

        service = BlackBoxClassifier(predict, input_shape=rows.shape[1:], nb_classes=classes, clip_values=(0.0, 1.0))
        attack = HopSkipJump(service, norm=2, max_iter=4, max_eval=100, init_eval=20, init_size=50, verbose=False)
        _run(attack, predict, np.clip((rows - low) / span, 0, 1).astype(np.float32), outcome, seed)


def square(
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
    """Andriushchenko et al. 2020: random blocks of features move by a twentieth of their range, and stay where the scores say so.

    See `Attack`. Each row has at most a hundred steps.

    ART's is for pictures: a row is laid out as one, the more square the better. It never starts a block at a picture's last line or column,
    so there is one more of each, which no feature has. It asks for most rows three times; this attacker remembers the answers.
    """
    check_installed()
    span, d = np.maximum(high - low, 1e-6), rows.shape[1]
    known: dict[bytes, NDArray[np.float32]] = {}
    h = max(k for k in range(1, math.isqrt(d) + 1) if d % k == 0)
    w = d // h

    def remember(row: NDArray[np.float32]) -> NDArray[np.float32]:
        key = row.tobytes()
        if key not in known:
            outcome.queries += 1
            known[key] = ask(row)
        return known[key]

    def predict(pictures: NDArray[np.float32]) -> NDArray[np.float32]:
        return _answers(remember, low + pictures[:, :h, :w, 0].reshape(-1, d) * span, stop)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from art.attacks.evasion import SquareAttack
        from art.estimators.classification.blackbox import BlackBoxClassifierNeuralNetwork

        service = BlackBoxClassifierNeuralNetwork(
            predict, input_shape=(h + 1, w + 1, 1), nb_classes=classes, channels_first=False, clip_values=(0.0, 1.0)
        )
        largest = h * h / ((h + 1) * (w + 1))  # a block of h lines
        attack = SquareAttack(service, norm=np.inf, max_iter=_STEPS, eps=_RADIUS, p_init=largest, batch_size=1, verbose=False)
        pictures = np.clip((rows - low) / span, 0, 1).astype(np.float32).reshape(-1, h, w, 1)
        _run(attack, predict, np.pad(pictures, ((0, 0), (0, 1), (0, 1), (0, 0))), outcome, seed)


def _answers(ask: Ask, rows: NDArray[np.float32], stop: Callable[[], bool]) -> NDArray[np.float32]:
    answers = []
    for row in rows:
        if stop():
            raise _EnoughError
        answers.append(ask(row.astype(np.float32)))
    return np.stack(answers)


def _run(attack: Any, predict: Ask, starts: NDArray[np.float32], outcome: Outcome, seed: int) -> None:
    np.random.seed(seed)  # noqa: NPY002 - ART's generator
    try:
        for start in starts[:, None]:
            before = int(np.argmax(predict(start)[0]))
            found = attack.generate(start)
            outcome.rows += 1
            outcome.fooled += int(np.argmax(predict(found)[0])) != before
    except _EnoughError:
        pass
