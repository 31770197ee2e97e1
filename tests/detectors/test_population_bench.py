"""The population bench moves ordinary rows only, keeps what is repeated repeated, and stays within the schema."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from bench.population import VARIANTS, Recording
from streams import tables
from tests.streams.recordings import WALKER, event_columns, lists, reference_columns, write


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    folder = tmp_path_factory.mktemp("population") / "shop"
    events: dict[str, Any] = event_columns()
    clients = events["client_id"].to_pylist()
    X = np.array(events["features"].to_pylist(), np.float32)
    X[:, 2] = np.round(X[:, 2] * 3)
    polls = [k for k, client in enumerate(clients) if client == "c1"]
    X[polls] = X[polls[0]]
    truth = ["attack:evasion:walk" if client == WALKER else "benign:ordinary" for client in clients]
    reference = reference_columns()
    rows = np.array(reference["features"].to_pylist(), np.float32)
    rows[:, 2] = np.round(rows[:, 2] * 3)
    write(folder, reference=reference | {"features": lists(rows)}, events=events | {"features": lists(X), "truth": pa.array(truth)})
    (folder / "meta.json").write_text(json.dumps({"integer_features": [False, False, True]}))
    return Recording(folder)


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_a_variant_moves_ordinary_rows_and_leaves_attacks_alone(variant: str, recorded: Recording, tmp_path: Path) -> None:
    made = [VARIANTS[variant](recorded, tmp_path / name, np.random.default_rng(3)) for name in ("a", "b")]
    first, second = (Recording(folder) for folder in made)
    assert np.array_equal(first.X, second.X)  # of the seed alone
    assert np.array_equal(first.X[~first.benign], recorded.X[~recorded.benign])
    assert np.all(first.X[:, 2] == np.round(first.X[:, 2]))
    assert np.all((recorded.low <= first.X) & (recorded.high >= first.X))
    assert np.all(np.diff(first.ts) >= 0)
    assert tables.read_reference(made[0] / "reference.parquet", first.meta).X.shape == (1_000, 3)
    if variant == "waves":
        assert len(set(first.client)) == len(set(recorded.client)) + 90
        assert len(first.X) > len(recorded.X)
    else:
        assert not np.array_equal(first.X, recorded.X)
        assert np.array_equal(first.client, recorded.client)
    polled = first.X[first.client == "c1"]
    assert (polled == polled[0]).all()
