"""Does the traffic of a model still look like its reference? The owner's recursion over closed windows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.drift.bins import TOP_CATEGORIES
from detectors.drift.counts import WindowCounts
from detectors.drift.dependence import MIX_Z, Dependence, Look
from detectors.drift.describe import TABLES, Strongest, describe, with_tables
from detectors.drift.effect import EffectSizer, EffectSizes
from detectors.drift.joint import GAMMA_SHARE, SHARE, JointEvidence, PairDrift
from detectors.drift.joint import ODDS as PAIR_ODDS
from detectors.drift.judging import edges, log_e
from detectors.drift.latency import MATERIALITY as LATENCY_MATERIALITY
from detectors.drift.latency import LatencyEvidence
from detectors.drift.moves import likeness
from detectors.drift.reference import GAMMA, LATENCY, DriftReference
from detectors.drift.report import DriftReport
from detectors.drift.summary import strongest
from detectors.drift.tilts import PER_VARIABLE, WEIGHTS, Tilts
from detectors.drift.told import Parts, Told
from detectors.drift.witness import COMPONENTS, WITNESS_SHARE, JointShift, WitnessEvidence
from detectors.drift.witness import GAMMA_SHARE as WITNESS_GAMMA
from detectors.e_process import ODDS, Severity, ShiryaevRoberts, e_bh, log_mean_exp, page_threshold
from detectors.groups import GROUPS
from detectors.state import StateError, pack, reading, unpack

MIN_WINDOWS = 12
"""Windows before the first page: until then rho is mostly the prior. Tickets come from the first window."""

MANY_CLIENTS = 50
"""Effective clients from which the loudest group alone is left out; with fewer it is the two loudest, with unknown ones none."""

WANDER_Z = 4.0
"""Times the reference's own sd between stretches of time: 20 variables that wander at random within hours exceed it about once a month."""

BALL_SHARE = 0.2
"""Of the reference's error probability, for the relative entropies; the limits of the tested cells have the rest."""

CELLS_SHARE = 0.3
"""Weight of the single and cumulated cells in a numeric variable's mixture; the tilts have the rest."""

_BOTH = np.array([*ODDS, *(1.0 / odds for odds in ODDS)])
"""More, then less."""
_LOG_BOTH = np.log(_BOTH)

_KIND, _VERSION = "drift.detector", 2


class DriftDetector:
    """Count Shiryaev-Roberts detector of drift: features, scores, class mix, output value, and how features go together.

    Question: does the traffic of any variable, or of two features together, lie outside its tolerance? Four kinds of alternatives, in one
    mixture of `e_process.ShiryaevRoberts` with equal weights per variable (nine tenths), per pair (0.075) and per bet (0.025):

    - cells: the bins, below, above, missing, unseen, and the CDF cells (x <= q_j), each share against [low - delta, high + delta].
      [low, high] is the reference's Clopper-Pearson interval (gamma = 0.5 % over all cells and sides; of unseen categories the limit that
      Good-Turing gives, `DriftReference.unseen_bounds`), widened in quadrature by the client
      mix, 3.5 sqrt(rho p (1 - p) / K), and by four times the reference's own wander over time (if its rows have times); delta is the
      materiality. Per cell, side and odds in {1.3, 1.8, 3.0}: ln e = S ln(q/u) + (n-S) ln((1-q)/(1-u)).
    - tilts of a numeric variable's whole histogram (`tilts.py`): moved, stretched, two modes, heavier tails, each against the law in the
      tolerance that is hardest to tell from it. Here delta is the share of the events that may be elsewhere.
    - how often two features lie on different sides of their medians (`joint.py`), which a change of their correlation moves.
    - the mean of random features of whole rows along a direction learned from past windows (`witness.py`).

    Latency has cells and tilts too, in a recursion of its own that opens tickets only (`latency.py`).

    With a season in the reference, counts are first carried back to it from their hour (`season.py`).

    All are sums over client groups g with weights a_g = 1 / phi_g, *without the one or two groups that speak loudest* (the least of
    several e-values is an e-value): what one or two clients do is no drift of the model. A group that usually sends more than half of the
    traffic is spared, so a gateway's drift is found. Small windows need no merging: the recursion adds them up.

    Measured (30-day budget of one page, materiality 0.01, 300 events a window, reference 20,000 rows, 20 features, one of them shifted
    by 0.25 / 0.5 / 1 sd after 50 windows), median delay in windows: independent events 5 / 1 / 1; 5,000 clients 6 / 2 / 1; 30 Zipf
    clients never / 5 / 1; a single client never / 33 / 2, and 2 at 0.5 sd after 300 windows, when rho has been learned.

    Args:
        reference: what is normal.
        false_pages: allowed in `windows` windows, this detector's share already taken.
        windows: T.
        materiality: delta, in points of probability; smaller moves are no news.
        latency_materiality: the same of latency, where it is larger.

    Cost: 0.14 ms of CPU a window at 20 variables, 0.7 ms with the description; 5 ms a variable once. Memory: 24 bytes a component, 203
    components a variable and 4 a pair, and its alternatives: 1.0 MB at 100 variables with the reference, a
    window's counts, sizes over a day (`slow.py`) and constant columns.
    Misleads: dependence of categories beyond pairs is not seen; nor is a pair that is not among the 1,024 of a reference with more than 45
    features, nor a dependence of three that no product of waves has (`features.py`).
    Source: Shin et al., "E-detectors", NEJSDS 2023; Kish, "Survey Sampling", 1965 (design effect).

    Raises:
        ValueError: on a budget or materiality out of range.

    Example:
        >>> rng = np.random.default_rng(7)
        >>> reference = DriftReference.fit(rng.normal(size=(5000, 2)), ["age", "income"], ["numeric", "numeric"])
        >>> detector = DriftDetector(reference, false_pages=1, windows=8640)
        >>> for t in range(30):
        ...     window, X = WindowCounts(reference), rng.normal(size=(300, 2))
        ...     window.update(X + [0.0, 0.8 * (t >= 20)], clients=rng.integers(0, 100, 300))
        ...     report = detector.update(window)
        ...     if report.opened:
        ...         print(t, report.leading, report.variables[1].direction, report.since)
        20 ('income',) up 20
    """

    def __init__(
        self,
        reference: DriftReference,
        *,
        false_pages: float,
        windows: float,
        materiality: float = 0.01,
        latency_materiality: float = LATENCY_MATERIALITY,
    ) -> None:
        for what, delta in (("materiality", materiality), ("latency_materiality", latency_materiality)):
            if not 0 <= delta < 0.5:
                raise ValueError(f"{what} must be at least 0 and less than 0.5, got {delta}")
        self.reference, self.materiality = reference, materiality
        self.low, self.high, self.variable = reference.low, reference.high, reference.variable
        self._judged = len(reference.variables) - reference.has_latency
        self._materiality = np.full(len(reference.variables), materiality)
        self._materiality[self._judged :] = max(materiality, latency_materiality)
        cumulated = _cumulated(reference.counts)
        hits = cumulated[self.high] - cumulated[self.low]
        rows = np.add.reduceat(reference.counts, reference.starts[:-1])[self.variable]
        p = hits / np.maximum(rows, 1)
        tests = math.ceil(p.size / (1.0 - BALL_SHARE - GAMMA_SHARE - WITNESS_GAMMA))
        lower, upper = reference.bounds(hits, rows, tests)
        if not reference.is_derived:  # to a part of the traffic the whole's unseen categories are a cell like any other
            self._widen(lower, upper, reference.unseen_bounds(tests)[self.variable])
        swing, below, above = WANDER_Z * reference.wander.astype(np.float64), p - lower, upper - p
        self.tilts = Tilts(reference, below, above, swing, self._materiality, BALL_SHARE * GAMMA)
        # a tolerance that is off by 1e-7 is none the worse
        self.p, self._below, self._above = (array.astype(np.float32) for array in (p, below, above))
        tilts = self.tilts
        of_cells = self.p, self._below, self._above, self.variable, reference.wander, WANDER_Z, self._materiality, _BOTH
        self._edges = of_cells, (tilts.top, tilts.slack, tilts.spread, tilts.variables)
        self._laws = (self.low, self.high, self.variable, _LOG_BOTH), (tilts.variables, tilts.log_w, tilts.active)
        self.joint = JointEvidence(reference, materiality, WANDER_Z)
        self._first_pair = _BOTH.size * p.size + self.tilts.active.size
        self._first_witness = self._first_pair + PAIR_ODDS.size * len(self.joint)
        self.witness = None if reference.together is None else WitnessEvidence(reference.together, GAMMA, materiality)
        beside = SHARE if len(self.joint) or self.witness is not None else 0.0
        self._of_witness = 0.0 if self.witness is None else beside * (WITNESS_SHARE if len(self.joint) else 1.0)
        self._of_pairs, self._marginal = beside - self._of_witness, 1.0 - beside
        log_weights, threshold = self._log_weights(), page_threshold(windows, false_pages)
        self.latency: LatencyEvidence | None = None
        if reference.has_latency:
            at = self._of_latency()
            self.latency = LatencyEvidence(at, log_weights[at] - log_mean_exp(log_weights[at], 0.0), threshold * self._judged)
            log_weights[at] = -np.inf
        self.sr = ShiryaevRoberts(log_weights, threshold, np.float32)
        self.dependence = Dependence(reference)
        self._firsts = np.concatenate([[0], np.cumsum(np.bincount(self.variable))])
        self.sizer = EffectSizer(reference)
        kept = reference.pairs.kept
        self.told = Told(self._judged, kept.first, kept.second, windows)
        self._before: NDArray[np.bool_] | None = None
        self._report: DriftReport | None = None

    def _widen(self, lower: NDArray[np.float64], upper: NDArray[np.float64], unseen: NDArray[np.float64]) -> None:
        """Limits of unseen categories, which may have more than a fixed cell would, and of "other", which may have that much less."""
        categorical, listed = np.array(self.reference.kinds) == "categorical", np.array([len(c) for c in self.reference.categories])
        last, single = self.reference.starts[self.variable + 1], (self.high - self.low == 1) & categorical[self.variable]
        here, other = single & (self.high == last - 1), single & (self.high == last - 2) & (listed[self.variable] > TOP_CATEGORIES)
        upper[here] = np.maximum(upper, unseen)[here]
        lower[other] = np.maximum(lower - unseen, 0.0)[other]

    def _log_weights(self) -> NDArray[np.float64]:
        """Of the cells' components, side and odds first, of the tilts', variable first, equal per variable; then of the pairs'.

        What an alternative inside the tolerance would have goes to the variable's others. Those of latency come on top of a sum of 1.
        """
        V, judged = len(self.reference.variables), self._judged
        tilts = (1.0 - CELLS_SHARE) * WEIGHTS * self.tilts.active
        cells = np.full(V, 1.0)
        cells[self.tilts.variables] = CELLS_SHARE / (CELLS_SHARE + tilts.sum(axis=1))
        tilts /= CELLS_SHARE + tilts.sum(axis=1, keepdims=True)
        of_cells = np.log(cells / (np.bincount(self.variable) * _BOTH.size * judged))[self.variable]
        of_tilts = np.full(tilts.shape, -np.inf)
        np.log(tilts / judged, out=of_tilts, where=self.tilts.active)
        marginal = np.concatenate([np.tile(of_cells, _BOTH.size), of_tilts.ravel()])
        of_witness = np.empty(0) if self.witness is None else np.full(COMPONENTS, math.log(self._of_witness / COMPONENTS))
        return np.concatenate([marginal + math.log(self._marginal), self.joint.log_weights(self._of_pairs), of_witness])

    def _of_latency(self) -> NDArray[np.intp]:
        """Which components are of latency, the last variable."""
        cells, last = self.p.size, len(self.reference.variables) - 1
        mine = np.flatnonzero(self.variable == last)
        of_tilts = np.arange(PER_VARIABLE) + np.flatnonzero(self.tilts.variables == last)[:, None] * PER_VARIABLE
        return np.concatenate([*(side * cells + mine for side in range(_BOTH.size)), (_BOTH.size * cells + of_tilts).ravel()])

    def _log_e(self, counts: WindowCounts, look: Look, expected: NDArray[np.float64] | None) -> NDArray[np.float32]:
        """Logarithm of e of every component, in the order of the weights; `expected` are the shares at the window's time.

        With q the probability whose odds are o times those of u, ln(q/u) - ln((1-q)/(1-u)) = ln o and ln((1-q)/(1-u)) = -ln(1 + u (o - 1)).
        """
        dependence, season = self.dependence, self.reference.season
        table = counts.table if season is None or expected is None else season.carry(counts.table, expected)
        few, left_out = self._crowd(look)
        pairs, whole = self._first_pair, self._first_witness
        logs, out, leave = np.empty(pairs), np.empty(self.sr.log_r.size, np.float32), (dependence.loud, left_out)
        edges(*self._edges, few, dependence.rho, dependence.rho_tilts, logs)
        np.log(logs, out=logs)
        log_e(table, look.sizes, look.weights, look.of_tilts, *self._laws, self.reference.starts, logs, *leave, out)
        if whole > pairs:
            self.joint.log_e(counts, look, few, *leave, out[pairs:whole])
        if self.witness is not None:
            self.witness.log_e(counts, look, *leave, out[whole:])
        return out

    def step(self, counts: WindowCounts, span_s: tuple[float, float] | None = None) -> tuple[Severity, bool]:
        """Judge one closed, merged window without describing it: its severity, and whether a page episode opened; `counts` is not kept.

        A window without events changes nothing.

        Args:
            counts: the window's.
            span_s: when it began and ended, in seconds since the epoch; needed when the reference has a season.

        Raises:
            ValueError: when it was counted against another reference, or has no times and the reference a season.
        """
        if not self._fits(counts):
            return self._standing, False
        return self._judge(counts, span_s, self.dependence.look(counts))

    def ceilings(self, counts: WindowCounts, span_s: tuple[float, float] | None = None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """What a window may look like before it is judged; arguments as of `step`.

        Returns:
            The largest share of each cell inside the tolerance, shape (n_cells,), and what the known values of each variable are worth
            without the groups of clients that are left out, shape (V,).
        """
        look, reference = self.dependence.look(counts), self.reference
        few, left_out = self._crowd(look)
        p = self.p.astype(np.float64)
        mix = few**2 * self.dependence.rho[self.variable] * p * (1.0 - p)
        width = np.zeros(reference.n_cells)
        more = (
            np.sqrt(self._above.astype(np.float64) ** 2 + mix + (WANDER_Z * reference.wander.astype(np.float64)) ** 2)
            + self._materiality[self.variable]
        )
        single = self.high - self.low == 1
        width[self.low[single]] = more[single]
        usual = reference.counts / np.repeat(np.add.reduceat(reference.counts, reference.starts[:-1]).clip(1), np.diff(reference.starts))
        if reference.season is not None:
            usual = np.maximum(usual, self._expected(span_s))
        known = np.add.reduceat(counts.table, reference.starts[:-1], axis=1) - counts.table[:, reference.starts[1:] - 1]
        worth = known * look.weights
        loud = np.sort(worth * (self.dependence.loud > 0)[:, None], axis=0)
        return np.minimum(usual + width, 1.0), worth.sum(axis=0) - loud[GROUPS - left_out :].sum(axis=0)

    @staticmethod
    def _crowd(look: Look) -> tuple[float, int]:
        """3.5 / sqrt(clients), and how many groups of clients are left out."""
        few = MIX_Z / math.sqrt(look.clients) if look.clients else 0.0
        return few, 0 if not look.clients else 1 if look.clients >= MANY_CLIENTS else 2

    @property
    def _standing(self) -> Severity:
        """What stays where a window has nothing to judge."""
        return self.told.severity if self.sr.open else "none"

    def _fits(self, counts: WindowCounts) -> bool:
        """Whether there is anything to judge."""
        if counts.table.shape != (GROUPS, self.reference.n_cells):
            raise ValueError(f"counts have {counts.table.shape[1]} cells, the reference has {self.reference.n_cells}")
        return counts.n > 0

    def _judge(self, counts: WindowCounts, span_s: tuple[float, float] | None, look: Look) -> tuple[Severity, bool]:
        expected = None if self.reference.season is None else self._expected(span_s)
        found = self._log_e(counts, look, expected)
        if self.latency is not None:
            self.latency.take(found)
        severity = self.sr.update(found, may_page=not self._why_not())[0]
        severity, self._before = self.told.judge(self.sr.steps, severity, self._parts, lambda: self._gaps(counts, expected, look))
        self.dependence.learn(counts, look)
        if len(self.joint):
            self.joint.learn(counts, look)
        if self.witness is not None:
            self.witness.learn()
        return severity, self._before is not None

    def _parts(self) -> Parts:
        """What variables, pairs and whole rows contribute to the mixture, in units of A."""
        with np.errstate(under="ignore"):
            share = np.exp((self.sr.log_r + self.sr.log_weights).astype(np.float64) - self.sr.log_page)
        cells, pairs, whole = _BOTH.size * self.p.size, self._first_pair, self._first_witness
        V = len(self.reference.variables)
        variables = np.zeros(V)
        np.add.at(variables, self.variable, share[:cells].reshape(_BOTH.size, -1).sum(axis=0))
        np.add.at(variables, self.tilts.variables, share[cells:pairs].reshape(-1, PER_VARIABLE).sum(axis=1))
        return Parts(variables[: self._judged], share[pairs:whole].reshape(-1, PAIR_ODDS.size).sum(axis=1), float(share[whole:].sum()))

    def _gaps(self, counts: WindowCounts, expected: NDArray[np.float64] | None, look: Look) -> tuple[NDArray[np.float64], float]:
        """Largest gap of cumulated shares of each variable, and what the window's events are worth."""
        return self._sizes(counts, expected).ks[: self._judged], _worth(look)

    def _sizes(self, counts: WindowCounts, expected: NDArray[np.float64] | None) -> EffectSizes:
        """How far each variable moved; of a part of the traffic from what it was, its season included."""
        return self.sizer(counts, None if self.reference.is_derived else expected)

    def update(self, counts: WindowCounts, span_s: tuple[float, float] | None = None) -> DriftReport:
        """Judge one closed, merged window and describe it; as `step` otherwise.

        Raises:
            ValueError: when it was counted against another reference, or has no times and the reference a season.
        """
        look = self.dependence.look(counts)
        severity, opened = self._judge(counts, span_s, look) if self._fits(counts) else (self._standing, False)
        expected = None if self.reference.season is None else self._expected(span_s)
        self._report = self._describe(counts, expected, _worth(look), look.clients, severity, opened)
        return self._report

    def _expected(self, span_s: tuple[float, float] | None) -> NDArray[np.float64]:
        """The reference's shares at the time of a window."""
        if self.reference.season is None or span_s is None:
            raise ValueError("the reference has a season: give the window's beginning and end")
        return self.reference.season.expected(span_s)

    def _why_not(self) -> str:
        """Why a page is not possible yet, or ""."""
        if self.reference.status != "calibrated":
            return self.reference.reason
        if self.sr.steps < MIN_WINDOWS:
            return f"{self.sr.steps} windows seen, pages start after {MIN_WINDOWS}"
        return ""

    def _strongest(self) -> list[Strongest]:
        """Per variable: ln of its own mixture, when its strongest component began, and its strongest cell."""
        weighted, since = self.sr.log_r + self.sr.log_weights + math.log(self._judged / self._marginal), self.sr.since
        if self.latency is not None:
            self.latency.show(weighted, since)
        V = len(self.reference.variables)
        log_m, began, at = np.empty(V), np.empty(V, np.int64), np.empty(V, np.int64)
        tilt_of = np.full(V, -1, np.int64)
        tilt_of[self.tilts.variables] = np.arange(self.tilts.variables.size)
        strongest(weighted, since, self._firsts, _BOTH.size, tilt_of, PER_VARIABLE, log_m, began, at)
        columns = log_m.tolist(), began.tolist(), self.low[at].tolist(), self.high[at].tolist()
        return [Strongest(*row) for row in zip(*columns, strict=True)]

    def _describe(
        self, counts: WindowCounts, expected: NDArray[np.float64] | None, worth: float, clients: float, severity: Severity, opened: bool
    ) -> DriftReport:
        sr, best = self.sr, self._strongest()
        sizes = self._sizes(counts, expected)
        by_variable = np.array([one.log_evidence for one in best[: self._judged]])
        latency = "none" if self.latency is None else self.latency.severity
        before = self._before if opened else None
        if before is not None:  # a page names what is new
            by_variable[before] = -np.inf
        leading, pairs, jointly, shift = self._leading(counts, by_variable, severity, before)
        why = self._why_not()
        variables = describe(self.reference, sizes, counts.cells, best, self.dependence.rho)
        looks_like = None
        shown = leading[:TABLES] if latency == "none" else (*leading[:TABLES], LATENCY)
        variables = with_tables(self.reference, sizes, counts.cells, variables, shown) if shown else variables
        if leading:
            together = jointly or shift is not None
            looks_like = likeness(self.reference, leading, {one.name: one.direction for one in variables}, jointly=together)
        return DriftReport(
            window=sr.steps,
            n=counts.n,
            n_effective=worth,
            severity=severity,
            opened=opened,
            log_evidence=sr.log_mixture,
            log_page=sr.log_page,
            log_ticket=sr.log_ticket,
            variables=variables,
            leading=leading,
            since=shift.since if shift is not None else pairs[0].since if jointly else best[int(by_variable.argmax())].since,
            clients=clients,
            status="uncalibrated" if why else "calibrated",
            reason=why,
            pairs=pairs,
            jointly=jointly,
            shift=shift,
            looks_like=looks_like,
            latency=latency,
            again=self.told.again,
        )

    def _leading(
        self, counts: WindowCounts, by_variable: NDArray[np.float64], severity: Severity, told: NDArray[np.bool_] | None
    ) -> tuple[tuple[str, ...], tuple[PairDrift, ...], bool, JointShift | None]:
        """Variables to show, pairs to show, whether the pairs tell most, and what moved together if that tells most."""
        if severity == "none":
            return (), (), False, None
        names, first, last = self.reference.variables, self._first_pair, self._first_witness
        named = [names[v] for v in e_bh(by_variable, 0.05)[:10].tolist()]
        found = self.joint.strongest(counts, self.sr.log_r[first:last], self.sr.since[first:last]) if len(self.joint) else ()
        by_pair = np.array([pair.log_evidence for pair in found])
        if told is not None and len(found):
            by_pair[told[self.joint.pairs.kept.first] | told[self.joint.pairs.kept.second]] = -np.inf
        pairs = tuple(found[k] for k in e_bh(by_pair, 0.05)[:5].tolist())
        alone = log_mean_exp(by_variable) + math.log(self._marginal)
        of_pairs = log_mean_exp(by_pair) + math.log(self._of_pairs) if found else -math.inf
        if (
            self.witness is not None and (told is None or not told.any()) and max(alone, of_pairs) < self.sr.log_ticket
        ):  # a variable or a pair that tells says more
            shift = self.witness.strongest(names, self.sr.log_r[last:], self.sr.since[last:])
            if shift.log_evidence + math.log(self._of_witness) > max(alone, of_pairs):
                return tuple(dict.fromkeys([*named, *shift.names]))[:10], pairs, False, shift
        if of_pairs <= alone:
            return tuple(named or [names[int(by_variable.argmax())]]), pairs, False, None
        pairs = pairs or (found[int(by_pair.argmax())],)
        apart = [name for pair in pairs for name in (pair.first, pair.second)]
        return tuple(dict.fromkeys([*named, *apart]))[:10], pairs, True, None

    def report(self) -> DriftReport | None:
        """The verdict of the last window; None before the first."""
        return self._report

    def reset(self) -> None:
        """Forget the evidence (after a new approved reference one makes a new detector instead)."""
        self.sr.reset()
        if self.latency is not None:
            self.latency.sr.reset()
        self.told.until[:] = 0

    def snapshot(self) -> bytes:
        """The state as bytes, without the reference."""
        parts: dict[str, Any] = {"told": self.told.state()}
        if len(self.joint):
            parts["joint"] = self.joint.state()
        if self.witness is not None:
            parts["witness"] = self.witness.state()
        if self.latency is not None:
            parts["latency"] = self.latency.sr.state()
        return pack(
            _KIND, _VERSION, {"sr": self.sr.state(), "dependence": self.dependence.state(), "cells": self.reference.n_cells} | parts
        )

    def restore(self, blob: bytes) -> None:
        """Continue a snapshot of a detector with the same reference, bit for bit; the budget and materiality are this detector's.

        Raises:
            StateError: when it is damaged or of another reference's shape.
        """
        try:
            body = unpack(blob, _KIND, _VERSION)
        except StateError:
            body = self._first_version(unpack(blob, _KIND, 1))
        try:
            if body["cells"] != self.reference.n_cells:
                raise ValueError(f"taken with {body['cells']} cells, the reference has {self.reference.n_cells}")
            self.dependence.restore(body["dependence"])
            if len(self.joint):
                self.joint.restore(body["joint"])
            if self.witness is not None:
                self.witness.restore(body["witness"])
            if self.latency is not None:
                self.latency.sr.restore(body["latency"])
            self.sr.restore(body["sr"])
            if "told" in body:
                self.told.restore(body["told"])
            elif self.sr.open:
                self.told.adopt(self.sr.steps)
        except (KeyError, TypeError, ValueError) as error:
            raise StateError(f"damaged {_KIND}: {error}") from error
        self._report = None

    @reading(_KIND)
    def _first_version(self, body: dict[str, Any]) -> dict[str, Any]:
        """A snapshot of before there were tilts: theirs begin at 0, and their correlation with what is known before any window."""
        sr = dict(body["sr"])
        for name, blank in (("log_r", -np.inf), ("cusum", 0.0), ("since", int(sr["steps"]))):
            tail = np.full(self.sr.log_r.size - _BOTH.size * self.p.size, blank)
            sr[name] = np.concatenate([sr[name], tail.astype(sr[name].dtype)])
        return body | {"sr": sr, "dependence": Dependence(self.reference).state() | dict(body["dependence"])}


def _cumulated(cells: NDArray[np.int64]) -> NDArray[np.int64]:
    """Counts before each cell and in all, shape (n_cells + 1,)."""
    return np.concatenate([[0], np.cumsum(cells)]).astype(np.int64)


def _worth(look: Look) -> float:
    """What a window's events are worth, median over variables."""
    return float(np.median(look.sizes @ look.weights))
