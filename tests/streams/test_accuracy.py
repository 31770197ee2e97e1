"""From labels to alerts and rows: a model that got worse is paged once, with figures; one without true classes gets tickets only."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import msgspec
import numpy as np
import pytest

from detectors.accuracy import AccuracyReference
from schemas.alerts import Alert
from schemas.reference import Feature, Reference
from streams.build import Rows, build
from tests.streams.events import KEY, NAMES, NS, START, events, settings
from tests.streams.labelling import LENGTH, PUBLISHED, Pair, label, truths

ERROR = AccuracyReference.from_bytes(PUBLISHED.parts["accuracy"]).rate


def alerts(pair: Pair) -> list[Alert]:
    return [msgspec.json.decode(out.value, type=Alert) for out in pair.judge.outbox if out.to == "alerts"]


def accuracy_alerts(pair: Pair) -> list[Alert]:
    return [alert for alert in alerts(pair) if alert.detector in ("accuracy", "concept")]


class Service:
    """Windows of events whose labels come a little later. The truth follows the scores until somebody turns it."""

    def __init__(self, **given: Any) -> None:
        self.pair = Pair(**given)
        self.window = 0

    def play(self, windows: int, wrong: float | None = None, n: int = 200) -> None:
        pair = self.pair
        for _ in range(windows):
            seed = self.window
            batch = events(n, seed=seed, start_s=300.0 * seed, rate=n / 300, number=n * seed)
            pair.events(batch)
            pair.now = START + (seed + 1) * LENGTH + 20 * NS
            pair.close_windows()
            assert batch.scores is not None
            if wrong is None:
                rng = np.random.default_rng([seed, 1])
                told = ["yes" if x else "no" for x in (rng.random(n) < batch.scores[:, 1]).tolist()]
            else:
                told = truths(batch, seed, wrong)
            pair.labels(*(label(n * seed + k, truth) for k, truth in enumerate(told)))
            pair.tick(1.0)
            self.window += 1


def test_a_model_that_is_as_good_as_its_reference_opens_nothing() -> None:
    service = Service()
    service.play(40)
    assert accuracy_alerts(service.pair) == []


def test_a_model_that_got_worse_is_ticketed_then_paged_and_the_page_says_how_much_and_since_when() -> None:
    service = Service()
    service.play(12)
    service.play(8, wrong=0.6)
    found = [alert for alert in accuracy_alerts(service.pair) if alert.detector == "accuracy"]
    assert [alert.severity for alert in found] == ["ticket", "page"]
    page = found[-1]
    assert page.alertname == "InferwatchAccuracy"
    assert page.evidence["rate"] > 0.5
    assert page.evidence["usual"] == pytest.approx(ERROR)
    assert page.evidence["labels"] >= 200
    assert "wrong more often than its reference" in page.summary
    assert len(page.summary) < 400
    assert page.evidence["status"] == "calibrated"
    assert abs(page.evidence["adwin_since_ns"] - (START + 12 * LENGTH)) <= 2 * LENGTH
    (concept, *_) = (alert for alert in accuracy_alerts(service.pair) if alert.detector == "concept")
    assert (concept.severity, concept.alertname, concept.evidence["direction"]) == ("ticket", "InferwatchConceptShift", "worse")
    assert concept.evidence["promised"] < 0.45 < concept.evidence["rate"]


def test_an_alert_stands_while_no_labels_come_and_is_over_when_they_are_good_again() -> None:
    service = Service()
    service.play(5)
    service.play(6, wrong=0.7)
    pair = service.pair
    for _ in range(60):
        pair.tick(300.0)
    assert {alert.state for alert in accuracy_alerts(pair)} == {"firing"}, "no labels are no recovery"
    service.window += 60
    service.play(60, wrong=0.05)
    states = [alert.state for alert in accuracy_alerts(pair) if alert.detector == "accuracy"]
    assert states == ["firing", "firing", "resolved"]
    pair.tick(3 * 86_400.0)


def test_an_alert_ends_when_no_labels_have_come_for_two_days() -> None:
    service = Service()
    service.play(5)
    service.play(6, wrong=0.7)
    for _ in range(700):
        service.pair.tick(300.0)
    assert accuracy_alerts(service.pair)[-1].state == "resolved"


def test_a_model_without_true_classes_is_compared_with_its_own_first_labels_and_gets_tickets() -> None:
    parts = {name: part for name, part in PUBLISHED.parts.items() if name != "accuracy"}
    service = Service(published=msgspec.structs.replace(PUBLISHED, parts=parts))
    service.play(4, wrong=0.1)
    assert service.pair.rows("accuracy_estimates") == [], "nothing can be promised before labels came"
    service.play(4, wrong=0.1)
    assert accuracy_alerts(service.pair) == []
    service.play(12, wrong=0.6)
    found = [alert for alert in accuracy_alerts(service.pair) if alert.detector == "accuracy"]
    assert {alert.severity for alert in found} == {"ticket"}
    assert "own first 1,000 labels" in found[0].evidence["status"]
    assert service.pair.rows("accuracy_estimates")
    service.pair.restart()


def test_another_reference_begins_anew_and_keeps_the_answers() -> None:
    service = Service()
    service.play(6, wrong=0.7)
    pair = service.pair
    batch = events(100, seed=99, start_s=300.0 * 6, number=10_000)
    pair.events(batch)
    pair.close_windows()
    before = len(accuracy_alerts(pair))
    parts = PUBLISHED.parts | {"accuracy": AccuracyReference(np.full(32, 40), np.full(32, 30)).to_bytes()}
    pair.references.put(msgspec.structs.replace(PUBLISHED, parts=parts))
    pair.labels(*(label(10_000 + k) for k in range(100)))
    joined = pair.fates()["joined"]
    pair.tick()
    assert pair.fates()["joined"] == joined + 100
    service.window += 1
    service.play(4, wrong=0.7)
    assert [alert for alert in accuracy_alerts(pair)[before:] if alert.state == "firing"] == []


def test_the_estimate_of_a_window_is_told_when_its_partitions_had_their_time_and_again_when_more_came() -> None:
    pair = Pair(2)
    pair.events(events(300, rate=1.0), 0)
    pair.now = START + LENGTH
    pair.close_windows()
    pair.tick(5.0)
    assert pair.rows("accuracy_estimates") == []
    pair.tick(6.0)
    (row,) = pair.rows("accuracy_estimates")
    assert (row["n"], row["unscored"]) == (300, 0)
    assert row["low"] < row["accuracy"] < row["high"]
    assert row["accuracy"] == pytest.approx(1 - ERROR, abs=0.07)
    pair.events(events(100, rate=1.0, number=300, instance="two"), 1)
    pair.close_windows()
    pair.tick(1.0)
    first, second = pair.rows("accuracy_estimates")
    assert first["start"] == second["start"]
    assert (first["n"], second["n"], first["revision"] < second["revision"]) == (300, 400, True)


def test_answers_without_probabilities_have_no_estimate() -> None:
    pair = Pair()
    scores = np.full((50, 2), np.nan, np.float32)
    pair.events(events(50, scores=scores))
    pair.close_windows()
    pair.tick(400.0)
    assert pair.rows("accuracy_estimates") == []


def test_nothing_is_remembered_where_the_owner_says_so() -> None:
    pair = Pair(labels={"events": 0})
    pair.events(events(50))
    pair.close_windows()
    pair.labels(label(1))
    pair.tick(400.0)
    assert pair.shards[0].counters().get("outcomes", 0) == 0
    assert pair.rows("accuracy_estimates") == []


def test_many_windows_of_events_in_one_window_of_arrival_are_told_in_parts_that_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.accuracy._MAX_CELLS", 20)
    pair = Pair()
    pair.now = START + 200 * LENGTH
    for k in range(100):
        pair.events(events(2, start_s=300.0 * k, number=2 * k))
    pair.close_windows()
    for k in range(200):
        pair.labels(label(k))
        pair.tick(0.1)
    pair.tick(LENGTH / NS)
    written = pair.rows("accuracy_windows")
    assert sum(row["n"] for row in written) == 200
    keys = [(row["start"], row["delay"], row["part"]) for row in written]
    assert len(set(keys)) == len(keys)
    assert max(row["part"] for row in written) >= 4


def test_the_membership_gauge_is_told_once_a_day_with_live_rows_as_non_members() -> None:
    service = Service()
    service.play(10)
    pair = service.pair
    pair.restart()
    pair.tick(LENGTH / NS)
    fitted, live = pair.rows("membership_gauge")
    assert (fitted["source"], live["source"]) == ("reference", "live")
    assert fitted["members"] == live["members"] == 1_000
    assert 0 < live["non_members"] <= 2_000 == pair.fates()["joined"]
    # nobody was learnt by heart here, so neither tells members from others
    for row in (fitted, live):
        assert row["balanced_accuracy_low"] < 0.5 < row["balanced_accuracy_high"]
    service.window += 290
    service.play(3)
    assert len(pair.rows("membership_gauge")) == 4
    assert len({row["at"] for row in pair.rows("membership_gauge")}) == 2


@cache
def leaky() -> Reference:
    """A model that learnt its training rows by heart."""
    rng = np.random.default_rng(3)
    X = rng.normal(size=(2_000, 3)).astype(np.float32)
    p = 1 / (1 + np.exp(-X[:, 0] - 0.5 * X[:, 1]))
    y, member = (rng.random(2_000) < p).astype(np.int32), np.arange(2_000) < 1_000
    p = np.where(member, np.where(y == 1, 0.99, 0.01), p)
    features = tuple(Feature(name=name, low=-10.0, high=10.0) for name in NAMES)
    rows = Rows(features=features, X=X, scores=np.stack([1 - p, p], 1).astype(np.float32), classes=("no", "yes"), y=y, member=member)
    return build("m", "1", rows, membership_key=KEY, built_at_ns=0).reference


def leaks(**levels: float) -> list[tuple[str, str]]:
    service = Service(published=leaky(), membership={"key": KEY.decode()} | levels)
    service.play(10)
    return [(alert.severity, alert.state) for alert in alerts(service.pair) if alert.detector == "leakage"]


@pytest.mark.parametrize(
    ("levels", "severity"),
    [
        ({}, ""),
        ({"warn_advantage": 0.3}, "ticket"),
        ({"warn_advantage": 0.3, "act_advantage": 0.5}, "page"),
        ({"act_advantage": 0.99}, ""),
        ({"warn_tpr_1pct": 0.2, "act_tpr_1pct": 0.999}, "ticket"),
    ],
)
def test_a_model_that_gives_training_rows_away_is_told_from_its_owners_levels_on(levels: dict[str, float], severity: str) -> None:
    assert leaks(**levels) == ([(severity, "firing")] if severity else [])


def test_chance_is_no_leak_and_a_leak_stands_while_labels_come_and_is_over_two_days_after_the_last() -> None:
    low = {"warn_advantage": 0.001, "warn_tpr_1pct": 0.011}
    service = Service(membership=low)
    service.play(10)
    assert [alert for alert in alerts(service.pair) if alert.detector == "leakage"] == []
    service = Service(published=leaky(), membership={"key": KEY.decode(), "act_advantage": 0.5})
    service.play(10)
    pair = service.pair
    pair.restart()
    for _ in range(4 * 24):
        pair.tick(1_800)
    told = [
        (alert.severity, alert.state, round((alert.at_ns - START) / NS / 86_400)) for alert in alerts(pair) if alert.detector == "leakage"
    ]
    assert [one[:2] for one in told] == [("page", "firing"), ("page", "resolved")]
    assert told[1][2] in (1, 2)
    assert "gives its training rows away" in next(alert.summary for alert in alerts(pair) if alert.detector == "leakage")


@cache
def of_values() -> Reference:
    """A regression."""
    rng = np.random.default_rng(5)
    X = rng.normal(size=(2_000, 3)).astype(np.float32)
    features = tuple(Feature(name=name, low=-10.0, high=10.0) for name in NAMES)
    return build("m", "1", Rows(features=features, X=X, value=X[:, 0].astype(np.float64) * 10), membership_key=KEY, built_at_ns=0).reference


@pytest.mark.parametrize("restart", [False, True])
def test_a_regression_has_its_mean_absolute_error_to_the_last_millionth(restart: bool) -> None:
    pair = Pair(partitions=2, published=of_values())
    rng = np.random.default_rng(6)
    off = []
    for k in range(4):
        batch = events(100, seed=k, start_s=300.0 * (k // 2), number=100 * (k // 2), instance=f"i{k % 2}", scores=None, score_names=())
        value = batch.numeric[:, 0].astype(np.float64) * 10
        value[5], value[6] = np.nan, np.inf  # no answers
        pair.events(replace(batch, value=value), partition=k % 2)
        pair.now = START + (k // 2 + 1) * LENGTH + 20 * NS
        pair.close_windows()
        truth = value + rng.normal(size=100)
        told = [label(100 * (k // 2) + i, float(truth[i]), instance=f"i{k % 2}") for i in range(100) if i not in (5, 6)]
        pair.labels(*told, label(100 * (k // 2) + 7, 1e6, instance=f"i{k % 2}"))  # said twice: the first counts
        finite = np.isfinite(value)
        off += np.abs(truth[finite] - value[finite]).tolist()
        if restart:
            pair.restart()
        pair.tick(1.0)
    pair.labels(label(8, "much", instance="i9"))
    pair.tick(LENGTH / NS)
    rows = pair.rows("accuracy_windows")
    assert sum(row["value_n"] for row in rows) == len(off) == 392
    assert sum(row["abs_error"] for row in rows) == pytest.approx(sum(off), abs=392 * 5e-7)
    assert {(row["n"], row["errors"]) for row in rows} == {(0, 0)}
    assert len({row["start"] for row in rows}) == 2
    assert len({(row["start"], row["delay"], row["part"]) for row in rows}) == len(rows)
    assert alerts(pair) == []
    fates = pair.fates()
    assert (fates["joined"], fates["twice"]) == (392, 4)


@pytest.mark.parametrize(("promised", "tickets"), [(0.9, 0), (0.7, 1)])
def test_a_regression_whose_error_is_above_what_was_promised_is_a_ticket(promised: float, tickets: int) -> None:
    pair = Pair(published=of_values(), objectives={"mae": promised})
    rng = np.random.default_rng(6)
    for k in range(8):
        batch = events(100, seed=k, start_s=300.0 * k, number=100 * k, scores=None, score_names=())
        value = batch.numeric[:, 0].astype(np.float64) * 10
        pair.events(replace(batch, value=value))
        pair.now = START + (k + 1) * LENGTH + 20 * NS
        pair.close_windows()
        pair.labels(*(label(100 * k + i, truth) for i, truth in enumerate((value + rng.normal(size=100)).tolist())))
        pair.restart()
        pair.tick(1.0)
    pair.tick(LENGTH / NS)
    found = [alert for alert in alerts(pair) if alert.detector == "accuracy"]
    assert len({alert.alert_id for alert in found}) == tickets
    assert {alert.part for alert in found} == ({"budget mae"} if tickets else set())


@pytest.mark.parametrize(("promised", "tickets"), [(0.7, 0), (0.4, 1)])
def test_log_loss_above_what_was_promised_is_a_ticket(promised: float, tickets: int) -> None:
    service = Service(objectives={"log_loss": promised})
    service.play(6)
    assert {alert.part for alert in accuracy_alerts(service.pair)} == ({"budget log_loss"} if tickets else set())


def test_what_is_no_number_is_no_truth_of_a_regression_and_huge_ones_break_nothing() -> None:
    pair = Pair(published=of_values())
    batch = events(4, scores=None, score_names=())
    pair.events(replace(batch, value=np.array([1.0, 2.0, 1.7e308, -1.7e308])))
    pair.now = START + LENGTH + 20 * NS
    pair.close_windows()
    pair.labels(label(0, "cat"), label(1, "nan"), label(2, -1.7e308), label(3, 1.7e308))
    pair.tick(LENGTH / NS)
    pair.restart()
    pair.tick(LENGTH / NS)
    assert pair.fates() == {"joined": 2, "not_a_class": 2}
    (row,) = pair.rows("accuracy_windows")
    assert row["value_n"] == 2
    assert np.isfinite(row["abs_error"])


def test_the_budget_is_checked_with_the_share_of_accuracy() -> None:
    assert settings().budget.accuracy_share == 0.1
