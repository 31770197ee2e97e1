"""`inferwatch replay`: what was found in a sentence; exit code 2 and no traceback for whatever the folder holds instead."""

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.commands.cli import environment, run
from tests.streams.recordings import WALKER, event_columns, reference_columns, write


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("recorded") / "shop")


def test_a_recording_is_told_in_a_sentence_in_a_process_of_its_own(recording: Path, tmp_path: Path) -> None:
    out = tmp_path / "new/folder"
    said = subprocess.run(
        [sys.executable, "-m", "streams.cli", "replay", str(recording), "--out", str(out), "--false-pages-per-30d", "2"],
        env=environment(),
        timeout=200,
        capture_output=True,
        text=True,
    )
    assert (said.returncode, said.stderr) == (0, "")
    assert said.stdout.startswith("1,800 events of 13 clients over ")
    assert " page" in said.stdout
    assert WALKER in (out / "alerts.jsonl").read_text().encode().decode("unicode_escape")


def test_rejected_events_and_notes_are_told(tmp_path: Path) -> None:
    folder = write(tmp_path / "shop", reference={"features": reference_columns(d=4)["features"]})
    said = run("replay", folder, "--out", tmp_path / "out")
    assert said.exit_code == 0
    assert "Rejected: 1,800 wrong_width." in said.output
    assert "Note: no membership risk" in said.output


def test_what_became_of_labels_is_told(tmp_path: Path) -> None:
    folder = write(tmp_path / "shop")
    labels = {"event": [3, 3, 10**6], "label": pa.array([0, 0, 1], pa.int32()), "ts": [4_000.0, 4_001.0, 4_002.0]}
    pq.write_table(pa.table(labels), folder / "labels.parquet")
    said = run("replay", folder, "--out", tmp_path / "out")
    assert said.exit_code == 0
    assert "Labels: 1 joined, 1 twice, 1 unknown." in said.output


@pytest.mark.parametrize("what", ["no folder", "no file", "no column", "empty reference", "broken meta", "out is a file"])
def test_what_cannot_be_judged_is_exit_code_2_and_one_message(what: str, tmp_path: Path) -> None:
    folder, out = tmp_path / "shop", tmp_path / "out"
    if what == "no column":
        write(folder, events=event_columns() | {"ts": None})
    elif what == "empty reference":
        write(folder, reference={name: column[:0] for name, column in reference_columns().items()})
    elif what != "no folder":
        write(folder)
    if what == "no file":
        (folder / "events.parquet").unlink()
    if what == "broken meta":
        (folder / "meta.json").write_text("{")
    if what == "out is a file":
        out.write_text("")
    said = run("replay", folder, "--out", out)
    assert said.exit_code == 2
    assert "Error: " in said.stderr
    assert "Traceback" not in said.output
    assert str(tmp_path) in said.stderr.replace("\n", "")


@pytest.mark.parametrize("budget", ["0", "-1", "nan", "1e9", "many"])
def test_a_budget_that_means_nothing_is_exit_code_2(budget: str, recording: Path, tmp_path: Path) -> None:
    said = run("replay", recording, "--out", tmp_path, "--false-pages-per-30d", budget)
    assert said.exit_code == 2
    assert "false" in said.stderr
    assert not (tmp_path / "alerts.jsonl").exists()
