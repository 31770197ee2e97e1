"""Objectives: what cannot be met is refused with the reason, what is promised to one model holds for it alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from streams.gate import Facts, decide
from streams.settings import Objectives, Settings, SettingsError, load
from streams.slo import objectives_for


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("availability = 100", "availability: 100 leaves no budget: a failed request would spend it for ever; at most 99.9999"),
        ("availability = 120", "availability: 120 is more than all; it is in percent"),
        ("availability = 0.999", "availability: 0.999 is a share; it is in percent, such as 99.9"),
        ("availability = 1.0", "availability: 1 is a share; it is in percent, such as 99.9"),
        ("availability = 20", "availability: 20 promises less than half"),
        ("latency_share = 99.99999", "a slow answer would spend it for ever"),
        ("completeness = 100", "a lost event would spend it for ever"),
        ("latency_ms = 0.0001", "latencies are told apart from 0.001 ms on"),
        ("latency_ms = 1e9", "longer than the longest that is told apart"),
        ("saturation_share = 2", "no share of a resource"),
        ("saturation_cpu_s = 0", "must be above 0"),
        ("quiet_days = -1", "-1 days; at least 0, which is never, and at most 366"),
        ("accuracy = 0.92", "accuracy: 0.92 is a share; it is in percent, such as 92"),
        ("accuracy = 100", "a wrong answer would spend it for ever"),
        ("drift_free = 40", "drift_free: 40 promises less than half"),
        ("signed = 101", "more than all"),
        ("auc = 90", "90 is no AUC to promise; above 0 and below 1"),
        ("mae = -1", "-1 is no loss to promise; above 0"),
        ('availability = "much"', r"objectives\.availability"),
        ('by_model = ["fraud"]', "write MODEL=name:value"),
        ('by_model = ["=availability:99"]', "write MODEL=name:value"),
        ('by_model = ["fraud=speed:9"]', "speed:9 is no objective; there are accuracy, auc, authorised, availability"),
        ('by_model = ["fraud=availability:high"]', "high is no number"),
        ('by_model = ["fraud=availability:nan"]', "availability is no number"),
        ('by_model = ["fraud/8=availability:100"]', r"by_model: fraud/8=availability:100: 100 leaves no budget"),
        ('by_model = "fraud=availability:99"', r"by_model"),
    ],
)
def test_an_objective_that_cannot_be_met_is_refused_with_the_reason(text: str, told: str, tmp_path: Path) -> None:
    file = tmp_path / "inferwatch.toml"
    file.write_text(f"[objectives]\n{text}\n")
    with pytest.raises(SettingsError, match=told):
        load(file, {})


def test_no_objective_and_a_whole_one_are_possible_where_they_make_sense() -> None:
    given = load(None, {"INFERWATCH_OBJECTIVES_BY_MODEL": "many=accuracy:12 signed:100 drift_free:0 mae:1500"}).objectives
    mine = objectives_for(given, "many", "1")
    assert (mine.accuracy, mine.signed, mine.drift_free, mine.mae) == (12.0, 100.0, 0.0, 1_500.0)
    assert (given.accuracy, given.drift_free) == (0.0, 95.0)


def test_the_environment_names_models_separated_by_commas() -> None:
    given = load(None, {"INFERWATCH_OBJECTIVES_BY_MODEL": "fraud=latency_ms:50 completeness:99.5, ads/2.*=availability:99"}).objectives
    fraud, ads = objectives_for(given, "fraud", "1"), objectives_for(given, "ads", "2.7")
    assert (fraud.latency_ms, fraud.completeness, fraud.availability) == (50.0, 99.5, 99.9)
    assert (ads.availability, ads.latency_ms) == (99.0, 200.0)
    assert objectives_for(given, "ads", "3").availability == 99.9
    assert load(None, {"INFERWATCH_LIMITS_MODELS": "5"}).limits.models == 5


def test_the_gate_asks_for_what_the_model_promises() -> None:
    facts = Facts(model="fraud", version="8", requests=1_000, failed=5, loads=("valid",))
    lenient = Settings(objectives=Objectives(by_model=("fraud/8=availability:99",)))
    assert not decide(facts, Settings()).passed
    assert decide(facts, lenient).passed
