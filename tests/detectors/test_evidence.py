"""Promises of the query-pattern evidence: laws of the state, and who is found."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from detectors.evidence import FAMILIES, STATISTICS, ClientEvidence, Crossings, EvidenceReference, explain
from detectors.evidence.compiled import FINGERPRINT, STALE, call
from detectors.state import StateError
from tests.detectors.crowd import beside, fitted

Rows = NDArray[np.float32]
Ints = NDArray[np.int32]
Crossing = tuple[int, int, int, int, int, float]  # index, slot, family, severity, statistic, ln_evidence
LN_PAGE, LN_TICKET = float(np.log(1e7)), float(np.log(1e5))
D = 8
MIX = np.random.default_rng(5).normal(size=(3, D))


def rows(n: int, seed: int) -> Rows:
    rng = np.random.default_rng(seed)
    X: Rows = (rng.normal(size=(n, 3)) @ MIX + 0.3 * rng.normal(size=(n, D))).astype(np.float32)
    return X


def answer(X: Rows) -> Ints:
    y: Ints = (np.nan_to_num(X)[:, 0] > 0).astype(np.int32)
    return y


def nothing(n: int) -> Rows:
    return np.empty((n, 0), np.float32)


@pytest.fixture(scope="module")
def reference() -> EvidenceReference:
    X = rows(800, 1)
    return EvidenceReference.fit(X, nothing(800), None, low=np.full(D, -np.inf), high=np.full(D, np.nan))


def make(reference: EvidenceReference, capacity: int = 8) -> ClientEvidence:
    return ClientEvidence(reference, ln_page=LN_PAGE, ln_ticket=LN_TICKET, capacity=capacity)


def feed(clients: ClientEvidence, slot: Ints, X: Rows, cuts: list[int]) -> list[Crossing]:
    found: list[Crossing] = []
    for a, b in zip([0, *cuts], [*cuts, len(X)], strict=True):
        c = clients.update(slot[a:b], X[a:b], nothing(b - a), answer(X[a:b]))
        found += [
            (a + int(c.index[k]), int(c.slot[k]), int(c.family[k]), int(c.severity[k]), int(c.statistic[k]), float(c.ln_evidence[k]))
            for k in range(len(c))
        ]
    return found


def same_clients(a: ClientEvidence, b: ClientEvidence, but: tuple[str, ...] = ()) -> bool:
    every = np.arange(a.capacity)
    counts = [clients.counts(every) for clients in (a, b)]
    same = a.log_evidence(every) == b.log_evidence(every)
    return bool(same[:, [k for k in range(len(STATISTICS)) if STATISTICS[k] not in but]].all()) and all(
        (counts[0][k] == counts[1][k]).all() for k in counts[0]
    )


def boundary_search(n: int, seed: int) -> Rows:
    """Bisections between two rows with different answers, then small probes around the boundary: HopSkipJump's pattern."""
    rng = np.random.default_rng(seed)
    X, y = rows(200, seed), answer(rows(200, seed))
    out: list[NDArray[np.float64]] = []
    while len(out) < n:
        a, b = X[rng.choice(np.flatnonzero(y == 0))].astype(float), X[rng.choice(np.flatnonzero(y == 1))].astype(float)
        for _ in range(14):
            middle = (a + b) / 2
            out.append(middle)
            a, b = (a, middle) if middle[0] > 0 else (middle, b)
        out += [(a + b) / 2 + scale * rng.normal(size=D) for scale in (0.2, 0.05, 0.01) for _ in range(8)]
    return np.array(out[:n], np.float32)


def traffic(seed: int) -> tuple[Ints, Rows]:
    """Ordinary clients 0-4, one that shuffles columns (5), one that searches a boundary (6), one that repeats (7); interleaved."""
    rng = np.random.default_rng(seed)
    parts = [rows(60, seed + k) for k in range(5)]
    parts += [rng.permuted(rows(60, seed + 9), axis=0), boundary_search(200, seed), np.repeat(rows(3, seed), 20, axis=0)]
    slot = np.concatenate([np.full(len(p), k, np.int32) for k, p in enumerate(parts)])
    order = np.argsort(rng.random(len(slot)) + np.concatenate([np.arange(len(p)) for p in parts]) * 1.0, kind="stable")
    return slot[order], np.concatenate(parts)[order]


# --- laws ---------------------------------------------------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 50), cuts=st.lists(st.integers(0, 540), max_size=8))
def test_batch_cuts_do_not_matter(reference: EvidenceReference, seed: int, cuts: list[int]) -> None:
    slot, X = traffic(seed)
    whole, cut = make(reference), make(reference)
    assert feed(whole, slot, X, []) == feed(cut, slot, X, sorted(min(c, len(X)) for c in cuts))
    assert whole.snapshot() == cut.snapshot()


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 50), at=st.integers(0, 540))
def test_a_restored_snapshot_continues_bit_for_bit(reference: EvidenceReference, seed: int, at: int) -> None:
    slot, X = traffic(seed)
    whole, first = make(reference), make(reference)
    expected = feed(whole, slot, X, [at])
    found = feed(first, slot[:at], X[:at], [])
    second = make(EvidenceReference.from_bytes(reference.to_bytes()), capacity=1)
    second.restore(first.snapshot())
    found += [(i + at, s, f, v, w, e) for i, s, f, v, w, e in feed(second, slot[at:], X[at:], [])]
    assert found == expected
    assert second.snapshot() == whole.snapshot()


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 50))
def test_what_others_ask_changes_only_what_counts_as_usual(reference: EvidenceReference, seed: int) -> None:
    slot, X = traffic(seed)
    together, alone = make(reference), make(reference)
    feed(together, slot, X, [])
    for k in range(8):
        feed(alone, slot[slot == k], X[slot == k], [])
    assert same_clients(together, alone, but=("joint", "smooth", "generated"))


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 50),
    values=st.lists(st.sampled_from([np.nan, np.inf, -np.inf, 3e38, -3e38, 1e-40, 0.0, -0.0]), min_size=1, max_size=40),
)
def test_absurd_values_neither_crash_nor_blind(reference: EvidenceReference, seed: int, values: list[float]) -> None:
    rng = np.random.default_rng(seed)
    X = boundary_search(300, seed)
    X[:, 3] = np.resize(np.array(values, np.float32), len(X))  # one column of nonsense beside a real search
    X[rng.integers(0, 300, 5)] = np.float32(values[0])
    clients = make(reference)
    feed(clients, np.zeros(300, np.int32), X, [])
    assert not np.isnan(clients.log_evidence(np.arange(1))).all()
    assert clients.counts(np.arange(1))["missing_values"][0] == np.isnan(X).sum()
    if len(set(map(repr, values))) == 1:
        assert clients.log_evidence(np.arange(1))[0, STATISTICS.index("flips")] > LN_PAGE


def test_inputs_are_neither_changed_nor_kept(reference: EvidenceReference) -> None:
    slot, X = traffic(0)
    y, scores = answer(X), np.full((len(X), 2), 0.5, np.float32)
    copies = [a.copy() for a in (slot, X, scores, y)]
    a: NDArray[Any]
    for a in (slot, X, scores, y):
        a.flags.writeable = False
    clients = make(reference)
    clients.update(slot, X, scores, y)
    before = clients.snapshot()
    for a, copy in zip((slot, X, scores, y), copies, strict=True):
        assert (a == copy).all()
        a.flags.writeable = True
        a[:] = 1
    assert clients.snapshot() == before


def test_scores_stand_in_for_missing_labels(reference: EvidenceReference) -> None:
    X = boundary_search(150, 2)
    slot, y = np.zeros(150, np.int32), answer(X)
    by_label, by_score, by_neither = make(reference), make(reference), make(reference)
    by_label.update(slot, X, nothing(150), y)
    by_score.update(slot, X, np.eye(2, dtype=np.float32)[y], np.full(150, -1, np.int32))
    found = by_neither.update(slot, X, nothing(150), np.full(150, -1, np.int32))
    assert by_label.snapshot() == by_score.snapshot()
    assert by_neither.counts(slot[:1])["near_flips"][0] == 0
    assert "flips" not in {STATISTICS[k] for k in found.statistic}


def test_a_cleared_slot_starts_anew_and_a_resized_one_goes_on(reference: EvidenceReference) -> None:
    slot, X = traffic(3)
    clients = make(reference)
    feed(clients, slot, X, [])
    clients.resize(20)
    assert clients.capacity == 20
    assert clients.severity(np.array([5]))[0, 0] == 2
    clients.clear(np.array([5]))
    assert clients.severity(np.array([5]))[0, 0] == 0
    fresh = make(reference, 20)
    feed(fresh, slot[slot != 5], X[slot != 5], [])
    assert same_clients(clients, fresh, but=("joint", "smooth", "generated"))  # these two remember what was usual
    with pytest.raises(ValueError, match="shrink"):
        clients.resize(3)


# --- who is found -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_attackers_are_paged_and_ordinary_clients_are_not(reference: EvidenceReference, seed: int) -> None:
    slot, X = traffic(100 + 20 * seed)
    clients = make(reference)
    pages = {(client, FAMILIES[family]) for _, client, family, severity, _, _ in feed(clients, slot, X, []) if severity == 2}
    assert pages == {(5, "extraction"), (6, "evasion")}


def test_a_family_rises_to_a_ticket_then_a_page_and_is_silent_after(reference: EvidenceReference) -> None:
    X = np.random.default_rng(0).permuted(rows(600, 4), axis=0)
    clients = ClientEvidence(reference, ln_page=40.0, ln_ticket=LN_TICKET, capacity=1)
    found = feed(clients, np.zeros(600, np.int32), X, [])
    assert [severity for _, _, family, severity, _, _ in found if family == 0] == [1, 2]


@pytest.mark.parametrize("seed", range(3))
def test_nobody_is_paged_because_everybody_has_moved(reference: EvidenceReference, seed: int) -> None:
    rng = np.random.default_rng(seed)
    slot = rng.integers(0, 30, 6000).astype(np.int32)
    X = rows(6000, 200 + seed)
    X[:, :4] = X[:, :4] * 1.4 + 0.5 * X[:, :4] ** 2 - 1
    y = answer(X)
    against_the_reference = 0
    for k in range(30):
        alone, mine = make(reference, 1), slot == k
        alone.update(slot[mine] * 0, X[mine], nothing(int(mine.sum())), y[mine])
        against_the_reference += int(alone.log_evidence(np.arange(1))[0, 0] > LN_PAGE)
    assert against_the_reference > 10
    found = [make(reference, 30).update(slot, X, nothing(6000), y)]
    assert not (np.concatenate([c.severity for c in found]) == 2).any()


def test_a_few_attackers_do_not_count_as_a_population_that_has_moved(reference: EvidenceReference) -> None:
    rng = np.random.default_rng(0)
    slot = rng.integers(0, 30, 3000).astype(np.int32)
    X = rows(3000, 300)
    attackers = slot >= 20
    X[attackers] = rng.permuted(X[attackers], axis=0)
    found = make(reference, 30).update(slot, X, nothing(3000), answer(X))
    assert set(found.slot[found.severity == 2].tolist()) == set(range(20, 30))


def test_drawn_copies_of_the_reference_stay_silent(reference: EvidenceReference) -> None:
    slot = np.repeat(np.arange(40, dtype=np.int32), 250)
    assert feed(make(reference, 40), slot, rows(len(slot), 77), []) == []


def test_repeats_say_nothing(reference: EvidenceReference) -> None:
    X = np.repeat(np.random.default_rng(1).permuted(rows(10, 1), axis=0), 100, axis=0)
    clients = make(reference)
    assert feed(clients, np.zeros(len(X), np.int32), X, []) == []
    assert clients.counts(np.zeros(1, np.int64))["exact_repeats"][0] == len(X) - 10


def test_a_health_check_that_goes_to_and_fro_between_two_answers_is_no_search(reference: EvidenceReference) -> None:
    good, bad = rows(1, 1)[0], rows(1, 1)[0].copy()
    good[0], bad[0] = 0.04, -0.04  # all other fields are the same, and the answers differ
    X = np.tile([good, bad], (500, 1)).astype(np.float32)
    clients = make(reference)
    assert feed(clients, np.zeros(len(X), np.int32), X, []) == []
    assert clients.counts(np.zeros(1, np.int64))["consecutive_edit_flips"][0] == 10


@pytest.mark.parametrize(("fields", "values"), [(3, 6), (3, 3), (4, 4), (2, 6), (1, 6), (5, 2)])
def test_few_fields_with_few_values_are_no_search(fields: int, values: int) -> None:
    """On a small grid steps recur, and the next one is often the opposite of an earlier one, by chance."""
    rng = np.random.default_rng(0)
    X = rng.integers(0, values, (4_000, fields)).astype(np.float32)
    reference = EvidenceReference.fit(X, np.empty((4_000, 0), np.float32), None, low=X.min(0), high=X.max(0))
    clients = make(reference, 4)
    asked = rng.integers(0, values, (4_000, fields)).astype(np.float32)
    label = (asked.sum(1) > asked.sum(1).mean()).astype(np.int32)
    found = clients.update(np.arange(4_000) % 4, asked, np.empty((4_000, 0), np.float32), label)
    assert (found.severity < 2).all()


def test_a_page_says_what_was_seen_and_what_it_does_not_prove(reference: EvidenceReference) -> None:
    slot, X = traffic(7)
    clients = make(reference)
    crossings = clients.update(slot, X, nothing(len(X)), answer(X))
    for k in range(len(crossings)):
        page = explain(clients, crossings, k)
        assert page["statistic"] == STATISTICS[crossings.statistic[k]]
        assert float(page["rate"]) > float(page["tolerated"])
        assert page["not_said"]


def test_a_reference_of_pictures_whose_first_limit_is_off_comes_back() -> None:
    some = np.random.default_rng(0).random((400, 64)).astype(np.float32)
    reference = EvidenceReference.fit(some, nothing(400), None, low=np.zeros(64), high=np.ones(64), image=(8, 8))
    assert reference.joint_rates[0] == 1
    assert EvidenceReference.from_bytes(reference.to_bytes()).to_bytes() == reference.to_bytes()


def test_pictures_are_judged_too() -> None:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:8, :8]

    def pictures(n: int) -> Rows:
        cy, cx, w = rng.uniform(2, 5, (3, n, 1, 1))
        X: Rows = (255 * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / w)).reshape(n, 64).round().astype(np.float32)
        return X

    reference = EvidenceReference.fit(pictures(400), nothing(400), None, low=np.zeros(64), high=np.full(64, 255.0), image=(8, 8))
    X = np.concatenate([pictures(600), rng.uniform(0, 255, (600, 64)).astype(np.float32)])
    found = make(reference).update(np.repeat(np.arange(2, dtype=np.int32), 600), X, nothing(1200), np.zeros(1200, np.int32))
    assert set(found.slot.tolist()) == {1}
    assert found.severity.max() == 2


# --- bounds -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("d", [1, 2, 5, 16, 17, 60, 300])
def test_a_client_takes_at_most_four_kilobytes_and_a_reference_a_megabyte(d: int) -> None:
    rng = np.random.default_rng(d)
    X = rng.normal(size=(60, d)).astype(np.float32)
    reference = EvidenceReference.fit(X, nothing(60), np.ones(60, bool), low=np.full(d, -5.0), high=np.full(d, 5.0))
    clients = make(reference, 100)
    clients.update(np.zeros(60, np.int32), X, nothing(60), np.zeros(60, np.int32))
    assert clients.bytes_per_client <= 4096
    assert len(clients.snapshot()) <= 100 * 4096 + 12_288  # and the population, once
    assert len(reference.to_bytes()) < 1 << 20


def test_a_column_without_any_value_is_carried() -> None:
    X = rows(100, 0)
    X[:, 2] = np.nan
    reference = EvidenceReference.fit(X, nothing(100), None, low=np.full(D, -9.0), high=np.full(D, 9.0))
    assert feed(make(reference), np.zeros(100, np.int32), X, []) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"X": rows(49, 0), "scores": nothing(49)}, "at least 50"),
        ({"X": np.ones((80, D), np.float32), "scores": nothing(80)}, "all rows are the same"),
        ({"scores": nothing(3)}, "scores have shape"),
        ({"member": np.ones(3, bool)}, "member has shape"),
        ({"low": np.zeros(3)}, "bounds have shapes"),
        ({"image": (2, 3)}, "a picture of"),
    ],
)
def test_a_reference_refuses_what_it_cannot_use(change: dict[str, object], message: str) -> None:
    given_: dict[str, object] = {"X": rows(80, 0), "scores": nothing(80), "member": None, "low": np.full(D, -9.0), "high": np.full(D, 9.0)}
    given_ |= change
    with pytest.raises(ValueError, match=message):
        EvidenceReference.fit(**given_)  # type: ignore[arg-type]  # wrong on purpose


def test_wrong_batches_are_refused(reference: EvidenceReference) -> None:
    clients, y, slot = make(reference), np.zeros(4, np.int32), np.zeros(4, np.int32)
    before = clients.snapshot()
    with pytest.raises(ValueError, match="expected \\(4, 8\\)"):
        clients.update(slot, np.zeros((4, 7), np.float32), nothing(4), y)
    with pytest.raises(ValueError, match="do not belong"):
        clients.update(slot, rows(4, 0), nothing(3), y)
    with pytest.raises(ValueError, match="slots"):
        clients.update(slot + 8, rows(4, 0), nothing(4), y)
    with pytest.raises(ValueError, match="ln_ticket"):
        ClientEvidence(reference, ln_page=1.0, ln_ticket=2.0)
    with pytest.raises(ValueError, match="capacity"):
        ClientEvidence(reference, ln_page=3.0, ln_ticket=2.0, capacity=0)
    assert clients.snapshot() == before
    assert len(clients.update(slot[:0], rows(0, 0), nothing(0), y[:0])) == 0


def test_a_snapshot_of_another_width_is_refused(reference: EvidenceReference) -> None:
    X = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    other = EvidenceReference.fit(X, nothing(60), None, low=np.full(3, -5.0), high=np.full(3, 5.0))
    with pytest.raises(StateError, match="this reference needs"):
        make(reference).restore(make(other).snapshot())


def test_crossings_are_columns_of_equal_length(reference: EvidenceReference) -> None:
    slot, X = traffic(1)
    found: Crossings = make(reference).update(slot, X, nothing(len(X)), answer(X))
    assert {len(getattr(found, name)) for name in Crossings.__dataclass_fields__} == {len(found)}
    assert (slot[found.index] == found.slot).all()


def antithetic(n: int, seed: int, block: int) -> Rows:
    """Blocks of noise around a point, then the same noise with the other sign (natural evolution strategies)."""
    rng = np.random.default_rng(seed)
    out: list[NDArray[np.float64]] = []
    for x in rows(n // (2 * block) + 1, seed):
        noise = 0.3 * rng.normal(size=(block, D))
        out += [*(x + noise), *(x - noise)]
    return np.array(out[:n], np.float32)


@pytest.mark.parametrize("block", [15, 25, 50, 64])
def test_antithetic_noise_is_found_whatever_the_block(reference: EvidenceReference, block: int) -> None:
    found = feed(make(reference), np.zeros(800, np.int32), antithetic(800, 3, block), [])
    assert (1, 2, STATISTICS.index("symmetric")) in {(family, severity, statistic) for _, _, family, severity, statistic, _ in found}


@pytest.mark.parametrize("block", [15, 25, 50])
def test_antithetic_noise_is_found_where_rows_are_rounded_or_cut_at_limits(block: int) -> None:
    coarse = EvidenceReference.fit(rounded(rows(800, 1)), nothing(800), None, low=np.full(D, -3.0), high=np.full(D, 3.0))
    found = feed(make(coarse), np.zeros(800, np.int32), rounded(antithetic(800, 3, block)), [])
    assert (1, 2, STATISTICS.index("symmetric")) in {(family, severity, statistic) for _, _, family, severity, statistic, _ in found}


def test_one_block_of_antithetic_noise_in_four_whole_numbers_of_twelve_is_enough() -> None:
    """The other eight are too small to move, so most rows share most fields, some come again, and later blocks are around no whole one."""

    def counts(n: int, seed: int) -> NDArray[np.float64]:
        rng = np.random.default_rng(seed)
        own = rng.normal(size=(n, 1)) + rng.normal(0, 0.5, (n, 12))
        return np.asarray(np.round(np.exp(0.7 + 0.3 * own) * np.repeat([1.0, 20.0], [8, 4])))

    known, asked = counts(3000, 1), []
    for seed in range(6):
        noise = np.round(0.12 * known.std(0) * np.random.default_rng(seed).normal(size=(15, 12)))
        asked.append(counts(1, 50 + seed) + np.concatenate([noise, -noise]))
    _, found = beside(fitted(known), [counts(60, 100 + k) for k in range(20)], asked)
    assert len({who for who, severity, which in found if (severity, which) == (2, STATISTICS.index("symmetric"))}) >= 5


def test_a_client_that_returns_to_rows_goes_no_opposite_way(reference: EvidenceReference) -> None:
    """From each record to three like it and back by the same way: every second step is the opposite of an earlier one."""
    rng, asked = np.random.default_rng(2), []
    for record in rows(40, 3):
        a, b, c = record + 0.3 * rng.normal(size=(3, D))
        asked += [record, a, b, c, b, a]
    clients = many(np.array(asked, np.float32), reference)
    assert clients.log_evidence(np.arange(1))[0, STATISTICS.index("symmetric")] < LN_TICKET


@pytest.mark.parametrize("seed", range(4))
def test_a_client_of_few_rows_that_always_returns_to_one_goes_no_opposite_way(reference: EvidenceReference, seed: int) -> None:
    """Twenty-five rows are more than the ring remembers, so many are new again, and the way to them is the opposite of the way back."""
    rng, places = np.random.default_rng(seed), rows(26, 40 + seed)
    asked = places[np.where(rng.random(400) < 0.7, 0, rng.integers(1, 26, 400))]
    clients = many(asked, reference)
    assert clients.log_evidence(np.arange(1))[0, STATISTICS.index("symmetric")] < LN_TICKET


def coordinates(n: int, seed: int, updated: float) -> Rows:
    """What ZOO asks: x + h, x - h in one column after the other, then x, or x moved in that column, of which the next probe begins."""
    rng, h = np.random.default_rng(seed), 5e-4
    out: list[NDArray[np.float64]] = []
    for target in rows(n // 18 + 1, seed):
        x = target.astype(np.float64)
        for _ in range(6):
            step = np.where(np.arange(D) == rng.integers(D), h, 0.0)
            out += [x + step, x - step]
            if rng.random() < updated:
                x = x + 100 * step
            else:
                out.append(x)
    return np.array(out[:n], np.float32)


@pytest.mark.parametrize("updated", [0.3, 0.5, 0.7])
def test_probes_of_one_column_after_the_other_are_paged_within_a_hundred_and_forty_queries(
    reference: EvidenceReference, updated: float
) -> None:
    found = feed(make(reference), np.zeros(140, np.int32), coordinates(140, 4, updated), [])
    assert (1, 2, STATISTICS.index("symmetric")) in {(family, severity, statistic) for _, _, family, severity, statistic, _ in found}


def test_one_column_that_ticks_or_trembles_is_no_probe(reference: EvidenceReference) -> None:
    rng, one = np.random.default_rng(0), np.arange(D) == 2
    clients = make(reference)
    for k, moves in enumerate((np.arange(1000) * 1e-3, 1e-3 * rng.normal(size=1000), 1e-3 * rng.integers(-2, 3, 1000).cumsum())):
        feed(clients, np.full(1000, k, np.int32), (rows(1, 9 + k) + moves[:, None] * one).astype(np.float32), [])
    assert (clients.log_evidence(np.arange(3))[:, STATISTICS.index("symmetric")] < LN_TICKET).all()


def rounded(X: Rows) -> Rows:
    """To a twentieth, within limits; the noise is .3."""
    out: Rows = (np.round(20 * X.clip(-3, 3)) / 20).astype(np.float32)
    return out


@pytest.mark.parametrize("period", [3, 4, 6, 10, 24, 60, 120])
def test_a_sensor_whose_readings_come_round_again_is_no_attack(reference: EvidenceReference, period: int) -> None:
    rng = np.random.default_rng(period)
    t, phase = np.arange(1200)[:, None], rng.uniform(0, 2 * np.pi, D)
    X = rows(1, 9) + 0.5 * np.sin(2 * np.pi * t / period + phase) + 0.01 * rng.normal(size=(1200, D))
    clients = make(reference)
    feed(clients, np.zeros(1200, np.int32), X.astype(np.float32), [])
    assert clients.log_evidence(np.arange(1))[0, STATISTICS.index("symmetric")] < LN_TICKET


def test_a_sensor_that_goes_to_and_fro_is_no_attack(reference: EvidenceReference) -> None:
    rng = np.random.default_rng(0)
    a, b = rows(2, 9)
    w = np.cumsum(rng.normal(0, 0.02, (2000, 1)), axis=0)
    X = (a + (b - a) * w + 0.005 * rng.normal(size=(2000, D))).astype(np.float32)
    clients = make(reference)
    feed(clients, np.zeros(2000, np.int32), X, [])
    assert clients.log_evidence(np.arange(1))[0, STATISTICS.index("symmetric")] < LN_TICKET


def test_a_boundary_search_is_found_among_three_ordinary_rows_each(reference: EvidenceReference) -> None:
    X = rows(2400, 40)
    X[::4] = boundary_search(600, 3)
    found = feed(make(reference), np.zeros(2400, np.int32), X, [])
    assert any(family == 1 and severity == 2 for _, _, family, severity, _, _ in found)


def test_compiled_code_of_another_version_is_noticed_and_replaced() -> None:
    calls: list[int] = []

    class Stale:
        def __call__(self, x: int, fingerprint: int) -> int:
            calls.append(fingerprint)
            return STALE if len(calls) == 1 else x

        def recompile(self) -> None:
            calls.append(0)

    assert call(Stale(), 7) == 7
    assert calls == [FINGERPRINT, 0, FINGERPRINT]


def test_a_sensor_at_a_decision_boundary_is_no_attack(reference: EvidenceReference) -> None:
    x = rows(1, 5)[0]
    x[0] = 0
    X = (x + 0.03 * np.random.default_rng(0).normal(size=(3000, D))).astype(np.float32)
    clients = make(reference)
    assert feed(clients, np.zeros(3000, np.int32), X, []) == []
    assert clients.counts(np.arange(1))["near_flips"][0] > 500


# --- rows between rows, bisections, old values combined anew, and the second look -----------------------------------------------------


def many(asked: Rows, reference: EvidenceReference, others: int = 20) -> ClientEvidence:
    """Slot 0 asks these rows among others that ask ordinary ones."""
    clients = make(reference, others + 1)
    ordinary = [rows(100, 500 + k) for k in range(others)]
    feed(clients, np.repeat(np.arange(1, others + 1, dtype=np.int32), 100), np.concatenate(ordinary), [])
    feed(clients, np.zeros(len(asked), np.int32), asked, [])
    return clients


def severities(clients: ClientEvidence) -> list[int]:
    return [int(k) for k in clients.severity(np.arange(clients.capacity)).max(axis=1)]


def test_mixtures_of_two_rows_are_paged_as_extraction_and_ordinary_clients_are_not(reference: EvidenceReference) -> None:
    X, rng = rows(800, 3), np.random.default_rng(4)
    w = rng.uniform(0.3, 0.7, (400, 1))
    found = severities(many((w * X[rng.integers(0, 800, 400)] + (1 - w) * X[rng.integers(0, 800, 400)]).astype(np.float32), reference))
    assert found[0] == 2
    assert max(found[1:]) == 0


def test_when_everybody_is_quieter_than_the_reference_nobody_is_paged(reference: EvidenceReference) -> None:
    clients = make(reference, 20)
    rng = np.random.default_rng(0)
    quiet = ((rng.normal(size=(4_000, 3)) @ MIX) + 0.2 * rng.normal(size=(4_000, D))).astype(np.float32)
    feed(clients, np.arange(4_000, dtype=np.int32) % 20, quiet, [])
    assert max(severities(clients)) < 2


def test_a_bisection_behind_three_ordinary_rows_each_is_found_before_it_ends(reference: EvidenceReference) -> None:
    a, b = rows(2, 11).astype(float)
    cover, asked = rows(40, 12), []
    for k in range(10):
        middle = ((a + b) / 2).astype(np.float32)
        asked += [middle, *cover[3 * k : 3 * k + 3]]
        a, b = (middle.astype(float), b) if k % 3 else (a, middle.astype(float))
    clients = many(np.array(asked, np.float32), reference)
    assert severities(clients)[0] == 2
    assert clients.counts(np.arange(1))["bisections"][0] >= 6


def test_gaps_of_a_series_filled_in_by_their_middle_are_no_bisection(reference: EvidenceReference) -> None:
    walk = rows(1, 13) + 0.3 * np.cumsum(np.random.default_rng(0).normal(size=(300, D)), 0).astype(np.float32)
    filled = np.concatenate([np.stack([a, b, (a + b) / 2]) for a, b in zip(walk[:-1:2], walk[1::2], strict=True)]).astype(np.float32)
    clients = make(reference, 1)
    feed(clients, np.zeros(len(filled), np.int32), filled, [])
    assert clients.severity(np.arange(1))[0, 1] < 2


def test_a_client_whose_units_differ_is_not_named_and_one_that_shuffles_is(reference: EvidenceReference) -> None:
    rng = np.random.default_rng(7)
    other = rows(300, 21) * (1 + 0.15 * rng.normal(size=D)) + 0.5 * rows(300, 22).std(0) * rng.normal(size=D)
    assert severities(many(other.astype(np.float32), reference))[0] == 0
    assert severities(many(rng.permuted(rows(300, 23), axis=0), reference))[0] == 2


@pytest.mark.parametrize("how", ["columns", "entries"])
def test_fields_filled_by_a_default_are_not_named(reference: EvidenceReference, how: str) -> None:
    rng = np.random.default_rng(8)
    X = rows(300, 31)
    default = np.median(rows(800, 1), axis=0) + np.float32(0.01)
    gap = np.isin(np.arange(D), [1, 5])[None, :] if how == "columns" else rng.random(X.shape) < 0.25
    assert severities(many(np.where(gap, default, X).astype(np.float32), reference))[0] == 0


def test_a_walk_over_two_values_a_column_is_paged_and_gaps_filled_by_a_default_are_not(reference: EvidenceReference) -> None:
    rng = np.random.default_rng(9)
    base = rows(1, 41)[0]
    high = base + rows(300, 1).std(0)
    asked = [np.where(rng.random(D) < 0.5, base, high) for _ in range(4)]
    for _ in range(200):
        moved = asked[-1].copy()
        for j in rng.choice(D, 2, replace=False):
            moved[j] = base[j] if moved[j] == high[j] else high[j]
        asked.append(moved)
    clients = many(np.array(asked, np.float32), reference)
    assert clients.severity(np.arange(1))[0, 1] == 2


def test_jacobian_steps_from_a_dozen_records_are_paged_within_forty_queries(reference: EvidenceReference) -> None:
    rng, seen = np.random.default_rng(9), rows(12, 71)
    while len(seen) < 40:
        seen = np.concatenate([seen, seen + (0.15 * rows(500, 72).std(0) * rng.choice([-1, 1], seen.shape)).astype(np.float32)])
    clients = many(seen[:40], reference)
    assert severities(clients)[0] == 2
    assert clients.log_evidence(np.arange(1))[0, STATISTICS.index("flat")] > LN_PAGE


def test_first_rows_of_columns_of_three_values_are_no_steps() -> None:
    def asked(n: int, seed: int) -> Rows:
        rng = np.random.default_rng(seed)
        X: Rows = np.digitize(rng.normal(size=(n, 1)) + rng.normal(size=(n, 9)), [-0.7, 0.7]).astype(np.float32)
        return X

    reference = EvidenceReference.fit(asked(2000, 1), nothing(2000), None, low=np.zeros(9), high=np.full(9, 2.0))
    slot = np.repeat(np.arange(300), 12).astype(np.int32)
    assert feed(make(reference, capacity=300), slot, asked(3600, 2), []) == []
