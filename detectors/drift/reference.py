"""What a model version's data looked like: frozen edges, counts and probabilities of every tracked variable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaincinv

from detectors.drift.bins import BINS, MAX_CATEGORIES, MAX_EDGES, TOP_CATEGORIES, category_cells, numeric_edges
from detectors.state import pack, reading, unpack

Kind = Literal["numeric", "categorical"]

MIN_ROWS = 200
"""Below this a reference is "uncalibrated": twenty rows a bin, each bin's share is known to +-7 points only."""

GAMMA = 0.005
"""Probability, spent once per reference, that any cell's true share lies outside its tolerance."""

BLOCKS, MAX_BLOCKS = 48, 1024
"""Equal stretches of time of a recorded reference, of an hour if there are enough rows: a longer one averages a swing away."""
BLOCK_S, BLOCK_ROWS = 3600.0, 100
PEAK_SHARE = 0.5

_KIND, _VERSION = "drift.reference", 1

_Column = tuple[str, Kind, tuple[str, ...], NDArray[np.float32], NDArray[np.int64]]


class DriftReference:
    """Frozen bins and shares of the tracked variables; build it with `fit` or `from_bytes`.

    Tracked are the d features, then ``score:NAME`` per class score, then ``class`` (the predicted class) or ``value`` (regression).

    Attributes:
        variables: names, V of them.
        kinds: "numeric" or "categorical" per variable.
        rows: rows of the reference.
        counts: reference count per cell, int64, shape (n_cells,).
        starts: first cell of each variable and n_cells at the end, int64, shape (V + 1,).
        edges: thresholds, float32, shape (V, 16), padded with +inf.
        mean, sd: of the finite reference values, float64, shape (V,); sd is 1 for constants and categories.
        tails: mean distance of the values in the lowest and the highest bin from its inner edge, in sd, float64, shape (V, 2).
        low, high, variable: tested cells as ranges [low, high) of cells, and whose they are, int64, shape (K,): every single cell, and for
            numeric variables the CDF cells x <= q.
        tenths, tenth_starts: first cell of every bin of about a tenth of the reference, and the first of those of each variable with their
            number at the end, int64: "below" and what lies up to the first decile are one bin, so are "above" and what lies past the last.
        wander: sd of the share of a tested cell between stretches of time, or half of its largest move,
            sampling noise taken out, float64, shape (K,).
        status, reason: "calibrated", or "uncalibrated" and why; an uncalibrated reference may only open tickets.

    Memory: about 300 bytes a variable, and 4 bytes per category.
    """

    def __init__(
        self,
        variables: tuple[str, ...],
        kinds: tuple[Kind, ...],
        n_features: int,
        n_scores: int,
        rows: int,
        edges: NDArray[np.float32],
        n_edges: NDArray[np.int64],
        categories: tuple[tuple[str, ...], ...],
        lookup: NDArray[np.int32],
        lookup_starts: NDArray[np.int64],
        counts: NDArray[np.int64],
        mean: NDArray[np.float64],
        sd: NDArray[np.float64],
        tails: NDArray[np.float64],
        wander: NDArray[np.float64],
    ) -> None:
        self.variables, self.kinds, self.n_features, self.n_scores, self.rows = variables, kinds, n_features, n_scores, rows
        self.edges, self.n_edges = edges, n_edges
        self.categories, self.lookup, self.lookup_starts = categories, lookup, lookup_starts
        self.counts, self.mean, self.sd, self.tails, self.wander = counts, mean, sd, tails, wander
        # the compiled pass indexes by these without checks, and a reference may come from outside
        if lookup.size and not (lookup.min() >= 0 and lookup.max() <= TOP_CATEGORIES):
            raise ValueError(f"category cells must be 0 to {TOP_CATEGORIES}")
        if (
            n_edges.min(initial=0) < 0
            or n_edges.max(initial=0) > MAX_EDGES
            or np.diff(lookup_starts).min(initial=0) < 0
            or lookup_starts[0] != 0
        ):
            raise ValueError(f"a variable has 0 to {MAX_EDGES} edges, and category tables follow one another")
        sizes = []
        for v, kind in enumerate(kinds):
            codes = lookup[lookup_starts[v] : lookup_starts[v + 1]]
            # numeric: m edges make m + 1 cells and missing; categorical: top, other if any, unseen, missing
            sizes.append(int(n_edges[v]) + 2 if kind == "numeric" else int(codes.max(initial=-1)) + 3)
        self.starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        self.low, self.high, self.variable = _ranges(self.starts, kinds)
        self.tenths, self.tenth_starts = _tenths(self.starts, kinds, counts)
        if counts.shape != (self.n_cells,) or wander.shape != self.low.shape:
            raise ValueError(f"expected {self.n_cells} counts and {self.low.size} wanders, got {counts.shape} and {wander.shape}")
        self.status: Literal["calibrated", "uncalibrated"] = "calibrated" if rows >= MIN_ROWS else "uncalibrated"
        self.reason = "" if rows >= MIN_ROWS else f"the reference has {rows} rows, fewer than {MIN_ROWS}"

    @classmethod
    def fit(
        cls,
        X: ArrayLike,
        names: Sequence[str],
        kinds: Sequence[Kind],
        *,
        categories: Mapping[str, Sequence[str]] | None = None,
        scores: ArrayLike | None = None,
        classes: Sequence[str] = (),
        label: ArrayLike | None = None,
        value: ArrayLike | None = None,
        held_out: ArrayLike | None = None,
        at_s: ArrayLike | None = None,
    ) -> DriftReference:
        """Freeze bins and shares.

        Args:
            X: shape (n, d), float32; categorical columns hold codes 0..K-1, NaN = missing.
            names: of the columns, distinct.
            kinds: "numeric" or "categorical" per column.
            categories: names of the K categories of every categorical column.
            scores: shape (n, C), the model's scores on these rows.
            classes: names of the C classes.
            label: predicted class codes, shape (n,).
            value: regression output, shape (n,).
            held_out: shape (n,) bool, rows the model was not trained on. Scores, class and value are taken from those only: a model is
                over-confident on its own training rows, and live traffic would look like drift.
            at_s: time of each row in seconds, shape (n,), when the reference is recorded traffic. Its own variation between hours
                (48 to 1,024 equal stretches of time of at least 100 rows), beyond sampling noise, then becomes part of what is normal: day
                and night, slow swings. Without it every hour of the day is expected to look like the whole reference.

        Raises:
            ValueError: empty reference, wrong widths or lengths, duplicate names, categories missing, more than 4,096 categories.

        Example:
            >>> rng = np.random.default_rng(1)
            >>> reference = DriftReference.fit(rng.normal(size=(1000, 2)), ["age", "income"], ["numeric", "numeric"])
            >>> reference.variables, reference.n_cells, reference.status
            (('age', 'income'), 34, 'calibrated')
        """
        X = np.asarray(X, np.float32)
        if X.ndim != 2 or X.shape[0] == 0:
            raise ValueError(f"X must have shape (rows, features) with at least one row, got {X.shape}")
        n, d = X.shape
        if len(names) != d or len(kinds) != d:
            raise ValueError(f"X has {d} columns, but there are {len(names)} names and {len(kinds)} kinds")
        keep = np.ones(n, bool) if held_out is None else np.asarray(held_out, bool)
        if keep.shape != (n,) or not keep.any():
            raise ValueError(f"held_out must have shape ({n},) and keep at least one row, got shape {keep.shape}")

        times = np.zeros(n) if at_s is None else np.asarray(at_s, np.float64)
        if times.shape != (n,) or not np.isfinite(times).all():
            raise ValueError(f"at_s must be {n} finite times, got shape {times.shape}")
        span = float(np.ptp(times))
        blocks = int(min(max(min(span / BLOCK_S, n / BLOCK_ROWS), BLOCKS), MAX_BLOCKS))
        block = np.minimum((times - times.min()) * (blocks / span if span > 0 else 0.0), blocks - 1).astype(np.int64)

        columns: list[_Column] = []
        for j, (name, kind) in enumerate(zip(names, kinds, strict=True)):
            if kind not in ("numeric", "categorical"):
                raise ValueError(f"kind of {name!r} must be 'numeric' or 'categorical', got {kind!r}")
            given = tuple((categories or {}).get(name, ()))
            if kind == "categorical" and not 1 <= len(given) <= MAX_CATEGORIES:
                raise ValueError(f"{name!r} needs 1 to {MAX_CATEGORIES} categories, got {len(given)}")
            columns.append((name, kind, given, X[:, j], block))
        if scores is not None:
            table = np.asarray(scores, np.float32)
            if table.shape != (n, len(classes)):
                raise ValueError(f"scores must have shape ({n}, {len(classes)}) (rows, classes), got {table.shape}")
            columns += [(f"score:{c}", "numeric", (), table[keep, j], block[keep]) for j, c in enumerate(classes)]
        for name, given, output in (("class", tuple(classes), label), ("value", (), value)):
            if output is None:
                continue
            with np.errstate(over="ignore"):  # beyond float32 is infinite, and counts as such
                column = np.asarray(output, np.float32)
            if column.shape != (n,):
                raise ValueError(f"{name} must have shape ({n},), got {column.shape}")
            if name == "class" and not 1 <= len(given) <= MAX_CATEGORIES:
                raise ValueError(f"label needs 1 to {MAX_CATEGORIES} classes, got {len(given)}")
            if name == "class":
                column = np.where(column < 0, np.float32(np.nan), column)
            columns.append((name, "categorical" if name == "class" else "numeric", given, column[keep], block[keep]))
        if len({c[0] for c in columns}) != len(columns):
            raise ValueError(f"names must be distinct, got {[c[0] for c in columns]}")
        return cls._freeze(columns, d, 0 if scores is None else len(classes), n, blocks)

    @classmethod
    def _freeze(cls, columns: list[_Column], d: int, n_scores: int, rows: int, blocks: int) -> DriftReference:
        V = len(columns)
        edges, n_edges = np.full((V, MAX_EDGES), np.inf, np.float32), np.zeros(V, np.int64)
        mean, sd, tails = np.zeros(V), np.ones(V), np.zeros((V, 2))
        lookup, counts = [np.empty(0, np.int32)], []
        lookup_starts = np.zeros(V + 1, np.int64)
        wander = []
        for v, (_, kind, given, column, block) in enumerate(columns):
            if kind == "numeric":
                finite = column[np.isfinite(column)]
                mine = numeric_edges(finite) if finite.size else np.zeros(1, np.float32)
                edges[v, : mine.size], n_edges[v] = mine, mine.size
                if finite.size:
                    mean[v] = finite.mean(dtype=np.float64)
                    spread = float(finite.std(dtype=np.float64))
                    sd[v] = spread if spread > 1e-12 * (1.0 + abs(mean[v])) else 1.0
                if mine.size > 2:
                    lower, upper = finite[finite <= mine[1]], finite[finite > mine[-2]]
                    tails[v] = (mine[1] - lower.mean(dtype=np.float64)) / sd[v], (upper.mean(dtype=np.float64) - mine[-2]) / sd[v]
                at = np.where(np.isnan(column), mine.size + 1, np.searchsorted(mine, column, side="left"))
                size = mine.size + 2
            else:
                codes = category_cells(column, len(given))
                lookup.append(codes)
                unseen = int(codes.max()) + 1
                known = (column >= 0) & (column < len(given))
                at = np.full(column.size, unseen)
                at[known] = codes[column[known].astype(np.int64)]
                at[np.isnan(column)] = unseen + 1
                size = unseen + 2
            counts.append(np.bincount(at, minlength=size))
            wander.append(_wander(np.bincount(block * size + at, minlength=blocks * size).reshape(blocks, size), kind))
            lookup_starts[v + 1] = lookup_starts[v] + (lookup[-1].size if kind == "categorical" else 0)
        return cls(
            tuple(c[0] for c in columns),
            tuple(c[1] for c in columns),
            d,
            n_scores,
            rows,
            edges,
            n_edges,
            tuple(c[2] for c in columns),
            np.concatenate(lookup).astype(np.int32),
            lookup_starts,
            np.concatenate(counts).astype(np.int64),
            mean,
            sd,
            tails,
            np.concatenate(wander),
        )

    @property
    def n_cells(self) -> int:
        """Cells of all variables together."""
        return int(self.starts[-1])

    @property
    def has_class(self) -> bool:
        """Whether the predicted class is tracked."""
        return "class" in self.variables[self.n_features :]

    @property
    def has_value(self) -> bool:
        """Whether a regression value is tracked."""
        return "value" in self.variables[self.n_features :]

    def bounds(self, hits: NDArray[np.int64], rows: NDArray[np.int64], tests: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Clopper-Pearson limits of a cell's true share at confidence 1 - gamma / (2 tests) on each side.

        Exact where the normal approximation z sqrt(p (1-p) / n) fails: cells that the reference never saw ("above", "missing", unseen).
        For a cell edged by a quantile of the same rows it is exact too, since P(X <= x_(k)) ~ Beta(k, n + 1 - k).
        """
        level = GAMMA / (2 * max(tests, 1))
        low = np.where(hits > 0, betaincinv(np.maximum(hits, 1), rows - hits + 1, level), 0.0)
        high = np.where(hits < rows, betaincinv(hits + 1, np.maximum(rows - hits, 1), 1.0 - level), 1.0)
        return low, high

    def to_bytes(self) -> bytes:
        """The reference as bytes; `from_bytes` gives the same one back."""
        names = ("n_features", "n_scores", "rows", "edges", "n_edges", "lookup", "lookup_starts", "counts", "mean", "sd", "tails", "wander")
        body = {name: getattr(self, name) for name in names}
        body |= {"variables": list(self.variables), "kinds": list(self.kinds), "categories": [list(c) for c in self.categories]}
        return pack(_KIND, _VERSION, body)

    @classmethod
    @reading(_KIND)
    def from_bytes(cls, blob: bytes) -> DriftReference:
        """Rebuild.

        Raises:
            StateError: when the bytes are not a reference of this version, or its parts disagree.
        """
        body = unpack(blob, _KIND, _VERSION)
        body["variables"], body["kinds"] = tuple(body["variables"]), cast("tuple[Kind, ...]", tuple(body["kinds"]))
        body["categories"] = tuple(tuple(c) for c in body["categories"])
        V = len(body["variables"])
        for name, dtype in _DTYPES.items():
            if body[name].dtype.str != dtype:
                raise ValueError(f"{name} is of type {body[name].dtype.str}, expected {dtype}")
        if body["edges"].shape != (V, MAX_EDGES) or len(body["kinds"]) != V or body["lookup_starts"].shape != (V + 1,) or not V:
            raise ValueError(f"{V} variables, but edges of shape {body['edges'].shape}")
        if (
            body["lookup"].shape != (body["lookup_starts"][-1],)
            or any(body[k].shape != (V,) for k in ("n_edges", "mean", "sd"))
            or body["tails"].shape != (V, 2)
        ):
            raise ValueError("tables of different lengths")
        if not all(isinstance(name, str) for name in body["variables"]) or not set(body["kinds"]) <= {"numeric", "categorical"}:
            raise ValueError("a variable without a name or kind")
        if (
            not all(np.isfinite(body[k]).all() for k in ("mean", "sd", "tails", "wander"))
            or body["sd"].min() <= 0
            or body["counts"].min() < 0
        ):
            raise ValueError("a measure that is not finite, or below 0")
        if not all(type(body[k]) is int and body[k] >= 0 for k in ("n_features", "n_scores", "rows")):
            raise ValueError("a number of features, scores or rows that is none")
        reference = cls(**body)
        counted = reference.n_features + reference.n_scores + reference.has_class + reference.has_value
        if counted != V:
            raise ValueError(f"{V} variables for {counted} features, scores and answers")
        return reference


_DTYPES = {"edges": "<f4", "n_edges": "<i8", "lookup": "<i4", "lookup_starts": "<i8", "counts": "<i8", "mean": "<f8", "sd": "<f8",
           "tails": "<f8", "wander": "<f8"}  # fmt: skip


def _ranges(starts: NDArray[np.int64], kinds: tuple[Kind, ...]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    low, high, variable = [], [], []
    for v, kind in enumerate(kinds):
        begin, end = int(starts[v]), int(starts[v + 1])
        inner = range(begin + 2, end - 2) if kind == "numeric" else range(0)
        low += [*range(begin, end), *(begin for _ in inner)]
        high += [*range(begin + 1, end + 1), *inner]
        variable += [v] * (end - begin + len(inner))
    return np.array(low, np.int64), np.array(high, np.int64), np.array(variable, np.int64)


def _tenths(starts: NDArray[np.int64], kinds: tuple[Kind, ...], counts: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    firsts: list[int] = []
    of = [0]
    for v, kind in enumerate(kinds):
        begin, end = int(starts[v]), int(starts[v + 1])
        cells, last = np.arange(end - begin), end - begin - 2
        if kind == "numeric" and last:
            cumulated = np.cumsum(counts[begin : end - 1])
            low, high = (int(np.searchsorted(BINS * cumulated, tenths * cumulated[-1])) for tenths in (1, BINS - 1))
            low = min(max(low, 1), last - 1) if last > 1 else 1
            high = max(min(high + 1, last - 1), low + 1)
            cells = cells[(cells == 0) | ((cells > low) & (cells <= high)) | (cells > last)]
        firsts += (begin + cells).tolist()
        of.append(len(firsts))
    return np.array(firsts, np.int64), np.array(of, np.int64)


def _wander(blocks: NDArray[np.int64], kind: Kind) -> NDArray[np.float64]:
    """Between-block sd of each tested cell of one variable from its counts per block, sqrt(max(0, variance - binomial variance)).

    Or half of the largest deviation of a block, shrunk by the share of its variance that is no sampling noise, where that is more: the
    outer cells of a variable that swings are empty most of the day.
    """
    low, high, _ = _ranges(np.array([0, blocks.shape[1]]), (kind,))
    cumulative = np.concatenate([np.zeros((len(blocks), 1)), np.cumsum(blocks, axis=1)], axis=1)
    n = blocks.sum(axis=1)
    busy = n > 0
    hits, n = (cumulative[:, high] - cumulative[:, low])[busy], n[busy]
    p = hits.sum(axis=0) / n.sum()
    deviation = np.abs(hits / n[:, None] - p)
    between = (n[:, None] * deviation**2).sum(axis=0) / n.sum()
    # of B blocks, the weighted variance has expectation (B - 1) p (1 - p) / n when rows are independent
    beyond = np.maximum(between - (n.size - 1) * p * (1.0 - p) / n.sum(), 0.0)
    noise = p * (1.0 - p) / n[:, None]
    largest = (deviation * beyond / np.maximum(beyond + noise, 1e-300)).max(axis=0)
    return np.asarray(np.maximum(np.sqrt(beyond), PEAK_SHARE * largest), np.float64)
