"""Promises about label-only membership tests: changed copies of training rows."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from detectors.membership import STATISTICS, ClientMembership, MembershipReference
from detectors.membership.cells import PROBES, group, room_to_search, tiled, two_nearest
from detectors.membership.neighbours import Neighbours, describe_all, fit_neighbours, index_of
from detectors.state import StateError, pack, unpack
from detectors.tiles import AXES

KEY = b"a deployment key of 32 bytes ..."
D = 10
Rows = NDArray[np.float32]
_RNG = np.random.default_rng(3)
_MIX = _RNG.normal(size=(D, D))
MEMBERS, OTHERS, FRESH = ((_RNG.normal(size=(n, D)) @ _MIX).astype(np.float32) for n in (600, 400, 3000))
SPREAD = MEMBERS.std(0)


def reference(members: Rows, others: Rows, image: tuple[int, int] | None = None) -> MembershipReference:
    X = np.concatenate([members, others])
    n = len(X)
    scores, y, member = np.full((n, 2), 0.5), np.zeros(n, np.int64), np.arange(n) < len(members)
    bounds = np.full(X.shape[1], -1e3), np.full(X.shape[1], 1e3)
    return MembershipReference.fit(X, scores, y, member, key=KEY, low=bounds[0], high=bounds[1], image=image)


TABLE = reference(MEMBERS, OTHERS)


def watch(of: MembershipReference = TABLE) -> ClientMembership:
    return ClientMembership(of, ln_page=16.1, ln_ticket=11.5, capacity=4)


def send(clients: ClientMembership, rows: Rows, pace: float = 1.0) -> list[tuple[int, str, int]]:
    n = len(rows)
    rose = clients.update(np.zeros(n, np.int32), np.arange(n, dtype=np.float64) * pace, rows, np.zeros(n, np.int32))
    return [(int(i), STATISTICS[k], int(v)) for i, k, v in zip(rose.index, rose.statistic, rose.severity, strict=True)]


def targets(n: int, share: float, seed: int = 0) -> Rows:
    rng = np.random.default_rng(seed)
    k = round(n * share)
    return rng.permutation(np.concatenate([MEMBERS[rng.choice(600, k, False)], FRESH[rng.choice(3000, n - k, False)]]))


def noisy(rows: Rows, copies: int, seed: int = 0, size: float = 0.05) -> NDArray[np.float32]:
    """(targets, 1 + copies, D): each target and its noisy copies."""
    rng = np.random.default_rng(seed)
    made = [rows] + [rows + (rng.normal(size=rows.shape) * SPREAD * size).astype(np.float32) for _ in range(copies)]
    return np.stack(made, 1)


@pytest.mark.parametrize("original", [True, False])
def test_noisy_copies_target_by_target_page_within_forty_targets(original: bool) -> None:
    rows = noisy(targets(100, 0.5), 5)[:, 0 if original else 1 :]
    rose = {severity: i / rows.shape[1] for i, kind, severity in send(watch(), rows.reshape(-1, D)) if kind == "copies"}
    assert rose[1] < 25
    assert rose[2] < 40


def test_noisy_copies_round_by_round_page_too() -> None:
    rows = noisy(targets(80, 0.5), 8).transpose(1, 0, 2).reshape(-1, D)
    assert any(severity == 2 for _, kind, severity in send(watch(), rows) if kind == "copies")


def test_members_and_one_copy_of_each_page_before_the_second_round_is_over() -> None:
    asked = targets(80, 0.5)
    rows = noisy(asked, 4).transpose(1, 0, 2).reshape(-1, D)
    assert min(i for i, kind, severity in send(watch(), rows) if (kind, severity) == ("copies", 2)) < 160


def test_members_asked_and_their_copies_an_hour_later_are_records_that_changed() -> None:
    first, second = noisy(targets(80, 0.5), 1).transpose(1, 0, 2)
    clients = watch()
    assert send(clients, first) == []
    n = np.zeros(len(second), np.int32)
    assert len(clients.update(n, 3600.0 + np.arange(len(second), dtype=np.float64), second, n)) == 0


def test_records_that_lie_near_a_member_and_are_measured_again_and_again_are_no_members() -> None:
    rng = np.random.default_rng(5)
    beside = MEMBERS[:100] + (rng.choice([-1, 1], (100, D)) * 0.12 * SPREAD).astype(np.float32)
    clients = watch()
    assert send(clients, noisy(beside, 4, size=0.02).reshape(-1, D)) == []
    said = clients.explain(0)
    assert said["member_centres"] < 10 < said["other_centres"]


def test_many_rows_where_members_lie_dense_some_of_them_members_prove_nothing() -> None:
    rng = np.random.default_rng(8)
    place = MEMBERS[3]
    members, others = (rows[np.argsort((((rows - place) / SPREAD) ** 2).sum(1))[:n]] for rows, n in ((MEMBERS, 60), (FRESH, 900)))
    for _ in range(4):
        drawn = np.concatenate([others[rng.integers(0, 900, 3000)], members[rng.integers(0, 60, 60)]])
        assert send(watch(), rng.permutation(drawn)) == []


def test_ordinary_rows_and_measurements_repeated_with_noise_stay_quiet() -> None:
    assert send(watch(), FRESH) == []
    for seed in range(6):
        clients = watch()
        assert send(clients, noisy(targets(100, 0.1, seed), 4, seed).reshape(-1, D)) == []
        said = clients.explain(0)
        assert 5 <= said["member_centres"] <= 20
        assert 70 <= said["other_centres"] <= 95


def test_a_form_that_edits_a_training_record_field_by_field_is_no_attack() -> None:
    rng = np.random.default_rng(0)
    rows = []
    for record in MEMBERS[:40]:
        row = record.copy()
        rows.append(row.copy())
        for field in rng.choice(D, 8):
            row[field] += 0.1 * SPREAD[field]
            rows.append(row.copy())
    assert send(watch(), np.array(rows)) == []


def test_copies_months_apart_are_records_that_changed() -> None:
    rows = noisy(targets(80, 0.9), 6).transpose(1, 0, 2).reshape(-1, D)
    assert all(severity < 2 for _, _, severity in send(watch(), rows, pace=1800.0))


def test_boundary_probes_after_three_members_page() -> None:
    rng = np.random.default_rng(0)
    rows = []
    for k in range(3):
        middle = FRESH[k] * 0.5 + MEMBERS[k] * 0.5
        probes = middle + rng.normal(size=(40, D)) * SPREAD * 0.01
        rows += [MEMBERS[k], *probes.astype(np.float32)]
    assert [(kind, severity) for _, kind, severity in send(watch(), np.array(rows)) if kind == "chains"] == [("chains", 1), ("chains", 2)]


def halving(row: NDArray[np.float32], ways: int, seed: int, times: int = 9) -> NDArray[np.float32]:
    """The row, then a search for the boundary along some ways, far out: each to and fro by half of the step before."""
    rng, out = np.random.default_rng(seed), [row]
    for _ in range(ways):
        way, at = 2 * rng.normal(size=D) * SPREAD, 0.0
        for k in range(times):
            at += 0.5 ** (k + 1) * (-1 if k and rng.random() < 0.5 else 1)
            out.append(row + (at * way).astype(np.float32))
    return np.array(out, np.float32)


def chained(rows: Rows) -> list[tuple[int, int]]:
    return [(i, severity) for i, kind, severity in send(watch(), rows) if kind == "chains"]


def test_searches_for_the_boundary_far_around_members_page_with_the_eighth() -> None:
    assert chained(halving(MEMBERS[0], 4, 0)) == [(31, 1)], "four of them are a ticket"
    (_, ticket), (at, page) = chained(np.concatenate([halving(MEMBERS[0], 4, 0), halving(FRESH[0], 4, 1), halving(MEMBERS[1], 4, 2)]))
    assert (ticket, page) == (1, 2)
    assert at < 2 * 37
    assert not chained(np.concatenate([halving(FRESH[k], 4, k) for k in range(8)])), "around no member they say nothing of members"


def test_a_row_that_only_the_filter_takes_for_a_member_begins_no_chain() -> None:
    wrong = reference(MEMBERS, OTHERS)
    wrong.bloom.add(FRESH[:1])  # as if it were one of the filter's false positives
    assert not [kind for _, kind, _ in send(watch(wrong), np.concatenate([halving(FRESH[0], 4, k) for k in range(8)])) if kind == "chains"]


def test_a_member_that_the_index_had_no_room_for_begins_a_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detectors.membership.neighbours.MAX_MEMBERS", 300)
    some = reference(MEMBERS, OTHERS)
    index = some.neighbours
    assert index is not None
    assert len(index.members) == 300
    rows = np.concatenate([halving(member, 2, k) for k, member in enumerate(MEMBERS[:30])])
    assert ("chains", 2) in [(kind, severity) for _, kind, severity in send(watch(some), rows)]
    missing = [k for k in range(600) if not (np.abs(index.members - places(some, MEMBERS[k : k + 1])).max(1) < 1e-6).any()]
    alone = np.concatenate([halving(MEMBERS[missing[0]], 4, k) for k in range(3)])
    assert ("chains", 2) in [(kind, severity) for _, kind, severity in send(watch(some), alone)]


def places(of: MembershipReference, rows: Rows) -> NDArray[np.float32]:
    """Where rows lie along the axes of a reference's index."""
    assert of.neighbours is not None
    out: NDArray[np.float32] = describe_all(rows, of.neighbours[:6])[:, : of.neighbours.axes.shape[1]]
    return out


def test_what_is_no_search_makes_no_chain() -> None:
    rng = np.random.default_rng(0)
    even = [MEMBERS[k] + np.float32(0.1 * j) * np.float32(2 * SPREAD) for k in range(10) for j in range(20)]
    assert not chained(np.array(even, np.float32)), "steps of one size"
    few = np.concatenate([halving(MEMBERS[k], 4, k) * 0 + MEMBERS[k] for k in range(10)])
    few[:, :2] = np.concatenate([halving(MEMBERS[k], 4, k) for k in range(10)])[:, :2]
    assert not chained(few), "in two fields, as a form is tried"
    assert not chained(np.concatenate([np.stack([MEMBERS[k], FRESH[k]]) for k in rng.permutation(600)])), "customers' own records"
    apart = [np.concatenate([halving(MEMBERS[k], 1, k), FRESH[200 * k : 200 * k + 200]]) for k in range(12)]
    assert not chained(np.concatenate(apart)), "one now and then"


def moved(rows: Rows, dx: int, dy: int) -> Rows:
    return np.roll(rows.reshape(-1, 10, 10), (dy, dx), (1, 2)).reshape(-1, 100)


def pictures(n: int, seed: int) -> Rows:
    """Blobs of two strokes away from the border."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:10, :10]
    out = np.zeros((n, 10, 10))
    for _ in range(2):
        cx, cy, angle, long = rng.uniform(3.5, 5.5, n), rng.uniform(3.5, 5.5, n), rng.uniform(0, np.pi, n), rng.uniform(1, 2.5, n)
        c, s = np.cos(angle)[:, None, None], np.sin(angle)[:, None, None]
        dx, dy = x - cx[:, None, None], y - cy[:, None, None]
        out += np.exp(-(((dx * c + dy * s) / long[:, None, None]) ** 2) - ((dy * c - dx * s) / 0.8) ** 2)
    return (out * 200).round().reshape(n, 100).astype(np.float32)


def test_pictures_moved_by_a_pixel_are_copies() -> None:
    members, others, fresh = pictures(400, 0), pictures(300, 1), pictures(1000, 2)
    of = reference(members, others, (10, 10))
    assert send(watch(of), fresh) == []
    asked = np.concatenate([members[:30], fresh[:30]])[np.random.default_rng(0).permutation(60)]
    rows = np.stack([asked] + [moved(asked, *by) for by in ((1, 0), (-1, 0), (0, 1), (0, -1))], 1).reshape(-1, 100)
    assert any(kind == "copies" and severity == 2 for _, kind, severity in send(watch(of), rows))
    few = np.stack([fresh[:60]] + [moved(fresh[:60], *by) for by in ((1, 0), (-1, 0), (0, 1), (0, -1))], 1).reshape(-1, 100)
    assert send(watch(of), few) == []


def test_a_picture_lies_where_its_moved_self_lies() -> None:
    some = pictures(50, 4)
    places = fit_neighbours(some, np.ones(50, bool), some.min(0), some.max(0), (10, 10), 0)
    assert places is not None
    here, there = describe_all(some, places[:6]), describe_all(moved(some, 1, -1), places[:6])
    assert np.median(np.linalg.norm(here - there, axis=1)) < 0.1 * np.median(np.linalg.norm(here - here[::-1], axis=1))


def padded(places: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.pad(places, ((0, 0), (0, AXES - places.shape[1])))


@settings(max_examples=30, deadline=None)
@given(st.integers(50, 400), st.integers(1, 16), st.integers(0, 2**32), st.floats(0.1, 5))
def test_what_the_index_finds_is_a_member_at_its_true_distance(n: int, width: int, seed: int, reach: float) -> None:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, width)).astype(np.float32)
    places = fit_neighbours(X, np.ones(n, bool), X.min(0), X.max(0), None, 0)
    assert places is not None
    cells, cap = index_of(places)[0], np.float32(reach**2)
    for point in padded(describe_all(rng.normal(size=(5, width)).astype(np.float32), places[:6])):
        d2 = np.sort(((padded(places.members) - point) ** 2).sum(1))
        index, best, second = two_nearest(point, cells, cap, -1, room_to_search())
        assert min(d2[0], cap) * 0.999 <= best + 1e-6 <= second + 1e-6
        assert second >= min(d2[1], cap) * 0.999
        if index >= 0:
            assert best == pytest.approx(((padded(places.members)[index] - point) ** 2).sum(), rel=1e-3, abs=1e-5)
            assert two_nearest(point, cells, cap, index, room_to_search())[1] == pytest.approx(second)
        if len(cells.reach) <= PROBES or d2[0] > reach**2 * 1.001:
            assert best == pytest.approx(min(d2[0], cap), rel=1e-3, abs=1e-5)


def test_the_index_is_exact_where_its_cells_are_few() -> None:
    members = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    order, starts, centres = group(members[:36], np.random.default_rng(1))
    cells = tiled(members[order], starts, centres)
    assert len(cells.reach) <= PROBES
    for point in padded(members):
        d2 = np.sort(((padded(members[:36]) - point) ** 2).sum(1))
        assert two_nearest(point, cells, np.float32(np.inf), -1, room_to_search())[1:] == pytest.approx(tuple(d2[:2]), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("axes", [4, 16])
def test_a_changed_copy_finds_its_member_in_ninety_nine_of_a_hundred_cases(axes: int) -> None:
    rng = np.random.default_rng(axes)
    members = rng.normal(size=(4_000, axes)).astype(np.float32)
    order, starts, centres = group(members, rng)
    cells, members = tiled(members[order], starts, centres), members[order]
    spacing = (
        np.median([two_nearest(point, cells, np.float32(np.inf), k, room_to_search())[1] for k, point in enumerate(padded(members[:200]))])
        ** 0.5
    )
    copies = members + rng.normal(size=members.shape).astype(np.float32) * np.float32(spacing * 0.35 / axes**0.5)
    true = ((padded(copies[:500])[:, None] - padded(members)[None]) ** 2).sum(2).argmin(1)
    found = [two_nearest(point, cells, np.float32(np.inf), -1, room_to_search())[0] for point in padded(copies[:500])]
    assert np.mean(true == found) >= 0.99


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 360), max_size=5), st.integers(0, 1000))
def test_batches_and_restarts_change_nothing(cuts: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = noisy(targets(60, 0.5, seed), 5, seed).reshape(-1, D)
    rows[rng.random(360) < 0.05] = np.nan
    slot, at, label = rng.integers(0, 2, 360).astype(np.int32), np.cumsum(rng.exponential(5, 360)), np.zeros(360, np.int32)
    whole, parts = watch(), watch()
    expected, found = whole.update(slot, at, rows, label), []
    for part in np.split(np.arange(360), sorted(cuts)):
        rose = parts.update(slot[part], at[part], rows[part], label[part])
        found += list(zip(part[rose.index], rose.statistic, rose.severity, rose.ln_evidence, strict=True))
        blob, parts = parts.snapshot(), watch()
        parts.restore(blob)
    assert found == list(zip(expected.index, expected.statistic, expected.severity, expected.ln_evidence, strict=True))
    assert parts.snapshot() == whole.snapshot()


def test_a_client_takes_less_than_4_kb() -> None:
    wide = np.random.default_rng(0).normal(size=(200, 300)).astype(np.float32)
    assert watch(reference(wide[:100], wide[100:])).bytes_per_client < 3000


def test_too_few_members_leave_the_rest_working() -> None:
    of = reference(MEMBERS[:40], OTHERS)
    assert of.neighbours is None
    assert MembershipReference.from_bytes(of.to_bytes(), KEY).neighbours is None
    clients = watch(of)
    assert send(clients, noisy(MEMBERS[:40], 5).reshape(-1, D)) == []
    assert clients.counts(np.array([0]))["hits"][0] == 40
    assert clients.explain(0)["member_centres"] == 0


def test_constant_and_missing_columns_do_no_harm() -> None:
    members, others = MEMBERS.copy(), OTHERS.copy()
    for X in (members, others):
        X[:, 0] = 7
        X[:, 1] = np.nan
        X[0, 2] = np.inf
    clients = watch(reference(members, others))
    rows = noisy(members[:50], 5).reshape(-1, D)
    assert any(severity == 2 for _, _, severity in send(clients, rows))


def _no_starts(body: dict[str, NDArray[np.float32]]) -> None:
    body["starts"] = body["starts"] + 5


def _narrow(body: dict[str, NDArray[np.float32]]) -> None:
    body["members"] = body["members"][:, :-1]


def _missing(body: dict[str, NDArray[np.float32]]) -> None:
    del body["codes"]


@pytest.mark.parametrize("spoil", [_no_starts, _narrow, _missing])
def test_a_damaged_index_is_refused(spoil: Callable[[dict[str, NDArray[np.float32]]], None]) -> None:
    body = unpack(TABLE.to_bytes(), "membership.reference", 4)
    spoil(body["neighbours"])
    with pytest.raises(StateError, match="places"):
        MembershipReference.from_bytes(pack("membership.reference", 4, body), KEY)


def test_the_index_comes_back_as_it_was() -> None:
    back = MembershipReference.from_bytes(TABLE.to_bytes(), KEY).neighbours
    assert back is not None
    assert TABLE.neighbours is not None
    assert all(np.array_equal(getattr(back, name), getattr(TABLE.neighbours, name)) for name in Neighbours._fields)
