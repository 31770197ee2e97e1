"""The audit log in the store: read chain by chain, and written by commands, each person on each host a chain of its own."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import secrets
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from schemas.rows import AuditRow
from streams.audit import Chain, Head, Kind
from streams.clickhouse import ClickHouse

__all__ = ["chain_names", "chain_of", "local_heads", "newest", "record", "state_folder"]

_AT_ONCE = 20_000
_COLUMNS = "chain, number, at, previous_at, kind, model, version, subject, actor, detail, previous, hash"


def state_folder(environ: Mapping[str, str] | None = None) -> Path:
    """Where commands keep the ends of their chains: ``$XDG_STATE_HOME/inferwatch/audit``, else under ``~/.local/state``."""
    given = (os.environ if environ is None else environ).get("XDG_STATE_HOME")
    return (Path(given) if given else Path.home() / ".local" / "state") / "inferwatch" / "audit"


def record(
    clickhouse: ClickHouse,
    kind: Kind,
    at_ns: int,
    *,
    actor: str,
    subject: str = "",
    model: str = "",
    version: str = "",
    detail: Mapping[str, Any] | None = None,
    folder: Path | None = None,
    host: str = "",
) -> Head:
    """Writes one row into the chain of this person on this host; its new end, to be shown or kept.

    A lock in `folder` keeps two commands from continuing at the same place. The end is kept there too: when the store has less than that,
    the row continues the kept end, so that what was cut away shows as a gap. Without a folder that can be written each call begins a chain.

    Raises:
        ClickHouseError: the store refused, or could not be reached.
    """
    host = host or socket.gethostname()
    name = re.sub(r"[^A-Za-z0-9._@:-]", "_", f"command:{actor}@{host}")[:200]
    with _locked(folder or state_folder(), f"{clickhouse.target}\0{name}") as file:
        chain = Chain(name=name if file else f"{name}:{secrets.token_hex(6)}")
        found = clickhouse.query(
            "SELECT number, hash, toUnixTimestamp64Milli(at) AS at_ms FROM audit WHERE chain = {chain:String} ORDER BY number DESC LIMIT 1",
            {"chain": chain.name},
        )
        known = [Head(chain=chain.name, **row) for row in found]
        if file and (kept := _read(file)) is not None and kept.chain == chain.name:
            known.append(kept)
        if known:
            last = max(known, key=lambda head: head.number)
            chain.load((chain.name, last.number + 1, last.hash, last.at_ms))
        row = chain.add(kind, at_ns, subject=subject, actor=actor, model=model, version=version, detail=detail)
        clickhouse.insert([row], f"audit-{hashlib.blake2b(row.hash.encode(), digest_size=16).hexdigest()}")
        if file:
            _write(file, chain.head)
    return chain.head


def chain_names(clickhouse: ClickHouse) -> list[str]:
    """Every chain of the store."""
    return [row["chain"] for row in clickhouse.query("SELECT DISTINCT chain FROM audit ORDER BY chain")]


def chain_of(clickhouse: ClickHouse, name: str) -> Iterator[AuditRow]:
    """The rows of a chain by number, each as often as it is there with other contents: without FINAL, which would hide a second one."""
    after = -1
    while True:
        found = clickhouse.query(
            f"SELECT DISTINCT {_COLUMNS} FROM audit WHERE chain = {{chain:String}} AND number > {{after:Int64}} AND number <= "  # noqa: S608
            "(SELECT max(number) FROM (SELECT number FROM audit WHERE chain = {chain:String} AND number > {after:Int64} "
            f"ORDER BY number LIMIT {_AT_ONCE})) ORDER BY number, hash",
            {"chain": name, "after": after},
        )
        for row in found:
            yield _row(row)
        if not found:
            return
        after = found[-1]["number"]


def newest(clickhouse: ClickHouse, since: datetime, *, kind: str = "", model: str = "", limit: int = 1_000) -> list[dict[str, Any]]:
    """Rows since a time, newest first."""
    return clickhouse.query(
        f"""
        SELECT {_COLUMNS} FROM audit FINAL
        WHERE at >= fromUnixTimestamp64Milli({{since:Int64}}, 'UTC') AND ({{kind:String}} = '' OR kind = {{kind:String}})
            AND ({{model:String}} = '' OR model = {{model:String}})
        ORDER BY at DESC, chain, number DESC LIMIT {limit:d}
        """,  # noqa: S608 - our own text; values are parameters
        {"since": int(since.timestamp() * 1000), "kind": kind, "model": model},
    )


def local_heads(clickhouse: ClickHouse, folder: Path | None = None) -> list[Head]:
    """Ends of chains of this store that commands of this host have kept."""
    heads = []
    for path in (folder or state_folder()).glob("*.head"):
        head = _read(path)
        if head is not None and path.name == _name(f"{clickhouse.target}\0{head.chain}"):
            heads.append(head)
    return heads


def _row(row: dict[str, Any]) -> AuditRow:
    times = {name: round(row[name].astimezone(UTC).timestamp() * 1000) * 10**6 for name in ("at", "previous_at")}
    return msgspec.convert(row | times, AuditRow)


def _name(what: str) -> str:
    return f"{hashlib.blake2b(what.encode(), digest_size=12).hexdigest()}.head"


@contextmanager
def _locked(folder: Path, what: str) -> Iterator[Path | None]:
    """The file of a chain's end, while nobody else has it; None where no such file can be made."""
    path = folder / _name(what)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = path.with_suffix(".lock").open("ab")
    except OSError:
        yield None
        return
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield path


def _read(path: Path) -> Head | None:
    with suppress(OSError, msgspec.DecodeError):
        return msgspec.json.decode(path.read_bytes(), type=Head)
    return None


def _write(path: Path, head: Head) -> None:
    with suppress(OSError):
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        temporary.write_bytes(msgspec.json.encode(head))
        temporary.replace(path)
