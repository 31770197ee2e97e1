"""`inferwatch.sklearn`: an estimator whose answers are recorded, on real estimators."""

import copy
import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.compose import make_column_transformer
from sklearn.ensemble import IsolationForest, RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC
from sklearn.utils.validation import check_is_fitted

from inferwatch.sklearn import Watched, watch
from tests.sdk.helpers import client

RNG = np.random.default_rng(7)
X = RNG.normal(size=(80, 3))
Y = np.where(X[:, 0] + 0.1 * RNG.normal(size=80) > 0, "fraud", "ok")
FITTED = LogisticRegression().fit(X, Y)


def recorded(estimator: Any, ask: Any, **settings: Any) -> tuple[Any, list[dict[str, Any]]]:
    """What the call gave, and the events."""
    names = settings.pop("names", None)
    watching, transport = client(**settings)
    with watching:
        answer = ask(watch(estimator, watching, model="m", version="1", names=names))
    return answer, transport.events()


def test_probabilities_are_recorded_by_class_name_and_the_answer_is_the_estimators_own() -> None:
    answer, events = recorded(FITTED, lambda one: one.asked_by("alice").predict_proba(X[:2]), names=["a", "b", "c"])
    assert np.array_equal(answer, FITTED.predict_proba(X[:2]))
    assert len(events) == 2
    by_x = sorted(events, key=lambda event: event["number"])
    assert list(by_x[0]["features"]) == ["a", "b", "c"]
    assert list(by_x[0]["features"].values()) == pytest.approx(X[0])
    assert by_x[0]["scores"] == pytest.approx(dict(zip(("fraud", "ok"), answer[0], strict=True)))
    assert by_x[0]["prediction"] == max(by_x[0]["scores"], key=by_x[0]["scores"].get)
    assert by_x[0]["latency_ms"] > 0
    assert by_x[0]["client"] != "alice"
    assert len(by_x[0]["client"]) == 32


def test_predictions_of_a_classifier_are_classes_and_of_a_regressor_values() -> None:
    _, classes = recorded(FITTED, lambda one: one.predict(X[:3]))
    assert [event["prediction"] for event in classes] == FITTED.predict(X[:3]).tolist()
    assert classes[0]["scores"] is None
    regressor = LinearRegression().fit(X, X[:, :1])  # a column as target: its answers are a column too
    answer, values = recorded(regressor, lambda one: one.predict(X[:3]))
    assert answer.shape == (3, 1)
    assert [event["value"] for event in values] == pytest.approx(answer[:, 0])
    assert values[0]["prediction"] is None


def test_log_probabilities_are_recorded_as_probabilities() -> None:
    _, events = recorded(FITTED, lambda one: one.predict_log_proba(X[:1]))
    assert sum(events[0]["scores"].values()) == pytest.approx(1.0)


def test_a_tables_columns_give_names_and_kinds() -> None:
    table = pd.DataFrame(
        {
            "amount": [1.5, None, 3.0, 4.0],
            "count": pd.array([1, 2, None, 4], dtype="Int64"),
            "country": ["NO", "SE", None, "NO"],
            "kind": pd.Categorical(["a", "b", "a", "b"]),
            "new": [True, False, True, False],
        }
    )
    estimator = make_pipeline(
        make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["country", "kind"]), ("drop", ["amount", "count", "new"])),
        LogisticRegression(),
    ).fit(table, ["x", "y", "x", "y"])
    _, events = recorded(estimator, lambda one: one.predict(table))
    rows = [event["features"] for event in sorted(events, key=lambda event: event["number"])]
    assert rows[0] == {"amount": 1.5, "count": 1.0, "country": "NO", "kind": "a", "new": "true"}
    assert np.isnan(rows[1]["amount"])
    assert np.isnan(rows[2]["count"])
    assert rows[2]["country"] is None


def test_sparse_rows_and_lists_are_recorded_and_a_matrix_takes_the_names_it_was_fitted_with() -> None:
    _, sparse = recorded(FITTED, lambda one: one.predict(csr_matrix(X[:2])))
    assert sparse[0]["features"] == pytest.approx(X[0].tolist())
    _, lists = recorded(FITTED, lambda one: one.predict(X[:2].tolist()))
    assert lists[1]["features"] == pytest.approx(X[1].tolist())
    named = RandomForestClassifier(3).fit(pd.DataFrame(X, columns=["a", "b", "c"]), Y)
    with pytest.warns(UserWarning, match="feature names"):
        _, events = recorded(named, lambda one: one.predict(X[:1]))
    assert list(events[0]["features"]) == ["a", "b", "c"]


def test_values_for_each_row_stay_with_their_row_across_the_chunks_of_a_large_batch() -> None:
    n = 12_000
    rows = np.tile(X, (n // 80, 1))
    ids = [f"e{i}" for i in range(n)]
    _, events = recorded(FITTED, lambda one: one.asked_by([f"c{i % 7}" for i in range(n)], event_id=ids).predict_proba(rows))
    assert len(events) == n
    by_id = {event["event_id"]: event for event in events}
    for i in (0, 4_999, 5_000, 11_999):
        assert by_id[f"e{i}"]["features"] == pytest.approx(rows[i].tolist(), rel=1e-6)
    assert len({event["client"] for event in events}) == 7


def test_a_call_that_raises_is_one_event_with_its_status_and_still_raises() -> None:
    watching, transport = client()
    with watching, pytest.raises(ValueError, match="features"):
        watch(FITTED, watching, model="m", version="1").asked_by("alice").predict(X[:, :2])
    (event,) = transport.events()
    assert (event["status"], event["prediction"]) == ("invalid_input", None)


def test_several_outputs_are_refused_when_the_watching_begins() -> None:
    several = MultiOutputClassifier(LogisticRegression()).fit(X, np.column_stack([Y, Y[::-1]]))
    watching, _ = client()
    with watching, pytest.raises(ValueError, match="several outputs"):
        watch(several, watching, model="m", version="1")
    with pytest.raises(ValueError, match="no predict"):
        watch(StandardScaler(), watching, model="m", version="1")
    with pytest.raises(ValueError, match="version is missing"):
        watch(FITTED, watching, model="m", version="")


def test_an_answer_with_several_outputs_is_counted_and_reaches_the_caller() -> None:
    several = LinearRegression().fit(X, X[:, :2])  # says nothing of its outputs before it answers
    watching, transport = client(strict=False)
    with watching:
        answer = watch(several, watching, model="m", version="1").predict(X[:4])
    assert answer.shape == (4, 2)
    assert transport.events() == []
    assert watching.stats().dropped == {"invalid": 4}


def test_text_for_a_vectoriser_is_counted_and_answered() -> None:
    class Reader:
        def predict(self, texts: list[str]) -> list[str]:
            return ["x"] * len(texts)

    watching, _ = client(strict=False)
    with watching:
        assert watch(Reader(), watching, model="m", version="1").predict(["one", "two"]) == ["x", "x"]
    assert watching.stats().dropped == {"invalid": 2}


def test_what_is_pickled_copied_or_cloned_is_the_estimator_alone() -> None:
    watching, transport = client()
    with watching:
        watched = watch(FITTED, watching, model="m", version="1")
        for one in (pickle.loads(pickle.dumps(watched)), copy.deepcopy(watched)):
            assert type(one) is LogisticRegression
            assert np.array_equal(one.predict(X), FITTED.predict(X))
        fresh = clone(watched)
        assert type(fresh) is LogisticRegression
        assert not hasattr(fresh, "coef_")
        assert b"inferwatch" not in pickle.dumps(watched)
        cross_val_score(watched, X, Y, cv=2)
    assert transport.events() == []


def test_it_passes_for_the_estimator() -> None:
    watching, _ = client()
    with watching:
        watched = watch(FITTED, watching, model="m", version="1")
        check_is_fitted(watched)
        assert is_classifier(watched)
        assert is_regressor(watch(LinearRegression().fit(X, X[:, 0]), watching, model="m", version="1"))
        assert watched.classes_.tolist() == ["fraud", "ok"]
        assert watched.get_params() == FITTED.get_params()
        assert watched.score(X, Y) == FITTED.score(X, Y)
        assert "coef_" in dir(watched)
        assert not hasattr(watch(LinearSVC().fit(X, Y), watching, model="m", version="1"), "predict_proba")
        with pytest.raises(AttributeError, match="nonsense"):
            watched.nonsense  # noqa: B018
        assert isinstance(watched, Watched)
        assert watched.estimator is FITTED


def test_an_outlier_detector_is_recorded_by_its_verdict() -> None:
    _, events = recorded(IsolationForest(n_estimators=5, random_state=1).fit(X), lambda one: one.predict(X[:5]))
    assert {event["prediction"] for event in events} <= {"1", "-1"}


def test_redacted_columns_do_not_leave() -> None:
    _, events = recorded(FITTED, lambda one: one.predict(X[:1]), names=["a", "b", "c"], redact=["b"])
    assert list(events[0]["features"]) == ["a", "c"]


def test_a_full_queue_costs_the_caller_nothing() -> None:
    watching, transport = client(strict=False, queue_max_events=10)
    transport.reachable = False
    answer = watch(FITTED, watching, model="m", version="1").predict(X)
    assert len(answer) == 80
    assert watching.stats().dropped == {"queue_full": 80}
    watching.close(0.0)


def test_importing_inferwatch_imports_neither_integration() -> None:
    code = (
        "import sys, inferwatch; print([name for name in ('sklearn', 'fastapi', 'starlette', 'inferwatch.sklearn') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"
