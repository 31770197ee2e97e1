"""The demo's model: real pictures' readings, a network trained here and now, and the reference that its owner publishes.

The data is UCI's Image Segmentation: eighteen readings of a patch of an outdoor photograph, and what it shows. It lies in the package
river, so nothing is fetched. Rows that occur twice are taken once, then dealt out into four parts that share none: to train on, held out
for the reference, sent by ordinary clients, owned by the attacker.
"""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.reference import Feature, Reference
from streams.build import Rows, build
from streams.demo import missing

NAME, VERSION = "image-segments", "1"
_TRAIN, _HELD_OUT, _ATTACKER = 600, 600, 60


@dataclass(frozen=True)
class Part:
    """Some rows and their true classes: (n, d) float32, (n,) int32."""

    X: NDArray[np.float32]
    y: NDArray[np.int32]


@dataclass(frozen=True)
class Data:
    """The four parts of the data set."""

    names: tuple[str, ...]
    classes: tuple[str, ...]
    train: Part
    held_out: Part
    traffic: Part
    attacker: Part

    @property
    def bounds(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Lowest and highest value of each feature in the rows that the owner has, (d,) each."""
        known = np.concatenate([self.train.X, self.held_out.X])
        return known.min(axis=0), known.max(axis=0)


@dataclass(frozen=True)
class Served:
    """A trained model as its service uses it."""

    pipeline: Any
    data: Data
    accuracy: float
    """On the held-out rows."""

    def answer(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        """Class probabilities, (n, classes) float32."""
        return np.asarray(self.pipeline.predict_proba(X), np.float32)

    @property
    def digest(self) -> str:
        """Of the network's weights: what a registry would sign."""
        weights = b"".join(np.ascontiguousarray(w).tobytes() for w in self.pipeline[-1].coefs_)
        return hashlib.sha256(weights).hexdigest()


def load(seed: int) -> Data:
    """Reads the data set and deals its rows out, differently for each seed.

    Example:
        >>> data = load(seed=1)
        >>> [len(part.X) for part in (data.train, data.held_out, data.attacker, data.traffic)], data.classes[:3]
        ([600, 600, 60, 826], ('brickface', 'cement', 'foliage'))
    """
    from river import datasets

    rows, truth = [], []
    names: tuple[str, ...] = ()
    for x, y in datasets.ImageSegments():  # type: ignore[no-untyped-call]  # river has annotations for some only
        names = tuple(x)
        rows.append(list(x.values()))
        truth.append(str(y))
    classes = tuple(sorted(set(truth)))
    X, first = np.unique(np.array(rows, np.float32), axis=0, return_index=True)
    y_all = np.array([classes.index(truth[k]) for k in first.tolist()], np.int32)
    order = np.random.default_rng(seed).permutation(len(X))
    train, held_out, attacker, traffic = (Part(X[part], y_all[part]) for part in np.split(order, np.cumsum([_TRAIN, _HELD_OUT, _ATTACKER])))
    return Data(names, classes, train, held_out, traffic, attacker)


def train(data: Data, seed: int) -> Served:
    """Trains a small network: a second or two.

    Raises:
        DemoError: scikit-learn is not installed.
    """
    try:
        from sklearn.neural_network import MLPClassifier
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
    except ImportError as error:
        raise missing(error) from error
    network = MLPClassifier((32,), alpha=1e-2, max_iter=250, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it could be trained for longer is no news
        pipeline = make_pipeline(StandardScaler(), network).fit(data.train.X, data.train.y)
    return Served(pipeline, data, float(np.mean(pipeline.predict(data.held_out.X) == data.held_out.y)))


def reference_of(served: Served, version: str, membership_key: bytes, built_at_ns: int) -> Reference:
    """What the owner publishes: the rows trained on and those held out, with the model's answers to them."""
    data = served.data
    X = np.concatenate([data.train.X, data.held_out.X])
    low, high = data.bounds
    margin = np.float32(0.5) * (high - low)  # what is outside of these is no reading at all; a drift is another matter
    low, high = low - margin, high + margin
    rows = Rows(
        features=tuple(Feature(name=n, low=float(a), high=float(b)) for n, a, b in zip(data.names, low, high, strict=True)),
        X=X,
        scores=served.answer(X),
        classes=data.classes,
        y=np.concatenate([data.train.y, data.held_out.y]),
        member=np.arange(len(X)) < len(data.train.X),
    )
    return build(NAME, version, rows, membership_key=membership_key, built_at_ns=built_at_ns).reference
