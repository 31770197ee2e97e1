"""Promises of the per-client membership evidence; traces are replayed by bench/membership.py."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from detectors.membership import STATISTICS, ClientMembership, MembershipReference
from detectors.state import StateError

KEY = b"a deployment key of 32 bytes ..."
D = 6
_RNG = np.random.default_rng(1)
MEMBERS, OTHERS, FRESH = (_RNG.normal(size=(n, D)).astype(np.float32) for n in (500, 300, 4000))
X = np.concatenate([MEMBERS, OTHERS])
IS_MEMBER = np.arange(800) < 500
SCORES = np.full((800, 2), 0.5)
Y = np.zeros(800, np.int64)


def fit(**other: Any) -> MembershipReference:
    return MembershipReference.fit(X, SCORES, Y, IS_MEMBER, **({"key": KEY, "low": X.min(0), "high": X.max(0)} | other))


REFERENCE = fit()


def clients(**other: Any) -> ClientMembership:
    return ClientMembership(REFERENCE, **({"ln_page": 16.1, "ln_ticket": 11.5, "capacity": 8} | other))


def send(
    watch: ClientMembership, rows: NDArray[np.float32], slot: int | NDArray[np.int32] = 0, pace: float = 1.0
) -> list[tuple[int, str, int]]:
    n = len(rows)
    slots = np.full(n, slot, np.int32) if isinstance(slot, int) else slot
    crossings = watch.update(slots, np.arange(n, dtype=np.float64) * pace, rows, np.zeros(n, np.int32))
    return [(int(i), STATISTICS[k], int(v)) for i, k, v in zip(crossings.index, crossings.statistic, crossings.severity, strict=True)]


def mix(share: float, n: int, seed: int = 0) -> NDArray[np.float32]:
    """Distinct rows in random order, `share` of them members."""
    rng = np.random.default_rng(seed)
    member = rng.random(n) < share
    return np.where(member[:, None], MEMBERS[rng.choice(500, n, n > 500)], FRESH[rng.choice(4000, n, n > 4000)])


def test_members_asked_in_a_block_and_then_others_are_a_ticket() -> None:
    assert [(k, v) for _, k, v in send(clients(), np.concatenate([MEMBERS[:60], FRESH[:60]]))] == [("order", 1)]


def test_customers_whose_records_were_trained_on_are_not_even_ticketed() -> None:
    for seed, share in enumerate(np.linspace(0.1, 1, 30)):
        assert send(clients(), mix(share, 400, seed)) == []


def test_the_order_ticket_keeps_its_false_alarm_bound() -> None:
    watch = clients(capacity=2000)
    rows = np.concatenate([mix(0.5, 150, seed) for seed in range(300)])
    assert send(watch, rows, np.repeat(np.arange(300), 150).astype(np.int32)) == []


def test_a_pause_starts_a_new_sitting() -> None:
    watch = clients()
    assert send(watch, MEMBERS[:60], pace=1) == []
    crossings = watch.update(np.zeros(60, np.int32), 90 + 1801 + np.arange(60.0), FRESH[:60], np.zeros(60, np.int32))
    assert len(crossings.index) == 0


def test_where_no_member_is_expected_the_rate_is_a_ticket_within_fifteen_queries_and_never_a_page() -> None:
    rose = send(clients(members_expected=False), mix(0.9, 300))
    assert {v for _, _, v in rose} == {1}
    assert rose[0][1] == "rate"
    assert rose[0][0] < 15
    assert send(clients(members_expected=False), mix(0.1, 400)) == []


def test_a_client_that_turns_to_members_is_seen_by_its_own_past() -> None:
    watch = clients(members_expected=False)
    assert send(watch, FRESH[:1000]) == []
    assert send(watch, mix(0.6, 60))[0][1] == "rate"


def test_repeats_are_counted_once() -> None:
    watch = clients(members_expected=False)
    assert send(watch, np.repeat(MEMBERS[:3], 100, 0)) == []
    counts = watch.counts(np.array([0]))
    assert {name: int(v[0]) for name, v in counts.items()} == {"queries": 300, "trials": 3, "hits": 3, "members": 3}


def test_a_dashboard_that_asks_the_same_six_rows_in_turn_shows_no_order() -> None:
    for seed in range(40):
        rng = np.random.default_rng(seed)
        six = np.concatenate([MEMBERS[rng.choice(500, 3, False)], FRESH[rng.choice(4000, 3, False)]])
        watch = clients()
        assert send(watch, np.tile(six, (60, 1)), pace=60.0) == []
        assert watch.counts(np.array([0]))["trials"][0] == 6


def test_the_estimate_of_distinct_members_is_within_its_error() -> None:
    watch = clients()
    send(watch, MEMBERS[:400])
    send(watch, MEMBERS[:400])
    assert watch.counts(np.array([0]))["hits"][0] > 700
    assert watch.counts(np.array([0]))["members"][0] == pytest.approx(400, rel=0.4)


def test_the_null_follows_how_often_held_out_rows_are_members() -> None:
    doubled = X.copy()
    doubled[500:560] = MEMBERS[:60]
    reference = MembershipReference.fit(doubled, SCORES, Y, IS_MEMBER, key=KEY, low=X.min(0), high=X.max(0))
    assert reference.base == 0.2
    assert reference.u == pytest.approx(0.42)
    without = MembershipReference.fit(MEMBERS, SCORES[:500], Y[:500], IS_MEMBER[:500], key=KEY, low=X.min(0), high=X.max(0))
    assert np.isnan(without.base)
    assert without.u == 0.15


def test_the_page_says_what_it_cannot_say() -> None:
    watch = clients()
    send(watch, np.concatenate([MEMBERS[:60], FRESH[:60]]))
    said = watch.explain(0)
    assert (said["hits"], said["trials"], said["share"]) == (60, 120, 0.5)
    assert 0 < said["false_hits_expected"] < 0.1
    assert any("random order" in line for line in said["cannot_say"])


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 240), max_size=6), st.integers(0, 1000))
def test_batches_and_restarts_change_nothing(cuts: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = np.concatenate([mix(0.7, 120, seed), MEMBERS[:60], FRESH[:60]])
    rows[rng.random(240) < 0.1] = rows[0]
    slot, at = rng.integers(0, 3, 240).astype(np.int32), np.cumsum(rng.exponential(400, 240))
    label = np.zeros(240, np.int32)
    whole = clients(members_expected=False)
    expected = whole.update(slot, at, rows, label)
    parts, found = clients(members_expected=False), []
    for part in np.split(np.arange(240), sorted(cuts)):
        rose = parts.update(slot[part], at[part], rows[part], label[part])
        found += [(int(part[i]), int(k), float(e)) for i, k, e in zip(rose.index, rose.statistic, rose.ln_evidence, strict=True)]
        fresh = clients(members_expected=False, capacity=1)
        fresh.restore(parts.snapshot())
        parts = fresh
    assert found == list(zip(expected.index.tolist(), expected.statistic.tolist(), expected.ln_evidence.tolist(), strict=True))
    assert parts.snapshot() == whole.snapshot()


def test_rows_are_neither_changed_nor_kept() -> None:
    watch, rows = clients(), mix(0.5, 100)
    copy = rows.copy()
    send(watch, rows)
    before = watch.snapshot()
    assert np.array_equal(rows, copy)
    rows[:] = 7
    assert watch.snapshot() == before


def test_nan_neither_blinds_nor_crashes() -> None:
    watch = clients()
    rows = np.concatenate([MEMBERS[:60], FRESH[:60]])
    broken = np.full((60, D), np.nan, np.float32)
    broken[:, 0] = np.arange(60)
    watch.update(np.zeros(60, np.int32), np.full(60, np.nan), broken, np.zeros(60, np.int32))
    assert [k for _, k, _ in send(watch, rows)] == ["order"]
    assert np.isfinite(watch.log_evidence(np.array([0]))).all()


def test_state_is_bounded_whatever_a_client_sends() -> None:
    watch = clients()
    size = len(watch.snapshot())
    for seed in range(5):
        send(watch, mix(0.5, 3000, seed))
    assert abs(len(watch.snapshot()) - size) < 100
    assert watch.bytes_per_client < 4096


def test_slots_grow_and_forget() -> None:
    watch = clients(capacity=2)
    send(watch, MEMBERS[:50], 1)
    watch.resize(5)
    send(watch, MEMBERS[:10], 4)
    assert watch.counts(np.arange(5))["hits"].tolist() == [0, 50, 0, 0, 10]
    watch.clear(np.array([1]))
    assert watch.counts(np.arange(5))["hits"].tolist() == [0, 0, 0, 0, 10]
    assert watch.log_evidence(np.array([1]))[0].tolist() == [-np.inf] * 4


def test_wrong_input_is_refused_before_anything_changes() -> None:
    watch = clients()
    before = watch.snapshot()
    zeros = np.zeros(3, np.int32)
    with pytest.raises(ValueError, match=r"expected \(n, 6\)"):
        watch.update(zeros, np.zeros(3), np.zeros((3, 7), np.float32), zeros)
    with pytest.raises(ValueError, match="capacity is 8"):
        watch.update(zeros + 8, np.zeros(3), np.zeros((3, D), np.float32), zeros)
    with pytest.raises(ValueError, match="must be"):
        watch.update(zeros, np.zeros(2), np.zeros((3, D), np.float32), zeros)
    with pytest.raises(ValueError, match="ln_ticket"):
        clients(ln_ticket=20.0)
    with pytest.raises(ValueError, match="capacity"):
        clients(capacity=0)
    assert watch.snapshot() == before
    assert len(watch.update(zeros[:0], np.zeros(0), np.zeros((0, D), np.float32), zeros[:0]).index) == 0


def test_a_snapshot_of_another_reference_is_refused() -> None:
    other = ClientMembership(fit(key=b"another key of some bytes"), ln_page=16.1, ln_ticket=11.5)
    with pytest.raises(StateError, match="another membership reference"):
        clients().restore(other.snapshot())
    with pytest.raises(StateError):
        clients().restore(b"\x00")


def test_the_reference_travels_without_its_key() -> None:
    blob = REFERENCE.to_bytes()
    assert KEY not in blob
    back = MembershipReference.from_bytes(blob, KEY)
    assert back.identity() == REFERENCE.identity()
    with pytest.raises(StateError, match="another key"):
        MembershipReference.from_bytes(blob, b"another key of some bytes")


def test_a_reference_without_members_or_with_wrong_shapes_is_refused() -> None:
    with pytest.raises(ValueError, match="no row is a member"):
        MembershipReference.fit(X, SCORES, Y, np.zeros(800, bool), key=KEY, low=X.min(0), high=X.max(0))
    with pytest.raises(ValueError, match="must be"):
        fit(low=np.zeros(2))
    with pytest.raises(ValueError, match="pixels"):
        fit(image=(2, 2))
