"""`inferwatch canary`: rows that cannot be recognised are refused with the reason, and so is an installation without a key."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas.reference import Feature, Reference, encode
from streams import kafka
from streams.tables import TableError, read_canaries
from tests.commands.cli import NOWHERE, run
from tests.streams.events import events, reference

KEY = {"INFERWATCH_MEMBERSHIP_KEY": "sixteen bytes or more, please"}


def table(tmp_path: Path, **columns: object) -> Path:
    path = tmp_path / "canaries.parquet"
    pq.write_table(pa.table(columns), path)
    return path


@pytest.fixture
def published(tmp_path: Path) -> Path:
    path = tmp_path / "m-1.iwref"
    path.write_bytes(encode(reference()))
    return path


def test_rows_are_read_as_a_shard_sees_them(tmp_path: Path) -> None:
    batch = events(3)
    named = table(tmp_path, **{name: batch.numeric[:, j].tolist() for j, name in enumerate(batch.names)})
    assert read_canaries(named, reference()).tolist() == batch.numeric.tolist()
    listed = table(tmp_path, features=batch.numeric.tolist())
    assert read_canaries(listed, reference()).tolist() == batch.numeric.tolist()


def test_categories_get_the_codes_of_the_reference(tmp_path: Path) -> None:
    features = (Feature(name="city", kind="categorical", categories=("Köln", "Porto")), Feature(name="age"))
    of = Reference(
        model="m",
        version="1",
        built_at_ns=0,
        source="file",
        rows=1,
        members=0,
        features=features,
        classes=(),
        image=None,
        parts={},
        gauge={},
    )
    assert read_canaries(table(tmp_path, age=[41.5], city=["Porto"]), of).tolist() == [[1.0, 41.5]]
    with pytest.raises(TableError, match=r"row 0 has a fault \(unseen_category\)"):
        read_canaries(table(tmp_path, age=[41.5], city=["Rome"]), of)


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"age": [1.0]}, "no column income, score"),
        ({"age": [1.0], "income": [None], "score": [1.0]}, "fault (missing)"),
        ({"features": [[1.0, 2.0]]}, "2 features by position"),
        ({"age": pa.array([], pa.float64())}, "no rows"),
        ({"age": [[1.0]], "income": [1.0], "score": [1.0]}, "not numbers"),
    ],
)
def test_rows_that_no_event_could_match_are_exit_code_2(columns: dict[str, object], told: str, tmp_path: Path, published: Path) -> None:
    done = run("canary", "add", table(tmp_path, **columns), "--reference", published, **KEY)
    assert done.exit_code == 2
    assert told in done.output


def test_without_a_key_nothing_is_published(tmp_path: Path, published: Path) -> None:
    rows = table(tmp_path, features=np.zeros((1, 3)).tolist())
    done = run("canary", "add", rows, "--reference", published)
    assert done.exit_code == 2
    assert "INFERWATCH_MEMBERSHIP_KEY is not set" in done.output


def test_a_broker_that_is_not_there_is_exit_code_1(tmp_path: Path, published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka, "_REACH_S", 0.5)
    rows = table(tmp_path, features=np.zeros((1, 3)).tolist())
    done = run("canary", "add", rows, "--reference", published, **KEY, **NOWHERE)
    assert done.exit_code == 1
    assert "Kafka at" in done.output
