"""A model as a service: failures, slowness, refusals and bad artefacts raise one alert each, stand as long as they last, and survive."""

from __future__ import annotations

import itertools
import math
from typing import Any

import msgspec
import numpy as np
import pytest

from inferwatch import Heartbeat, Lifecycle
from schemas import latency
from schemas.windows import ClientLine
from streams.alertmanager import labels_of
from streams.judge import Judge
from streams.owner import NS, Record
from streams.references import References
from streams.saturation import Saturation, kept
from streams.settings import Integrity, Settings
from tests.streams.events import START
from tests.streams.judging import PUBLISHED, Feed, alerts, judge, rows
from tests.streams.messages import LENGTH, finding, partial


def fed(*windows: dict[str, Any], made: Judge | None = None, first: int = 0) -> Judge:
    """A judge that has judged these windows, a share each."""
    feed = Feed(made or judge())
    feed._offsets = itertools.count(feed.judge.next["windows"])
    for k, changes in enumerate(windows, first):
        feed.give(partial(window=k, **changes))
        feed.judge.tick(START + (k + 1) * LENGTH + 11 * NS)
    return feed.judge


def said(made: Judge) -> list[tuple[str, str, str]]:
    return [(alert.detector, alert.severity, alert.state) for alert in alerts(made)]


def record(offset: int, message: Lifecycle | Heartbeat, at_ns: int) -> Record:
    kind = "heartbeat" if isinstance(message, Heartbeat) else "lifecycle"
    return Record("lifecycle", 0, offset, msgspec.json.encode(message), at_ns, headers={"ce_type": f"inferwatch.{kind}.v1"})


def load(**more: Any) -> Lifecycle:
    plain = {
        "kind": "loaded",
        "model": "m",
        "version": "1",
        "service": "shop",
        "instance": "shop-1",
        "digest": "sha256:1",
        "signature": "valid",
    }
    return Lifecycle(**plain | more)


def test_failures_page_and_the_text_says_how_many() -> None:
    made = fed({"n": 1_000, "status": {"ok": 900, "error": 100}})
    assert said(made) == [("availability", "page", "firing")]
    assert "10.00% of the requests to m 1 failed in the last 1 h (100 of 1,000)" in alerts(made)[0].summary


def test_an_alert_names_the_service_where_one_alone_serves_the_version() -> None:
    failing = {"n": 1_000, "status": {"ok": 900, "error": 100}}
    made = judge()
    made.apply(record(0, Heartbeat(model="m", version="1", service="shop", instance="shop-1"), START))
    fed(failing, made=made)
    assert dict(labels_of(alerts(made)[0]))["service"] == "shop"
    made.apply(record(1, Heartbeat(model="m", version="1", service="batch", instance="batch-1"), START + LENGTH))
    again = judge()
    again.restore(made.snapshot())
    again.tick(START + 400 * LENGTH)  # the same alert, under the same identity to its end
    assert [(alert.state, dict(labels_of(alert))["service"]) for alert in alerts(again) if alert.detector == "availability"] == [
        ("firing", "shop"),
        ("resolved", "shop"),
    ]
    again.apply(record(2, Heartbeat(model="m", version="1", service="shop", instance="shop-1"), START + 400 * LENGTH))
    again.apply(record(3, Heartbeat(model="m", version="1", service="batch", instance="batch-1"), START + 400 * LENGTH))
    fed(failing, made=again, first=400)
    later = [alert for alert in alerts(again) if alert.detector == "availability"][-1]
    assert (later.state, "service" in dict(labels_of(later))) == ("firing", False)


def test_slow_answers_page_and_quick_ones_do_not() -> None:
    bins = latency.counts_of(np.array([500.0] * 80 + [5.0] * 20)).tobytes()
    made = fed({"n": 100, "latency": bins})
    assert said(made) == [("latency", "page", "firing")]
    assert "80.00% of the requests to m 1 took longer than 200 ms" in alerts(made)[0].summary
    assert said(fed({"n": 100})) == []


def test_a_model_and_a_version_may_have_objectives_of_their_own() -> None:
    bins = latency.counts_of(np.array([100.0] * 80 + [5.0] * 20)).tobytes()
    strict = {"by_model": ("m=latency_ms:50", "other=availability:99.99")}
    assert said(fed({"n": 100, "latency": bins})) == []
    made = fed({"n": 100, "latency": bins}, made=judge(objectives=strict))
    assert said(made) == [("latency", "page", "firing")]
    assert "took longer than 50 ms" in alerts(made)[0].summary
    later = {"by_model": (*strict["by_model"], "m/1=latency_ms:500")}
    assert said(fed({"n": 100, "latency": bins}, made=judge(objectives=later))) == []


CANARY = finding(client="mallory", family="canary", severity="page", at_ns=START + LENGTH, n_events=2)
FEW = {"n": 1_000, "status": {"ok": 970, "error": 30}}
"""3 % fail: after an hour of none that is a page only where the budget was spent by something else."""


def after_an_hour(*, canary: bool, restart: bool = False, **objectives: Any) -> list[tuple[str, str]]:
    made = judge(objectives=objectives)
    quiet = [{"n": 2_000}] * 60
    fed(*quiet, made=made)
    if canary:
        Feed(made).give(msgspec.structs.replace(CANARY, at_ns=START + 59 * LENGTH))
    if restart:
        again = judge(objectives=objectives)
        again.restore(made.snapshot())
        made = again
    fed(*[FEW] * 5, made=made, first=60)
    return [(alert.detector, alert.severity) for alert in alerts(made) if alert.detector == "availability"]


@pytest.mark.parametrize("restart", [False, True])
def test_after_a_page_about_security_the_same_failures_page_sooner(restart: bool) -> None:
    assert after_an_hour(canary=False, restart=restart) == []
    assert after_an_hour(canary=True, restart=restart) == [("availability", "page")]
    assert after_an_hour(canary=True, restart=restart, incident_share=0) == []
    assert after_an_hour(canary=True, restart=restart, incident_share=0.001) == []  # 0.7 times over an hour is too little


def test_a_page_about_security_alone_opens_no_second_alert() -> None:
    made = judge()
    Feed(made).give(CANARY)
    fed({"n": 1_000}, {"n": 1_000, "status": {"ok": 991, "error": 9}}, made=made)
    assert {alert.detector for alert in alerts(made)} == {"canary"}


def test_a_burst_of_refusals_pages_and_names_the_client() -> None:
    line = ClientLine(client="mallory", n=200, errors=0, denied=200, repeats=0, severity="none", evidence={})
    quiet = [{"n": 1_000}] * 14
    made = fed(*quiet)
    assert said(made) == []
    burst = {"n": 1_200, "status": {"ok": 1_000, "forbidden": 200}, "lines": [line]}
    fed(burst, burst, made=made, first=14)
    assert said(made) == [("access", "ticket", "firing"), ("access", "page", "firing")]
    assert "most from client mallory (200)" in alerts(made)[-1].summary


def test_refusals_are_stored_and_told_by_service() -> None:
    made = fed(*[{"n": 1_000}] * 14)
    by = {"shop": {"ok": 800, "forbidden": 150, "unauthenticated": 30}, "batch": {"ok": 200, "forbidden": 20}}
    feed = Feed(made)
    feed._offsets = itertools.count(made.next["windows"])
    for partition in (0, 1):  # each has a half of either service
        half = {name: {status: n // 2 for status, n in of.items()} for name, of in by.items()}
        feed.give(partial(window=14, partition=partition, n=600, status={"ok": 500, "forbidden": 85, "unauthenticated": 15}, services=half))
    made.tick(START + 15 * LENGTH + 11 * NS)
    stored = {row["service"]: (row["n"], row["status"]) for row in rows(made, "service_windows")}
    assert stored == {"shop": (980, by["shop"]), "batch": (220, by["batch"])}
    assert alerts(made)[-1].evidence["services"] == {"shop": 180, "batch": 20}


def test_a_pause_of_the_traffic_makes_no_second_page_of_the_same_burst() -> None:
    line = ClientLine(client="mallory", n=200, errors=0, denied=200, repeats=0, severity="none", evidence={})
    burst = {"n": 1_200, "status": {"ok": 1_000, "forbidden": 200}, "lines": [line]}
    made = fed(*[{"n": 1_000}] * 14)
    fed(burst, burst, made=made, first=14)
    made.tick(START + 500 * LENGTH)
    assert said(made)[-1] == ("access", "page", "resolved")
    fed({"n": 10, "status": {"ok": 10}}, made=made, first=500)
    assert [one for one in said(made) if one[1:] == ("page", "firing")] == [("access", "page", "firing")]


def test_a_model_that_always_refuses_some_is_no_news() -> None:
    assert said(fed(*([{"n": 1_000, "status": {"ok": 950, "unauthenticated": 50}}] * 40))) == []


@pytest.mark.parametrize(
    ("settings", "loads", "severity", "why"),
    [
        (Integrity(), [load(signature="invalid")], "page", "its signature is not valid"),
        (Integrity(key_ids=("k1",)), [load(key_id="k2")], "page", "signed with key 'k2'"),
        (Integrity(digests=("m/1=sha256:2",)), [load()], "page", "not registered"),
        (Integrity(), [load(), load(instance="shop-2", digest="sha256:2")], "page", "loaded under the same version before"),
        (Integrity(require_signature=True), [load(signature="missing")], "ticket", "it has no signature"),
        (Integrity(), [load(signature="missing")], "", ""),
        (Integrity(key_ids=("k1",), digests=("m/1=sha256:1", "other/1=x")), [load(key_id="k1")], "", ""),
    ],
)
def test_a_load_that_should_not_be_is_told(settings: Integrity, loads: list[Lifecycle], severity: str, why: str) -> None:
    made = Judge(0, Settings(integrity=settings), References())
    for k, one in enumerate(loads):
        assert made.apply(record(k, one, START))
    found = alerts(made)
    assert [alert.severity for alert in found] == ([severity] if severity else [])
    assert not found or (why in found[0].summary and found[0].service == "shop")
    assert [row["problem"] != "" for row in rows(made, "loads")] == [False] * (len(loads) - 1) + [bool(severity)]


def test_a_bad_artefact_stands_until_it_is_unloaded_whatever_is_restarted() -> None:
    made = Judge(0, Settings(), References())
    made.apply(record(0, load(signature="invalid"), START))
    again = Judge(0, Settings(), References())
    again.restore(made.snapshot())
    for hour in range(1, 4):  # its heartbeats say that it is still there
        again.apply(record(hour, Heartbeat(model="m", version="1", service="shop", instance="shop-1"), START + hour * LENGTH * 10))
        again.tick(START + hour * LENGTH * 10)
    assert [alert.severity for alert in again.open_alerts() if alert.detector == "integrity"] == ["page"]
    again.apply(record(9, load(kind="unloaded"), START + 31 * LENGTH))
    again.tick(START + 50 * LENGTH)
    assert [alert for alert in again.open_alerts() if alert.detector == "integrity"] == []
    assert alerts(again)[-1].state == "resolved"


def test_an_instance_that_is_heard_of_no_more_has_nothing_loaded_in_the_store_until_it_is_back() -> None:
    made, offset = Judge(0, Settings(), References()), itertools.count()
    for name in ("closed", "killed", "mute"):
        made.apply(record(next(offset), load(instance=name, signature="invalid"), START))

    def beat(name: str, hours: float, *, closing: bool = False) -> None:
        message = Heartbeat(model="m", version="1", service="shop", instance=name, closing=closing)
        made.apply(record(next(offset), message, START + round(hours * 3_600 * NS)))

    def told() -> list[tuple[str, str, float]]:
        rows = [msgspec.msgpack.decode(out.value) for out in made.outbox if out.to == "rows" and out.key == b"loads"]
        return [(row["instance"], row["kind"], (row["at"] - START) / NS / 3_600) for row in rows[3:]]

    beat("closed", 0.1)
    beat("closed", 0.2, closing=True)
    beat("killed", 0.5)
    made.heard_until_ns = START + 3_600 * NS  # the worker was away, and reads
    made.tick(START + 9 * 3_600 * NS)
    assert told() == [("closed", "unloaded", 0.2)]
    made.heard_until_ns = None
    for _ in range(2):
        made.tick(START + 9 * 3_600 * NS)
        assert told()[1:] == [("killed", "unloaded", 1.5)], "of the mute one no heartbeat ever came: its silence says nothing"
    again = Judge(0, Settings(), References())
    again.restore(made.snapshot())
    made = again
    beat("killed", 9.5)
    assert told()[-1] == ("killed", "loaded", 9.5)
    made.tick(START + 10 * 3_600 * NS)
    assert [alert.severity for alert in made.open_alerts() if alert.detector == "integrity"] == ["page"]


def test_a_full_memory_is_a_ticket_after_a_minute_without_a_break_and_survives_a_restart() -> None:
    made, offset = Judge(0, Settings(), References()), itertools.count()

    def beats(of: Judge, first: int, last: int, share: float) -> None:
        for second in range(first, last, 10):
            beat = Heartbeat(model="m", version="1", service="shop", instance="a", gauges={"memory_share": share, "load": 9.0})
            of.apply(record(next(offset), beat, START + second * NS))
            of.tick(START + second * NS)

    beats(made, 0, 50, 0.95)
    beats(made, 50, 60, 0.5)
    beats(made, 60, 120, 0.95)
    assert said(made) == []
    again = Judge(0, Settings(), References())
    again.restore(made.snapshot())
    beats(again, 120, 140, 0.97)
    assert said(again) == [("saturation", "ticket", "firing")]
    assert "memory_share of shop (a), which serves m 1, is at 97% without a break." in alerts(again)[0].summary
    again.tick(START + 140 * NS + 50 * LENGTH)
    assert said(again)[-1] == ("saturation", "ticket", "resolved")


def test_a_gauge_that_is_followed_is_one_that_is_stored() -> None:
    watch = Saturation(share=0.9, seconds=60, cpu_seconds=600, most=10)
    gauges = {f"g{k}_share": 0.95 for k in range(9, -1, -1)} | {"a_share": math.nan, "load": 9.0}  # ten, the last by name first
    for second in range(0, 80, 10):
        watch.heartbeat(Heartbeat(service="shop", instance="a", gauges=gauges), second * NS)
    assert {one.gauge for one in watch.full(70 * NS)} == set(kept(gauges)) == {f"g{k}_share" for k in range(8)}


def test_cpu_is_a_ticket_after_ten_minutes_whatever_the_memory_is() -> None:
    watch = Saturation(share=0.8, seconds=60, cpu_seconds=600, most=10)
    told: dict[str, int] = {}
    for second in range(0, 700, 10):
        gauges = {"cpu_share": 0.93, "memory_share": 0.2, "queue_share": 0.85}
        watch.heartbeat(Heartbeat(service="shop", instance="a", gauges=gauges), second * NS)
        for one in watch.full(second * NS):
            told.setdefault(one.gauge, second)
    assert told == {"queue_share": 60, "cpu_share": 600}
    watch.heartbeat(Heartbeat(service="shop", instance="a", gauges={"cpu_share": 0.79, "queue_share": 0.85}), 700 * NS)
    assert [one.gauge for one in watch.full(700 * NS)] == ["queue_share"]


def test_drift_after_a_first_load_is_marked_as_of_a_new_version() -> None:
    windows = [{"published": PUBLISHED, "n": 400, "shift": 0.0}] * 13 + [{"published": PUBLISHED, "n": 400, "shift": 3.0}] * 3
    for loaded, marked in ((START, False), (START + 13 * LENGTH, True)):
        made = judge()
        made.apply(record(0, load(version="2"), loaded))
        fed(*windows, made=made)
        drift = [alert for alert in alerts(made) if alert.detector == "drift"]
        assert drift
        assert ("deploy" in drift[-1].evidence) == marked
    assert drift[-1].evidence["deploy"] == {"version": "2", "loaded_at_ns": START + 13 * LENGTH}


def test_a_snapshot_goes_on_where_it_was() -> None:
    one = fed({"n": 1_000, "status": {"ok": 1_000}})
    other = judge()
    other.restore(one.snapshot())
    bad = {"n": 1_000, "status": {"ok": 976, "error": 24}}
    fed(bad, made=one, first=1)
    fed(bad, made=other, first=1)
    assert said(other) == said(one) == [("availability", "ticket", "firing")]


PER_DAY = 288
TYPO = {"n": 1_000, "status": {"ok": 999, "forbidden": 1}}


def week_of(made: Judge, first_day: int, days: int, **last: Any) -> None:
    """Windows once a day, the last of them with these changes."""
    for day in range(first_day, first_day + days):
        fed({"n": 1_000} | (last if day == first_day + days - 1 else {}), made=made, first=day * PER_DAY)


def restarted(made: Judge, **sections: Any) -> Judge:
    again = judge(**sections)
    again.restore(made.snapshot())
    return again


def test_the_first_refusal_in_a_week_is_a_ticket_after_a_restart_too() -> None:
    made = judge()
    week_of(made, 0, 5)
    made = restarted(made)
    week_of(made, 5, 3, **TYPO)
    assert said(made) == [("access", "ticket", "firing")]
    assert "1 of 1,000 requests to m 1 were refused, the first in 7 days" in alerts(made)[0].summary
    assert alerts(made)[0].evidence["quiet_days"] == 7


def test_refusals_every_few_days_or_after_days_that_nobody_saw_are_no_ticket() -> None:
    usual = judge()
    for day in range(0, 40, 5):
        week_of(usual, day, 5, **TYPO)
    assert said(usual) == []
    away = judge()
    week_of(away, 0, 2)
    week_of(away, 8, 1, **TYPO)
    assert said(away) == []
    weekend = judge()
    week_of(weekend, 0, 5)
    week_of(weekend, 7, 1, **TYPO)
    assert said(weekend) == [("access", "ticket", "firing")]


def test_zero_days_never_tell_of_a_single_refusal() -> None:
    for objectives in ({"quiet_days": 0}, {"by_model": ("m=quiet_days:0",)}):
        made = judge(objectives=objectives)
        week_of(made, 0, 20, **TYPO)
        assert said(made) == []


def test_a_burst_after_a_quiet_week_is_one_alert_that_rises_to_a_page() -> None:
    made = judge()
    week_of(made, 0, 20)
    burst = {"n": 1_200, "status": {"ok": 1_000, "forbidden": 200}}
    fed(burst, burst, made=made, first=20 * PER_DAY)
    assert said(made) == [("access", "ticket", "firing"), ("access", "page", "firing")]
    assert len({alert.alert_id for alert in alerts(made)}) == 1
    assert "per 10,000" in alerts(made)[0].summary
