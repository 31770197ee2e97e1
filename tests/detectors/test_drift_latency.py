"""Latency is compared with the reference like scores and classes are; it opens a ticket and never a page."""

from typing import Any

import numpy as np
import pytest

from detectors.drift import DriftDetector, DriftReference, WindowCounts
from detectors.drift.report import DriftReport

NAMES, KINDS = ["x", "y"], ["numeric", "numeric"]


def rows(seed: Any, n: int, *, slower: float = 1.0, shift: float = 0.0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    X = rng.normal(shift, 1.0, (n, 2)).astype(np.float32)
    return {"X": X, "latency": slower * 20.0 * np.exp(0.5 * rng.normal(size=n)), "label": (X[:, 0] > 0).astype(int)}


def fitted(**given: Any) -> DriftReference:
    one = rows(1, 20_000)
    one.pop("latency") if given.get("latency", 0) is None else None
    one |= {name: value for name, value in given.items() if value is not None}
    return DriftReference.fit(one.pop("X"), NAMES, KINDS, classes=["no", "yes"], **one)  # type: ignore[arg-type]


def counted(reference: DriftReference, window: Any, n: int = 500, **how: float) -> WindowCounts:
    counts = WindowCounts(reference)
    counts.update(**rows([7, window], n, **how), clients=np.random.default_rng([8, window]).integers(0, 400, n))
    return counts


def judged(reference: DriftReference, windows: int, **how: float) -> list[DriftReport]:
    detector = DriftDetector(reference, false_pages=0.35, windows=8_640)
    return [detector.update(counted(reference, k, 500, **(how if k >= 30 else {}))) for k in range(windows)]


def test_it_is_the_last_variable_and_counted_with_the_others() -> None:
    reference = fitted()
    assert reference.variables == ("x", "y", "class", "latency")
    assert reference.has_latency
    counts = counted(reference, 0)
    mine = slice(int(reference.starts[3]), int(reference.starts[4]))
    given = rows([7, 0], 500)["latency"].astype(np.float32)
    inside = np.searchsorted(reference.edges[3, : reference.n_edges[3]], given, side="left")
    assert counts.cells[mine].tolist() == np.bincount(inside, minlength=mine.stop - mine.start).tolist()


def test_parts_of_a_window_add_up_and_events_without_latency_are_missing() -> None:
    reference, whole = fitted(), counted(fitted(), 3)
    one, other, given = WindowCounts(reference), WindowCounts(reference), rows([7, 3], 500)
    clients = np.random.default_rng([8, 3]).integers(0, 400, 500)
    for part, half in ((one, slice(0, 200)), (other, slice(200, 500))):
        part.update(**{name: column[half] for name, column in given.items()}, clients=clients[half])
    one.merge(other)
    assert one.cells.tolist() == whole.cells.tolist()
    without = WindowCounts(reference)
    without.update(given["X"], label=given["label"])
    assert without.cells[-1] == 500


def test_a_reference_without_latency_is_as_before() -> None:
    reference = fitted(latency=None)
    assert reference.variables == ("x", "y", "class")
    counts = WindowCounts(reference)
    counts.update(**rows(2, 100))  # what nobody compares is not counted
    assert counts.cells.sum() == 300
    again = DriftReference.from_bytes(reference.to_bytes())
    assert not again.has_latency
    assert DriftReference.from_bytes(fitted().to_bytes()).has_latency


def test_slower_answers_are_a_ticket_and_no_page_however_slow_and_long() -> None:
    reports = judged(fitted(), 400, slower=3.0)
    assert {one.latency for one in reports[:30]} == {"none"}
    assert reports[31].latency == "ticket"
    assert {one.latency for one in reports[40:]} == {"ticket"}
    assert {one.severity for one in reports} == {"none"}
    moved = reports[-1].variables[-1]
    assert (moved.name, moved.direction) == ("latency", "up")
    assert moved.quantiles
    assert 28 <= moved.since <= 32


def test_what_load_moves_is_no_news_and_a_third_is() -> None:
    assert {one.latency for one in judged(fitted(), 400, slower=1.05)} == {"none"}
    assert "ticket" in {one.latency for one in judged(fitted(), 90, slower=1.35)}


def test_slow_answers_neither_hide_nor_hold_a_page_of_a_feature() -> None:
    reference = fitted()
    plain, slow = (DriftDetector(one, false_pages=0.35, windows=8_640) for one in (fitted(latency=None), reference))
    opened: dict[str, list[int]] = {"plain": [], "slow": []}
    still = {"plain": 0, "slow": 0}
    for k in range(200):
        moved = {"shift": 0.5} if 60 <= k < 90 else {}
        for name, detector, how in (("plain", plain, moved), ("slow", slow, moved | {"slower": 3.0})):
            report = detector.update(counted(detector.reference, k, 500, **how))
            opened[name] += [k] if report.opened else []
            still[name] += report.severity == "page"
            assert "latency" not in report.leading
    assert opened["plain"] == opened["slow"]
    assert len(opened["slow"]) == 1
    assert abs(still["plain"] - still["slow"]) <= 2  # the limits of more cells are a little wider


def test_no_ticket_of_latency_in_a_quiet_month() -> None:
    reference = fitted()
    detector = DriftDetector(reference, false_pages=0.35, windows=8_640, latency_materiality=0.0, materiality=0.0)
    for k in range(2_000):
        detector.step(counted(reference, k, 100))
        assert detector.latency is not None
        assert detector.latency.severity == "none"


def test_a_snapshot_goes_on_bit_for_bit() -> None:
    reference = fitted()
    detector, other = (DriftDetector(reference, false_pages=0.35, windows=8_640) for _ in range(2))
    for k in range(5):
        detector.update(counted(reference, k, slower=1.2))
    other.restore(detector.snapshot())
    for k in range(5, 12):
        assert detector.update(counted(reference, k, slower=1.2)) == other.update(counted(reference, k, slower=1.2))


def test_a_feature_of_that_name_is_a_feature() -> None:
    with pytest.raises(ValueError, match="distinct"):
        DriftReference.fit(np.zeros((300, 1)), ["latency"], ["numeric"], latency=np.ones(300))
    assert not DriftReference.fit(np.arange(300.0)[:, None], ["latency"], ["numeric"]).has_latency
