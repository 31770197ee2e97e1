"""`inferwatch reference`: built from rows, shown, published; what is wrong with the rows or the file is told with exit code 2."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from detectors.drift import DriftReference
from schemas.reference import decode
from streams import kafka
from tests.commands.cli import NOWHERE, run
from tests.streams.recordings import lists, reference_columns

KEY = {"INFERWATCH_MEMBERSHIP_KEY": "sixteen bytes or more, please"}


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table(reference_columns(600)), path)
    return path


def build(rows: Path, *more: object, **environ: str) -> tuple[Path, str]:
    out = rows.parent / "shop-1.iwref"
    said = run("reference", "build", rows, "--model", "shop", "--version", "1", "--out", out, *more, **environ)
    assert said.exit_code == 0, said.output
    return out, said.output


def test_a_reference_is_built_and_shown(rows: Path) -> None:
    path, said = build(rows, **KEY)
    reference = decode(path.read_bytes())
    assert (reference.model, reference.version, reference.rows) == ("shop", "1", 600)
    assert said.startswith(f"Reference {reference.id} of shop 1: 600 rows")
    assert "Note" not in said
    shown = run("reference", "show", path)
    assert shown.exit_code == 0
    assert reference.id in shown.output
    assert "f0" in shown.output
    assert "A lower bound" in shown.output
    assert "Members found at 0.1% false positives" in shown.output
    machine = json.loads(run("reference", "show", path, "--json").output)
    assert (machine["id"], set(machine["parts"])) == (
        reference.id,
        {"accuracy", "drift", "evidence", "exposure", "membership", "swarm", "triggers"},
    )


def test_the_same_rows_give_the_same_reference(rows: Path) -> None:
    first = decode(build(rows, **KEY)[0].read_bytes())
    assert decode(build(rows, **KEY)[0].read_bytes()).id == first.id


def test_what_the_rows_do_not_allow_is_told_as_a_note(rows: Path) -> None:
    assert "Note: no member fingerprints: INFERWATCH_MEMBERSHIP_KEY is not set" in build(rows)[1]


def test_chosen_features_and_categories(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    city = [("Köln", "Porto")[k % 2] for k in range(300)]
    pq.write_table(pa.table({"id": list(range(300)), "city": city, "age": np.random.default_rng(0).normal(40, 9, 300)}), path)
    out, _ = build(path, "--features", "age, city")
    assert [feature.name for feature in decode(out.read_bytes()).features] == ["age", "city"]


@pytest.mark.parametrize(
    ("columns", "more", "told"),
    [
        ({"features": lists(np.empty((0, 2)))}, [], "the reference has no rows"),
        ({"a": [1.0]}, ["--features", "b"], "no column b; it has a"),
        ({"features": [[1.0], [1.0, 2.0]]}, [], "row 1 has 2 values"),
        ({"a": [1.0]}, ["--meta", "absent/meta.json"], "absent/meta.json: no such file"),
    ],
)
def test_rows_that_make_no_reference_are_exit_code_2_and_leave_no_file(
    columns: dict[str, object], more: list[str], told: str, tmp_path: Path
) -> None:
    path, out = tmp_path / "rows.parquet", tmp_path / "out.iwref"
    pq.write_table(pa.table(columns), path)
    said = run("reference", "build", path, "--model", "m", "--version", "1", "--out", out, *more)
    assert said.exit_code == 2
    assert told in said.stderr.replace("\n", "")
    assert not out.exists()


def test_a_folder_that_is_not_there_is_told(rows: Path) -> None:
    said = run("reference", "build", rows, "--model", "m", "--version", "1", "--out", rows.parent / "no/such/folder/x.iwref")
    assert said.exit_code == 2
    assert "No such file or directory" in said.stderr


@pytest.mark.parametrize("command", ["show", "publish"])
def test_a_file_that_is_no_sound_reference_is_exit_code_2(command: str, rows: Path) -> None:
    sound = build(rows)[0].read_bytes()
    path = rows.parent / "damaged.iwref"
    for blob, told in ((rows.read_bytes(), "inferwatch reference build"), (sound[:-50], "truncated"), (None, "No such file")):
        path.unlink(missing_ok=True)
        if blob is not None:
            path.write_bytes(blob)
        said = run("reference", command, path, **NOWHERE)
        assert said.exit_code == 2
        assert str(path) in said.stderr.replace("\n", "")
        assert told in said.stderr


def test_without_a_broker_publishing_fails_with_exit_code_1_and_its_address(rows: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka, "_REACH_S", 0.5)
    said = run("reference", "publish", build(rows)[0], **NOWHERE)
    assert said.exit_code == 1
    assert "127.0.0.1:1" in said.stderr


def test_recorded_rows_teach_the_seasons_and_show_says_so(tmp_path: Path) -> None:
    rng, path = np.random.default_rng(3), tmp_path / "rows.parquet"
    at = np.sort(rng.uniform(0, 14 * 86_400, 4_000))
    load = rng.normal(size=at.size) + np.sin(2 * np.pi * at / 86_400)
    pq.write_table(pa.table({"seen": at, "load": load, "noise": rng.normal(size=at.size)}), path)
    built, _ = build(path, "--time-column", "seen")
    assert [f.name for f in decode(built.read_bytes()).features] == ["load", "noise"]
    assert "seasons: 14.0 days of rows, of 1 variables: load" in run("reference", "show", built).output
    short, said = build(path, "--features", "load")
    assert "Note" not in said or "times" not in said
    assert "the rows have no times" in run("reference", "show", short).output


def test_the_days_of_a_recording_are_replayed_and_a_moved_one_may_not_page(tmp_path: Path) -> None:
    rng, path = np.random.default_rng(5), tmp_path / "rows.parquet"
    at = np.sort(rng.uniform(0, 8 * 86_400, 16_000))
    calm = rng.normal(size=at.size)
    pq.write_table(pa.table({"seen": at, "load": calm, "noise": rng.normal(size=at.size)}), path)
    built, said = build(path, "--time-column", "seen")
    assert "Replay of its own days: 0 pages in 40 months of 30 days drawn from 8 recorded days, 83 rows an hour" in said
    drift = DriftReference.from_bytes(decode(built.read_bytes()).parts["drift"])
    assert drift.status == "calibrated"
    assert drift.certificate is not None
    assert drift.certificate.budget == pytest.approx(0.35)
    pq.write_table(pa.table({"seen": at, "load": calm + 2.0 * (at > 6 * 86_400), "noise": rng.normal(size=at.size)}), path)
    built, said = build(path, "--time-column", "seen")
    assert "Note: drift opens tickets, no pages: its days 1970-01-07 to 1970-01-08 page against the others, in 10 of 10" in said
    shown = " ".join(run("reference", "show", built).output.split())
    assert "uncalibrated its days 1970-01-07 to" in shown
    assert "replay of its own days:" in shown


def test_a_recording_of_three_days_has_no_certificate_and_says_so(tmp_path: Path) -> None:
    rng, path = np.random.default_rng(6), tmp_path / "rows.parquet"
    pq.write_table(pa.table({"ts": np.sort(rng.uniform(0, 3 * 86_400, 2_000)), "load": rng.normal(size=2_000)}), path)
    assert "Note: no replay certificate for drift: it needs four days" in build(path)[1]
