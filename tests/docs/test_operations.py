"""The page of what operations get: every module, scenario, panel and test that it names exists, so it cannot rot."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dashboards.attacks import attacks
from dashboards.debug import debug
from dashboards.executive import executive
from dashboards.forensics import forensics
from dashboards.oncall import oncall
from dashboards.pipeline import pipeline
from dashboards.scope import Objectives
from streams.drill.modes import CONTROL, MODES, SHORT

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/reference/operations.md").read_text()
LINES = [line for line in TEXT.splitlines() if line.startswith("| ") and "---" not in line]
NAMED = re.findall(r"`((?:[\w/]+/)\w+\.py)`(?:: ([a-z0-9 ]+))?", TEXT)
"""Modules, and test files with the words of a test's name."""
PATHS = sorted({(path, words.strip().replace(" ", "_")) for path, words in NAMED})
SCENARIOS = set(re.findall(r"`(f\d+-\w+)`", TEXT))
VIEWS = {
    view.title.removeprefix("inferwatch / "): {panel.title for panel in view.panels}
    for view in (made(Objectives()) for made in (executive, oncall, debug, forensics, attacks, pipeline))
}


def named_panels() -> list[tuple[str, str]]:
    cells = [cell.strip() for line in LINES for cell in line.strip("|").split("|")]
    parts = [part.strip() for cell in cells for part in cell.split(";")]
    return [(view, part.removeprefix(f"{view}: ")) for part in parts for view in VIEWS if part.startswith(f"{view}: ")]


@pytest.mark.parametrize(("path", "test"), PATHS, ids=lambda value: value or "-")
def test_every_module_and_test_named_is_there(path: str, test: str) -> None:
    text = (ROOT / path).read_text()
    assert not path.startswith("tests/") or "def test_" in text
    assert not test or re.search(rf"def test_{test}\(", text)


def test_every_panel_named_is_in_its_view_and_every_view_is_told() -> None:
    named = named_panels()
    assert [one for one in named if one[1] not in VIEWS[one[0]]] == []
    assert {view for view, _ in named} == VIEWS.keys()


def test_every_indicator_failure_and_scenario_of_the_drill_has_its_line() -> None:
    for kind, most in (("M", 10), ("F", 10)):
        assert [line.split("|")[1].strip() for line in LINES if re.match(rf"\| {kind}\d+ ", line)] == [
            f"{kind}{k}" for k in range(1, most + 1)
        ]
    assert {mode.key for mode in MODES} == SCENARIOS
    assert [line for line in LINES if re.match(r"\| [MF]\d+ ", line) and "`tests/" not in line] == []


def test_the_drills_table_has_a_row_for_each_mode_in_order_with_what_must_fire() -> None:
    text = (ROOT / "docs/howto/drill.md").read_text()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if re.match(r"\| (F\d+|-) \|", line)]
    assert [row[:2] for row in rows] == [[mode.failure, mode.title] for mode in (*MODES, CONTROL)]
    for mode, row in zip(MODES, rows, strict=False):
        assert all(f"{one.detector} {one.severity}" in row[2] for one in mode.expected), row
        assert set(re.findall(r"(\w+) page", row[4])) <= mode.companions | {one.detector for one in mode.expected}
    assert [mode.failure for mode in MODES if mode.key in SHORT] == [f"F{k}" for k in range(1, 11)]


def test_every_line_of_a_promise_names_code() -> None:
    titles = {"| | indicator", "| | failure", "| | code", "| view |"}
    assert [line for line in LINES if not any(line.startswith(title) for title in titles) and ".py`" not in line] == []
