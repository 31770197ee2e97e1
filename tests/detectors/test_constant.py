"""A column that varied and is at one value in a whole window, from many clients, is told; one that does so by itself is not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.constant import ConstantDetector, ConstantReport
from detectors.drift import DriftDetector, DriftReference, WindowCounts

NAMES = ["amount", "flag", "country", "rare", "fixed"]
KINDS = ["numeric", "numeric", "categorical", "numeric", "numeric"]
COUNTRIES = {"country": ["at", "ch", "de"]}
WINDOWS = 8_640


def rows(rng: np.random.Generator, n: int) -> np.ndarray:
    return np.stack(
        [rng.lognormal(3, 1, n), rng.random(n) < 0.3, rng.choice(3, n, p=[0.6, 0.3, 0.1]), rng.random(n) < 0.01, np.full(n, 7.0)], axis=1
    ).astype(np.float32)


REFERENCE = DriftReference.fit(rows(np.random.default_rng(0), 20_000), NAMES, KINDS, categories=COUNTRIES)  # type: ignore[arg-type]


class Watch:
    """A drift detector and one of constant columns, and a stream of windows for both."""

    def __init__(self, reference: DriftReference = REFERENCE, clients: int = 2_000, false_pages: float = 0.02) -> None:
        self.drift = DriftDetector(reference, false_pages=0.35, windows=WINDOWS)
        self.constant = ConstantDetector(reference, false_pages=false_pages, windows=WINDOWS)
        self.rng, self.clients = np.random.default_rng(1), clients

    def window(self, X: np.ndarray, clients: np.ndarray | None = None, **more: bool) -> ConstantReport:
        counts = WindowCounts(self.drift.reference)
        who = self.rng.integers(0, self.clients, len(X)) if clients is None else clients
        counts.update(X, clients=who.astype(np.uint64) << np.uint64(20))
        before = self.drift.ceilings(counts)
        self.drift.update(counts)
        return self.constant.update(counts, before[0], before[1], **more)

    def quiet(self, windows: int, n: int = 300) -> list[ConstantReport]:
        return [self.window(rows(self.rng, n)) for _ in range(windows)]


@pytest.mark.parametrize(
    ("column", "value", "said"), [(0, 19.5, ("amount", "19.5")), (1, 1, ("flag", "1")), (1, 0, ("flag", "0")), (2, 0, ("country", "at"))]
)
def test_a_column_at_one_value_pages_in_its_first_window_and_says_which_and_what(column: int, value: float, said: tuple[str, str]) -> None:
    watch = Watch()
    assert {report.severity for report in watch.quiet(30)} == {"none"}
    X = rows(watch.rng, 300)
    X[:, column] = value
    report = watch.window(X)
    assert (report.severity, report.opened) == ("page", True)
    assert [(one.feature, one.value) for one in report.stuck] == [said]
    assert report.stuck[0].since == 30
    assert watch.quiet(1)[0].severity == "none"


def test_missing_values_are_no_other_value_and_a_column_without_any_is_not_constant() -> None:
    watch = Watch()
    watch.quiet(30)
    X = rows(watch.rng, 300)
    X[:, 0] = np.where(watch.rng.random(300) < 0.5, np.nan, 19.5)
    assert [one.feature for one in watch.window(X).stuck] == ["amount"]
    X[:, 0] = np.nan
    assert [one.feature for one in watch.window(X).stuck] == ["amount"] * 0


@pytest.mark.parametrize("other", [19.4, 19.6])
def test_a_few_other_values_in_the_same_bin_are_no_constant(other: float) -> None:
    watch = Watch()
    watch.quiet(30)
    X = rows(watch.rng, 300)
    X[:, 0], X[:3, 0] = 19.5, other
    assert watch.window(X).stuck == ()


def test_what_one_client_or_two_send_is_not_the_services_column() -> None:
    for busy in (1, 2):
        watch = Watch(clients=40)
        watch.quiet(60)
        X = rows(watch.rng, 300)
        X[:, 0] = 19.5
        assert watch.window(X, watch.rng.integers(0, busy, 300)).severity == "none"
        assert watch.window(X).severity == "page"


def test_a_column_that_is_usual_or_varies_between_windows_only_is_no_news() -> None:
    hours = rows(np.random.default_rng(3), 20_000)
    hours[:, 1] = np.arange(20_000) % 24
    watch = Watch(DriftReference.fit(hours, NAMES, KINDS, categories=COUNTRIES))  # type: ignore[arg-type]
    for k in range(200):
        X = rows(watch.rng, 300)
        X[:, 1], X[:, 3] = k // 12 % 24, 0
        assert watch.window(X).severity == "none"


def test_quiet_streams_of_few_events_and_few_clients_keep_the_budget() -> None:
    for clients, n in ((3, 10), (12, 20), (2_000, 6)):
        watch = Watch(clients=clients, false_pages=0.2)
        assert sum(report.opened for report in watch.quiet(1_500, n)) == 0


def test_the_bet_is_fair_at_the_edge_of_the_tolerance() -> None:
    """Two values of equal share, windows of w = 4: the mean of e = 1{stuck} / P is 1 at most, and near it at the edge."""
    X = np.tile(np.array([[0.0], [1.0]], np.float32), (5_000, 1))
    reference = DriftReference.fit(X, ["x"], ["numeric"])
    rng, e = np.random.default_rng(2), []
    for _ in range(4_000):
        constant = ConstantDetector(reference, false_pages=1, windows=WINDOWS)
        constant.learned = 100
        counts = WindowCounts(reference)
        counts.update((rng.random((4, 1)) < 0.5).astype(np.float32))
        constant.update(counts, np.where(reference.counts > 0, 0.5, 1e-12), np.array([4.0]))
        e.append(np.exp(constant.sr.log_r[0]))
    assert np.mean(e) == pytest.approx(1.0, abs=3 * np.std(e) / len(e) ** 0.5)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=40), st.integers(1, 5))
def test_parts_that_are_added_say_the_same(values: list[int], parts: int) -> None:
    X = np.full((len(values), 5), np.nan, np.float32)
    X[:, 0] = np.array([19.5, 19.5, 3.0, np.nan], np.float32)[values]
    who = np.arange(len(values), dtype=np.uint64) << np.uint64(33)
    whole, added = WindowCounts(REFERENCE), WindowCounts(REFERENCE)
    whole.update(X, clients=who)
    for k in range(parts):
        part = WindowCounts(REFERENCE)
        part.update(X[k::parts], clients=who[k::parts])
        added.merge(part)
    most, worth = np.full(REFERENCE.n_cells, 0.5), np.full(len(NAMES), 30.0)
    said = []
    for counts in (whole, added):
        constant = ConstantDetector(REFERENCE, false_pages=0.02, windows=WINDOWS)
        constant.learned = 100
        said.append(constant.update(counts, most, worth))
    assert said[0] == said[1]
    distinct = {float(x) for x in X[:, 0] if not np.isnan(x)}
    assert (said[0].stuck != ()) == (len(distinct) == 1)


def test_without_the_right_to_page_it_is_a_ticket_and_a_snapshot_goes_on() -> None:
    watch, again = Watch(), Watch()
    watch.quiet(30)
    again.drift.restore(watch.drift.snapshot())
    again.constant.restore(watch.constant.snapshot())
    X = rows(watch.rng, 300)
    X[:, 0] = 19.5
    who = np.arange(300) % 150
    first = watch.window(X, who, may_page=False)
    assert first.severity == "ticket"
    assert again.window(X, who, may_page=False) == first
    assert again.window(X, who).opened == watch.window(X, who).opened is True
