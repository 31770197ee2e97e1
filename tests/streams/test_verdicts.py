"""Verdicts: off by default, on accounts, after a delay, once; withdrawn when they end, when the page was false, when a person says so."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from inferwatch import Verdict, read_verdict
from schemas.alerts import Alert
from schemas.operations import Acknowledged, ClearVerdict, Operation, SetVerdict
from streams.judge import Judge
from streams.references import References
from streams.settings import SettingsError, load
from streams.verdicts import parse_action
from tests.streams.events import KEY, NS, START, settings
from tests.streams.judging import Feed, alerts, judge
from tests.streams.messages import LENGTH, finding

ON: dict[str, Any] = {"enabled": True, "actions": ("evasion=throttle(10)", "extraction=round(2)", "membership=block")}
MINUTE, HOUR = 60 * NS, 3_600 * NS


def issued(of: Judge) -> list[Verdict | None]:
    """What went to the topic, in order; None: withdrawn."""
    return [read_verdict(out.key, out.value) if out.value else None for out in of.outbox if out.to == "verdicts"]


def feed(**verdicts: Any) -> Feed:
    return Feed(judge(verdicts=ON | verdicts))


def say(to: Feed, operation: Operation, at_ns: int = START) -> None:
    to.raw("operations", msgspec.json.encode(operation), at_ns)


def page(family: str = "evasion", sequence: int = 0, at_ns: int = START, **given: Any) -> Any:
    return finding(family=family, severity="page", sequence=sequence, at_ns=at_ns, **given)


def grow(to: Feed, family: Any, cause: str, **given: Any) -> None:
    """The open page is told again, with more."""
    before = len(alerts(to.judge))
    to.judge._models["m", "1"].alerts.raise_(family, cause, "page", START + NS, summary="", grown=True, **given)
    assert len(alerts(to.judge)) == before + 1


def person(action: str = "block", hours: int = 1, client: str = "mallory", at_ns: int = START) -> SetVerdict:
    fields = {"model": "m", "client": client, **parse_action(action), "issued_ns": at_ns, "not_before_ns": at_ns}
    return SetVerdict(verdict=msgspec.convert(fields | {"expires_ns": at_ns + hours * HOUR}, Verdict))


def test_nothing_is_issued_unless_it_is_switched_on() -> None:
    off = Feed(judge(verdicts={"actions": ("evasion=block",)}))
    off.give(page())
    say(off, person())
    assert len(alerts(off.judge)) == 1
    assert issued(off.judge) == []
    assert off.judge.counters()["verdicts.off"] == 1


def test_a_page_asks_once_for_the_action_of_its_family_after_the_delay() -> None:
    one = feed(delay_min_s=60.0, delay_max_s=120.0, length_s=3_600.0)
    one.give(page(), page(sequence=1, at_ns=START + NS), page(sequence=2, at_ns=START + 2 * NS))
    (verdict,) = issued(one.judge)
    assert verdict is not None
    (alert,) = alerts(one.judge)
    assert (verdict.model, verdict.client, verdict.text, verdict.reason) == ("m", "mallory", "throttle(10)", alert.alert_id)
    assert START + MINUTE <= verdict.not_before_ns <= START + 2 * MINUTE
    assert verdict.expires_ns == verdict.not_before_ns + HOUR
    assert verdict.evidence["detector"] == "evasion"


def test_a_ticket_asks_for_nothing_until_it_has_risen_to_a_page() -> None:
    one = feed()
    one.give(finding(family="evasion", severity="ticket", sequence=0))
    assert issued(one.judge) == []
    one.give(page(sequence=1))
    assert len(issued(one.judge)) == 1


def test_delays_differ_between_clients_and_a_restarted_judge_draws_the_same() -> None:
    one, other = feed(), feed()
    for each in (one, other):
        for k in range(50):
            each.give(page(client=f"c{k}", sequence=k))
    starts = {verdict.not_before_ns for verdict in issued(one.judge) if verdict}
    assert len(starts) == 50
    assert min(starts) >= START + 600 * NS
    assert max(starts) <= START + 3_600 * NS
    assert max(starts) - min(starts) > 1_500 * NS, "hardly spread"
    assert issued(one.judge) == issued(other.judge)


def test_a_family_that_is_not_named_is_observed() -> None:
    one = feed(actions=("membership=block",))
    one.give(page())
    (verdict,) = issued(one.judge)
    assert verdict is not None
    assert verdict.action == "observe"


def test_drift_asks_for_nothing_and_a_swarm_for_each_of_its_members() -> None:
    one = feed()
    for number in range(30):
        one.window(number, shift=1.0 if number > 2 else 0.0)
    assert any(alert.severity == "page" for alert in alerts(one.judge))
    assert issued(one.judge) == []
    one.give(page("extraction", client="", clients=["a", "b", "c"]))
    assert [(verdict.client, verdict.text) for verdict in issued(one.judge) if verdict] == [(who, "round(2)") for who in "abc"]


def test_the_stronger_action_replaces_the_weaker_and_never_the_other_way() -> None:
    one = feed()
    one.give(page("extraction"), page("evasion", sequence=1), page("extraction", sequence=2, at_ns=START + NS))
    assert [verdict.text for verdict in issued(one.judge) if verdict] == ["round(2)", "throttle(10)"]


def test_it_is_withdrawn_when_it_ends_and_prolonged_while_its_page_is_open() -> None:
    one = feed(delay_min_s=0.0, delay_max_s=0.0, length_s=600.0)
    one.give(page())
    one.judge.tick(START + 599 * NS)
    assert len(issued(one.judge)) == 1
    one.judge.tick(START + 600 * NS)
    first, longer = issued(one.judge)
    assert first is not None
    assert longer is not None
    assert longer.expires_ns == first.expires_ns + 600 * NS
    one.judge.tick(START + 13 * LENGTH)  # the page resolves
    assert issued(one.judge)[-1] is None
    assert alerts(one.judge)[-1].state == "resolved"
    one.judge.tick(START + 20 * LENGTH)
    assert sum(verdict is None for verdict in issued(one.judge)) == 1


def test_a_page_that_was_false_takes_its_verdicts_back_and_asks_for_none_again() -> None:
    one = feed(length_s=600.0, delay_min_s=0.0, delay_max_s=0.0)
    one.give(page("extraction", client="", clients=["a", "b"]), page("evasion", client="c", sequence=1))
    opened = alerts(one.judge)[0]
    for verdict in ("true", "benign-cause", "false"):
        say(one, Acknowledged(model="m", alert_id=opened.alert_id, verdict=verdict))
    withdrawn = [out.key for out in one.judge.outbox if out.to == "verdicts" and not out.value]
    assert withdrawn == [b"m\0a", b"m\0b"]
    grow(one, "extraction", "a,b", clients=["a", "b"])
    one.judge.tick(START + 700 * NS)
    assert [out.key for out in one.judge.outbox if out.to == "verdicts" and out.value][-1] == b"m\0c", "the judge asked again"


def test_what_a_person_decided_stands_against_the_judge_until_it_ends() -> None:
    one = feed()
    say(one, person("observe", hours=1))
    one.give(page("membership"))
    assert [verdict.text for verdict in issued(one.judge) if verdict] == ["observe"]
    one.judge.tick(START + HOUR)
    assert issued(one.judge)[-1] is None


def test_what_a_person_clears_is_gone_and_its_page_does_not_bring_it_back() -> None:
    one = feed(length_s=600.0, delay_min_s=0.0, delay_max_s=0.0)
    one.give(page())
    say(one, ClearVerdict(model="m", client="mallory"))
    grow(one, "evasion", "mallory", client="mallory")
    one.judge.tick(START + 700 * NS)
    assert [verdict is None for verdict in issued(one.judge)] == [False, True]
    say(one, ClearVerdict(model="m", client="nobody ever"))
    assert [out.key for out in one.judge.outbox if out.to == "verdicts"][-1] == b"m\0nobody ever", "a stray record can be removed"


def test_the_circuit_breaker_has_the_models_key() -> None:
    one = feed()
    say(one, person("block", client=""))
    assert [out.key for out in one.judge.outbox if out.to == "verdicts"] == [b"m\0"]


def test_an_order_that_waited_until_it_had_expired_is_not_carried_out() -> None:
    one = feed()
    say(one, person(hours=1), at_ns=START + 2 * HOUR)
    assert issued(one.judge) == []
    assert one.judge.counters()["verdicts.too_late"] == 1


@pytest.mark.parametrize(
    "value",
    [
        b"", b"{}", b"[]", b'{"kind": "set_verdict"}', b'{"kind": "set_verdict", "verdict": {"model": "m", "action": "throttle"}}',
        b'{"kind": "acknowledged", "model": "m", "alert_id": "a", "verdict": "perhaps"}', b'{"kind": "format_disk", "model": "m"}',
        b"\xff\xfe",
    ],
)  # fmt: skip
def test_nonsense_on_the_topic_is_a_dead_letter(value: bytes) -> None:
    one = feed()
    one.raw("operations", value)
    assert issued(one.judge) == []
    assert one.judge.refused == {"operations": 1}


def test_a_full_book_counts_what_it_does_not_issue() -> None:
    one = feed(clients=3)
    one.give(*(page(client=f"c{k}", sequence=k) for k in range(5)))
    assert len(issued(one.judge)) == 3
    assert one.judge.counters()["verdicts.no_room"] == 2


def test_a_restored_judge_withdraws_what_the_one_before_issued() -> None:
    one = feed(delay_min_s=0.0, delay_max_s=0.0, length_s=7_200.0)
    one.give(page())
    say(one, Acknowledged(model="m", alert_id="other", verdict="false"))
    again = judge(verdicts=ON | {"length_s": 7_200.0})
    again.restore(one.judge.snapshot())
    assert again.snapshot() == one.judge.snapshot()
    again.outbox.ack([out.id for out in again.outbox])
    again.tick(START + 3 * HOUR)
    assert issued(again) == [None]
    off = Judge(0, settings(), References(KEY))
    off.restore(one.judge.snapshot())
    off.outbox.ack([out.id for out in off.outbox])
    off.tick(START)
    assert issued(off) == [None], "switched off, and the gateways still do it"


def test_a_page_whose_figures_are_absurd_still_gives_a_verdict_that_can_be_read() -> None:
    one = feed()
    one.judge._verdicts.alert(
        Alert(alert_id="a", model="m", version="1", detector="evasion", severity="page", state="firing", at_ns=START, opened_at_ns=START,
              client="c", log_evidence=float("inf"), n_events=10**15), START,
    )  # fmt: skip
    (verdict,) = issued(one.judge)
    assert verdict is not None
    assert verdict.evidence["log_evidence"] == 1e9


@pytest.mark.parametrize(
    "action", ["", "ban", "throttle", "throttle(0)", "round(7)", "round(1.5)", "block(3)", "observe(1)", "throttle(1e9)"]
)
def test_an_action_that_makes_no_sense_is_refused(action: str) -> None:
    with pytest.raises(ValueError, match="expected observe"):
        parse_action(action)


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"verdicts.delay_max_s: 5 is below"):
        load(None, {"INFERWATCH_VERDICTS_DELAY_MIN_S": "10", "INFERWATCH_VERDICTS_DELAY_MAX_S": "5"})
    with pytest.raises(SettingsError, match=r"verdicts.actions\[0\]"):
        load(None, {"INFERWATCH_VERDICTS_ACTIONS": "drift=block"})
    for zero in ("throttle(0)", "throttle(0.0)"):
        with pytest.raises(SettingsError, match=r"verdicts\.actions"):
            load(None, {"INFERWATCH_VERDICTS_ACTIONS": f"evasion={zero}"})
