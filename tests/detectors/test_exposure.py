"""Exposure: what was given is counted once, in bounded memory, and the copy that it buys is about as good as the curve says."""

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from detectors.exposure import CopyCurve, ExposureLedger
from detectors.state import StateError

KEY = b"sixteen bytes or more"


def rows(n: int, d: int = 6, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)).astype(np.float32)
    logits = np.c_[X[:, 0] * X[:, 1], X[:, 2] - 1, np.sin(2 * X[:, 3])] * 3
    p = np.exp(logits - logits.max(1, keepdims=True))
    return X, p / p.sum(1, keepdims=True)


@pytest.fixture(scope="module")
def curve() -> CopyCurve:
    return CopyCurve.fit(*rows(3000))


def ledger(of: CopyCurve | None = None, **given: Any) -> ExposureLedger:
    return ExposureLedger(of, KEY, **{"capacity": 4, **given})


# -- the curve --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["forest", "network", "linear"])
def test_copies_made_with_another_library_agree_about_as_often_as_the_curve_says(victim: str) -> None:
    pytest.importorskip("sklearn", reason="needs the extra demo")
    from sklearn.datasets import make_classification
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier

    X, y = make_classification(8000, 10, n_informative=6, n_classes=3, flip_y=0.05, random_state=3)
    X = X.astype(np.float32)
    models = {
        "forest": RandomForestClassifier(60, random_state=0),
        "network": MLPClassifier((32,), max_iter=400, random_state=0),
        "linear": LogisticRegression(max_iter=1000),
    }
    warnings.simplefilter("ignore")  # that a network could be trained for longer is no news
    model = models[victim].fit(X[:2000], y[:2000])
    curve = CopyCurve.fit(X[2000:5000], model.predict_proba(X[2000:5000]))
    test = X[7000:]
    for n in (64, 256, 1024):
        pool = X[5000 : 5000 + n]
        copies = [
            RandomForestClassifier(100, random_state=0),
            MLPClassifier((64,), max_iter=600, random_state=0),
            LogisticRegression(max_iter=1000),
        ]
        best = max(float(np.mean(c.fit(pool, model.predict(pool)).predict(test) == model.predict(test))) for c in copies)
        said = float(curve.at(np.array([n]))[0])
        # It has the scores and they have the labels: it may be better, and must not be much worse.
        assert best - 0.05 < said < best + 0.12, (victim, n, best, said)


def test_more_answers_never_buy_a_worse_copy_and_needed_is_the_way_back(curve: CopyCurve) -> None:
    n = 2.0 ** np.linspace(0, 30, 200)
    agreement = curve.at(n)
    assert np.all(np.diff(agreement) >= 0)
    assert agreement[0] == curve.chance
    assert agreement[-1] <= 1
    for wanted in (0.7, 0.8, 0.9, float(curve.at(np.array([4 * curve.measured_to]))[0])):
        assert curve.at(np.array([curve.needed(wanted)]))[0] >= wanted > curve.at(np.array([0.97 * curve.needed(wanted) - 1]))[0]
    assert curve.needed(0.0) == 1
    assert curve.needed(1.1) == np.inf


def test_the_same_rows_give_the_same_curve_and_its_bytes_come_back(curve: CopyCurve) -> None:
    assert CopyCurve.fit(*rows(3000)).to_bytes() == curve.to_bytes()
    back = CopyCurve.from_bytes(curve.to_bytes())
    assert back.to_bytes() == curve.to_bytes()


def test_a_damaged_curve_is_refused(curve: CopyCurve) -> None:
    with pytest.raises(StateError):
        CopyCurve.from_bytes(b"\x93junk")
    for wrong in (
        {"agreement": curve.agreement[::-1].copy()},
        {"answers": curve.answers[:-1]},
        {"answers": curve.answers * 0},
        {"chance": 0.0},
        {"tested": 0},
        {"agreement": curve.agreement + 1},
        {"agreement": curve.agreement * np.nan},
        {"agreement": "none"},
    ):
        fields: dict[str, Any] = {n: getattr(curve, n) for n in ("answers", "agreement", "chance", "tested")} | wrong
        with pytest.raises(StateError, match="makes no sense"):
            CopyCurve.from_bytes(CopyCurve(**fields).to_bytes())


def test_rows_that_allow_no_curve_are_told(curve: CopyCurve) -> None:
    X, p = rows(2000)
    with pytest.raises(ValueError, match="95 distinct rows"):
        CopyCurve.fit(np.repeat(X[:95], 10, axis=0), np.repeat(p[:95], 10, axis=0))
    with pytest.raises(ValueError, match="one class"):
        CopyCurve.fit(X, np.tile([0.2, 0.8], (2000, 1)))
    with pytest.raises(ValueError, match="0 distinct rows with scores"):
        CopyCurve.fit(X, np.empty((2000, 0)))
    with pytest.raises(ValueError, match="0 distinct rows with scores"):
        CopyCurve.fit(X, p * np.nan)


def test_missing_values_constant_columns_and_codes_are_rows_like_others() -> None:
    X, p = rows(1500)
    code = (np.arange(1500) % 3).astype(np.float32)
    p = np.where(code[:, None] == 1, [0.05, 0.05, 0.9], p)
    X = np.c_[X, code, np.ones(1500)].astype(np.float32)
    X[::7, 4] = np.nan
    X[:, 5] = np.nan
    curve = CopyCurve.fit(X, p, categorical=[6])
    assert curve.at(np.array([1024]))[0] > 0.8


# -- the ledger -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 30, 300, 5000])
def test_distinct_answers_are_counted_within_their_error_and_repeats_once(n: int) -> None:
    ratios = []
    for seed in range(20):
        X = rows(n, seed=seed)[0]
        one = ledger()
        for _ in range(3):
            one.update(np.zeros(n, np.int32), X)
        ratios.append(one.distinct(np.array([0]))[0] / n)
    assert np.mean(ratios) == pytest.approx(1, abs=0.1)
    assert np.std(ratios) < 0.2


@given(st.lists(st.integers(0, 400), max_size=4))
def test_how_a_batch_is_cut_changes_nothing(cuts: list[int]) -> None:
    X, slot = rows(400)[0], (np.arange(400) % 3).astype(np.int32)
    marks = np.arange(400) % 5 == 0
    whole, cut = ledger(), ledger()
    whole.update(slot, X, marks)
    for part in np.split(np.arange(400), sorted(cuts)):
        cut.update(slot[part], X[part], marks[part])
    for name, array in whole.arrays().items():
        assert np.array_equal(array, cut.arrays()[name]), name
    assert whole.flagged(np.arange(3)).sum() == 80


def test_who_passes_the_limit_is_told_once_at_the_row_where_it_happened(curve: CopyCurve) -> None:
    limited = ledger(curve, agreement_limit=0.8)
    X = rows(3000, seed=5)[0]
    slot = np.where(np.arange(3000) % 60 == 0, 1, 0).astype(np.int32)
    first = limited.update(slot, X)
    assert first.slot.tolist() == [0]
    told = int(first.index[0])
    again = ledger(curve, agreement_limit=0.8)
    assert len(again.update(slot[:told], X[:told]).index) == 0
    assert again.distinct(np.array([0]))[0] < again.answers_limit <= limited.distinct(np.array([0]))[0]
    assert len(limited.update(slot, rows(3000, seed=6)[0]).slot) <= 1  # the other one, perhaps; never the same again
    assert limited.over(np.array([0]))[0]
    why = limited.explain(0)
    assert why["copy_agreement"] > 0.8
    assert why["answers_at_limit"] == limited.answers_limit


def test_without_a_limit_or_without_a_curve_nobody_is_told(curve: CopyCurve) -> None:
    X = rows(3000)[0]
    for free in (ledger(curve), ledger(None, agreement_limit=0.5)):
        assert len(free.update(np.zeros(3000, np.int32), X).slot) == 0
    assert np.isnan(ledger().agreement(np.array([0]))[0])
    assert ledger().explain(0)["copy_agreement"] is None


def test_another_curve_keeps_the_counts_and_lets_go_who_is_below_its_limit(curve: CopyCurve) -> None:
    limited = ledger(curve, agreement_limit=0.8)
    limited.update(np.zeros(3000, np.int32), rows(3000)[0])
    before = limited.distinct(np.array([0]))[0]
    limited.use(None)
    assert not limited.over(np.array([0]))[0]
    limited.use(curve)
    assert limited.distinct(np.array([0]))[0] == before
    back = limited.update(np.zeros(20_000, np.int32), rows(20_000, seed=9)[0])
    assert back.slot.tolist() == [0]


def test_forgotten_and_added_slots_are_empty_and_others_stay(curve: CopyCurve) -> None:
    one = ledger(curve)
    one.update(np.array([0, 1], np.int32), rows(2)[0])
    one.resize(9)
    one.clear(np.array([0]))
    assert one.distinct(np.array([0, 1, 8])).round().tolist() == [0, 1, 0]
    assert one.bytes_per_client <= 72


def test_what_does_not_fit_is_refused_and_changes_nothing(curve: CopyCurve) -> None:
    one = ledger(curve)
    X = rows(2)[0]
    for slot in (np.array([0, 4], np.int32), np.array([-1, 0], np.int32), np.array([0], np.int32)):
        with pytest.raises(ValueError, match=r"slots run|must be"):
            one.update(slot, X)
    assert one.distinct(np.arange(4)).sum() == 0
    with pytest.raises(ValueError, match="agreement_limit"):
        ledger(curve, agreement_limit=1.5)


def test_missing_values_count_as_a_value() -> None:
    one = ledger()
    one.update(np.zeros(3, np.int32), np.full((3, 5), np.nan, np.float32))
    assert round(one.distinct(np.array([0]))[0]) == 1


@pytest.mark.parametrize("n", [5, 40, 90, 120, 160, 200, 400, 2_000])
def test_counts_of_answers_are_right_on_average_at_every_size(n: int) -> None:
    ledger = ExposureLedger(None, b"key", capacity=200)
    X = np.random.default_rng(n).normal(size=(200 * n, 3)).astype(np.float32)
    ledger.update(np.repeat(np.arange(200, dtype=np.int32), n), X)
    found = ledger.distinct(np.arange(200))
    assert abs(found.mean() / n - 1) < 0.035  # of 200: a standard error is .01
    assert found.std() / n < 0.145
