"""The generator of recorded services, on a tiny one."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from bench.detection import score
from bench.services.recording import record
from bench.services.tables import Table
from bench.services.world import World, build
from streams import tables

pytest.importorskip("sklearn")
with warnings.catch_warnings():  # it warns of every framework that is not installed
    warnings.simplefilter("ignore")
    pytest.importorskip("art")


def _world() -> World:
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(3)
    X = np.stack([np.round(rng.normal(20, 5, 400)), rng.normal(size=400), rng.integers(0, 2, 400)], axis=1).astype(np.float32)
    y = (X[:, 0] / 5 + X[:, 1] > 4).astype(np.int64)
    table = Table(X, y, ("age", "level", "member"), np.array([1.0, 0.0, 1.0]), np.array([False, False, True]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return build("tiny", table, LogisticRegression(max_iter=500), 4, 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording of the tiny service."""
    path = tmp_path_factory.mktemp("tiny")
    record(_world(), path, 1, queries=24, share=0.01)
    return path


def test_a_recording_is_what_replay_and_score_read(folder: Path) -> None:
    meta = tables.read_meta(folder / "meta.json")
    rows = tables.read_reference(folder / "reference.parquet", meta)
    events = pq.read_table(folder / "events.parquet")
    assert [f.name for f in rows.features] == ["age", "level", "member"]
    assert [f.integer for f in rows.features] == [True, False, True]
    assert rows.scores is not None
    assert rows.member is not None
    assert 0 < rows.member.mean() < 1
    ts, truth = events["ts"].to_numpy(), events["truth"].to_pylist()
    assert (np.diff(ts) >= 0).all()
    assert ts[0] >= 0
    assert all(name.startswith(("benign:", "attack:evasion:", "attack:extraction:", "attack:membership:")) for name in truth)
    found = score("tiny", ts, events["client_id"].to_pylist(), truth, [])
    assert found.benign >= 25
    assert len(found.ids) >= 50
    assert max(one.queries for one in found.ids) == 24


def test_every_row_of_an_attack_is_one_that_the_service_takes(folder: Path) -> None:
    events = pq.read_table(folder / "events.parquet")
    X = np.stack(events["features"].to_numpy())
    attack = np.char.startswith(np.array(events["truth"].to_pylist()), "attack:")
    assert attack.any()
    assert (X[attack][:, [0, 2]] == np.round(X[attack][:, [0, 2]])).all()
    assert (X[:, 0] == np.round(X[:, 0])).all()


def test_the_same_seed_gives_the_same_recording_and_another_one_another(folder: Path, tmp_path: Path) -> None:
    for name, seed in (("again", 1), ("other", 2)):
        record(_world(), tmp_path / name, seed, queries=24, share=0.01)
    files = ("events.parquet", "reference.parquet", "meta.json")
    assert all((folder / file).read_bytes() == (tmp_path / "again" / file).read_bytes() for file in files)
    assert (folder / "events.parquet").read_bytes() != (tmp_path / "other" / "events.parquet").read_bytes()
