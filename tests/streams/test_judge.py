"""The judge: shares add up in any order and count once; one alert per cause; bad messages are dead letters; a restart changes nothing."""

from __future__ import annotations

import itertools

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from detectors.drift import DriftReference, WindowCounts
from detectors.state import StateError
from inferwatch import Heartbeat
from schemas import windows
from streams.alerts import MAX_OPEN
from streams.judge import Judge
from streams.owner import Record
from streams.references import References
from tests.streams.events import KEY, NS, START, reference, settings
from tests.streams.judging import BEAT, PUBLISHED, Feed, alerts, judge, judged, rows
from tests.streams.messages import LENGTH, finding, partial

# -- counting ---------------------------------------------------------------------------------------------------------------------------


@hypothesis_settings(deadline=None, max_examples=20)
@given(order=st.permutations(range(4)))
def test_the_shares_of_several_partitions_say_in_any_order_what_one_would_have_said(order: list[int]) -> None:
    shares = [
        partial(published=PUBLISHED, seed=k, n=100 * (k + 1), partition=k, classes={"no": k, "yes": 1}, anomalies={"missing": k},
                rejected={"clock": 1}, late=k, suspect=1, clients=7)
        for k in range(4)
    ]  # fmt: skip
    drift = DriftReference.from_bytes(PUBLISHED.parts["drift"])
    sum_of = WindowCounts(drift)
    for share in shares:
        sum_of.merge(WindowCounts.from_bytes(share.counts, drift))
    whole = partial(
        published=PUBLISHED, n=1_000, counts=sum_of.to_bytes(),
        classes={"no": 6, "yes": 4}, anomalies={"missing": 6}, rejected={"clock": 4},
        late=6, suspect=4, clients=28,
    )  # fmt: skip
    several, one = Feed(judge()), Feed(judge())
    several.give(*(shares[k] for k in order))
    one.give(whole)
    for feed in (several, one):
        feed.judge.tick(START + LENGTH + 11 * NS)
    assert judged(several.judge) == judged(one.judge)
    assert rows(one.judge, "windows")[0]["n"] == 1_000


def test_a_message_that_comes_twice_counts_once_and_a_new_epoch_begins_again() -> None:
    feed = Feed(judge())
    share = partial(n=10)
    feed.give(share, share, msgspec.structs.replace(share, partition=1), msgspec.structs.replace(share, epoch=1))
    feed.give(finding(), finding())
    feed.judge.tick(START + 2 * LENGTH)
    assert rows(feed.judge, "windows")[0]["n"] == 30
    assert feed.judge.repeated == 2
    assert len(alerts(feed.judge)) == 1


def test_a_record_below_the_next_offset_is_in_the_state_already() -> None:
    one = judge()
    record = Record("windows", 0, 5, windows.encode(partial(n=10)), START)
    assert one.apply(record) is True
    assert one.apply(record) is False
    assert one.next["windows"] == 6
    assert one.next["findings"] == 0


def test_a_window_waits_for_slow_partitions_and_no_longer() -> None:
    feed = Feed(judge())
    feed.give(partial(n=10))
    feed.judge.tick(START + LENGTH + 9 * NS)
    assert rows(feed.judge, "windows") == []
    feed.judge.tick(START + LENGTH + 10 * NS)
    assert len(rows(feed.judge, "windows")) == 1


def test_a_share_that_comes_too_late_enters_the_next_window_and_replaces_no_row() -> None:
    feed = Feed(judge())
    feed.window(0, n=100)
    feed.give(partial(published=PUBLISHED, partition=1, n=30, seed=5))
    feed.judge.tick(START + LENGTH + 30 * NS)
    feed.window(1, n=100)
    written = rows(feed.judge, "windows")
    assert [(row["start"], row["n"], row["late"]) for row in written] == [(START, 100, 0), (START + LENGTH, 130, 30)]


def test_windows_that_nobody_judges_do_not_pile_up() -> None:
    feed = Feed(judge())
    for number in range(200):
        feed.give(partial(window=number, n=1))
    assert len(rows(feed.judge, "windows")) == 136
    feed.judge.tick(START + 300 * LENGTH)
    assert sum(row["n"] for row in rows(feed.judge, "windows")) == 200


# -- alerts -----------------------------------------------------------------------------------------------------------------------------


def test_drift_opens_a_ticket_rises_to_a_page_under_one_id_and_resolves_once_after_silence() -> None:
    feed = Feed(judge())
    for number in range(3):
        feed.window(number)
    assert alerts(feed.judge) == []
    for number in range(3, 30):
        feed.window(number, shift=1.0)
    opened, risen = alerts(feed.judge)
    assert (opened.severity, risen.severity) == ("ticket", "page")
    assert opened.alert_id == risen.alert_id
    assert opened.opened_at_ns == risen.opened_at_ns >= START + 4 * LENGTH
    assert risen.feature in ("age", "income", "score", "score:no", "score:yes", "class")
    silence = START + 30 * LENGTH + 11 * NS + 12 * LENGTH
    feed.judge.tick(silence - NS)
    assert len(alerts(feed.judge)) == 2
    for k in range(5):
        feed.judge.tick(silence + k * LENGTH)
    resolved = alerts(feed.judge)[2:]
    assert [(alert.state, alert.alert_id) for alert in resolved] == [("resolved", opened.alert_id)]
    assert feed.judge.open_alerts() == []


def test_rows_that_changed_as_a_whole_page_through_partitions_and_bytes() -> None:
    feed, rng = Feed(judge()), np.random.default_rng(0)
    bins = DriftReference.from_bytes(PUBLISHED.parts["drift"])
    for window in range(24):
        for partition in range(2):
            X = rng.normal(size=(400, 3))
            if window >= 14:
                X[:, 2] = np.abs(X[:, 2]) * np.sign(X[:, 0] * X[:, 1])
            p = 1 / (1 + np.exp(-X[:, 0] - 0.5 * X[:, 1]))
            leaf = WindowCounts(bins)
            leaf.update(X, np.stack([1 - p, p], 1), (p > 0.5).astype(int), clients=rng.integers(1, 2**62, 400))
            share = partial(published=PUBLISHED, window=window, partition=partition, sequence=window)
            feed.give(msgspec.structs.replace(share, n=400, clients=400, counts=leaf.to_bytes()))
        feed.judge.tick(START + (window + 1) * LENGTH + 11 * NS)
    (page,) = [alert for alert in alerts(feed.judge) if alert.severity == "page"]
    assert page.evidence["together"]["names"]
    assert page.evidence["looks_like"] == "together"
    assert "no longer go together" in page.summary


def test_a_clock_that_was_an_hour_ahead_and_is_right_again_judges_and_ends_alerts_as_before() -> None:
    feed = Feed(judge())
    feed.window(0)
    feed.judge.tick(START + LENGTH + 3_600 * NS)  # somebody set it
    again = judge()
    again.restore(feed.judge.snapshot())
    for who in (feed.judge, again):  # who stayed, and who took over
        one = Feed(who)
        one._offsets = itertools.count(100)
        who.tick(START + LENGTH + 12 * NS)
        one.give(finding(sequence=7, at_ns=START + LENGTH + 13 * NS))
        who.tick(START + LENGTH + 14 * NS)
        assert [alert.state for alert in alerts(who)] == ["firing"], "over as soon as it began"
        one.give(partial(published=PUBLISHED, window=2, n=400))
        who.tick(START + 3 * LENGTH + NS)
        assert len(rows(who, "windows")) == 1, "judged before its partitions had their time"
        who.tick(START + 3 * LENGTH + 11 * NS)
        assert len(rows(who, "windows")) == 2


def test_who_reads_late_takes_nobody_for_silent_and_a_model_that_is_silent_still_pages() -> None:
    feed = Feed(judge())
    beat = msgspec.json.encode(Heartbeat(service="shop", instance="a", model="m", version="1", accepted=1, sent=1))
    a_while = 130 + 2 * LENGTH // NS  # silence is a minute's, and looked for once a window

    def pages_after(begin: int, seconds: int, late: int) -> list[str]:
        for k in range(begin, begin + seconds, 5):
            feed.judge.heard_until_ns = START + (k - late) * NS
            feed.judge.tick(START + k * NS)
        return [alert.detector for alert in alerts(feed.judge) if alert.severity == "page"]

    feed.raw("lifecycle", beat, START, BEAT)
    for k in range(0, 4 * a_while, 10):  # beats come all the time, and are read a while late
        feed.raw("lifecycle", beat, START + k * NS, BEAT)
        assert pages_after(k + a_while, 10, a_while) == []
    assert pages_after(5 * a_while, 30, a_while) == []
    assert pages_after(5 * a_while + 30, a_while, a_while) == ["completeness"]


def test_a_small_step_back_of_the_clock_is_waited_for() -> None:
    feed = Feed(judge())
    feed.give(partial(published=PUBLISHED, window=0, n=400))
    feed.judge.tick(START + LENGTH + 11 * NS)
    feed.judge.tick(START + LENGTH)
    feed.give(partial(published=PUBLISHED, window=1, n=400))
    feed.judge.tick(START + 2 * LENGTH + 11 * NS)
    assert len(rows(feed.judge, "windows")) == 2


def test_ordinary_traffic_opens_nothing() -> None:
    feed = Feed(judge())
    for number in range(40):
        feed.window(number)
    assert alerts(feed.judge) == []


def test_a_provisional_reference_opens_tickets_only_and_says_so() -> None:
    provisional = msgspec.structs.replace(PUBLISHED, source="provisional")
    feed = Feed(judge(provisional))
    for number in range(20):
        feed.window(number, shift=2.0)
    (opened,) = alerts(feed.judge)
    assert opened.severity == "ticket"
    assert "provisional" in opened.evidence["status"]


def test_findings_of_one_client_are_one_alert_that_rises() -> None:
    feed = Feed(judge())
    feed.give(finding(severity="ticket", sequence=0), finding(severity="page", sequence=1), finding(severity="page", sequence=2))
    assert [(a.severity, a.client) for a in alerts(feed.judge)] == [("ticket", "mallory"), ("page", "mallory")]
    assert len({a.alert_id for a in alerts(feed.judge)}) == 1


def test_a_pooled_finding_is_the_same_cause_in_any_order_of_its_members() -> None:
    feed = Feed(judge())
    feed.give(finding(client="", clients=["a", "b"], sequence=0), finding(client="", clients=["b", "a"], sequence=1))
    (only,) = alerts(feed.judge)
    assert only.clients == ("a", "b")
    assert only.client is None


def test_a_renewed_finding_extends_an_alert_and_reopens_it_only_with_more_evidence() -> None:
    feed = Feed(judge())
    again = finding(renewed=True, severity="page", evidence={})
    feed.give(finding(sequence=0))
    feed.give(msgspec.structs.replace(again, sequence=1, at_ns=START + 10 * LENGTH, log_evidence=30.0))
    feed.judge.tick(START + 15 * LENGTH)
    assert len(alerts(feed.judge)) == 1
    feed.judge.tick(START + 22 * LENGTH)
    feed.give(msgspec.structs.replace(again, sequence=2, at_ns=START + 23 * LENGTH, log_evidence=31.0))
    assert [a.state for a in alerts(feed.judge)] == ["firing", "resolved"]
    feed.give(msgspec.structs.replace(again, sequence=3, at_ns=START + 24 * LENGTH, log_evidence=36.0))
    assert [a.state for a in alerts(feed.judge)] == ["firing", "resolved", "firing"]


def test_a_storm_of_findings_stays_in_bounds() -> None:
    feed = Feed(judge())
    feed.give(*(finding(client=f"c{k}", sequence=k) for k in range(MAX_OPEN + 500)))
    assert len(alerts(feed.judge)) == len(feed.judge.open_alerts()) == MAX_OPEN


def test_every_alert_is_also_a_row_of_its_history() -> None:
    feed = Feed(judge())
    feed.give(finding())
    feed.judge.tick(START + 100 * LENGTH)
    assert [row["state"] for row in rows(feed.judge, "alerts")] == ["firing", "resolved"]


# -- restarts ---------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [1, 9, 16, 23])
def test_a_restored_judge_goes_on_as_if_nothing_had_happened(cut: int) -> None:
    def play(feed: Feed, numbers: range) -> None:
        for number in numbers:
            feed.window(number, shift=1.0 if 5 <= number < 12 else 0.0)
            feed.give(partial(window=number - 1, partition=3, n=5, sequence=number))
            if number % 7 == 3:
                feed.give(finding(client=f"é{number}", sequence=number, at_ns=START + number * LENGTH))

    whole, first, second = Feed(judge()), Feed(judge()), Feed(judge())
    play(whole, range(30))
    play(first, range(cut))
    second.judge.restore(first.judge.snapshot())
    second._offsets = first._offsets
    play(second, range(cut, 30))
    assert [msgspec.msgpack.encode(out) for out in whole.judge.outbox] == [msgspec.msgpack.encode(out) for out in second.judge.outbox]
    assert second.judge.next == whole.judge.next
    assert second.judge.open_alerts() == whole.judge.open_alerts()


def test_a_message_of_before_the_restart_that_comes_again_after_it_counts_once() -> None:
    first, second = Feed(judge()), Feed(judge())
    first.give(partial(n=10), finding())
    second.judge.restore(first.judge.snapshot())
    second._offsets = first._offsets
    second.give(partial(n=10), finding())
    second.judge.tick(START + 2 * LENGTH)
    assert second.judge.repeated == 2
    assert rows(second.judge, "windows")[0]["n"] == 10


def test_a_state_of_another_partition_or_another_thing_is_refused() -> None:
    with pytest.raises(StateError, match="partition 0, not 3"):
        Judge(3, settings(), References()).restore(judge().snapshot())
    with pytest.raises(StateError, match="not a streams\\.judge state"):
        judge().restore(b"what")


def test_a_new_reference_begins_the_evidence_anew_and_keeps_the_alerts() -> None:
    references = References(KEY)
    references.put(PUBLISHED)
    feed = Feed(Judge(0, settings(), references))
    for number in range(6):
        feed.window(number, shift=2.0)
    before = alerts(feed.judge)
    assert before
    references.put(reference(seed=9))
    feed.window(6)
    assert alerts(feed.judge) == before
    assert np.isfinite(rows(feed.judge, "windows")[-1]["drift_log_evidence"])
