"""Columns land where the reference has them; what makes no sense becomes missing and is counted, never more than that."""

from typing import Any

import numpy as np
import pytest

from inferwatch import EventColumns, Strings
from schemas.reference import Feature
from streams.align import Aligner, WidthError
from tests.streams.events import events

_AGE = Feature(name="age", low=0.0, high=120.0)
_INCOME = Feature(name="income")
_CITY = Feature(name="city", kind="categorical", categories=("3", "Köln", "true"))


def by_name(**columns: list[Any]) -> EventColumns:
    """Events with these features: lists of text are categories."""
    n = len(next(iter(columns.values())))
    text = {name: Strings.of(column) for name, column in columns.items() if any(isinstance(v, str) for v in column)}
    numbers = {name: column for name, column in columns.items() if name not in text}
    numeric = np.array(list(numbers.values()), np.float32).T.reshape(n, len(numbers))
    return events(n, names=tuple(numbers), numeric=numeric, category_names=tuple(text), categories=tuple(text.values()))


def aligner(*features: Feature) -> Aligner:
    return Aligner(features or (_AGE, _INCOME, _CITY), ("no", "yes"))


def test_columns_are_put_in_the_references_order_whatever_the_producers() -> None:
    aligned = aligner().align(by_name(city=["Köln", "3"], income=[2.0, 3.0], age=[40.0, 41.0]))
    assert aligned.X.tolist() == [[40.0, 2.0, 1.0], [41.0, 3.0, 0.0]]
    assert aligned.anomalies == {}


def test_columns_that_fit_as_they_are_are_not_copied() -> None:
    batch = by_name(age=[1.0], income=[2.0])
    assert aligner(_AGE, _INCOME).align(batch).X is batch.numeric


def test_a_feature_that_is_not_sent_is_missing_and_counted_once_an_event() -> None:
    aligned = aligner().align(by_name(age=[40.0, 41.0]))
    assert np.isnan(aligned.X[:, 1:]).all()
    assert aligned.anomalies == {"missing": 2}


def test_what_failed_requests_lack_is_no_fault_of_their_input() -> None:
    batch = events(2, names=(), numeric=np.empty((2, 0), np.float32), status=np.array([5, 2], np.uint8))
    assert aligner().align(batch).anomalies == {}


def test_a_feature_that_nobody_knows_is_left_out_and_counted() -> None:
    aligned = aligner(_AGE).align(by_name(age=[1.0], shoe=[42.0]))
    assert aligned.X.tolist() == [[1.0]]
    assert aligned.anomalies == {"unknown_feature": 1}


@pytest.mark.parametrize(("sent", "code"), [("Köln", 1.0), ("true", 2.0), ("Atlantis", 3.0), (None, np.nan)])
def test_a_category_becomes_its_code_and_an_unseen_one_the_last(sent: str | None, code: float) -> None:
    aligned = aligner(_CITY).align(by_name(city=[sent, "3"]))
    assert np.array_equal(aligned.X, np.array([[code], [0.0]], np.float32), equal_nan=True)
    assert aligned.anomalies.get("unseen_category", 0) == int(sent == "Atlantis")


def test_a_number_means_the_category_that_is_written_so() -> None:
    aligned = aligner(_CITY).align(by_name(city=[3.0, 4.0, 3.5, np.nan]))
    assert np.array_equal(aligned.X[:, 0], [0.0, 3.0, 3.0, np.nan], equal_nan=True)
    assert aligned.anomalies == {"unseen_category": 2, "missing": 1}


def test_numbers_sent_as_text_are_read_and_text_that_is_none_is_missing() -> None:
    aligned = aligner(_INCOME).align(by_name(income=["12.5", "a lot", "nan", "1e39"]))
    assert np.array_equal(aligned.X[:, 0], [12.5, np.nan, np.nan, np.nan], equal_nan=True)
    assert (aligned.anomalies["wrong_type"], aligned.anomalies["non_finite"]) == (1, 1)


def test_infinities_become_missing_and_the_producers_columns_stay_as_they_are() -> None:
    batch = by_name(age=[np.inf, 30.0], income=[1.0, -np.inf])
    before = batch.numeric.copy()
    aligned = aligner(_AGE, _INCOME).align(batch)
    assert np.array_equal(aligned.X, [[np.nan, 1.0], [30.0, np.nan]], equal_nan=True)
    assert aligned.anomalies["non_finite"] == 2
    assert np.array_equal(batch.numeric, before)


def test_values_outside_the_schemas_bounds_are_kept_and_counted() -> None:
    aligned = aligner(_AGE).align(by_name(age=[-1.0, 0.0, 120.0, 300.0]))
    assert aligned.X[:, 0].tolist() == [-1.0, 0.0, 120.0, 300.0]
    assert aligned.anomalies == {"out_of_bounds": 2}


@pytest.mark.parametrize("width", [1, 2, 4, 4_000])
def test_features_by_position_of_another_width_are_refused_with_both_widths(width: int) -> None:
    with pytest.raises(WidthError, match=f"{width} features by position; the reference of m has 3"):
        aligner().align(events(2, names=(), numeric=np.zeros((2, width), np.float32)))


def test_without_a_reference_nothing_is_at_fault() -> None:
    nothing = Aligner((), ())
    for batch in (events(3), events(3, names=())):
        aligned = nothing.align(batch)
        assert (aligned.X.shape, aligned.scores.shape, aligned.label.tolist()) == ((3, 0), (3, 0), [-1, -1, -1])
        assert aligned.anomalies == {}


def test_a_thousand_made_up_sets_of_names_do_not_stay_in_memory() -> None:
    one = aligner(_AGE)
    for k in range(1_000):
        one.align(events(1, names=(f"made_up_{k}",), numeric=np.zeros((1, 1), np.float32)))
    assert len(one._plans) <= 256


def test_scores_by_class_name_are_put_in_the_references_order() -> None:
    scores = np.array([[0.9, 0.1]], np.float32)
    aligned = aligner(_AGE).align(events(1, names=("age",), numeric=np.ones((1, 1), np.float32), scores=scores, score_names=("yes", "no")))
    assert aligned.scores.tolist() == scores[:, ::-1].tolist()
    assert aligned.label.tolist() == [1]


@pytest.mark.parametrize("names", [("maybe", "yes"), ("yes",), ()])
def test_scores_of_other_classes_are_left_out_and_counted(names: tuple[str, ...]) -> None:
    width = len(names) or 3
    batch = events(4, names=("age",), numeric=np.ones((4, 1), np.float32), scores=np.full((4, width), 0.5, np.float32), score_names=names)
    aligned = aligner(_AGE).align(batch)
    assert aligned.scores.shape == (4, 0)
    assert aligned.anomalies == {"wrong_scores": 4}


def test_the_answer_is_the_prediction_else_the_largest_score_else_unknown() -> None:
    scores = np.array([[0.9, 0.1], [0.2, 0.8], [np.nan, 0.5], [0.3, 0.7]], np.float32)
    prediction = Strings.of(["yes", None, None, "perhaps"])
    batch = events(4, names=("age",), numeric=np.ones((4, 1), np.float32), scores=scores, score_names=(), prediction=prediction)
    aligned = aligner(_AGE).align(batch)
    assert aligned.label.tolist() == [1, 1, -1, 1]
    assert aligned.anomalies == {"unknown_class": 1}
