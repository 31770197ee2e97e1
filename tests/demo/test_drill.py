"""The fire drill: what counts as found, missed and wrong; and the drill itself, in its short form."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from schemas.alerts import ALERTNAMES, Alert
from streams.drill.modes import CONTROL, MODES, SHORT, Expected, Mode
from streams.drill.report import Report, line_of, page
from tests.commands.cli import environment, run

DRIFT = Mode("x", "F1", "a feature moves", (Expected("drift", "ticket"),), companions=frozenset({"quality"}))


def seen(detector: str, severity: str, seconds: float, state: str = "firing") -> tuple[Alert, float, int]:
    alert = Alert(
        alert_id="a", model="drill-x", version="1", detector=detector, severity=severity, state=state,  # type: ignore[arg-type]
        at_ns=0, opened_at_ns=0, summary="it <moved>",
    )  # fmt: skip
    return alert, seconds, 10


def test_an_expected_alert_that_fires_passes_and_a_page_does_for_a_ticket() -> None:
    line = line_of(DRIFT, [seen("drift", "ticket", 3), seen("drift", "page", 9)], 9.5, "may not")
    assert line.passed
    assert (line.outcome, line.fired[0].seconds, line.besides) == ("fired", 3, ("drift page",))
    assert line_of(DRIFT, [seen("drift", "page", 9)], None).passed


def test_what_does_not_fire_is_missed() -> None:
    line = line_of(DRIFT, [seen("quality", "ticket", 3), seen("drift", "page", 4, "resolved")], None)
    assert (line.passed, line.outcome, line.late) == (False, "missed", ("drift ticket",))


def test_another_page_is_wrong_but_a_companions_or_a_ticket_is_not() -> None:
    fired = seen("drift", "page", 3)
    assert line_of(DRIFT, [fired, seen("quality", "page", 4), seen("latency", "ticket", 4)], None).passed
    line = line_of(DRIFT, [fired, seen("latency", "page", 4)], None)
    assert (line.passed, line.outcome, line.wrong) == (False, "wrong page", ("latency page",))


def test_a_page_before_the_onset_or_on_the_control_is_wrong() -> None:
    assert line_of(DRIFT, [seen("drift", "page", -1), seen("drift", "page", 4)], None).wrong == ("drift page before the onset",)
    assert line_of(CONTROL, [seen("drift", "page", 5)], None).outcome == "wrong page"
    assert line_of(CONTROL, [seen("drift", "ticket", 5)], None).passed


def test_all_ten_failure_modes_are_made_and_each_has_an_alert_that_must_fire() -> None:
    assert {mode.failure for mode in MODES} == {f"F{n}" for n in range(1, 11)}
    assert len({mode.key for mode in MODES}) == len(MODES)
    for mode in MODES:
        assert mode.expected, mode.key
        assert not mode.missing, mode.key
        assert {one.detector for one in mode.expected} | mode.companions <= set(ALERTNAMES)


def test_the_page_says_what_fired_and_escapes_what_it_quotes() -> None:
    lines = (line_of(DRIFT, [seen("drift", "page", 3)], 3.5, "<b>may not</b>"), line_of(CONTROL, [], None))
    text = page(Report(began="now", window_s=3, warm_s=48, failing_s=60, rate=80, lines=lines))
    assert "drift page after 3 s, 10 events" in text
    assert "<b>may not</b>" not in text
    assert "http" not in text  # nothing is loaded from elsewhere


def test_the_short_form_makes_one_of_each_failure_and_only_one_may_say_which() -> None:
    assert [mode.failure for mode in MODES if mode.key in SHORT] == [f"F{n}" for n in range(1, 11)]
    done = run("drill", "--short", "--only", "F8")
    assert done.exit_code == 2
    assert "give one of them" in done.output


def test_an_unknown_mode_is_named_with_those_there_are() -> None:
    done = run("drill", "--only", "F8,F11")
    assert done.exit_code == 2
    assert "no failure mode f11; known: f1-shift" in done.output


@pytest.mark.slow
@pytest.mark.kafka
@pytest.mark.clickhouse
@pytest.mark.timeout(600)
def test_the_short_drill_fires_what_it_should_and_the_control_is_quiet(tmp_path: Path) -> None:
    own = environment()
    done = subprocess.run(
        [sys.executable, "-m", "streams.cli", "drill", "--short", "--out", str(tmp_path / "out")],
        env=own, capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    lines = {line["model"]: line for line in json.loads((tmp_path / "out" / "drill.json").read_text())["lines"]}
    assert [one["detector"] for one in lines["drill-f5-latency"]["fired"]] == ["latency"]
    assert [one["detector"] for one in lines["drill-f6-outputs"]["fired"]] == ["consistency"]
    assert [(one["detector"], one["severity"]) for one in lines["drill-f7-canary"]["fired"]] == [("canary", "page")]
    assert lines["drill-control"]["gate"] == "may"
    assert "2.5 of it by" in lines["drill-f8-signature"]["gate"]  # whose share of the budget is the first reason
    assert "passed" in (tmp_path / "out" / "drill.html").read_text()
