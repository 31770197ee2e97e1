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
