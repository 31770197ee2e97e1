"""Budgets that an owner set are tickets while they are spent too fast, and never a page; without an objective there is none."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from schemas.alerts import Alert
from schemas.windows import WindowPartial
from streams.alerts import AlertBook
from streams.budget_judge import BudgetJudge
from streams.owner import NS
from streams.settings import Objectives
from tests.streams.messages import partial

HOUR = 3_600 * NS


class Budgets:
    def __init__(self, **promised: Any) -> None:
        self.told: list[Alert] = []
        self.book = AlertBook("m", "1", self.told.append, HOUR)
        self.judge = BudgetJudge("m", "1", Objectives(**promised), self.book)

    @property
    def said(self) -> list[tuple[str, str, str, str]]:
        return [(one.detector, one.severity, one.state, one.part) for one in self.told]


def window(**more: Any) -> WindowPartial:
    return partial(window=0, n=1_000, **more)


@pytest.mark.parametrize(
    ("promised", "detector", "bad", "good", "text"),
    [
        ({"authorised": 99.0}, "access", {"status": {"ok": 900, "forbidden": 100}}, {"status": {"ok": 999, "forbidden": 1}},
         "10.00% of the requests to m 1 were refused in the last 6 h (100 of 1,000): its error budget is spent 10.0 times"),
        ({"valid_input": 99.0}, "quality", {"anomalies": {"missing": 200, "late": 5}}, {"anomalies": {"missing": 3, "repeats": 900}},
         "20.00% of the events of m 1 have a fault in the last 1 h (200 of 1,000)"),
    ],
)  # fmt: skip
def test_a_window_that_spends_a_budget_too_fast_is_a_ticket(
    promised: dict[str, float], detector: str, bad: dict[str, Any], good: dict[str, Any], text: str
) -> None:
    well, ill, careless = Budgets(**promised), Budgets(**promised), Budgets(authorised=0.0)
    for budgets, seen in ((well, good), (ill, bad), (careless, bad)):
        budgets.judge.window(window(**seen), 0)
    assert (well.said, careless.said) == ([], [])
    assert ill.said == [(detector, "ticket", "firing", "budget")]
    assert text in ill.told[0].summary


def test_labels_that_say_wrong_more_often_than_was_promised_are_a_ticket_whatever_the_reference_said() -> None:
    budgets = Budgets(accuracy=95.0)
    for hour in range(72):
        budgets.judge.labels(50, 2, hour * HOUR)
    assert budgets.said == []
    for hour in range(72, 144):
        budgets.judge.labels(50, 6, hour * HOUR)
    assert budgets.said == [("accuracy", "ticket", "firing", "budget")]
    assert "of the labels of m 1 say that the answer was wrong in the last 3 days" in budgets.told[0].summary
    assert "as fast as 95 % allow" in budgets.told[0].summary


def test_a_mean_loss_that_is_surely_above_what_was_promised_is_a_ticket_with_a_part_of_its_own() -> None:
    rng = np.random.default_rng(1)
    well, ill, wide = Budgets(mae=2.0, accuracy=90.0), Budgets(mae=2.0, accuracy=90.0), Budgets(mae=2.0)
    for hour in range(48):
        for budgets, mean in ((well, 1.9), (ill, 2.4), (wide, 2.4)):
            losses = rng.exponential(mean, 50) if budgets is not wide else np.append(np.ones(49), 1e9 if hour == 3 else 1.0)
            budgets.judge.losses("mae", np.append(losses, np.nan))
            budgets.judge.losses("log_loss", losses)  # nothing was promised of it
            budgets.judge.labels(50, 1, hour * HOUR)
    assert well.said == []
    assert ill.said == [("accuracy", "ticket", "firing", "budget mae")]
    assert re.match(
        r"The mean absolute error of m 1 is 2\.\d+ over [\d,]+ labels of the last 3 days, 1\.\d+ times the 2 that was", ill.told[0].summary
    )
    assert wide.said == [], "one row far off is no mean"


def test_losses_of_before_count_after_a_restart() -> None:
    before, again, anew = Budgets(mae=2.0), Budgets(mae=2.0), Budgets(mae=2.0)
    before.judge.losses("mae", np.full(90, 3.0))
    before.judge.labels(0, 0, 0)
    before.judge.losses("mae", np.full(5, 3.0))
    again.judge.load(before.judge.dump())
    for budgets in (again, anew):
        budgets.judge.losses("mae", np.full(15, 3.0))
        budgets.judge.labels(0, 0, HOUR)
    assert (before.said, anew.said) == ([], [])
    assert again.said == [("accuracy", "ticket", "firing", "budget mae")]
    assert again.told[0].n_events == 110
    assert again.judge.dump() != before.judge.dump()


def test_what_was_spent_survives_a_restart_and_an_objective_that_is_gone() -> None:
    before, again, anew, without = Budgets(accuracy=95.0), Budgets(accuracy=95.0, authorised=99.0), Budgets(accuracy=95.0), Budgets()
    for hour in range(15):
        before.judge.labels(50, 4, hour * HOUR)
    for budgets in (again, without):
        budgets.judge.load(before.judge.dump())
    for budgets in (again, without, anew):
        for hour in range(15, 20):
            budgets.judge.labels(50, 4, hour * HOUR)
    assert before.said == anew.said == without.said == []
    assert again.said == [("accuracy", "ticket", "firing", "budget")]
