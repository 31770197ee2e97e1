"""The judge: shares add up in any order and count once; one alert per cause; bad messages are dead letters; a restart changes nothing."""

from __future__ import annotations

import itertools
from typing import Any

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
from schemas.alerts import Alert
from schemas.reference import Reference
from schemas.windows import Finding, Producer, WindowPartial
from streams.alerts import MAX_OPEN
from streams.judge import Judge
from streams.owner import Record, Role
from streams.references import References
from tests.streams.events import KEY, NS, START, reference, settings
from tests.streams.messages import LENGTH, finding, partial

PUBLISHED = reference()
_BEAT = {"ce_type": "inferwatch.heartbeat.v1"}


def judge(published: Reference | None = PUBLISHED, **sections: dict[str, Any]) -> Judge:
    references = References(KEY)
    if published is not None:
        references.put(published)
    return Judge(0, settings(**sections), references)


class Feed:
    """Gives a judge messages as records with offsets of their own."""

    def __init__(self, to: Judge) -> None:
        self.judge = to
        self._offsets = itertools.count()

    def raw(self, role: Role, value: bytes, at_ns: int = START, headers: dict[str, str] | None = None) -> bool:
        return self.judge.apply(Record(role, 0, next(self._offsets), value, at_ns, headers=headers or {}))

    def give(self, *messages: WindowPartial | Finding) -> None:
        for message in messages:
            if isinstance(message, WindowPartial):
                self.raw("windows", windows.encode(message), message.end_ns)
            else:
                self.raw("findings", windows.encode(message), message.at_ns)

    def window(self, number: int, **given: Any) -> None:
        """An ordinary share of this window, and the time at which it is judged."""
        self.give(partial(published=PUBLISHED, window=number, **({"n": 400} | given)))
        self.judge.tick(START + (number + 1) * LENGTH + 11 * NS)


def rows(of: Judge, table: str) -> list[Any]:
    return [msgspec.msgpack.decode(out.value) for out in of.outbox if out.to == "rows" and out.key == table.encode()]


def alerts(of: Judge) -> list[Alert]:
    return [msgspec.json.decode(out.value, type=Alert) for out in of.outbox if out.to == "alerts"]


def letters(of: Judge) -> list[Any]:
    return [out for out in of.outbox if out.to == "dlq"]


def judged(of: Judge) -> list[list[Any]]:
    return [[out.key, msgspec.msgpack.decode(out.value)] for out in of.outbox if out.to == "rows"]


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


# -- bad messages -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("role", "value", "headers"),
    [
        ("windows", b"", {}),
        ("windows", b"\xff" * 100, {}),
        ("windows", windows.encode(partial(n=5))[:-3], {}),
        ("windows", windows.encode(finding()), {}),
        ("windows", windows.encode(partial(n=5, latency=b"odd")), {}),
        ("windows", windows.encode(partial(n=5, latency=b"\0" * 80)), {}),
        ("windows", windows.encode(partial(published=PUBLISHED, n=5, counts=b"garbage")), {}),
        ("findings", b"{}", {}),
        ("findings", windows.encode(finding())[: len(windows.encode(finding())) // 2], {}),
        ("findings", windows.encode(finding(evidence={"x": 0})).replace(b"\x81\xa1x\x00", b"\x81\xa1x" + b"\x91" * 30_000 + b"\x00"), {}),
        ("findings", windows.encode(finding(log_evidence=float("nan"))), {}),
        ("lifecycle", b"not json", _BEAT),
        ("lifecycle", b'{"dropped": -1}', _BEAT),
    ],
)
def test_a_damaged_message_is_a_dead_letter_and_the_next_one_counts(role: Role, value: bytes, headers: dict[str, str]) -> None:
    feed = Feed(judge())
    assert feed.raw(role, value, headers=headers)
    feed.window(0, n=7, epoch=9)
    (letter,) = letters(feed.judge)
    assert (letter.value, letter.headers["source"]) == (value[:65_536], f"{role}/0/0")
    assert feed.judge.refused == {role: 1}
    assert [row["n"] for row in rows(feed.judge, "windows")] == [7]


@hypothesis_settings(deadline=None, max_examples=60)
@given(role=st.sampled_from(["windows", "findings", "lifecycle", "labels"]), data=st.data())
def test_no_bytes_crash_the_judge(role: Role, data: st.DataObject) -> None:
    sound = windows.encode(partial(published=PUBLISHED, n=3) if role == "windows" else finding())
    flipped = bytearray(sound)
    for at in data.draw(st.lists(st.integers(0, len(sound) - 1), min_size=1, max_size=4)):
        flipped[at] = data.draw(st.integers(0, 255))
    feed = Feed(judge())
    feed.raw(role, data.draw(st.sampled_from([bytes(flipped), bytes(flipped[: len(flipped) // 2])])), headers=_BEAT)
    feed.judge.tick(START + 2 * LENGTH)
    feed.judge.snapshot()


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_counts_of_another_reference_are_counted_but_not_compared(order: tuple[int, int]) -> None:
    shares = [partial(published=PUBLISHED, n=50), partial(n=30, reference="another", counts=b"in bins that nobody here knows", partition=1)]
    feed = Feed(judge())
    feed.give(*(shares[k] for k in order))
    feed.judge.tick(START + 2 * LENGTH)
    (row,) = rows(feed.judge, "windows")
    assert (row["n"], row["reference"]) == (80, PUBLISHED.id)
    assert rows(feed.judge, "feature_windows")
    assert letters(feed.judge) == []


def test_damaged_counts_that_came_before_their_reference_cost_no_more_than_themselves() -> None:
    references = References(KEY)
    feed = Feed(Judge(0, settings(), references))
    feed.give(partial(published=PUBLISHED, n=5, counts=b"garbage"))
    references.put(PUBLISHED)
    feed.judge.tick(START + 2 * LENGTH)
    assert rows(feed.judge, "windows")[0]["n"] == 5
    assert [(row["kind"], row["n"]) for row in rows(feed.judge, "quality_windows")] == [("damaged_counts", 5)]


def test_heartbeats_of_made_up_models_stay_in_bounds() -> None:
    feed = Feed(judge(limits={"models": 5}))
    for k in range(100):
        feed.raw("lifecycle", msgspec.json.encode(Heartbeat(model=f"made-up-{k}", version="1", instance="i")), headers=_BEAT)
    assert len(feed.judge.snapshot()) < 100_000
    feed.give(partial(n=4))
    feed.judge.tick(START + 2 * LENGTH)
    assert [row["n"] for row in rows(feed.judge, "windows")] == [4]


def test_a_producer_with_an_absurd_clock_ends_nobodys_alert() -> None:
    feed = Feed(judge())
    feed.give(finding())
    beat = msgspec.json.encode(Heartbeat(model="m", version="1", instance="i", sent=10))
    feed.raw("lifecycle", beat, at_ns=2**62, headers=_BEAT)
    feed.judge.tick(START + LENGTH)
    assert [a.state for a in alerts(feed.judge)] == ["firing"]


def test_a_shard_that_lost_its_state_and_counts_from_0_again_is_no_crash() -> None:
    feed = Feed(judge())
    beat = msgspec.json.encode(Heartbeat(model="m", version="1", instance="i", sent=1_000, accepted=1_000))
    feed.raw("lifecycle", beat, headers=_BEAT)
    for epoch, received in ((1, 1_000), (2, 10)):
        producer = Producer(service="s", received=received, highest=999, lowest=0, last_at_ns=START)
        feed.give(partial(window=epoch, epoch=epoch, n=received, producers={"i": producer}))
        feed.judge.tick(START + (epoch + 2) * LENGTH)
    assert len(rows(feed.judge, "windows")) == 2


def test_other_lifecycle_messages_and_labels_are_counted() -> None:
    feed = Feed(judge())
    feed.raw("lifecycle", b'{"kind": "loaded"}')
    feed.raw("labels", b"anything")
    assert feed.judge.counted == {"lifecycle": 1, "labels": 1}


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
