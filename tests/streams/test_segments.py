"""Parts of the traffic are counted apart, as many as there is room for, and a page says in which of them something happens."""

from typing import Any

import msgspec
import numpy as np
import pytest

from detectors.drift import DriftReference, WindowCounts
from inferwatch import EventColumns, Strings
from schemas import windows
from schemas.windows import WindowPartial
from streams.judge import Judge
from streams.objectives import objectives
from streams.page_text import LONGEST, PageText
from streams.segments import SegmentCounter
from streams.settings import Settings, SettingsError, load
from streams.shard import Shard
from tests.streams.events import NS, START, events, record, reference, settings
from tests.streams.judging import PUBLISHED, alerts, judge, rows
from tests.streams.messages import partial
from tests.streams.test_shard import partials, shard_with

BINS = DriftReference.from_bytes(PUBLISHED.parts["drift"])


def batch(sources: list[str], number: int, **given: Any) -> EventColumns:
    rng = np.random.default_rng(number)
    names = [sources[k] for k in rng.integers(0, len(sources), 300)]
    return events(300, seed=number, start_s=75.0 * number, rate=4, number=300 * number, source=Strings.of(names), clients=40, **given)


def shard(**drift: Any) -> Shard:
    return shard_with(PUBLISHED, drift=drift)


def fed(to: Shard, sources: list[str], batches: int = 8) -> list[WindowPartial]:
    for number in range(batches):
        to.apply(record(batch(sources, number), number))
    to.finish()
    return partials(to)


def test_segments_add_up_to_the_whole_and_nothing_is_counted_unasked() -> None:
    closed = fed(shard(segments=("source",), segments_most=8), ["app", "web", "api"])
    assert len(closed) >= 2
    for window in closed:
        assert set(window.segments) == {"source=app", "source=web", "source=api"}
        total = WindowCounts(BINS, together=False)
        for blob in window.segments.values():
            total.merge(WindowCounts.from_bytes(blob, BINS))
        assert total.to_bytes() == WindowCounts.from_bytes(window.counts, BINS, together=False).to_bytes()
        assert window.segments_other == {}
    assert all(not window.segments for window in fed(shard(), ["app", "web", "api"]))


def test_values_beyond_the_bound_are_counted_together_and_the_busy_ones_are_followed() -> None:
    made_up = [f"x{k}" for k in range(200)]
    # made-up names come first and fill the places; the real ones get them
    to = shard(segments=("source", "service"), segments_most=2)
    to.apply(record(batch(made_up, 0), 0))
    for number in range(1, 24):
        to.apply(record(batch(["app"] * 60 + ["web"] * 40 + made_up[:20], number), number))
    to.finish()
    last = partials(to)[-1]
    assert set(last.segments) == {"source=app", "source=web", "service=shop"}
    followed = sum(WindowCounts.from_bytes(last.segments[name], BINS).n for name in ("source=app", "source=web"))
    assert followed + last.segments_other["source"] == last.n
    assert 0 < last.segments_other["source"] < 0.3 * last.n


def test_a_restored_shard_counts_segments_as_if_nothing_had_happened() -> None:
    given: dict[str, Any] = {"segments": ("source",), "segments_most": 2}
    whole, first = shard(**given), shard(**given)
    for number in range(8):
        one = record(batch(["app", "web", "api", "bot"], number), number)
        whole.apply(one)
        if number in (3, 6):
            blob = first.snapshot()
            first = shard(**given)
            first.restore(blob)
        first.apply(one)
    whole.finish()
    first.finish()
    assert [msgspec.msgpack.encode(out) for out in whole.outbox] == [msgspec.msgpack.encode(out) for out in first.outbox]


def test_a_field_that_no_event_has_counts_all_as_other() -> None:
    window = fed(shard(segments=("region",)), ["app"])[0]
    assert (window.segments, window.segments_other) == ({}, {"region": window.n})


def part(window: int, seed: int, n: int, shift: float) -> bytes:
    """Ordinary events of a segment with a mean of its own, shifted or not."""
    rng = np.random.default_rng([seed, window])
    leaf = WindowCounts(BINS)
    X = rng.normal(0.3 * seed, 1.0, size=(n, 3)) + shift
    p = 1 / (1 + np.exp(-X[:, 0] - 0.5 * X[:, 1]))
    leaf.update(X, np.stack([1 - p, p], 1), (p > 0.5).astype(int), clients=rng.integers(1, 2**62, n))
    return leaf.to_bytes(dense=True)


def test_drift_in_one_segment_alone_is_one_page_that_names_it_also_over_a_restart() -> None:
    hour = 3_600 * NS

    def fresh() -> Judge:
        return judge(window={"length_s": 3_600.0}, drift={"segments": ("source",), "segments_most": 3})

    of, change = fresh(), 64
    for number in range(change + 6):
        if number in (10, 50, 66):
            blob = of.snapshot()
            of = fresh()
            of.restore(blob)
        shifts = {"app": 0.0, "web": 1.0 * (number >= change)}
        segments = {f"source={name}": part(number, seed, 100, shift) for seed, (name, shift) in enumerate(shifts.items())}
        start = START + number * hour
        share = partial(published=PUBLISHED, window=number, n=2_000, segments=segments, start_ns=start, end_ns=start + hour)
        of.partial(share, share.end_ns)
        of.tick(share.end_ns + 11 * NS)
        assert number >= change or not alerts(of)
    told = [alert for alert in alerts(of) if alert.severity == "page"]
    assert len(told) == 1
    alert = told[0]
    assert alert.summary.startswith("Only where source=web (5% of the events): ")
    assert alert.evidence["segments"][0]["segment"] == "source=web"
    assert {one["segment"] for one in alert.evidence["segments"]} == {"source=web"}
    text = PageText(Settings()).text(alert)
    assert "source=web" in text
    line = alert.evidence["log_page"]
    assert abs(line - objectives(settings(drift={"segments": ("source",)})).ln_page_drift) > 0.2, "its line is its own"
    assert f"Sure: evidence e^{alert.log_evidence:.1f}; a page takes e^{line:.1f}, so that" in text
    assert f"Size: {alert.n_events:,} events." in text
    assert alert.n_events == 100, "the segment's events, not the window's 2,000"
    assert len(text) <= LONGEST


def test_segments_of_another_reference_or_damaged_are_not_judged() -> None:
    of = judge(drift={"segments": ("source",)})
    damaged = partial(published=PUBLISHED, n=10, segments={"source=a": b"rubbish"})
    with pytest.raises(ValueError, match=r"not a drift\.counts"):
        of.partial(damaged, damaged.end_ns)
    other = reference(seed=9)
    share = partial(published=other, n=10, segments={"source=a": b"of whatever bins"})
    of.partial(share, share.end_ns)
    of.tick(share.end_ns + 11 * NS)
    assert rows(of, "windows")


def test_partitions_add_their_segments() -> None:
    of = judge(drift={"segments": ("source",)})
    for k in range(2):
        segments = {"source=app": part(0, 1, 50 * (k + 1), 0.0), f"source=only{k}": part(0, 2, 10, 0.0)}
        share = partial(published=PUBLISHED, n=100, partition=k, segments=segments)
        of.partial(windows.decode_partial(windows.encode(share)), share.end_ns)
    model = of._models["m", "1"]
    held = model._windows[START].partial
    assert WindowCounts.from_bytes(held.segments["source=app"], BINS).n == 150
    assert set(held.segments) == {"source=app", "source=only0", "source=only1"}


def test_a_shard_remembers_a_bounded_number_of_values() -> None:
    counter = SegmentCounter(["source"], 4)
    rng = np.random.default_rng(1)
    for _ in range(50):
        values = [f"v{k}" for k in rng.integers(0, 10**9, 300)]
        counter._places("source", np.arange(300), values)
        counter.close()
    assert len(counter._traffic["source"]) <= 16
    assert len(counter._followed["source"]) == 4


def test_more_fields_than_two_are_refused_with_a_reason() -> None:
    assert load(None, {"INFERWATCH_DRIFT_SEGMENTS": "service, region"}).drift.segments == ("service", "region")
    with pytest.raises(SettingsError, match=r"drift\.segments: a, b, c are 3 fields, at most 2"):
        load(None, {"INFERWATCH_DRIFT_SEGMENTS": "a,b,c"})


@pytest.mark.parametrize("fields", [(), ("source",), ("source", "service")])
def test_the_line_that_the_views_draw_is_where_the_judge_pages(fields: tuple[str, ...]) -> None:
    of = judge(drift={"segments": fields})
    share = partial(published=PUBLISHED, n=100)
    of.partial(share, share.end_ns)
    drift = of._models["m", "1"]._drift.detector
    assert drift is not None
    assert objectives(settings(drift={"segments": fields})).ln_page_drift == pytest.approx(drift.sr.log_page, abs=1e-9)
