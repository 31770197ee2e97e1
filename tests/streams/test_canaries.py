"""Canary records: one question is a ticket, two a page, and the rows are never published."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from inferwatch import EventColumns, Strings
from schemas.alerts import Alert
from schemas.canaries import MAX_CANARIES, Canary, CanaryError, decode, encode, is_canary, layout_of, part_of
from schemas.windows import Finding
from streams.canaries import CanaryBook, CanaryHits, codes_of, key_tag
from streams.references import References
from streams.shard import Shard
from tests.streams.events import KEY, events, record, reference, settings
from tests.streams.judging import Feed, alerts, judge

PUBLISHED = reference()
LAYOUT = layout_of(PUBLISHED.features)
TEXT = KEY.decode()
ROW = np.array([[0.123, -0.456, 0.789]], np.float32)
CODE = codes_of(TEXT, "m", "1", ROW)[0]


def canary(**changes: object) -> Canary:
    made = Canary(name="leak-1", code=CODE, layout=LAYOUT, key_tag=key_tag(TEXT), added_at_ns=5)
    return msgspec.structs.replace(made, **changes)


def shard(*canaries: Canary, known: tuple[str, ...] = ()) -> Shard:
    references = References(KEY)
    references.put(PUBLISHED)
    for one in canaries:
        references.canaries.put("m", "1", one.code, one)
    return Shard(0, settings(membership={"key": TEXT, "known_customers": known}), references)


def asking(client: str | None, number: int = 0, times: int = 1, **more: object) -> EventColumns:
    batch = events(20, seed=number, number=20 * number, start_s=2.0 * number)
    X, names = batch.numeric.copy(), [batch.client[row] for row in range(20)]
    X[5 : 5 + times], names[5 : 5 + times] = ROW, [client] * times
    fields = {name: getattr(batch, name) for name in batch.__slots__}
    return EventColumns(**fields | {"numeric": X, "client": Strings.of(names)} | more)


def findings(of: Shard) -> list[Finding]:
    sent = [msgspec.msgpack.decode(out.value, type=Finding) for out in of.outbox if out.to == "findings" and not out.headers]
    return [one for one in sent if one.family == "canary"]


def said(*found: Finding) -> list[tuple[str | None, str]]:
    feed = Feed(judge())
    feed.give(*found)
    return [(one.client, one.severity) for one in alerts(feed.judge)]


def test_one_question_is_a_ticket_and_two_are_a_page() -> None:
    made = shard(canary())
    for number, client in enumerate(["mallory", "eve", "mallory"]):
        made.apply(record(asking(client, number), number))
    found = findings(made)
    assert [(one.client, one.evidence) for one in found] == [(name, {"canaries": ["leak-1"]}) for name in ("mallory", "eve", "mallory")]
    assert said(*found) == [("mallory", "ticket"), ("eve", "ticket"), ("mallory", "page")]


def test_two_in_one_batch_are_one_message_and_a_page() -> None:
    made = shard(canary())
    made.apply(record(asking("mallory", times=2), 0))
    found = findings(made)
    assert [one.n_events for one in found] == [2]
    assert said(*found) == [("mallory", "page")]
    feed = Feed(judge())
    feed.give(*found)
    assert alerts(feed.judge)[0].summary.startswith("Client mallory asked m 1 2 times about a canary record (leak-1)")


def test_a_refused_question_counts_and_a_client_without_a_name_too() -> None:
    made = shard(canary())
    status = np.zeros(20, np.uint8)
    status[5] = 3
    made.apply(record(asking(None, status=status), 0))
    assert said(*findings(made)) == [(None, "ticket")]


def test_known_customers_and_rows_that_differ_in_the_last_digit_are_no_hit() -> None:
    made = shard(canary(), known=("auditor",))
    made.apply(record(asking("auditor"), 0))
    near = asking("mallory", 1)
    X = near.numeric.copy()
    X[5, 0] = np.nextafter(X[5, 0], np.float32(1))
    made.apply(record(EventColumns(**{name: getattr(near, name) for name in near.__slots__} | {"numeric": X}), 1))
    assert findings(made) == []


def test_one_that_is_taken_back_is_looked_for_no_longer_and_a_new_one_at_once() -> None:
    made = shard()
    made.apply(record(asking("mallory"), 0))
    made._references.canaries.put("m", "1", CODE, canary())
    made.apply(record(asking("mallory", 1), 1))
    made._references.canaries.put("m", "1", CODE, None)
    made.apply(record(asking("mallory", 2), 2))
    assert len(findings(made)) == 1


def test_another_layout_of_columns_is_not_searched() -> None:
    made = shard(canary(layout="000000000000"))
    made.apply(record(asking("mallory"), 0))
    assert findings(made) == []


def test_another_key_a_wrong_code_and_one_too_many_are_refused_with_the_reason() -> None:
    book = CanaryBook(TEXT)
    with pytest.raises(CanaryError, match="locked: it was made with another INFERWATCH_MEMBERSHIP_KEY"):
        book.put("m", "1", CODE, canary(key_tag=key_tag("another key of sixteen")))
    with pytest.raises(CanaryError, match="its key says"):
        book.put("m", "1", "0" * 16, canary())
    for k in range(MAX_CANARIES):
        book.put("m", "1", f"{k:016x}", canary(code=f"{k:016x}"))
    with pytest.raises(CanaryError, match="10,000 canaries"):
        book.put("m", "1", CODE, canary())


@pytest.mark.parametrize("blob", [b"", b"{}", b"\xff\xfe", b'{"name":"","code":"00","layout":"","key_tag":"","added_at_ns":0}'])
def test_what_is_no_canary_is_refused(blob: bytes) -> None:
    with pytest.raises(CanaryError, match="no canary record"):
        decode(blob)


def test_the_record_and_its_key_come_back_and_say_nothing_of_the_row() -> None:
    assert decode(encode(canary())) == canary()
    assert is_canary(part_of("7", CODE)) == ("7", CODE)
    assert b"0.123" not in encode(canary())
    assert codes_of(TEXT, "m", "1", ROW) != codes_of("another key of sixteen", "m", "1", ROW)


def test_hits_survive_a_restart_of_the_judge_and_are_bounded() -> None:
    made = shard(canary())
    made.apply(record(asking("mallory"), 0))
    made.apply(record(asking("mallory", 1), 1))
    first, second = findings(made)
    feed = Feed(judge())
    feed.give(first)
    again = judge()
    again.restore(feed.judge.snapshot())
    feed.judge = again
    feed.give(second)
    assert [one.severity for one in alerts(again)] == ["ticket", "page"]
    assert all(isinstance(one, Alert) and one.alertname == "InferwatchCanary" for one in alerts(again))
    hits = CanaryHits()
    for k in range(10_001):
        hits.add(f"c{k}", 1)
    assert hits.add("c0", 1) == 1
