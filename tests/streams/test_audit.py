"""The audit log: one row for each thing done, in a chain that no restart forks, and in which whatever was done to it afterwards shows."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from inferwatch import Heartbeat
from schemas.alerts import Alert
from schemas.rows import AuditRow
from streams.audit import Chain, Head, Problem, hash_of, verify
from streams.judge import Judge
from streams.judge_audit import described
from streams.references import References
from tests.streams.events import KEY, NS, START, reference, settings
from tests.streams.judging import BEAT, PUBLISHED, Feed, judge
from tests.streams.messages import LENGTH, finding

NOW_MS = START // 10**6 + 10**9


def chain(n: int = 12) -> list[AuditRow]:
    one = Chain(prefix="judge-0")
    return [one.add("alert", START + k * NS, model="m", subject=f"a{k}", actor="judge 0", detail={"k": k}) for k in range(n)]


def kinds(rows: list[AuditRow], **given: Any) -> list[tuple[str, int]]:
    return [(problem.what, problem.number) for problem in verify(rows, **given)]


def rehashed(rows: list[AuditRow]) -> list[AuditRow]:
    """As an attacker who knows how it is done writes them: each follows the one before."""
    out: list[AuditRow] = []
    for row in rows:
        linked = msgspec.structs.replace(row, previous=out[-1].hash if out else row.previous)
        out.append(msgspec.structs.replace(linked, hash=hash_of(linked)))
    return out


def end(rows: list[AuditRow]) -> Head:
    return Head(chain=rows[-1].chain, number=rows[-1].number, hash=rows[-1].hash, at_ms=rows[-1].at // 10**6)


# -- what shows ---------------------------------------------------------------------------------------------------------------------------


def test_an_untouched_chain_has_nothing_wrong() -> None:
    assert kinds(chain(), heads=[end(chain())]) == []
    assert kinds([]) == []


@pytest.mark.parametrize("field", ["model", "version", "subject", "actor", "detail", "kind", "at", "previous_at", "previous", "chain"])
def test_a_changed_cell_shows_whichever_it_is(field: str) -> None:
    rows = chain()
    value: Any = getattr(rows[5], field) + (10**6 if field.endswith("at") else "0")
    rows[5] = msgspec.structs.replace(rows[5], **{field: value})
    assert ("changed", 5) in kinds(rows)


def test_a_changed_row_whose_hash_was_made_anew_shows_at_the_next() -> None:
    rows = chain()
    forged = msgspec.structs.replace(rows[5], subject="other")
    rows[5] = msgspec.structs.replace(forged, hash=hash_of(forged))
    assert kinds(rows) == [("changed", 6)]


def test_a_chain_that_was_forged_to_its_end_shows_only_by_an_end_kept_outside() -> None:
    rows = chain()
    kept = end(rows)
    rows[5] = msgspec.structs.replace(rows[5], subject="other")
    rows = rehashed(rows)
    assert kinds(rows) == []
    assert kinds(rows, heads=[kept]) == [("changed", 11)]


def test_missing_rows_show() -> None:
    rows = chain()
    assert kinds(rows[:4] + rows[5:]) == [("missing", 4)]
    assert kinds(rows[:4] + rows[8:]) == [("missing", 4)]
    assert next(verify(rows[:4] + rows[8:])).text == "rows 4 to 7 are missing"


def test_a_missing_beginning_shows_unless_it_is_old_enough_to_have_expired() -> None:
    rows = chain()[3:]
    before_ms = rows[0].previous_at // 10**6
    assert kinds(rows, kept_from_ms=before_ms + 1) == []
    assert kinds(rows, kept_from_ms=before_ms) == [("missing", 0)]


def test_rows_that_changed_places_show() -> None:
    rows = chain()
    swapped = [*rows[:3], msgspec.structs.replace(rows[4], number=3), msgspec.structs.replace(rows[3], number=4), *rows[5:]]
    assert {what for what, _ in kinds(swapped)} == {"reordered"}
    assert ("reordered", 3) in kinds(swapped)
    followed = [*rows[:5], msgspec.structs.replace(rows[8], number=5)]
    assert "was row 8" in next(verify(followed)).text


def test_a_doubled_row_shows() -> None:
    rows = chain()
    copied = msgspec.structs.replace(rows[5], subject="also")
    assert ("doubled", 5) in kinds([*rows[:6], msgspec.structs.replace(copied, hash=hash_of(copied)), *rows[6:]])
    pasted = msgspec.structs.replace(rows[5], number=12)
    assert ("reordered", 12) in kinds([*rows, pasted])
    renumbered = msgspec.structs.replace(pasted, previous=rows[11].previous)
    renumbered = msgspec.structs.replace(renumbered, hash=hash_of(renumbered))
    assert ("reordered", 12) in kinds([*rows, renumbered])


def test_a_cut_end_shows_by_what_is_kept_outside_and_rows_on_their_way_are_no_cut() -> None:
    rows = chain()
    kept = end(rows)
    assert kinds(rows[:9]) == [], "nothing in the store says that it went on"
    assert kinds(rows[:9], heads=[kept]) == [("cut", 11)]
    assert kinds([], heads=[kept]) == [("cut", 11)]
    assert kinds(rows[:9], heads=[kept], settled_ms=kept.at_ms - 1) == []
    assert kinds([], heads=[kept], kept_from_ms=kept.at_ms + 1) == [], "expired"
    assert kinds(rows, heads=[end(rows[:4])]) == [], "an end that the chain has gone on from"


def test_a_problem_names_chain_number_and_time() -> None:
    text = str(Problem("judge-0-1", 5, START // 10**6, "changed", "was changed: alert a5"))
    assert text == "judge-0-1, row 5 (2027-01-15 08:00:00Z): was changed: alert a5"


# -- what is written ----------------------------------------------------------------------------------------------------------------------


def written(of: Judge) -> list[AuditRow]:
    found = [msgspec.msgpack.decode(out.value, type=AuditRow) for out in of.outbox if out.to == "rows" and out.key == b"audit"]
    heads = [msgspec.json.decode(out.value, type=Head) for out in of.outbox if out.to == "audit"]
    assert [head.hash for head in heads] == [row.hash for row in found], "each row's end is kept outside"
    assert list(verify(found, kept_from_ms=0)) == []
    return found


def told(of: Judge, kind: str) -> list[dict[str, Any]]:
    return [msgspec.json.decode(row.detail) | {"subject": row.subject, "actor": row.actor} for row in written(of) if row.kind == kind]


def test_the_transitions_of_an_alert_are_written_in_order() -> None:
    one = Feed(judge())
    one.give(finding(severity="ticket", sequence=0), finding(severity="page", sequence=1), finding(severity="page", sequence=2))
    one.judge.tick(START + 13 * LENGTH)
    assert [(row["state"], row["severity"]) for row in told(one.judge, "alert")] == [
        ("firing", "ticket"), ("firing", "page"), ("resolved", "page"),
    ]  # fmt: skip
    assert len({row["subject"] for row in told(one.judge, "alert")}) == 1


def test_settings_are_written_at_the_start_and_then_only_what_differs() -> None:
    one = judge(membership={"key": "a secret key of 16 bytes"})
    one.tick(START)
    one.tick(START + NS)
    (first,) = told(one, "settings")
    assert first["first"] is True
    again = judge(membership={"key": "a secret key of 16 bytes"})
    again.restore(one.snapshot())
    again.tick(START + 2 * NS)
    assert len(told(again, "settings")) == 1
    other = judge(membership={"key": "another key of 16 bytes.."}, budget={"false_pages_per_30d": 3.0}, kafka={"sasl_password": "hush"})
    other.restore(one.snapshot())
    other.tick(START + 2 * NS)
    changed = told(other, "settings")[1]["changed"]
    assert changed["budget.false_pages_per_30d"] == ["1.0", "3.0"]
    assert set(changed) == {"budget.false_pages_per_30d", "membership.key", "kafka.sasl_password"}
    text = str([row.detail for row in written(other)])
    assert "secret key" not in text
    assert "hush" not in text


def test_references_are_written_whenever_they_change_and_not_again_after_a_restart() -> None:
    references = References(KEY)
    partitions = {"kafka": {"partitions": 1}}
    one = Judge(0, settings(**partitions), references)
    one.tick(START)
    references.put(PUBLISHED)
    one.tick(START + NS)
    one.tick(START + 2 * NS)
    again = Judge(0, settings(**partitions), references)
    again.restore(one.snapshot())
    again.tick(START + 3 * NS)
    references.put(reference(seed=5))
    again.tick(START + 4 * NS)
    references.drop("m", "1")
    again.tick(START + 5 * NS)
    rows = told(again, "reference")
    second = reference(seed=5).id
    assert [(row["before"], row["id"]) for row in rows] == [("", PUBLISHED.id), (PUBLISHED.id, second), (second, "")]
    elsewhere = Judge(1, settings(kafka={"partitions": 2}), references)
    references.put(PUBLISHED)
    elsewhere.tick(START)
    here = Judge(0, settings(kafka={"partitions": 2}), references)
    here.tick(START)
    assert len(told(elsewhere, "reference")) + len(told(here, "reference")) == 1, "written by the model's judge, once"


def beat(one: Feed, key_id: str, at_ns: int = START, model: str = "m") -> None:
    value = msgspec.json.encode(Heartbeat(model=model, version="1", service="shop", instance="shop-1", pseudonym_key_id=key_id))
    one.raw("lifecycle", value, at_ns, BEAT)


def test_a_change_of_the_pseudonym_key_is_written_once_and_a_flood_of_keys_is_bounded() -> None:
    one = Feed(judge())
    for key_id in ("aaaa", "aaaa", "bbbb", "aaaa", "bbbb", ""):
        beat(one, key_id)
    assert [(row["subject"], row["before"]) for row in told(one.judge, "key")] == [("aaaa", []), ("bbbb", ["aaaa"])]
    for k in range(100):
        beat(one, f"k{k}")
    assert len(told(one.judge, "key")) == 20
    beat(one, "next day", START + 86_400 * NS)
    assert len(told(one.judge, "key")) == 21


def test_a_judge_that_was_restored_goes_on_in_the_same_chain_and_one_that_lost_its_state_begins_another() -> None:
    one = Feed(judge())
    one.give(finding(severity="ticket", sequence=0))
    again = Feed(judge())
    again.judge.restore(one.judge.snapshot())
    assert again.judge.snapshot() == one.judge.snapshot()
    for each in (one, again):
        each.judge.next["findings"] = 0
        each.raw("findings", msgspec.msgpack.encode(finding(severity="page", sequence=7)))
        each.judge.tick(START + 13 * LENGTH)
    assert written(again.judge) == written(one.judge)
    lost = judge()
    lost.tick(START + 20 * LENGTH)
    assert {row.chain for row in written(lost)}.isdisjoint({row.chain for row in written(one.judge)})


def test_what_cannot_be_stored_as_it_is_is_cut_and_still_a_row() -> None:
    one = Chain(prefix="judge-0")
    absurd = one.add("alert", -5, subject="x" * 10_000, model="\ud800", detail={"summary": "y" * 10**6, "evidence": float("inf")})
    late = one.add("alert", 2**63 - 1, subject="late")
    back = one.add("alert", START, subject="earlier by its clock")
    assert (len(absurd.subject), absurd.model) == (1_024, "?")
    assert len(absurd.detail) < 16_384
    assert absurd.at >= 946_684_800 * NS
    assert back.at == late.at
    assert kinds([absurd, late, back]) == []


def test_a_pending_alert_is_not_written() -> None:
    one = judge()
    one._audit.alert(
        Alert(alert_id="a", model="m", version="1", detector="drift", severity="ticket", state="pending", at_ns=START, opened_at_ns=START),
        START,
    )
    assert written(one) == []


def test_every_setting_is_described() -> None:
    plain = described(settings())
    assert plain["kafka.partitions"] == "12"
    assert plain["alertmanager.urls"] == "[]"
    assert len(plain) > 70
