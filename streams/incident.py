"""Everything that the store knows of one alert, in one archive: for the post-mortem, and for whoever must show what was known when."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from schemas.alerts import Alert
from streams.acknowledge import UnknownAlertError
from streams.audit import token_of
from streams.clickhouse import ClickHouse
from streams.incident_references import Published, files_of
from streams.page_text import PageText
from streams.settings import Settings, masked

__all__ = ["BundleError", "export", "verify"]

_AROUND = timedelta(hours=1)
_MOST = 10_000
_LARGEST = 1 << 30
"""Bytes of a file in an archive that is verified: more is no bundle of ours."""


class BundleError(ValueError):
    """The archive is not what its manifest says; the message names every file that differs."""


@dataclass(frozen=True)
class _Part:
    """One file of the archive: what is asked of which table."""

    name: str
    sql: str


_ABOUT = "model = {model:String} AND version = {version:String}"
_PARTS = (
    _Part("windows", "SELECT * FROM windows FINAL WHERE @about AND end > @from AND start <= @to ORDER BY start"),
    _Part(
        "feature_windows",
        "SELECT * FROM feature_windows FINAL WHERE @about AND start >= @from AND start <= @to "
        "AND ({feature:String} = '' OR feature = {feature:String} OR severity != '') ORDER BY start, feature",
    ),
    _Part(
        "service_windows", "SELECT * FROM service_windows FINAL WHERE @about AND start >= @from AND start <= @to ORDER BY start, service"
    ),
    _Part("quality_windows", "SELECT * FROM quality_windows FINAL WHERE @about AND start >= @from AND start <= @to ORDER BY start, kind"),
    _Part(
        "client_windows",
        "SELECT * FROM client_windows FINAL WHERE @about AND start >= @from AND start <= @to "
        "AND (has({clients:Array(String)}, client) OR severity != '') ORDER BY start, client",
    ),
    _Part("loads", "SELECT * FROM loads FINAL WHERE @about AND at <= @to ORDER BY at"),
    _Part(
        "audit",
        "SELECT * FROM audit FINAL WHERE subject = {id:String} OR (model IN ('', {model:String}) AND at >= @from AND at <= @to) "
        "ORDER BY at, chain, number",
    ),
    _Part(
        "verdict_history",
        "SELECT at, model, subject, actor, detail FROM audit FINAL WHERE kind = 'verdict' AND model = {model:String} "
        "AND (JSONExtractString(detail, 'reason') = {id:String} OR (subject = 'whole model' AND at >= @from AND at <= @to) "
        "OR (has({tokens:Array(String)}, subject) AND at >= @from)) ORDER BY at, number",
    ),
    _Part(
        "producers", "SELECT * FROM producers FINAL WHERE model IN ('', {model:String}) AND at >= @from AND at <= @to ORDER BY at, instance"
    ),
)
_EVENTS = _Part(
    "sampled_events",
    "SELECT * FROM sampled_events FINAL WHERE @about AND at >= @from AND at <= @to "
    "AND (empty({clients:Array(String)}) OR has({clients:Array(String)}, client)) ORDER BY at",
)


def export(
    clickhouse: ClickHouse,
    alert_id: str,
    file: Path,
    settings: Settings,
    now: datetime,
    *,
    by: str,
    events: bool = True,
    topic: Callable[[str], Published] | None = None,
) -> dict[str, Any]:
    """Writes the archive; its manifest.

    Args:
        clickhouse: Where to ask.
        alert_id: Of the alert; its newest opening is meant.
        file: Must not exist yet.
        settings: In force now; secrets are masked.
        now: For the manifest.
        by: Who exports.
        events: With the sampled events, which hold feature values.
        topic: What the references topic has of a model, asked once the alert is known; None: no references go in.

    Raises:
        UnknownAlertError: the store has no such alert.
        FileExistsError: the file is there.
        ClickHouseError: the store refused, or could not be reached.
    """
    history = clickhouse.query(
        """
        SELECT * FROM alerts FINAL WHERE alert_id = {id:String}
            AND opened_at = (SELECT max(opened_at) FROM alerts WHERE alert_id = {id:String})
        ORDER BY at, revision
        """,
        {"id": alert_id},
    )
    if not history:
        raise UnknownAlertError(f"no alert {alert_id[:64]!r} is in the store; `inferwatch alert list` shows those that fire")
    last = history[-1]
    clients = [one for one in dict.fromkeys([last["client"], *last["clients"]]) if one]
    since, until = last["opened_at"] - _AROUND, (last["resolved_at"] or last["at"]) + _AROUND
    about = {
        "id": alert_id,
        "tokens": [token_of(one) for one in clients],
        "model": last["model"],
        "version": last["version"],
        "feature": last["feature"],
        "clients": clients,
    }
    judged = clickhouse.query("SELECT * FROM acknowledgements FINAL WHERE alert_id = {id:String} ORDER BY at", {"id": alert_id})
    files = {
        "alert.json": _json(history),
        "acknowledgements.json": _json(judged),
        "page.txt": (PageText(settings).text(_alert(last)) + "\n").encode(),
        "settings.json": _json(masked(settings)),
    }
    rows = {"alert.json": len(history), "acknowledgements.json": len(judged)}
    for part in (*_PARTS, _EVENTS) if events else _PARTS:
        text = part.sql.replace("@about", _ABOUT).replace("@from", _time(since)).replace("@to", _time(until)) + f" LIMIT {_MOST + 1}"
        found = clickhouse.query(text, about)
        name = f"{part.name}.jsonl"
        rows[name] = min(len(found), _MOST)
        files[name] = b"".join(_json(row, indent=None) for row in found[:_MOST])
        if len(found) > _MOST:
            rows[f"{name} (cut)"] = _MOST
    in_force = clickhouse.query(
        "SELECT DISTINCT reference FROM windows FINAL WHERE @about AND end > @from AND start <= @to AND reference != '' ORDER BY reference"
        .replace("@about", _ABOUT).replace("@from", _time(since)).replace("@to", _time(until)),
        about,
    )  # fmt: skip
    ids = [row["reference"] for row in in_force]
    found_files, references = files_of(
        ids, last["version"], topic(last["model"]) if topic and ids else Published(why="they were not asked for")
    )
    files |= found_files
    manifest = {
        "alert_id": alert_id, "model": last["model"], "version": last["version"], "exported_at": now.isoformat(), "exported_by": by,
        "from": since.isoformat(), "to": until.isoformat(), "rows": rows,
        "references": references,
        "sha256": {name: hashlib.sha256(body).hexdigest() for name, body in sorted(files.items())},
    }  # fmt: skip
    with zipfile.ZipFile(file, "x", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("manifest.json", _json(manifest))
        for name, body in files.items():
            archive.writestr(name, body)
    return manifest


def verify(file: Path) -> str:
    """Compares the files of an archive with its manifest; the manifest's own sha256, to be compared with what was written down.

    Raises:
        BundleError: a file was changed, is missing, or was put in; or it is no such archive.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            large = [info.filename for info in archive.infolist() if info.file_size > _LARGEST]
            if large:
                raise BundleError(f"{file}: {', '.join(large[:5])} is too large for a bundle")
            bodies = {name: archive.read(name) for name in archive.namelist()}
        manifest = bodies.pop("manifest.json")
        wanted: dict[str, str] = json.loads(manifest)["sha256"]
    except (zipfile.BadZipFile, KeyError, TypeError, ValueError, NotImplementedError, RuntimeError) as error:
        if isinstance(error, BundleError):
            raise
        raise BundleError(f"{file}: no incident bundle, or a damaged one ({type(error).__name__}: {error})") from error
    found = {name: hashlib.sha256(body).hexdigest() for name, body in bodies.items()}
    wrong = [f"{name} was changed" for name in sorted(wanted.keys() & found.keys()) if wanted[name] != found[name]]
    wrong += [f"{name} is missing" for name in sorted(wanted.keys() - found.keys())]
    wrong += [f"{name} was put in" for name in sorted(found.keys() - wanted.keys())]
    if wrong:
        raise BundleError(f"{file}: {'; '.join(wrong[:20])}")
    return hashlib.sha256(manifest).hexdigest()


def _alert(row: dict[str, Any]) -> Alert:
    """The alert as it was last said."""
    fields = {field.name for field in msgspec.structs.fields(Alert)} & row.keys()
    plain = {name: row[name] for name in fields} | {
        "at_ns": _ns(row["at"]), "opened_at_ns": _ns(row["opened_at"]),
        "resolved_at_ns": None if row["resolved_at"] is None else _ns(row["resolved_at"]),
        "client": row["client"] or None, "feature": row["feature"] or None, "evidence": json.loads(row["evidence"] or "{}"),
    }  # fmt: skip
    return msgspec.convert(plain, Alert, strict=False)


def _ns(time: datetime) -> int:
    return round(time.astimezone(UTC).timestamp() * 1000) * 10**6


def _time(time: datetime) -> str:
    return f"fromUnixTimestamp64Milli(toInt64({_ns(time) // 10**6}), 'UTC')"


def _json(value: dict[str, Any] | Sequence[dict[str, Any]], indent: int | None = 2) -> bytes:
    return (json.dumps(value, indent=indent, default=str, ensure_ascii=False) + "\n").encode()
