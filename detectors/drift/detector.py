"""Does the traffic of a model still look like its reference? The owner's recursion over closed windows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.drift.counts import GROUPS, WindowCounts
from detectors.drift.dependence import MIX_Z, Dependence
from detectors.drift.describe import describe
from detectors.drift.reference import DriftReference
from detectors.drift.report import DriftReport
from detectors.e_process import ODDS, ShiryaevRoberts, e_bh, log_mean_exp, page_threshold, shift_odds
from detectors.state import StateError, pack, unpack

MIN_WINDOWS = 12
"""Windows before the first page: until then rho is mostly the prior. Tickets come from the first window."""

DOMINANT = 0.5
"""Usual share above which a client group is the service, so that its evidence is not left out."""

_KIND, _VERSION = "drift.detector", 1


class DriftDetector:
    """Count Shiryaev-Roberts detector of marginal drift: features, scores, class mix, output value.

    Question: is any cell's share outside [low - delta, high + delta]? Cells are the bins, below, above, missing, unseen, and the CDF cells
    (x <= q_j) that carry the power for shifts. [low, high] is the reference's Clopper-Pearson interval (gamma = 0.5 % over all cells and
    sides), widened in quadrature by the client mix, 3 sqrt(rho p (1 - p) / K); delta is the materiality. Per cell, side and odds in
    {1.3, 1.8, 3.0}: ln e = sum_g a_g [S_g ln(q/u) + (n_g - S_g) ln((1-q)/(1-u))] over client groups g with weights a_g = 1 / phi_g, *without the
    group that speaks loudest* (the least of 16 e-values is an e-value). Then the mixture of `e_process.ShiryaevRoberts` with equal weight
    per variable and per component within it.

    Args:
        reference: what is normal.
        false_pages: allowed in `windows` windows, this detector's share already taken.
        windows: T.
        materiality: delta, in points of probability; smaller moves are no news.

    Cost: about 1 ms a window at 31 variables. Memory: 24 bytes a component, 132 components a variable: 0.1 MB at 31 variables, 0.36 MB at 112.
    Misleads: correlation that changes while the marginals stay is not seen.
    Source: DOI-less brief of the project's statistics, after Shin et al. 2023 (e-detectors) and Kish 1965, "Survey Sampling" (design effect).
    """

    def __init__(self, reference: DriftReference, *, false_pages: float, windows: float, materiality: float = 0.01) -> None:
        if not 0 <= materiality < 0.5:
            raise ValueError(f"materiality must be at least 0 and less than 0.5, got {materiality}")
        self.reference, self.materiality = reference, materiality
        starts = reference.starts
        low, high, variable = [], [], []
        for v in range(len(reference.variables)):
            begin, end = int(starts[v]), int(starts[v + 1])
            ranges = [(c, c + 1) for c in range(begin, end)]
            if reference.kinds[v] == "numeric":
                ranges += [(begin, c) for c in range(begin + 2, end - 2)]
            low += [r[0] for r in ranges]
            high += [r[1] for r in ranges]
            variable += [v] * len(ranges)
        self.low, self.high, self.variable = np.array(low), np.array(high), np.array(variable)
        hits = self._sums(reference.counts)
        rows = np.add.reduceat(reference.counts, starts[:-1])[self.variable]
        self.p = hits / np.maximum(rows, 1)
        self._lower, self._upper = reference.bounds(hits, rows, self.p.size)
        sizes = np.bincount(self.variable) * 2 * len(ODDS)
        log_weights = -np.log(sizes[self.variable] * float(len(reference.variables)))
        self.sr = ShiryaevRoberts(np.tile(log_weights, 2 * len(ODDS)), page_threshold(windows, false_pages))
        self.dependence = Dependence(reference)
        self._report: DriftReport | None = None

    def _sums(self, cells: NDArray[Any]) -> NDArray[Any]:
        """Hits of the test cells, shape (..., K), from counts per bin, shape (..., n_cells)."""
        cumulative = np.zeros((*cells.shape[:-1], cells.shape[-1] + 1), cells.dtype)
        np.cumsum(cells, axis=-1, out=cumulative[..., 1:])
        return np.asarray(cumulative[..., self.high] - cumulative[..., self.low])

    def _log_e(self, counts: WindowCounts, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        a = weights[self.variable].T
        hits = a * self._sums(counts.table)
        misses = a * counts.group_sizes[:, None] - hits
        mix = MIX_Z * np.sqrt(self.dependence.mix_variance()[self.variable] * self.p * (1.0 - self.p))
        upper = self.p + np.hypot(self._upper - self.p, mix) + self.materiality
        lower = self.p - np.hypot(self.p - self._lower, mix) - self.materiality
        spared = self.dependence.shares > DOMINANT
        out = np.full((2 * len(ODDS), self.p.size), -np.inf)
        for side, (edge, valid) in enumerate(((upper, upper < 1.0), (lower, lower > 0.0))):
            u = np.clip(edge, 1e-12, 1.0 - 1e-12)
            for k, odds in enumerate(ODDS):
                q = shift_odds(u, odds if side == 0 else 1.0 / odds)
                each = hits * np.log(q / u) + misses * np.log((1.0 - q) / (1.0 - u))
                loudest = np.where(spared[:, None], 0.0, each).max(axis=0)
                out[side * len(ODDS) + k] = np.where(valid, each.sum(axis=0) - np.maximum(loudest, 0.0), -np.inf)
        return out.ravel()

    def update(self, counts: WindowCounts) -> DriftReport:
        """Judge one closed, merged window; `counts` is not kept. A window without events changes nothing.

        Raises:
            ValueError: when it was counted against another reference.
        """
        if counts.table.shape != (GROUPS, self.reference.n_cells):
            raise ValueError(f"counts have {counts.table.shape[1]} cells, the reference has {self.reference.n_cells}")
        weights = self.dependence.weights(counts)
        severity, opened = "none", False
        if counts.n:
            log_e = self._log_e(counts, weights)
            severity, opened = self.sr.update(log_e, may_page=not self._why_not())
            self.dependence.learn(counts)
        worth = float(np.median((weights * counts.group_sizes).sum(axis=1)))
        self._report = self._describe(counts, worth, severity, opened)
        return self._report

    def _why_not(self) -> str:
        """Why a page is not possible yet, or ""."""
        if self.reference.status != "calibrated":
            return self.reference.reason
        if self.sr.steps < MIN_WINDOWS:
            return f"{self.sr.steps} windows seen, pages start after {MIN_WINDOWS}"
        return ""

    def _describe(self, counts: WindowCounts, worth: float, severity: str, opened: bool) -> DriftReport:
        reference, sr = self.reference, self.sr
        V = len(reference.variables)
        K = self.p.size
        table = sr.log_r.reshape(-1, K)
        by_variable, details = np.full(V, -np.inf), []
        cells = counts.cells
        firsts = np.concatenate([[0], np.cumsum(np.bincount(self.variable, minlength=V))])
        for v in range(V):
            block = table[:, firsts[v] : firsts[v + 1]]
            by_variable[v] = log_mean_exp(block.ravel())
            row, column = np.unravel_index(int(block.argmax()), block.shape)
            k = int(firsts[v] + column)
            evidence = (float(by_variable[v]), int(sr.since.reshape(-1, K)[row, k]), int(row) // len(ODDS), int(self.low[k]), int(self.high[k]))
            details.append(describe(reference, counts, cells, v, evidence, float(self.dependence.rho[v])))
        leading: tuple[str, ...] = ()
        if severity != "none":
            named = e_bh(by_variable, 0.05)[:10]
            leading = tuple(reference.variables[v] for v in (named if named.size else [int(by_variable.argmax())]))
        why = self._why_not()
        return DriftReport(
            window=sr.steps,
            n=counts.n,
            n_effective=worth,
            severity=severity,
            opened=opened,
            log_evidence=sr.log_mixture,
            log_page=sr.log_page,
            log_ticket=sr.log_ticket,
            variables=tuple(details),
            leading=leading,
            since=details[int(by_variable.argmax())].since,
            clients=self.dependence.clients,
            status="uncalibrated" if why else "calibrated",
            reason=why,
        )

    def report(self) -> DriftReport | None:
        """The verdict of the last window; None before the first."""
        return self._report

    def reset(self) -> None:
        """Forget the evidence (after a new approved reference one makes a new detector instead)."""
        self.sr.reset()

    def snapshot(self) -> bytes:
        """The state as bytes, without the reference."""
        return pack(_KIND, _VERSION, {"sr": self.sr.state(), "dependence": self.dependence.state(), "cells": self.reference.n_cells})

    def restore(self, blob: bytes) -> None:
        """Continue a snapshot of a detector with the same reference, bit for bit; the budget and materiality are this detector's.

        Raises:
            StateError: when it is damaged or of another reference's shape.
        """
        body = unpack(blob, _KIND, _VERSION)
        try:
            if body["cells"] != self.reference.n_cells:
                raise ValueError(f"taken with {body['cells']} cells, the reference has {self.reference.n_cells}")
            self.dependence.restore(body["dependence"])
            self.sr.restore(body["sr"])
        except (KeyError, TypeError, ValueError) as error:
            raise StateError(f"damaged {_KIND}: {error}") from error
        self._report = None
