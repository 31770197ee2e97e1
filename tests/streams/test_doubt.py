"""Flipped answers of a model that no longer answers as it did are no page about a client; those of a sound model are."""

from __future__ import annotations

import msgspec
import pytest

from schemas.alerts import Alert
from streams.doubt import FLIPS
from streams.judge import Judge
from tests.streams.events import START
from tests.streams.judging import Feed, alerts, judge
from tests.streams.messages import LENGTH, finding

QUIET = {"class": 60, "score": 60}
OTHERWISE = {"class": 60, "class_other": 18, "score": 60, "score_other": 20}


class Told(Feed):
    """Findings come in order."""

    sequence = 0

    def found(self, window: int, evidence: float, statistic: str = "lattice", *, client: str = "mallory", renewed: bool = False) -> None:
        self.sequence += 1
        self.give(
            finding(
                sequence=self.sequence, at_ns=START + (window + 1) * LENGTH, client=client, log_evidence=evidence, renewed=renewed,
                statistic="" if renewed else statistic,
            )
        )  # fmt: skip

    def restart(self) -> None:
        state = self.judge.snapshot()
        self.judge = judge()
        self.judge.restore(state)
        assert self.judge.snapshot() == state


def in_doubt() -> Told:
    """A model that answers otherwise since window 20; its alert is open after window 23."""
    feed = Told(judge())
    for window in range(24):
        feed.window(window, repeats=OTHERWISE if window >= 20 else QUIET)
    assert [(one.detector, one.state) for one in alerts(feed.judge)] == [("consistency", "firing")]
    return feed


def evasion(of: Judge) -> list[Alert]:
    return [one for one in alerts(of) if one.detector == "evasion"]


@pytest.mark.parametrize("statistic", sorted(FLIPS))
def test_a_page_for_flips_is_a_ticket_while_the_models_own_answers_are_in_question(statistic: str) -> None:
    feed = in_doubt()
    feed.found(24, 20.0, statistic)
    (one,) = evasion(feed.judge)
    assert (one.severity, one.evidence["in_doubt"]) == ("ticket", "consistency")
    assert one.summary.endswith("Or the model's doing: the same inputs are answered otherwise. No page before that is over.")
    feed.restart()
    feed.found(25, 90.0, renewed=True)
    assert len(evasion(feed.judge)) == 1


def test_what_rests_on_the_geometry_of_the_queries_pages_all_the_same() -> None:
    feed = in_doubt()
    feed.found(24, 20.0, "bisection")
    assert [one.severity for one in evasion(feed.judge)] == ["page"]


def test_without_an_alert_about_the_model_flips_page() -> None:
    feed = Told(judge())
    feed.window(0, repeats=QUIET)
    feed.found(1, 20.0)
    (one,) = evasion(feed.judge)
    assert (one.severity, "in_doubt" in one.evidence) == ("page", False)
    assert "model's doing" not in one.summary


def test_when_the_doubt_is_over_only_evidence_that_grew_a_hundredfold_since_pages_across_restarts() -> None:
    feed = in_doubt()
    feed.found(24, 20.0)
    for window in range(24, 48):
        feed.window(window, repeats=QUIET)
        feed.found(window, 22.0, renewed=True)
        feed.restart()
    states = [(one.detector, one.state) for one in alerts(feed.judge) if one.detector == "consistency"]
    assert states == [("consistency", "firing"), ("consistency", "resolved")]
    feed.found(48, 26.0, renewed=True)
    assert [one.severity for one in evasion(feed.judge)] == ["ticket"], "22 to 26 nats is not a hundredfold"
    feed.found(49, 26.7, renewed=True)
    assert [one.severity for one in evasion(feed.judge)] == ["ticket", "page"]
    assert "in_doubt" not in evasion(feed.judge)[-1].evidence


def test_a_client_that_was_paged_before_stays_paged() -> None:
    feed = Told(judge())
    feed.found(0, 20.0)
    for window in range(24):
        feed.window(window, repeats=OTHERWISE if window >= 20 else QUIET)
        feed.found(window, 21.0, renewed=True)
    feed.found(24, 21.0, renewed=True)
    assert [(one.severity, one.state) for one in evasion(feed.judge)] == [("page", "firing")]


def test_a_forgotten_client_is_not_held() -> None:
    feed = in_doubt()
    feed.found(24, 20.0)
    model = feed.judge._models["m", "1"]
    assert model._doubt.dump() == {"mallory": 20.0}
    model._doubt.forget("mallory")
    assert model._doubt.dump() == {}


def test_no_more_clients_are_held_than_there_is_room_for() -> None:
    doubt = judge()._model("m", "1")._doubt
    one = finding(statistic="lattice")
    for k in range(10_050):
        doubt.weigh(msgspec.structs.replace(one, client=f"c{k}"), ["trigger"])
    assert len(doubt.dump()) == 10_000
    assert not doubt.holds(msgspec.structs.replace(one, client="c0"))
