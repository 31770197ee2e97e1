"""`inferwatch gate` lets nothing pass that burns, pages, is unsigned or unknown; and says why."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import numpy as np
import pytest

from schemas import latency
from schemas.rows import AccuracyWindowRow, AlertRow, LoadRow, QualityWindowRow, WindowRow
from streams.acknowledge import acknowledge
from streams.clickhouse import ClickHouse
from streams.gate import Facts, Spent, decide, facts
from streams.migrate import migrate
from streams.settings import Objectives, Settings
from tests.commands.cli import NOWHERE, run


def spent(indicator: str, bad: float, total: float, allowed: float) -> Spent:
    rate = bad / total / allowed
    return Spent(indicator=indicator, objective="92 %", measured="80 %", total=total, bad=bad, spent=rate)


GOOD = Facts(requests=10_000, failed=5, timed=9_995, slow=100, loads=("valid", "valid"))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, ""),
        ({"failed": 21}, "21 of 10,000 requests failed"),
        ({"slow": 1_100}, "1,100 of 9,995 answers took longer than 200 ms"),
        ({"incidents": 1}, "spent 3.0 times as fast as allowed (limit 2), 2.5 of it by 1 page(s) about security in three days."),
        ({"pages": (("a1", "amount moved."),)}, "A page is open: amount moved. (a1)"),
        ({"loads": ("valid", "missing")}, "1 of 2 instances loaded it without a valid signature"),
        ({"loads": ()}, "nothing is known of its signature"),
        (
            {"loads": ("invalid",), "problems": ("its signature is not valid",)},
            "An instance has it loaded, and its signature is not valid.",
        ),
        (
            {"slower": (spent("accuracy", 200, 1_000, 0.08),)},
            "accuracy is 80 % over 1,000 labels of 30 days, promised is 92 %: the budget is spent 2.5",
        ),
        ({"slower": (spent("accuracy", 100, 1_000, 0.08),)}, ""),  # 1.25 times as fast, but not surely more than once
        ({"slower": (spent("accuracy", 1_200, 12_000, 0.08),)}, "1.2 times as fast as allowed (limit 1)"),
        ({"slower": (spent("mae", 900, 99, 5.0),)}, ""),  # too few labels
        ({"slower": (spent("mae", 900, 100, 5.0),)}, "spent 1.8 times"),
        ({"slower": (spent("drift_free", 118, 864, 0.05),)}, ""),  # 2.7 times as fast, surely 1.98 times
        ({"slower": (spent("drift_free", 130, 864, 0.05),)}, "over 864 windows of three days"),
        ({"slower": (spent("authorised", 9, 10, 0.01),)}, ""),  # a handful says nothing
        ({"slower": (spent("authorised", 400, 10_000, 0.01),)}, "requests of three days"),
        ({"slower": (spent("valid_input", 400, 10_000, 0.01),)}, "events of three days"),
        ({"requests": 0, "failed": 0, "timed": 0, "slow": 0}, "no request in the last hour"),
    ],
)
def test_each_reason_refuses_alone(changes: dict[str, object], why: str) -> None:
    answer = decide(msgspec.structs.replace(GOOD, **changes), Settings())
    assert answer.passed == (not why)
    assert len(answer.reasons) == bool(why)
    assert why in " ".join(answer.reasons)


def test_what_is_allowed_is_no_reason_and_an_invalid_signature_never_is() -> None:
    nothing = Facts()
    assert decide(nothing, Settings(), unsigned_ok=True, quiet_ok=True).passed
    invalid = Facts(loads=("invalid",), problems=("its signature is not valid",))
    assert not decide(invalid, Settings(), unsigned_ok=True, quiet_ok=True).passed
    assert decide(msgspec.structs.replace(GOOD, failed=500), Settings(objectives=Objectives(availability=95))).passed
    assert decide(msgspec.structs.replace(GOOD, incidents=1), Settings(objectives=Objectives(incident_share=0.1))).passed
    assert not decide(msgspec.structs.replace(GOOD, incidents=2), Settings(objectives=Objectives(incident_share=0.1))).passed


@pytest.mark.clickhouse
def test_a_trial_that_has_ended_counts_for_an_hour_where_nobody_has_it_loaded(clickhouse: ClickHouse) -> None:
    migrate(clickhouse)
    now, hour = time.time_ns() // 10**9 * 10**9, 3_600 * 10**9
    about: dict[str, Any] = {"model": "m", "version": "8", "service": "s"}
    long_ago = {"instance": "old", "signature": "invalid", "problem": "its signature is not valid"}
    trial = {"instance": "trial", "signature": "valid"}
    clickhouse.insert([LoadRow(kind="loaded", at=now - 9 * hour, **about | long_ago)], "1")
    assert facts(clickhouse, "m", "8", Settings()).problems == ("its signature is not valid",)
    clickhouse.insert([LoadRow(kind="unloaded", at=now - 8 * hour, **about | long_ago | {"problem": ""})], "2")
    known = facts(clickhouse, "m", "8", Settings())
    assert (known.loads, known.problems) == ((), ())
    clickhouse.insert([LoadRow(kind="loaded", at=now - hour, **about | trial)], "3")
    clickhouse.insert([LoadRow(kind="unloaded", at=now - hour // 2, **about | {"instance": "trial"})], "4")
    assert facts(clickhouse, "m", "8", Settings()).loads == ("valid",)
    clickhouse.insert([LoadRow(kind="loaded", at=now, **about | {"instance": "next", "signature": "missing"})], "5")
    assert facts(clickhouse, "m", "8", Settings()).loads == ("missing",)


@pytest.mark.clickhouse
def test_the_facts_are_those_of_the_store(clickhouse: ClickHouse) -> None:
    migrate(clickhouse)
    now = time.time_ns()
    bins = latency.counts_of(np.array([5.0] * 90 + [900.0] * 10)).tolist()
    window = {
        "model": "m", "version": "8", "reference": "", "n": 100, "n_clients": 1, "n_effective": 1.0, "accepted": 100,
        "status": {"ok": 95, "error": 5}, "errors": 5, "latency_bins": bins, "judged_at": now,
    }  # fmt: skip
    windows = [
        WindowRow(start=now - k * 60 * 10**9, end=now - (k - 1) * 60 * 10**9, **window)
        for k in (1, 2, 90)  # the last is older than an hour
    ]
    clickhouse.insert(windows, "w")
    clickhouse.insert(windows, "again")
    alert = {"alert_id": "a1", "model": "m", "version": "8", "detector": "drift", "alertname": "D", "severity": "page", "opened_at": now}
    clickhouse.insert([AlertRow(state="firing", at=now, summary="moved", **alert)], "a")  # type: ignore[arg-type]
    loads = [
        LoadRow(model="m", version="8", service="s", instance="1", at=now - 10**10, kind="loaded", signature="missing"),
        LoadRow(model="m", version="8", service="s", instance="1", at=now, kind="loaded", signature="valid"),
        LoadRow(model="m", version="8", service="s", instance="2", at=now - 10**10, kind="loaded", signature="invalid", problem="p"),
        LoadRow(model="m", version="8", service="s", instance="2", at=now, kind="unloaded"),
    ]
    clickhouse.insert(loads, "l")
    known = facts(clickhouse, "m", "8", Settings())
    assert known == Facts(model="m", version="8", requests=200, failed=10, timed=200, slow=20, pages=(("a1", "moved"),), loads=("valid",))
    clickhouse.insert([AlertRow(state="resolved", at=now + 10**9, **alert)], "b")  # type: ignore[arg-type]
    assert facts(clickhouse, "m", "8", Settings()).pages == ()
    spent = alert | {"detector": "canary"}
    clickhouse.insert([AlertRow(state="resolved", at=now, **spent | {"alert_id": f"s{k}"}) for k in range(3)], "c")  # type: ignore[arg-type]
    clickhouse.insert([AlertRow(state="resolved", at=now, **spent | {"alert_id": "old", "opened_at": now - 73 * 3_600 * 10**9})], "d")  # type: ignore[arg-type]
    assert facts(clickhouse, "m", "8", Settings()).incidents == 3
    acknowledge(clickhouse, "s1", "false", now, by="ada")
    assert facts(clickhouse, "m", "8", Settings()).incidents == 2
    unheard = facts(clickhouse, "m", "9", Settings())
    assert unheard == Facts(model="m", version="9", others=("m 8",))
    assert "The store has never seen it, but m 8: is the name right?" in decide(unheard, Settings()).reasons[0]


@pytest.mark.clickhouse
def test_the_gate_knows_what_was_spent_of_a_models_own_objectives(clickhouse: ClickHouse) -> None:
    migrate(clickhouse)
    hour, now = 3_600 * 10**9, time.time_ns()
    base: dict[str, Any] = {"model": "m", "version": "8", "reference": "r", "n": 1_000, "accepted": 1_000, "judged_at": now}
    clickhouse.insert(
        [WindowRow(start=now - (k + 1) * hour, end=now - k * hour, status={"ok": 900, "forbidden": 100}, denied=100,
                   drift_severity="page" if k < 36 else "", **base)
         for k in range(96)], "w",
    )  # fmt: skip
    labels = [AccuracyWindowRow(model="m", version="8", start=now - k * 240 * hour, delay="1d", part=0, known_at=now, n=100, errors=30)
              for k in (1, 2, 4)]  # fmt: skip
    clickhouse.insert(labels, "l")
    clickhouse.insert([QualityWindowRow(model="m", version="8", start=now - hour, service="", kind="missing", n=36, per_10k=1.0)], "q")
    own = Settings(objectives=Objectives(by_model=("m/8=accuracy:90 authorised:95 valid_input:99.9",)))
    found = {one.indicator: one for one in facts(clickhouse, "m", "8", own).slower}
    assert found["drift_free"].spent == pytest.approx(36 / 72 / 0.05, rel=0.02)  # of three days, not four
    assert found["authorised"].spent == pytest.approx(0.1 / 0.05)
    assert found["accuracy"].total == 200  # of thirty days, not forty
    assert found["accuracy"].spent == pytest.approx(3.0)
    assert found["valid_input"].spent == pytest.approx(36 / 72_000 / 0.001, rel=0.02)
    answer = decide(facts(clickhouse, "m", "8", own), own, unsigned_ok=True)
    assert {reason.split()[0] for reason in answer.reasons} == {"drift_free", "accuracy"}
    assert answer.burns["authorised"] == pytest.approx(2.0)
    assert {one.indicator for one in facts(clickhouse, "m", "8", Settings()).slower} == {"drift_free"}


def test_a_store_that_is_away_lets_nothing_pass() -> None:
    done = run("gate", "--model", "m", "--version", "8", **NOWHERE)
    assert done.exit_code == 3
    assert "could not be asked" in done.output
    assert run("gate", "--model", "m").exit_code == 2
