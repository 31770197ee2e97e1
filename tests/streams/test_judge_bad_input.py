"""Whatever comes on the judge's topics is a count, a dead letter or a window: never a crash, never without bounds."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from inferwatch import Heartbeat
from schemas import latency, windows
from schemas.windows import Producer
from streams.judge import Judge
from streams.owner import Role
from streams.references import References
from tests.streams.events import KEY, START, settings
from tests.streams.judging import BEAT, PUBLISHED, Feed, alerts, judge, letters, rows
from tests.streams.messages import LENGTH, finding, partial


@pytest.mark.parametrize(
    ("role", "value", "headers"),
    [
        ("windows", b"", {}),
        ("windows", b"\xff" * 100, {}),
        ("windows", windows.encode(partial(n=5))[:-3], {}),
        ("windows", windows.encode(finding()), {}),
        ("windows", windows.encode(partial(n=5, latency=b"odd")), {}),
        ("windows", windows.encode(partial(n=5, latency=b"\0" * 80)), {}),
        ("windows", windows.encode(partial(n=5, latency=np.full(latency.BINS, -1).tobytes())), {}),
        ("windows", windows.encode(partial(n=5, latency=np.full(latency.BINS, 2**62).tobytes())), {}),
        ("windows", windows.encode(partial(published=PUBLISHED, n=5, counts=b"garbage")), {}),
        ("findings", b"{}", {}),
        ("findings", windows.encode(finding())[: len(windows.encode(finding())) // 2], {}),
        ("findings", windows.encode(finding(evidence={"x": 0})).replace(b"\x81\xa1x\x00", b"\x81\xa1x" + b"\x91" * 30_000 + b"\x00"), {}),
        ("findings", windows.encode(finding(log_evidence=float("nan"))), {}),
        ("lifecycle", b"not json", BEAT),
        ("lifecycle", b'{"dropped": -1}', BEAT),
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
@given(role=st.sampled_from(["windows", "findings", "lifecycle", "labels", "operations"]), data=st.data())
def test_no_bytes_crash_the_judge(role: Role, data: st.DataObject) -> None:
    sound = windows.encode(partial(published=PUBLISHED, n=3) if role == "windows" else finding())
    flipped = bytearray(sound)
    for at in data.draw(st.lists(st.integers(0, len(sound) - 1), min_size=1, max_size=4)):
        flipped[at] = data.draw(st.integers(0, 255))
    feed = Feed(judge())
    feed.raw(role, data.draw(st.sampled_from([bytes(flipped), bytes(flipped[: len(flipped) // 2])])), headers=BEAT)
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
        feed.raw("lifecycle", msgspec.json.encode(Heartbeat(model=f"made-up-{k}", version="1", instance="i")), headers=BEAT)
    assert len(feed.judge.snapshot()) < 100_000
    feed.give(partial(n=4))
    feed.judge.tick(START + 2 * LENGTH)
    assert [row["n"] for row in rows(feed.judge, "windows")] == [4]


def test_a_producer_with_an_absurd_clock_ends_nobodys_alert() -> None:
    feed = Feed(judge())
    feed.give(finding())
    beat = msgspec.json.encode(Heartbeat(model="m", version="1", instance="i", sent=10))
    feed.raw("lifecycle", beat, at_ns=2**62, headers=BEAT)
    feed.judge.tick(START + LENGTH)
    assert [a.state for a in alerts(feed.judge)] == ["firing"]


def test_a_shard_that_lost_its_state_and_counts_from_0_again_is_no_crash() -> None:
    feed = Feed(judge())
    beat = msgspec.json.encode(Heartbeat(model="m", version="1", instance="i", sent=1_000, accepted=1_000))
    feed.raw("lifecycle", beat, headers=BEAT)
    for epoch, received in ((1, 1_000), (2, 10)):
        producer = Producer(service="s", received=received, highest=999, lowest=0, last_at_ns=START)
        feed.give(partial(window=epoch, epoch=epoch, n=received, producers={"i": producer}))
        feed.judge.tick(START + (epoch + 2) * LENGTH)
    assert len(rows(feed.judge, "windows")) == 2


def test_producers_that_claim_absurd_numbers_do_not_stop_snapshots_and_verdicts() -> None:
    feed, most = Feed(judge()), 2**63 - 1
    for n in range(5):
        beat = Heartbeat(model="m", version="1", instance=f"liar{n}", accepted=most, sent=most, dropped=most, rss_bytes=most)
        feed.raw("lifecycle", msgspec.json.encode(beat), START, BEAT)
    liar = Producer(service="s", received=most, highest=most, lowest=0, last_at_ns=START)
    for window in range(20):
        feed.window(window, sequence=window, producers={f"liar{n}": liar for n in range(5)})
    again = judge()
    again.restore(feed.judge.snapshot())
    assert again.snapshot() == feed.judge.snapshot()
    assert len(rows(feed.judge, "producers")) == 100


def test_lifecycle_messages_are_counted_and_damaged_ones_are_dead_letters() -> None:
    feed = Feed(judge())
    feed.raw("lifecycle", b'{"kind": "loaded", "model": "m", "version": "1"}')
    feed.raw("lifecycle", b'{"kind": "loaded"}')
    assert feed.judge.refused == {"lifecycle": 1}
    assert feed.judge.counted == {"lifecycle": 1}
