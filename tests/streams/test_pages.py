"""The sentence of a page says what happened, to whom, how sure we are and how big it is."""

import numpy as np
import pytest

from detectors.drift import DriftDetector, DriftReference, WindowCounts
from streams import pages
from streams.pages import finding as sentence
from tests.streams.messages import finding


@pytest.mark.parametrize("family", ["extraction", "evasion", "membership", "cost"])
def test_a_finding_names_the_client_the_deed_the_evidence_and_the_events(family: str) -> None:
    text = sentence(finding(family=family, client="mallory", n_events=12_345, log_evidence=17.25))
    assert text.startswith("Client mallory ")
    assert "e^17.2 after 12,345 events on m 1." in text


def test_each_family_has_words_of_its_own() -> None:
    assert len({sentence(finding(family=family)) for family in ("extraction", "evasion", "membership", "cost")}) == 4


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
