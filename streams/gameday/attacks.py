"""The attack suite: evasion (mostly of the Adversarial Robustness Toolbox), extraction, membership tests. Each is one client's queries.

`natural` and `once` are in it because nothing finds them: who asks ordinary rows at an ordinary pace is an ordinary client, query by
query. The card says so, and what their answers are worth instead.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from streams.gameday.oracle import EnoughError, Oracle, Rows
from streams.gameday.service import missing

_JACOBIAN_SEEDS, _STEP = 30, 0.1
_HIDDEN = 128
_COPIES, _NOISE = 5, 0.05
_RADIUS, _SQUARE, _STEPS = 0.2, 0.1, 200


@dataclass(frozen=True)
class Material:
    """What an attacker starts with: rows of its own, records whose membership it would know, and the natural spread of features."""

    own: Rows
    members: Rows
    spread: Rows


Attack = Callable[[Oracle, Material, np.random.Generator], None]


@dataclass(frozen=True)
class Kind:
    """One attack of the suite.

    Attributes:
        name: as on the command line.
        family: what it is.
        run: asks the oracle until it has enough or is done.
        art: needs the Adversarial Robustness Toolbox.
        scores: needs probabilities.
        members: needs training rows.
        found: whether a monitor can be expected to find it at all.
    """

    name: str
    family: Literal["evasion", "extraction", "membership"]
    run: Attack
    art: bool = False
    scores: bool = False
    members: bool = False
    found: bool = True
    picture: bool | None = None


# -- evasion ----------------------------------------------------------------------------------------------------------------------------


def evade(make: Callable[[Any], Any], oracle: Oracle, material: Material, rng: np.random.Generator) -> None:
    """One attack of the toolbox against each of the attacker's rows in turn, until the oracle has had enough."""
    from art.estimators.classification import BlackBoxClassifier

    image = oracle.space.image
    shape = (image[0], image[1], image[2] if len(image) > 2 else 1) if image else (len(oracle.space.low),)
    start = oracle.space.unit(rng.permutation(material.own)).reshape(-1, *shape)
    np.random.seed(int(rng.integers(2**32)))  # noqa: NPY002 - ART draws from the global generator
    service = BlackBoxClassifier(oracle.unit, input_shape=shape, nb_classes=len(oracle.service.classes), clip_values=(0.0, 1.0))
    attack = make(service)
    for row in start:
        attack.generate(row[None])


def _hop_skip_jump(oracle: Oracle, material: Material, rng: np.random.Generator) -> None:
    from art.attacks.evasion import HopSkipJump

    evade(lambda s: HopSkipJump(s, norm=2, max_iter=10, max_eval=100, init_eval=20, init_size=50, verbose=False), oracle, material, rng)


def _boundary(oracle: Oracle, material: Material, rng: np.random.Generator) -> None:
    from art.attacks.evasion import BoundaryAttack

    evade(
        lambda s: BoundaryAttack(s, targeted=False, max_iter=50, num_trial=10, sample_size=10, init_size=50, verbose=False),
        oracle,
        material,
        rng,
    )


def _zoo(oracle: Oracle, material: Material, rng: np.random.Generator) -> None:
    from art.attacks.evasion import ZooAttack

    def make(service: Any) -> Any:
        return ZooAttack(
            service, max_iter=30, binary_search_steps=2, use_resize=False, use_importance=False, nb_parallel=1, batch_size=1, verbose=False
        )

    evade(make, oracle, material, rng)


def _square(oracle: Oracle, material: Material, rng: np.random.Generator) -> None:
    """Square attack in L-infinity (Andriushchenko et al. 2020), for pictures: random squares of one value, kept when the margin falls.

    ART has one for networks only; this one asks for scores. Radius a fifth of the range, squares of at first a tenth of the picture.
    """
    image = oracle.space.image or (1, len(oracle.space.low))
    h, w = image[0], image[1]
    for row in rng.permutation(material.own):
        start = oracle.space.unit(row).reshape(h, w, -1)
        scores = oracle.unit(start[None])[0]
        label = int(scores.argmax())
        best = start + _RADIUS * rng.choice([-1, 1], size=(1, w, start.shape[2]))  # vertical stripes
        least = _margin(oracle.unit(best[None])[0], label)
        for step in range(_STEPS):
            if least < 0:
                break
            side = max(1, round(np.sqrt(_SQUARE * h * w) * 2.0 ** -(3 * step / _STEPS)))
            y, x = rng.integers(0, max(1, h - side + 1)), rng.integers(0, max(1, w - side + 1))
            tried = best.copy()
            patch = start[y : y + side, x : x + side]
            tried[y : y + side, x : x + side] = patch + _RADIUS * rng.choice([-1, 1], size=(1, 1, start.shape[2]))
            tried = np.clip(tried, 0, 1)
            margin = _margin(oracle.unit(tried[None])[0], label)
            if margin < least:
                best, least = tried, margin


def _margin(scores: NDArray[Any], label: int) -> float:
    return float(scores[label] - np.delete(scores, label).max())


# -- extraction -------------------------------------------------------------------------------------------------------------------------


def _jacobian(oracle: Oracle, material: Material, rng: np.random.Generator) -> None:
    """Jacobian-based augmentation (Papernot et al. 2017): train a copy, step every row along the sign of its gradient, ask, again."""
    X = material.own[rng.choice(len(material.own), min(_JACOBIAN_SEEDS, len(material.own)), replace=False)]
    Y = oracle(X)
    while True:
        new = X + _STEP * oracle.space.span * _gradient_signs(oracle.space.unit(X), Y, rng)
        X, Y = np.concatenate([X, oracle.space.legal(new)]), np.concatenate([Y, oracle(new)])


def _gradient_signs(U: Rows, Y: Rows, rng: np.random.Generator) -> NDArray[np.float64]:
    """Signs of a copy's gradient of each row's class: a ridge regression of the log scores on the row and random rectified features."""
    W, b = rng.normal(size=(U.shape[1], _HIDDEN)) / np.sqrt(U.shape[1]), rng.normal(size=_HIDDEN)
    turned = U @ W + b
    F = np.concatenate([U, np.maximum(turned, 0), np.ones((len(U), 1))], axis=1)
    target = np.log(np.clip(Y, 1e-3, 1))
    weights = np.linalg.solve(F.T @ F + 1e-2 * np.eye(F.shape[1]), F.T @ target)
    mine = weights[:, Y.argmax(1)].T
    gradient = mine[:, : U.shape[1]] + ((turned > 0) * mine[:, U.shape[1] : -1]) @ W.T
    return np.asarray(np.sign(gradient))


def _shuffled(oracle: Oracle, material: Material, rng: np.random.Generator) -> None:
    """Synthetic rows with the right marginals: every column of the attacker's rows shuffled for itself."""
    while True:
        oracle(np.stack([rng.choice(column, 50) for column in material.own.T], axis=1))


def _uniform(oracle: Oracle, material: Material, rng: np.random.Generator) -> None:
    """Rows drawn uniformly within the schema."""
    while True:
        oracle(rng.uniform(oracle.space.low, oracle.space.high, (50, len(oracle.space.low))))


def _natural(oracle: Oracle, material: Material, rng: np.random.Generator) -> None:
    """Knockoff with natural rows (Orekondy et al. 2019): the attacker's own, each once."""
    oracle(rng.permutation(material.own))


# -- membership -------------------------------------------------------------------------------------------------------------------------


def _targets(material: Material, n: int, rng: np.random.Generator) -> Rows:
    inside = material.members[rng.choice(len(material.members), min(n // 2, len(material.members)), replace=False)]
    outside = material.own[rng.choice(len(material.own), min(n - len(inside), len(material.own)), replace=False)]
    return rng.permutation(np.concatenate([inside, outside]))


def _augmentation(oracle: Oracle, material: Material, rng: np.random.Generator) -> None:
    """Label-only test by augmentation (Choquette-Choo et al. 2021): each record and changed copies, record by record or round by round."""
    asked = _targets(material, max(2, oracle.budget // (1 + _COPIES)), rng)
    image = oracle.space.image
    if image:
        pictures = asked.reshape(len(asked), *image)
        moves = ((0, 1), (0, -1), (1, 0), (-1, 0), (1, 1))
        copies = [np.roll(pictures, move, axis=(1, 2)).reshape(len(asked), -1) for move in moves]
    else:
        copies = [asked + (rng.normal(size=asked.shape) * material.spread * _NOISE).astype(np.float32) for _ in range(_COPIES)]
    rows = np.stack([asked, *copies], axis=1)
    oracle((rows if rng.random() < 0.5 else rows.transpose(1, 0, 2)).reshape(-1, asked.shape[1]))


def _once(oracle: Oracle, material: Material, rng: np.random.Generator) -> None:
    """Score-based test: each record once, in random order."""
    oracle(_targets(material, oracle.budget, rng))


SUITE = (
    Kind("hopskipjump", "evasion", _hop_skip_jump, art=True),
    Kind("boundary", "evasion", _boundary, art=True),
    Kind("zoo", "evasion", _zoo, art=True, scores=True, picture=False),
    Kind("square", "evasion", _square, scores=True, picture=True),
    Kind("jacobian", "extraction", _jacobian),
    Kind("shuffled", "extraction", _shuffled),
    Kind("uniform", "extraction", _uniform),
    Kind("natural", "extraction", _natural, found=False),
    Kind("augmentation", "membership", _augmentation, members=True),
    Kind("once", "membership", _once, members=True, found=False),
)


def run(kind: Kind, oracle: Oracle, material: Material, rng: np.random.Generator) -> Rows:
    """What one attacking client sends, at most the oracle's budget.

    Raises:
        GamedayError: the attack needs a package that is not installed, or the model failed.
    """
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # ART warns of every framework that is not installed
        try:
            kind.run(oracle, material, rng)
        except EnoughError:
            pass
        except ImportError as error:
            raise missing(error) from error
    return oracle.rows
