"""The replay of a reference's own days: quiet where days are alike, telling where they are not, and kept with the reference."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.drift import DriftReference, WindowCounts
from detectors.drift.certificate import certify
from detectors.drift.replayed import Certificate
from detectors.state import StateError, pack, unpack


def replayed(X: NDArray[np.float32], at_s: NDArray[np.float64], **options: float) -> Certificate | None:
    names = [f"f{j}" for j in range(X.shape[1])]

    def fit(mask: NDArray[np.bool_]) -> DriftReference:
        return DriftReference.fit(X[mask], names, ["numeric"] * len(names), at_s=at_s[mask])

    def count(reference: DriftReference, rows: NDArray[np.int64]) -> WindowCounts:
        counts = WindowCounts(reference)
        counts.update(X[rows])
        return counts

    return certify(at_s, fit, count, false_pages=0.35, materiality=options.get("materiality", 0.01), months=8)


def days(count: int, seed: int = 1) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    at = np.sort(rng.uniform(0, count * 86_400, 24 * 60 * count))
    X = rng.normal(size=(at.size, 3))
    X[:, 1] += np.sin(2 * np.pi * at / 86_400)
    return X.astype(np.float32), at


def test_days_alike_are_quiet_and_every_row_is_replayed_by_its_hour() -> None:
    certificate = replayed(*days(8))
    assert certificate is not None
    assert (certificate.months, certificate.pages, certificate.days, certificate.budget) == (8, 0, 8, 0.35)
    assert certificate.rows_per_hour == 60
    assert certificate.interval == pytest.approx((0.0, 1 - 0.025 ** (1 / 8)))
    assert certificate.reason == ""


def test_days_that_the_others_do_not_know_are_told() -> None:
    X, at = days(8)
    X[at > 6 * 86_400, 0] += 1.0
    certificate = replayed(X, at)
    assert certificate is not None
    assert (certificate.worst_paged, certificate.worst_months) == (2, 2)
    assert certificate.reason == "its days 1970-01-07 to 1970-01-08 page against the others, in 2 of 2 replayed months"
    X[:, 0] = np.floor(at / 86_400)
    each = replayed(X, at)
    assert each is not None
    assert "the budget is 0.35 a month" in each.reason


def test_fewer_than_four_days_or_too_few_rows_give_none() -> None:
    assert replayed(*days(3)) is None
    X, at = days(8)
    assert replayed(X[::70], at[::70]) is None


def test_a_certificate_stays_with_its_reference_and_decides_whether_it_may_page() -> None:
    X, at = days(4)
    reference = DriftReference.fit(X, ["a", "b", "c"], ["numeric"] * 3, at_s=at)
    for certificate, status in (
        (Certificate(40, 2, 3, 0.35, 4, 60.0, 2, 10, 0, 1), "calibrated"),
        (Certificate(40, 9, 20, 0.35, 4, 60.0, 9, 10, 0, 1), "uncalibrated"),
    ):
        reference.certify(certificate)
        again = DriftReference.from_bytes(reference.to_bytes())
        assert (again.certificate, again.status) == (certificate, status)
    body = unpack(reference.to_bytes(), "drift.reference", 2)
    for damage in (
        [1, 2, 3],
        [40, 41, 3, 0.35, 4, 60.0, 1, 1, 0, 1],
        [40, 2, 3, float("nan"), 4, 60.0, 1, 1, 0, 1],
        [40, 2, 3, "much", 4, 60.0, 1, 1, 0, 1],
        7,
    ):
        with pytest.raises(StateError):
            DriftReference.from_bytes(pack("drift.reference", 2, body | {"certificate": damage}))
