"""The sentence of a page says what happened, to whom, how sure we are and how big it is."""

from typing import Any

import numpy as np
import pytest

from detectors.drift import DriftDetector, DriftReference, WindowCounts
from detectors.quality import QualityReport
from streams import pages
from streams.pages import finding as sentence
from tests.streams.messages import finding


@pytest.mark.parametrize("family", ["extraction", "evasion", "membership", "cost"])
def test_a_finding_names_the_client_the_deed_the_evidence_and_the_events(family: str) -> None:
    text = sentence(finding(family=family, client="mallory", n_events=12_345, log_evidence=17.25))
    assert text.startswith("Client mallory ")
    assert "e^17.2 after 12,345 events on m 1." in text


def test_evidence_of_several_kinds_at_once_is_given_no_name_of_one() -> None:
    assert ": evidence e^20.0 after" in sentence(finding(family="membership", statistic=""))


def test_names_of_any_length_leave_a_sentence_that_can_be_read() -> None:
    assert len(sentence(finding(client="c" * 256, model="m" * 256, version="v" * 256))) < 1_000


def test_each_family_has_words_of_its_own() -> None:
    assert len({sentence(finding(family=family)) for family in ("extraction", "evasion", "membership", "cost")}) == 4


@pytest.mark.parametrize(("looks_like", "words"), [("explainer", "one row mixed with others"), ("sensitivity", "up and down")])
def test_an_explainer_is_called_one(looks_like: str, words: str) -> None:
    assert words in sentence(finding(evidence={"looks_like": looks_like}))
    assert "Looks like" not in sentence(finding())


def test_a_pooled_finding_counts_its_clients() -> None:
    assert sentence(finding(client="", clients=["a", "b", "c"])).startswith("3 clients together ")


def test_drift_names_the_variable_its_size_and_the_window() -> None:
    rng = np.random.default_rng(0)
    reference = DriftReference.fit(rng.normal(size=(2_000, 2)), ["age", "income"], ["numeric", "numeric"])
    detector, report = DriftDetector(reference, false_pages=1, windows=8640), None
    for window in range(4):
        leaf = WindowCounts(reference)
        leaf.update(rng.normal([0.0, 2.0 * (window > 0)], 1.0, size=(500, 2)), clients=rng.integers(0, 10**6, 500))
        report = detector.update(leaf)
    assert report is not None
    text = pages.drift(report, "fraud", "7")
    assert "income" in text
    assert "fraud 7" in text
    assert "PSI" in text
    assert "500 events in the window" in text


def test_features_that_no_longer_go_together_are_a_sentence_of_their_own() -> None:
    rng = np.random.default_rng(0)
    reference = DriftReference.fit(rng.normal(size=(20_000, 3)), ["age", "income", "zip"], ["numeric"] * 3)
    detector, report = DriftDetector(reference, false_pages=1, windows=8640), None
    for _ in range(14):
        rows = rng.normal(size=(500, 3))
        rows[:, 1] = 0.8 * rows[:, 0] + 0.6 * rows[:, 1]
        leaf = WindowCounts(reference)
        leaf.update(rows, clients=rng.integers(0, 10**6, 500))
        report = detector.update(leaf)
    assert report is not None
    assert report.jointly
    text = pages.drift(report, "fraud", "7")
    assert text.startswith("age and income of fraud 7 no longer go together as in the reference")
    assert "medians in 50% -> " in text
    assert "500 events in the window" in text


def test_rows_that_changed_as_a_whole_are_a_sentence_of_their_own() -> None:
    rng = np.random.default_rng(0)
    names = ["age", "income", "rate"]
    reference = DriftReference.fit(rng.normal(size=(20_000, 3)), names, ["numeric"] * 3)
    detector, report = DriftDetector(reference, false_pages=1, windows=8640), None
    for window in range(16):
        X = rng.normal(size=(500, 3))
        if window >= 12:
            X[:, 2] = np.abs(X[:, 2]) * np.sign(X[:, 0] * X[:, 1])
        leaf = WindowCounts(reference)
        leaf.update(X, clients=rng.integers(0, 10**6, 500))
        report = detector.update(leaf)
    assert report is not None
    assert report.shift is not None
    text = pages.drift(report, "fraud", "7")
    assert text.startswith("The features of fraud 7 no longer go together as in the reference, beyond what each, or two of them, do alone")
    assert "sd off" in text
    assert all(name in text for name in names)


@pytest.mark.parametrize(
    ("change", "said"),
    [("missing", "changed in how often it is missing"), ("up", "moved up"), ("down", "moved down"), ("shape", "changed shape"),
     ("unseen", "took values that the reference does not have"), ("mix", "changed its mix")],
)  # fmt: skip
def test_every_kind_of_drift_is_a_sentence(change: str, said: str) -> None:
    rng = np.random.default_rng(0)
    categorical = change in ("unseen", "mix")
    name = "x" * 256
    ordinary = rng.integers(0, 3, (2_000, 1)).astype(np.float32) if categorical else rng.normal(size=(2_000, 1))
    known = {name: ("a", "b", "c")} if categorical else {}
    reference = DriftReference.fit(ordinary, [name], ["categorical" if categorical else "numeric"], categories=known)
    detector, report = DriftDetector(reference, false_pages=1, windows=8640), None
    for window in range(6):
        X = ordinary[rng.integers(0, 2_000, 500)].astype(np.float32)
        if window:
            half = np.arange(500) < 250
            moved: Any = {"missing": np.nan, "up": X[:, 0] + 2, "down": X[:, 0] - 2, "shape": 0.1 * X[:, 0], "unseen": 3.0, "mix": 1.0}[
                change
            ]
            X[:, 0] = np.where(half | (change in ("up", "down", "shape")), moved, X[:, 0])
        leaf = WindowCounts(reference)
        leaf.update(X, clients=rng.integers(0, 10**6, 500))
        report = detector.update(leaf)
    assert report is not None
    text = pages.drift(report, "m" * 256, "7")
    assert said in text
    assert len(text) < 1_000


def test_a_regressions_answers_beyond_32_bits_are_counted_and_no_error() -> None:
    rng = np.random.default_rng(0)
    X, value = rng.normal(size=(500, 1)), np.where(np.arange(500) < 250, 1e300, rng.normal(size=500))
    reference = DriftReference.fit(X, ["x"], ["numeric"], value=value)
    leaf = WindowCounts(reference)
    leaf.update(X, value=value)
    assert leaf.n == 500


def test_a_fault_whose_name_says_too_little_is_explained() -> None:
    report = QualityReport(
        3, 900, "page", True, 20.0, 10.8, {"clock": 812.0, "missing": 5.0}, {"clock": 0.0, "missing": 1.0}, ("clock", "missing"), 2
    )
    assert pages.quality(report, "m", "1").endswith(
        "reach m 1: clock (a time too far from the broker's) 812 per 10,000 events (usually 0), missing 5 per 10,000 events (usually 1)."
    )
