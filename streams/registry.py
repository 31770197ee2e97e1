"""The model registry (MLflow): which run made a model version, the rows that it logged, and the digest of what it stored."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from streams.settings import mask_url

__all__ = ["Registered", "RegistryError", "digest_of", "fetch"]

_URI = re.compile(r"^models:/(?P<name>[^/@]{1,256})(/(?P<version>\d{1,9})|@(?P<alias>[^/@]{1,256}))$")
_MOST_LISTED = 10_000
_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}
"""Unless the environment says otherwise: tell nobody, and do not wait for a quarter of an hour."""


class RegistryError(RuntimeError):
    """The registry does not answer, or has no such thing; the message says what to do."""


class Registered(msgspec.Struct, frozen=True, kw_only=True):
    """A model version as the registry has it, with its rows fetched.

    Attributes:
        name: of the model.
        version: its number.
        url: where people see it, or its ``models:/`` name where the registry is no server.
        digest: of the stored model: tag ``digest`` of the version, else `digest_of` its files.
        dataset: ``name@digest`` of the dataset that the run logged as its training data; empty: none.
        artifact: path of the rows among the run's artifacts.
        rows: the fetched file.
    """

    name: str
    version: str
    url: str
    digest: str
    dataset: str
    artifact: str
    rows: Path


def fetch(uri: str, artifact: str, into: Path) -> Registered:
    """Asks the registry of ``MLFLOW_TRACKING_URI`` (``MLFLOW_REGISTRY_URI``), and fetches rows and model into a folder.

    Args:
        uri: ``models:/NAME/VERSION`` or ``models:/NAME@ALIAS``.
        artifact: path of a parquet file among the run's artifacts; empty: the only one that there is. A ``meta.json`` beside it is
            fetched too.
        into: an empty folder.

    Raises:
        ValueError: the URI is none.
        ModuleNotFoundError: MLflow is not installed.
        RegistryError: see there.
    """
    asked = _URI.match(uri)
    if asked is None:
        raise ValueError(f"{uri}: expected models:/NAME/VERSION or models:/NAME@ALIAS")
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    where = ""
    try:
        client = MlflowClient()
        where = mask_url(str(client.tracking_uri))
        found: Any = (
            client.get_model_version(asked["name"], asked["version"])
            if asked["version"]
            else client.get_model_version_by_alias(asked["name"], asked["alias"])
        )
        if not found.run_id:
            raise RegistryError(f"{uri} names no run, so there are no rows beside it; give a file of rows instead of --mlflow")
        files = sorted(_files(client, found.run_id, ""))
        chosen = _chosen(files, artifact, uri)
        (into / "rows").mkdir()
        rows = Path(client.download_artifacts(found.run_id, chosen, str(into / "rows")))
        meta = str(Path(chosen).parent / "meta.json")
        if meta in files:
            client.download_artifacts(found.run_id, meta, str(into / "rows"))
        return Registered(
            name=found.name,
            version=str(found.version),
            url=_url(str(client.tracking_uri), found.name, str(found.version)),
            digest=str((found.tags or {}).get("digest", "")) or _model_digest(client, found, into),
            dataset=_dataset(client.get_run(found.run_id)),
            artifact=chosen,
            rows=rows,
        )
    except (MlflowException, OSError) as error:
        said = mask_url(str(error).partition("\n")[0])[:500]
        raise RegistryError(f"MLflow{' at ' + where if where else ''}: {said}") from error


def digest_of(path: Path) -> str:
    """SHA-256 of a file; of a folder, of the lines that ``sha256sum`` writes of its files, sorted by path.

    The same as ``find . -type f | LC_ALL=C sort | xargs sha256sum | sha256sum`` in the folder, so that whoever loads a model can say it
    without us.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = (Path(folder) / "model.bin").write_bytes(b"weights")
        ...     digest_of(Path(folder))[:19]
        'sha256:f095018bf5e2'
    """
    if path.is_file():
        return f"sha256:{_sha256(path)}"
    files = sorted(f"./{file.relative_to(path).as_posix()}" for file in path.rglob("*") if file.is_file())
    lines = "".join(f"{_sha256(path / name)}  {name}\n" for name in files)
    return f"sha256:{hashlib.sha256(lines.encode()).hexdigest()}"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _files(client: Any, run_id: str, folder: str) -> list[str]:
    files: list[str] = []
    folders = [folder]
    while folders:
        for one in client.list_artifacts(run_id, folders.pop()):
            (folders if one.is_dir else files).append(one.path)
        if len(files) + len(folders) > _MOST_LISTED:
            raise RegistryError(f"run {run_id} has more than {_MOST_LISTED:,} artifacts: name the rows with --artifact")
    return files


def _chosen(files: list[str], artifact: str, uri: str) -> str:
    tables = [file for file in files if file.endswith(".parquet")]
    shown = ", ".join(tables[:8]) + (", ..." if len(tables) > 8 else "")
    if artifact:
        if artifact not in files:
            raise RegistryError(f"the run of {uri} has no artifact {artifact}; its parquet files: {shown or 'none'}")
        return artifact
    if len(tables) != 1:
        has = f"has several parquet files: {shown}. Name one" if tables else "has no parquet file. Log the rows, or name a file"
        raise RegistryError(f"the run of {uri} {has} with --artifact")
    return tables[0]


def _model_digest(client: Any, found: Any, into: Path) -> str:
    """Of the files that the version stores; "" where there are none (a version that was only registered)."""
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    (into / "model").mkdir()
    try:
        stored = client.get_model_version_download_uri(found.name, found.version)
        return digest_of(Path(download_artifacts(artifact_uri=stored, dst_path=str(into / "model"))))
    except (MlflowException, OSError):
        return ""


def _dataset(run: Any) -> str:
    for one in getattr(run.inputs, "dataset_inputs", ()):
        if any(tag.key == "mlflow.data.context" and tag.value == "training" for tag in one.tags):
            return f"{one.dataset.name}@{one.dataset.digest}"[:256]
    return ""


def _url(tracking: str, name: str, version: str) -> str:
    if not tracking.startswith(("http://", "https://")):
        return f"models:/{name}/{version}"
    without_user = re.sub(r"(://)[^/@]*@", r"\1", tracking).rstrip("/")
    return f"{without_user}/#/models/{quote(name, safe='')}/versions/{version}"
