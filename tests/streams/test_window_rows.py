"""A judged window's rows say what the reference expected in each bin at that time, beside what came."""

from typing import Any

import numpy as np
import pytest

from detectors.drift import DriftDetector, DriftReference, WindowCounts
from schemas.rows import FeatureWindowRow, to_arrow
from streams.window_rows import rows_of
from tests.streams.events import NS
from tests.streams.judging import PUBLISHED, Feed, judge, rows
from tests.streams.messages import partial

HOUR = 3_600


def features(reference: DriftReference, X: Any, hour: int) -> dict[str, FeatureWindowRow]:
    counts = WindowCounts(reference)
    counts.update(X, clients=np.arange(len(X)))
    span = hour * HOUR, hour * HOUR + 300
    report = DriftDetector(reference, false_pages=1, windows=8640).update(counts, span)
    window = partial(n=len(X), start_ns=span[0] * NS, end_ns=span[1] * NS, counts=counts.to_bytes())
    return {row.feature: row for row in rows_of(window, report, reference, span[1] * NS) if isinstance(row, FeatureWindowRow)}


def swinging(days: int = 14) -> DriftReference:
    """x has a day's swing, y has none."""
    rng = np.random.default_rng(1)
    at = rng.uniform(0, days * 24 * HOUR, 40_000)
    X = np.column_stack([rng.normal(1.5 * np.sin(2 * np.pi * at / (24 * HOUR))), rng.normal(size=at.size)])
    return DriftReference.fit(X, ["x", "y"], ["numeric", "numeric"], at_s=at)


def test_what_is_expected_is_that_of_the_windows_hour_where_there_is_a_season() -> None:
    reference, rng = swinging(), np.random.default_rng(2)
    assert reference.season is not None
    morning, evening = (features(reference, rng.normal((mean, 0), 1, (20_000, 2)), 480 + at) for at, mean in ((6, 1.5), (18, -1.5)))
    for found in (morning, evening):
        for row in found.values():
            assert sum(row.expected) == pytest.approx(1)
            assert len(row.expected) == len(row.cells) == len(row.cell_names)
            # ordinary traffic of the hour: the bars beside each other are of about the same height
            assert np.abs(np.cumsum(np.array(row.cells) / row.n - row.expected)).max() < 0.08
    apart = np.cumsum(np.array(morning["x"].expected) - evening["x"].expected)
    assert np.abs(apart).max() > 0.6
    assert morning["y"].expected == evening["y"].expected


def test_without_times_it_is_the_whole_reference() -> None:
    X = np.random.default_rng(3).normal(size=(1_000, 1))
    reference = DriftReference.fit(X, ["x"], ["numeric"])
    row = features(reference, X, 3)["x"]
    assert np.array(row.expected) == pytest.approx(np.array(row.cells) / 1_000)


def test_features_beyond_materiality_are_counted_and_chance_is_not() -> None:
    feed = Feed(judge())
    for number in range(20):
        feed.window(number)
    counted = [(row["features"], row["features_beyond"]) for row in rows(feed.judge, "windows")]
    assert counted == [(3, 0)] * 20
    for number in range(20, 30):
        feed.window(number, shift=1.0)
    assert [row["features_beyond"] for row in rows(feed.judge, "windows")][-1] == 3
    alone = Feed(judge(None))
    alone.window(0)
    assert rows(alone.judge, "windows")[0]["features"] == 0


def test_the_judge_writes_them_and_the_store_takes_them() -> None:
    feed = Feed(judge())
    feed.window(0)
    written = rows(feed.judge, "feature_windows")
    bins = DriftReference.from_bytes(PUBLISHED.parts["drift"])
    assert [tuple(row["cell_names"]) for row in written] == list(bins.cell_names)
    stored = to_arrow([FeatureWindowRow(**row) for row in written])
    assert [sum(one) for one in stored["expected"].to_pylist()] == pytest.approx([1] * len(bins.variables))
