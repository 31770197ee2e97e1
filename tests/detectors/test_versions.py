"""A new version against the one before it: a redeploy of the same is quiet, a change is named."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.state import StateError
from detectors.versions import CLASSES, LATENCY_MS, RATES, Profile, VersionComparison, counted

SLOTS = {"a": 0, "b": 1, "c": 2}


def window(
    rng: np.random.Generator, *, p: float = 0.3, sure: float = 0.7, slow: float = 0.1, n: int = 300, wander: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    p = float(np.clip(p + wander * rng.normal(), 0.01, 0.69))
    a, b, c = rng.multinomial(n, [p, 0.7 - p, 0.3]).tolist()
    high = int(rng.binomial(n, sure))
    tail = int(rng.binomial(n, slow))
    slower = [n] * 4 + [tail] * (len(LATENCY_MS) - 4) + [n]
    return counted({"a": a, "b": b, "c": c}, SLOTS, [0] * 8 + [n - high, high], slower, n, int(rng.binomial(n, 0.01)))


def old(rng: np.random.Generator, windows: int = 20, **law: float) -> Profile:
    made = Profile()
    for k in range(windows):
        made.add(*window(rng, **law), k)  # type: ignore[arg-type]
    return made


def compared() -> VersionComparison:
    return VersionComparison(false_tickets=1, windows=8640)


@pytest.mark.parametrize(
    ("law", "rates"),
    [({"p": 0.5}, {0, 1}), ({"sure": 0.4}, {CLASSES + 8, CLASSES + 9}), ({"slow": 0.5}, set(range(CLASSES + 14, CLASSES + 23)))],
)
def test_what_moved_is_found_within_five_windows_and_named(law: dict[str, float], rates: set[int]) -> None:
    rng = np.random.default_rng(0)
    before, made = old(rng), compared()
    reports = [made.update(*window(rng, **law), before) for _ in range(6)]  # type: ignore[arg-type]
    assert reports[1].severity == "none"
    assert reports[-1].severity == "ticket"
    assert {one.rate for one in reports[-1].moved} <= rates


@pytest.mark.parametrize("wander", [0.0, 0.08])
def test_the_same_model_again_is_quiet_also_where_windows_differ(wander: float) -> None:
    opened = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        before, made = old(rng, wander=wander), compared()
        opened += any(made.update(*window(rng, wander=wander), before).severity == "ticket" for _ in range(60))
    assert opened == 0


def test_a_sure_but_small_change_is_no_ticket() -> None:
    rng = np.random.default_rng(3)
    before, made = old(rng, windows=100, n=20_000), compared()
    assert {made.update(*window(rng, p=0.32, n=20_000), before).severity for _ in range(50)} == {"none"}


def test_too_little_of_the_old_one_is_nothing_to_compare_with() -> None:
    rng = np.random.default_rng(4)
    before, made = old(rng, windows=11), compared()
    assert not before.ready
    assert {made.update(*window(rng, p=0.6), before).severity for _ in range(20)} == {"none"}


def test_state_survives_and_damage_is_refused() -> None:
    rng = np.random.default_rng(5)
    before, made, again, profile = old(rng), compared(), compared(), Profile()
    for _ in range(5):
        made.update(*window(rng, p=0.5), before)
    again.restore(made.snapshot())
    profile.load(before.dump())
    assert again.snapshot() == made.snapshot()
    assert (profile.sums == before.sums).all()
    with pytest.raises(StateError):
        again.restore(made.snapshot()[:-2])
    with pytest.raises(StateError):
        profile.load(before.dump() | {"sums": np.zeros((5, RATES - 1))})
