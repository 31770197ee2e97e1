"""Time for an owner: it stands still until what came while nobody listened has been read."""

from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from schemas import windows
from streams.judge import Judge
from streams.owner import Record
from streams.tenure import Tenure
from tests.streams.counting import CountingShard
from tests.streams.events import NS, START
from tests.streams.judging import PUBLISHED, judge, rows
from tests.streams.messages import LENGTH, partial


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with capture_logs():
        yield


def test_a_judge_taken_over_after_an_outage_judges_no_window_before_it_has_read_the_shares_that_waited() -> None:
    def share(of: int) -> bytes:
        return windows.encode(partial(published=PUBLISHED, window=0, n=400, partition=of, sequence=0))

    before: Judge = judge()
    before.apply(Record("windows", 0, 0, share(0), START + LENGTH))
    owner = judge()
    owner.restore(before.snapshot())
    tenure = Tenure("judge", owner, fence=2, generation=2, restored=False, failure_share=0.5, waiting={"windows": 3})
    long_after = START + 100 * LENGTH
    for of in (1, 2):
        assert tenure.tick(long_after)
        assert rows(owner, "windows") == []
        tenure.take(Record("windows", 0, of, share(of), START + LENGTH + of))
    assert tenure.tick(long_after + NS)
    (window,) = rows(owner, "windows")
    assert (window["accepted"], window["late"]) == (1_200, 0)


def test_records_that_expired_meanwhile_hold_time_up_for_half_a_minute_only() -> None:
    owner = CountingShard(0)
    tenure = Tenure("shard", owner, fence=1, generation=1, restored=False, failure_share=0.5, waiting={"events": 5})
    for _ in range(60):
        tenure.tick(1)
    assert owner.ticks == 0
    tenure.tick(1)
    assert owner.ticks == 1


def test_signs_of_life_are_heard_until_the_newest_that_was_read_or_the_end_that_was_reached() -> None:
    owner = judge()
    tenure = Tenure("judge", owner, fence=1, generation=1, restored=False, failure_share=0.5)

    def heard() -> int | None:
        tenure.tick(START + 1_000)
        return owner.heard_until_ns

    assert heard() == 0  # nobody has looked yet: nobody is silent
    tenure.end_of_life = (2, START + 100)
    assert heard() == 0
    tenure.take(Record("lifecycle", 0, 0, b"{}", START + 20))
    assert heard() == START + 20  # what was told then has been read, and no more
    tenure.take(Record("lifecycle", 0, 1, b"{}", START + 40))
    assert heard() == START + 100
    tenure.take(Record("windows", 0, 0, b"", START + 500))
    assert heard() == START + 100
    tenure.end_of_life = (3, START + 900)  # which is a transaction's mark
    assert heard() == START + 100
    for _ in range(1_200):
        tenure.tick(START)
    assert heard() == START + 900
