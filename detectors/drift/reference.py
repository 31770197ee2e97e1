"""What a model version's data looked like: frozen edges, counts and probabilities of every tracked variable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaincinv, ndtri

from detectors.drift.bins import MAX_CATEGORIES, MAX_EDGES, TOP_CATEGORIES, category_cells, numeric_edges
from detectors.drift.cells import Kind, ranges, tenths
from detectors.drift.features import Features, KeptFeatures
from detectors.drift.features import fit as fit_features
from detectors.drift.names import category_names, numeric_names
from detectors.drift.pairs import PairCounts, Pairs
from detectors.drift.pairs import fit as fit_pairs
from detectors.drift.replayed import Certificate
from detectors.drift.season import DAY_H, HOUR_S, WEEK_H, Season, packed
from detectors.drift.wander import seasonal, wander_of
from detectors.state import StateError, pack, reading, unpack

MIN_ROWS = 200
"""Below this a reference is "uncalibrated": twenty rows a bin, each bin's share is known to +-7 points only."""

GAMMA = 0.005
"""Probability, spent once per reference, that any cell's true share lies outside its tolerance."""

LATENCY = "latency"
"""Name of the variable."""

BLOCKS, MAX_BLOCKS = 48, 1024
"""Equal stretches of time of a recorded reference, of an hour if there are enough rows: a longer one averages a swing away."""
BLOCK_S, BLOCK_ROWS = 3600.0, 100

_TINY = float(np.finfo(np.float32).tiny)  # 1 / sd is kept in float32
MIN_DAYS = 2
"""A recorded reference that covers less cannot tell a day's swing from a drift, and opens tickets only."""
MAX_DAYS, MAX_SEASON_CELLS = 400, 6_000
"""Beyond them (2 MB) there is no season, only wander."""

_KIND, _VERSION = "drift.reference", 2

_Column = tuple[str, Kind, tuple[str, ...], NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]
"""Name, kind, categories, values, block and hour."""


class DriftReference:
    """Frozen bins and shares of the tracked variables; build it with `fit` or `from_bytes`.

    Tracked are the d features, then ``score:NAME`` per class score, then ``class`` (the predicted class) or ``value`` (regression), then
    ``latency``.

    Attributes:
        variables: names, V of them.
        kinds: "numeric" or "categorical" per variable.
        rows: rows of the reference.
        counts: reference count per cell, int64, shape (n_cells,).
        starts: first cell of each variable and n_cells at the end, int64, shape (V + 1,).
        edges: thresholds, float32, shape (V, 16), padded with +inf.
        mean, sd: of the finite reference values, float64, shape (V,); sd is 1 for constants and categories.
        tails: mean distance of the values in the lowest and the highest bin from its inner edge, in sd, float64, shape (V, 2).
        low, high, variable: tested cells as ranges [low, high) of cells, and whose they are, int32, shape (K,): every single cell, and for
            numeric variables the CDF cells x <= q.
        tenths, tenth_starts: first cell of every bin of about a tenth of the reference, and the first of those of each variable with their
            number at the end, int64: "below" and what lies up to the first decile are one bin, so are "above" and what lies past the last.
        wander: sd of the share of a tested cell between stretches of time, or half of its largest move,
            sampling noise and season taken out, float64, shape (K,).
        season: what each hour of the week looks like; None where the rows have no times, fewer than two days, or no season.
        pairs: which pairs of features are watched, and how often they are apart (`pairs.py`); none in references of before.
        together: random features of whole rows (`features.py`); None in references of before, and of parts of the traffic.
        rare: categories that one row has, and that two have, int64, shape (V, 2); zeros in references of before.
        span_s: seconds from the first row to the last, 0 without times.
        is_derived: whether it is of a part of the traffic, and its season the whole's.
        reason: why it is uncalibrated, or "".
        certificate: what a replay of its own days gave, if there was one.

    Memory: about 300 bytes a variable, 4 bytes per category, and 336 bytes a cell of a variable that has a season.
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
        span_s: float = 0.0,
        has_season: NDArray[np.bool_] | None = None,
        hours: NDArray[np.uint16] | None = None,
        certificate: Certificate | None = None,
        pairs: PairCounts | None = None,
        whole: Pairs | None = None,
        together: KeptFeatures | None = None,
        rare: NDArray[np.int64] | None = None,
    ) -> None:
        self.variables, self.kinds, self.n_features, self.n_scores, self.rows = variables, kinds, n_features, n_scores, rows
        self.edges, self.n_edges = edges, n_edges
        self.categories, self.lookup, self.lookup_starts = categories, lookup, lookup_starts
        self.counts, self.mean, self.sd, self.tails = counts, mean, sd, tails
        with np.errstate(over="ignore"):  # infinite, and refused as such
            self.wander: NDArray[np.float32] = wander.astype(np.float32)
        # the compiled pass indexes by these without checks, and a reference may come from outside
        if lookup.size and not (lookup.min() >= 0 and lookup.max() <= TOP_CATEGORIES):
            raise ValueError(f"category cells must be 0 to {TOP_CATEGORIES}")
        if (
            n_edges.min(initial=0) < 0
            or n_edges.max(initial=0) >= MAX_EDGES
            or np.diff(lookup_starts).min(initial=0) < 0
            or lookup_starts[0] != 0
        ):
            raise ValueError(f"a variable has 0 to {MAX_EDGES - 1} edges, and category tables follow one another")
        sizes = []
        for v, kind in enumerate(kinds):
            codes = lookup[lookup_starts[v] : lookup_starts[v + 1]]
            # numeric: m edges make m + 1 cells and missing; categorical: top, other if any, unseen, missing
            sizes.append(int(n_edges[v]) + 2 if kind == "numeric" else int(codes.max(initial=-1)) + 3)
        self.starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        self.low, self.high, self.variable = ranges(self.starts, kinds)
        self.tenths, self.tenth_starts = tenths(self.starts, kinds, counts)
        if counts.shape != (self.n_cells,) or wander.shape != self.low.shape:
            raise ValueError(f"expected {self.n_cells} counts and {self.low.size} wanders, got {counts.shape} and {wander.shape}")
        if not np.isfinite(self.wander).all():
            raise ValueError("a wander that is not finite")
        self.pairs: Pairs = Pairs(pairs or PairCounts.none(), counts, self.starts, kinds, edges, n_features, rows, whole)
        self.together = None if together is None else Features(together, mean, sd, n_features)
        self.is_derived = whole is not None
        self.rare = np.zeros((len(variables), 2), np.int64) if rare is None else rare
        self.span_s, self.season = span_s, None
        if has_season is not None and hours is not None and has_season.any():
            self.season = Season(counts, self.starts, np.array([kind == "numeric" for kind in kinds]), has_season, hours)
        self.reason = "" if rows >= MIN_ROWS else f"the reference has {rows} rows, fewer than {MIN_ROWS}"
        if not self.reason and 0 < span_s < MIN_DAYS * DAY_H * HOUR_S - HOUR_S:
            self.reason = f"the reference's rows span {span_s / HOUR_S:.1f} hours, less than {MIN_DAYS} days"
        self.certificate: Certificate | None = None
        if certificate is not None:
            self.certify(certificate)

    @property
    def status(self) -> Literal["calibrated", "uncalibrated"]:
        """An uncalibrated reference may only open tickets; `reason` says why it is."""
        return "uncalibrated" if self.reason else "calibrated"

    def certify(self, certificate: Certificate) -> None:
        """Take up what a replay of the reference's own days gave; one that pages more than its budget makes it uncalibrated."""
        self.certificate = certificate
        self.reason = self.reason or certificate.reason

    def derived(
        self, counts: NDArray[np.int64], rows: int, wander: NDArray[np.float64], pairs: PairCounts, mean: NDArray[np.float64], span_s: float
    ) -> DriftReference:
        """The reference of a part of the traffic, in these cells and pairs, carried by this season (`segments.py`).

        Args:
            counts: per cell.
            rows: what they are worth.
            wander: of the tested cells.
            pairs: the same pairs, in the part.
            mean: of the part's values.
            span_s: time that it covers.
        """
        schema = self.variables, self.kinds, self.n_features, self.n_scores, rows, self.edges, self.n_edges, self.categories
        tables = self.lookup, self.lookup_starts, counts, mean, self.sd, self.tails, wander, span_s
        part = DriftReference(*schema, *tables, pairs=pairs, whole=self.pairs)
        part.season = self.season
        return part

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
        latency: ArrayLike | None = None,
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
            latency: how long the answers took, ms, shape (n,).
            held_out: shape (n,) bool, rows the model was not trained on. Scores, class, value and latency are taken from those only: a
                model is over-confident on its own training rows, and live traffic would look like drift.
            at_s: time of each row in seconds since the epoch, shape (n,), when the reference is recorded traffic. What repeats by the hour
                of the day or the week becomes its season (`season.py`). What is left of its variation between hours (48 to 1,024 equal
                stretches of time of at least 100 rows), beyond sampling noise, is part of what is normal too. Without it every hour is
                expected to look like the whole reference.

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
        hour = np.floor(times / HOUR_S).astype(np.int64)

        columns: list[_Column] = []
        for j, (name, kind) in enumerate(zip(names, kinds, strict=True)):
            if kind not in ("numeric", "categorical"):
                raise ValueError(f"kind of {name!r} must be 'numeric' or 'categorical', got {kind!r}")
            given = tuple((categories or {}).get(name, ()))
            if kind == "categorical" and not 1 <= len(given) <= MAX_CATEGORIES:
                raise ValueError(f"{name!r} needs 1 to {MAX_CATEGORIES} categories, got {len(given)}")
            columns.append((name, kind, given, X[:, j], block, hour))
        if scores is not None:
            table = np.asarray(scores, np.float32)
            if table.shape != (n, len(classes)):
                raise ValueError(f"scores must have shape ({n}, {len(classes)}) (rows, classes), got {table.shape}")
            columns += [(f"score:{c}", "numeric", (), table[keep, j], block[keep], hour[keep]) for j, c in enumerate(classes)]
        for name, given, output in (("class", tuple(classes), label), ("value", (), value), (LATENCY, (), latency)):
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
            columns.append((name, "categorical" if name == "class" else "numeric", given, column[keep], block[keep], hour[keep]))
        if len({c[0] for c in columns}) != len(columns):
            raise ValueError(f"names must be distinct, got {[c[0] for c in columns]}")
        return cls._freeze(columns, X, 0 if scores is None else len(classes), n, blocks, span)

    @classmethod
    def _freeze(cls, columns: list[_Column], X: NDArray[np.float32], n_scores: int, rows: int, blocks: int, span: float) -> DriftReference:
        V, d = len(columns), X.shape[1]
        edges, n_edges = np.full((V, MAX_EDGES), np.inf, np.float32), np.zeros(V, np.int64)
        mean, sd, tails = np.zeros(V), np.ones(V), np.zeros((V, 2))
        lookup, counts = [np.empty(0, np.int32)], []
        lookup_starts, rare = np.zeros(V + 1, np.int64), np.zeros((V, 2), np.int64)
        wander, cells = [], []
        for v, (_, kind, given, column, _, _) in enumerate(columns):
            if kind == "numeric":
                finite = column[np.isfinite(column)]
                mine = numeric_edges(finite) if finite.size else np.zeros(1, np.float32)
                edges[v, : mine.size], n_edges[v] = mine, mine.size
                if finite.size:
                    mean[v] = finite.mean(dtype=np.float64)
                    spread = float(finite.std(dtype=np.float64))
                    sd[v] = spread if spread > max(1e-12 * abs(mean[v]), _TINY) else 1.0  # constant, or as good as
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
                rows_of = np.bincount(column[known].astype(np.int64))
                rare[v] = np.count_nonzero(rows_of == 1), np.count_nonzero(rows_of == 2)
                at[np.isnan(column)] = unseen + 1
                size = unseen + 2
            counts.append(np.bincount(at, minlength=size))
            cells.append(at)
            lookup_starts[v + 1] = lookup_starts[v] + (lookup[-1].size if kind == "categorical" else 0)
        has_season, hours = np.zeros(V, bool), [np.empty((WEEK_H, 0), np.uint16)]
        may = (MIN_DAYS * DAY_H - 1) * HOUR_S <= span <= MAX_DAYS * DAY_H * HOUR_S and sum(map(len, counts)) <= MAX_SEASON_CELLS
        for v, (_, kind, _, _, block, hour) in enumerate(columns):
            size = len(counts[v])
            found = seasonal(cells[v], hour, size, kind, blocks) if may else None
            if found is None:
                wander.append(wander_of(np.bincount(block * size + cells[v], minlength=blocks * size).reshape(blocks, size), kind))
            else:
                has_season[v] = True
                hours.append(packed(found[0]))
                wander.append(found[1])
        kinds = tuple(c[1] for c in columns)
        pairs = fit_pairs(cells[:d], counts[:d], kinds[:d], columns[0][4], blocks)
        together = fit_features(X, kinds[:d], mean[:d], sd[:d], columns[0][4], blocks)
        return cls(
            tuple(c[0] for c in columns),
            kinds,
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
            span,
            has_season,
            np.concatenate(hours, axis=1),
            pairs=pairs,
            together=together,
            rare=rare,
        )

    @property
    def n_cells(self) -> int:
        """Cells of all variables together."""
        return int(self.starts[-1])

    @cached_property
    def cell_names(self) -> tuple[tuple[str, ...], ...]:
        """What the cells of each variable are called on a chart."""
        return tuple(
            numeric_names(self.edges[v, : int(self.n_edges[v])])
            if kind == "numeric"
            else category_names(self.lookup[self.lookup_starts[v] : self.lookup_starts[v + 1]], self.categories[v])
            for v, kind in enumerate(self.kinds)
        )

    @cached_property
    def widths(self) -> NDArray[np.float32]:
        """Width of each cell in standard deviations, 0 where it has no ends, shape (n_cells,)."""
        out = np.zeros(self.n_cells, np.float32)
        for v, first in enumerate(self.starts[:-1].tolist()):
            m = int(self.n_edges[v])
            if self.kinds[v] == "numeric":
                out[first + 1 : first + m] = np.diff(self.edges[v, :m].astype(np.float64)) / self.sd[v]
                if m > 2:
                    # the outer bins reach to the extremes, but their mass sits near the inner edge
                    outer = np.array([first + 1, first + m - 1])
                    out[outer] = np.minimum(out[outer], 2.0 * self.tails[v])
        return out

    @property
    def has_class(self) -> bool:
        """Whether the predicted class is tracked."""
        return "class" in self.variables[self.n_features :]

    @property
    def has_value(self) -> bool:
        """Whether a regression value is tracked."""
        return "value" in self.variables[self.n_features :]

    @property
    def has_latency(self) -> bool:
        """Whether latency is tracked; it is the last variable then."""
        return self.variables[-1] == LATENCY and len(self.variables) > self.n_features

    def expected(self, span_s: tuple[float, float]) -> NDArray[np.float64]:
        """Share of every cell of its variable from `span_s[0]` to `span_s[1]`, in seconds since the epoch, shape (n_cells,)."""
        if self.season is not None:
            return self.season.expected(span_s)
        rows = np.add.reduceat(self.counts, self.starts[:-1])
        return np.asarray(self.counts / np.repeat(np.maximum(rows, 1), np.diff(self.starts)), np.float64)

    def bounds(self, hits: NDArray[np.int64], rows: NDArray[np.int64], tests: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Clopper-Pearson limits of a cell's true share at confidence 1 - gamma / (2 tests) on each side.

        Exact where the normal approximation z sqrt(p (1-p) / n) fails: cells that the reference never saw ("above", "missing", unseen).
        For a cell edged by a quantile of the same rows it is exact too, since P(X <= x_(k)) ~ Beta(k, n + 1 - k).
        """
        level = GAMMA / (2 * max(tests, 1))
        low = np.where(hits > 0, betaincinv(np.maximum(hits, 1), rows - hits + 1, level), 0.0)
        high = np.where(hits < rows, betaincinv(hits + 1, np.maximum(rows - hits, 1), 1.0 - level), 1.0)
        return low, high

    def unseen_bounds(self, tests: int) -> NDArray[np.float64]:
        """Limit of the true share of categories that the reference does not have, at confidence 1 - gamma / (2 tests), shape (V,).

        No cell that was fixed beforehand: the reference's rows decide what is unseen, so that no row is in it by definition, and the
        Clopper-Pearson limit of 0 of n rows is too low. Good-Turing: the expected unseen share is N1 / n, N1 the categories of one row, and
        its error has a variance of about (N1 (1 - N1 / n) + 2 N2) / n^2, N2 those of two. The limit is z of these standard deviations
        above it, and at least the Clopper-Pearson limit of N1 of n rows, which is right where N1 is small. As much may be missing from the
        categories that the reference has: those of the cell "other" were chosen by being seen.

        Source: Good, "The population frequencies of species", Biometrika 1953; the variance: Esty, Annals of Statistics 1983; Gale and
        Sampson, "Good-Turing frequency estimation without tears", Journal of Quantitative Linguistics 1995.
        """
        one, two = self.rare.T.astype(np.float64)
        rows = np.add.reduceat(self.counts, self.starts[:-1])
        n = np.maximum(rows, 1)
        z = float(-ndtri(GAMMA / (2 * max(tests, 1))))
        spread = z * np.sqrt(np.maximum(one * (1.0 - one / n), 0.0) + 2.0 * two) / n
        return np.asarray(np.minimum(np.maximum(one / n + spread, self.bounds(self.rare[:, 0], rows, tests)[1]), 1.0), np.float64)

    def to_bytes(self) -> bytes:
        """The reference as bytes; `from_bytes` gives the same one back."""
        names = ("n_features", "n_scores", "rows", "edges", "n_edges", "lookup", "lookup_starts", "counts", "mean", "sd", "tails")
        body = {name: getattr(self, name) for name in names} | {"wander": self.wander.astype(np.float64)}
        has_season, hours = np.zeros(len(self.variables), bool), np.empty((WEEK_H, 0), np.uint16)
        if self.season is not None:
            has_season, hours = self.season.active, self.season.shares
        body["certificate"] = list(self.certificate or ())
        body |= {"span_s": self.span_s, "has_season": has_season, "hours": hours}
        body["pairs"], body["rare"] = list(self.pairs.kept._replace(wander=self.pairs.kept.wander.astype(np.float64))), self.rare
        if self.together is not None:
            body["together"] = list(self.together.kept)
        body |= {"variables": list(self.variables), "kinds": list(self.kinds), "categories": [list(c) for c in self.categories]}
        return pack(_KIND, _VERSION, body)

    @classmethod
    @reading(_KIND)
    def from_bytes(cls, blob: bytes) -> DriftReference:
        """Rebuild.

        Raises:
            StateError: when the bytes are not a reference of this version, or its parts disagree.
        """
        try:
            body = unpack(blob, _KIND, _VERSION)
        except StateError:  # of before there were seasons
            body = unpack(blob, _KIND, 1) | {"span_s": 0.0, "has_season": None, "hours": None, "certificate": []}
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
        certificate = body["certificate"]
        numbers = all(type(x) in (int, float) and 0 <= x < np.inf for x in certificate)
        if certificate and not (len(certificate) == len(Certificate._fields) and numbers and certificate[0] >= certificate[1]):
            raise ValueError("a certificate of something else")
        body["certificate"] = Certificate(*certificate) if certificate else None
        pairs = body.get("pairs", [])
        if [array.dtype.str for array in pairs] not in ([], ["<i4", "<i4", "<i8", "<f8", "<f8"]):
            raise ValueError("pairs of something else")
        body["pairs"] = PairCounts(*pairs) if pairs else None
        body["together"] = _features_of(body.get("together"))
        rare = body.setdefault("rare", None)
        if rare is not None and (rare.dtype.str != "<i8" or rare.shape != (V, 2) or rare.min(initial=0) < 0):
            raise ValueError("numbers of rare categories that are none")
        has_season, hours = body["has_season"], body["hours"]
        if not 0 <= body["span_s"] < np.inf or (
            has_season is not None and (has_season.dtype.str, has_season.shape, hours.dtype.str) != ("|b1", (V,), "<u2")
        ):
            raise ValueError("a season of another kind")
        if not all(type(body[k]) is int and body[k] >= 0 for k in ("n_features", "n_scores", "rows")):
            raise ValueError("a number of features, scores or rows that is none")
        reference = cls(**body)
        counted = reference.n_features + reference.n_scores + reference.has_class + reference.has_value + reference.has_latency
        if counted != V:
            raise ValueError(f"{V} variables for {counted} features, scores and answers")
        return reference


def _features_of(given: list[Any] | None) -> KeptFeatures | None:
    if given is None:
        return None
    arrays, numbers = given[:-2], given[-2:]
    if [array.dtype.str for array in arrays] != ["<i4", "<f4", "<f4", "<i2", "<f4", "<f8", "<f4", "|i1"] or [type(x) for x in numbers] != [
        float,
        int,
    ]:
        raise ValueError("random features of something else")
    return KeptFeatures(*(array.copy() for array in arrays), *numbers)  # aligned as those of `fit`: sums in the same order


_DTYPES = {"edges": "<f4", "n_edges": "<i8", "lookup": "<i4", "lookup_starts": "<i8", "counts": "<i8", "mean": "<f8", "sd": "<f8",
           "tails": "<f8", "wander": "<f8"}  # fmt: skip
