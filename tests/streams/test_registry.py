"""References from MLflow's registry: a real one, in a folder, asked offline."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas.reference import decode
from streams.registry import RegistryError, digest_of, fetch
from tests.commands.cli import run

COLUMNS = ["amount", "age"]


class Registry:
    """MLflow's store in a folder."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.uri = folder, f"file://{folder}/store"
        for name, value in {
            "MLFLOW_ALLOW_FILE_STORE": "true",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_TRACKING_URI": self.uri,
            "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        }.items():
            monkeypatch.setenv(name, value)
        from mlflow import MlflowClient

        self.client: Any = MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)
        self.experiment = self.client.create_experiment("fraud", artifact_location=f"file://{folder}/artifacts")
        self.client.create_registered_model("fraud")

    def version(self, tables: list[str], *, tags: dict[str, str] | None = None, meta: dict[str, Any] | None = None) -> Any:
        """Trains, logs and registers, as a pipeline would."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        run_id = self.client.create_run(self.experiment).info.run_id
        dataset = Dataset(name="orders", digest="a1b2c3", source_type="local", source='{"uri": "orders.parquet"}')
        self.client.log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])])
        model = self.folder / "model"
        model.mkdir(exist_ok=True)
        (model / "MLmodel").write_text("flavors: {}\n")
        (model / "model.pkl").write_bytes(b"weights")
        self.client.log_artifacts(run_id, str(model), "model")
        for table in tables:
            path = self.folder / Path(table).name
            rng = np.random.default_rng(5)
            pq.write_table(pa.table({name: rng.normal(size=400) for name in COLUMNS}), path)
            self.client.log_artifact(run_id, str(path), str(Path(table).parent) if "/" in table else None)
        if meta is not None:
            (self.folder / "meta.json").write_text(json.dumps(meta))
            self.client.log_artifact(run_id, str(self.folder / "meta.json"), "reference")
        source = f"file://{self.folder}/artifacts/{run_id}/artifacts/model"
        return self.client.create_model_version("fraud", source=source, run_id=run_id, tags=tags)


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    return Registry(tmp_path, monkeypatch)


def test_a_reference_is_built_of_the_rows_that_the_version_s_run_logged(registry: Registry, tmp_path: Path) -> None:
    registry.version(["reference/rows.parquet"], meta={"integer_features": [False, False], "features": COLUMNS})
    out = tmp_path / "made.iwref"
    result = run("reference", "build", "--mlflow", "models:/fraud/1", "--out", out)
    assert result.exit_code == 0, result.output
    made = decode(out.read_bytes())
    assert (made.model, made.version, made.rows) == ("fraud", "1", 400)
    assert [feature.name for feature in made.features] == COLUMNS
    assert made.registry_url == "models:/fraud/1"
    assert made.dataset == "orders@a1b2c3"
    assert made.digest == digest_of(tmp_path / "model")
    assert "artifact reference/rows.parquet, trained on orders@a1b2c3" in result.output
    shown = run("reference", "show", out)
    assert made.digest in shown.output.replace("\n", "")
    assert "orders@a1b2c3" in shown.output


def test_an_alias_and_the_names_that_services_use_are_taken(registry: Registry, tmp_path: Path) -> None:
    version = registry.version(["rows.parquet"], tags={"digest": "sha256:of-the-pipeline"})
    registry.client.set_registered_model_alias("fraud", "champion", version.version)
    out = tmp_path / "made.iwref"
    result = run("reference", "build", "--mlflow", "models:/fraud@champion", "--model", "risk", "--version", "v1", "--out", out)
    assert result.exit_code == 0, result.output
    made = decode(out.read_bytes())
    assert (made.model, made.version, made.digest) == ("risk", "v1", "sha256:of-the-pipeline")


def test_of_several_tables_one_is_named(registry: Registry, tmp_path: Path) -> None:
    registry.version(["a/one.parquet", "b/two.parquet"])
    result = run("reference", "build", "--mlflow", "models:/fraud/1")
    assert result.exit_code == 1
    assert "several parquet files: a/one.parquet, b/two.parquet. Name one with --artifact" in result.output
    result = run("reference", "build", "--mlflow", "models:/fraud/1", "--artifact", "c.parquet")
    assert "no artifact c.parquet; its parquet files: a/one.parquet, b/two.parquet" in result.output
    out = tmp_path / "made.iwref"
    assert run("reference", "build", "--mlflow", "models:/fraud/1", "--artifact", "b/two.parquet", "--out", out).exit_code == 0


def test_a_run_without_rows_and_a_version_that_is_not_there_say_what_to_do(registry: Registry) -> None:
    registry.version([])
    result = run("reference", "build", "--mlflow", "models:/fraud/1")
    assert result.exit_code == 1
    assert "no parquet file. Log the rows, or name a file with --artifact" in result.output
    result = run("reference", "build", "--mlflow", "models:/fraud/9")
    assert result.exit_code == 1
    assert "Model Version (name=fraud, version=9) not found" in result.output


def test_a_version_of_no_run_says_so(registry: Registry) -> None:
    registry.client.create_model_version("fraud", source=f"file://{registry.folder}/elsewhere")
    with pytest.raises(RegistryError, match="names no run"):
        fetch("models:/fraud/1", "", registry.folder)


def test_a_server_that_is_away_is_named_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://reader:hunter2@127.0.0.1:1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    result = run("reference", "build", "--mlflow", "models:/fraud/1")
    assert result.exit_code == 1
    assert "127.0.0.1" in result.output
    assert "hunter2" not in result.output


@pytest.mark.parametrize("uri", ["fraud/7", "models:/fraud", "models:/fraud/latest", "models:/a/b/7", "runs:/x/model"])
def test_what_is_no_name_of_a_version_is_refused(uri: str) -> None:
    result = run("reference", "build", "--mlflow", uri)
    assert result.exit_code == 2
    assert "expected models:/NAME/VERSION or models:/NAME@ALIAS" in result.output


def test_rows_come_from_one_place(tmp_path: Path) -> None:
    assert "give one of a parquet file" in run("reference", "build", "x.parquet", "--mlflow", "models:/a/1").output
    assert "give one of a parquet file" in run("reference", "build").output
    assert "--model and --version are needed" in run("reference", "build", "x.parquet", "--model", "m").output
    assert (
        "--artifact goes with --mlflow"
        in run("reference", "build", "x.parquet", "--model", "m", "--version", "1", "--artifact", "a").output
    )


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="no sha256sum here")
def test_the_digest_of_a_folder_is_what_the_documented_command_says(tmp_path: Path) -> None:
    for name in ("b.bin", "a/z.bin", "a/B.bin", "ä.bin"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    command = "find . -type f | LC_ALL=C sort | xargs sha256sum | sha256sum"
    said = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True).stdout.split()[0]
    assert digest_of(tmp_path) == f"sha256:{said}"
