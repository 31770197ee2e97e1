"""`inferwatch gate` lets nothing pass that burns, pages, is unsigned or unknown; and says why."""

from __future__ import annotations

import time

import msgspec
import numpy as np
import pytest

from schemas import latency
from schemas.rows import AlertRow, LoadRow, WindowRow
from streams.acknowledge import acknowledge
from streams.clickhouse import ClickHouse
from streams.gate import Facts, decide, facts
from streams.migrate import migrate
from streams.settings import Objectives, Settings
from tests.commands.cli import NOWHERE, run

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


def test_a_store_that_is_away_lets_nothing_pass() -> None:
    done = run("gate", "--model", "m", "--version", "8", **NOWHERE)
    assert done.exit_code == 3
    assert "could not be asked" in done.output
    assert run("gate", "--model", "m").exit_code == 2
