"""An incident bundle holds what the store knows of an alert, no secret, and shows every change made to it afterwards."""

from __future__ import annotations

import json
import zipfile
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import msgspec
import pytest

from schemas.canaries import part_of
from schemas.reference import decode, encode
from schemas.rows import WindowRow
from streams.acknowledge import UnknownAlertError, acknowledge
from streams.audit import Chain, token_of
from streams.clickhouse import ClickHouse
from streams.incident import BundleError, export, verify
from streams.incident_references import published
from streams.kafka import ensure_topics, publish_reference
from streams.migrate import migrate
from streams.settings import Kafka, Membership, Settings
from tests.commands.cli import NOWHERE, run
from tests.dashboards.rows import END_NS, HOSTILE, insert, rows
from tests.streams.events import reference
from tests.topics import Topics

NOW = datetime(2090, 1, 1, tzinfo=UTC)
SETTINGS = Settings(membership=Membership(key="a secret of the tests"))


@pytest.fixture
def store(clickhouse: ClickHouse) -> ClickHouse:
    migrate(clickhouse)
    insert(clickhouse, rows())
    return clickhouse


@pytest.fixture
def bundle(store: ClickHouse, tmp_path: Path) -> Path:
    acknowledge(store, "a2", "true", END_NS, by="ada", note="it was")
    export(store, "a2", tmp_path / "a2.zip", SETTINGS, NOW, by="ada")
    return tmp_path / "a2.zip"


def read(file: Path, name: str) -> str:
    with zipfile.ZipFile(file) as archive:
        return archive.read(name).decode()


@pytest.mark.clickhouse
def test_it_holds_history_verdict_page_windows_clients_and_events(bundle: Path) -> None:
    history = json.loads(read(bundle, "alert.json"))
    assert [(one["state"], one["severity"]) for one in history] == [("firing", "page"), ("resolved", "page")]
    assert json.loads(read(bundle, "acknowledgements.json"))[0]["note"] == "it was"
    assert read(bundle, "page.txt").startswith("Over after 15 min: InferwatchEvasion on fraud 1.")
    assert len(read(bundle, "windows.jsonl").splitlines()) == 30
    events = [json.loads(line) for line in read(bundle, "sampled_events.jsonl").splitlines()]
    assert {event["client"] for event in events} == {HOSTILE}
    loads = [json.loads(line) for line in read(bundle, "loads.jsonl").splitlines()]
    assert [row["digest"] for row in loads] == [*["sha256:0"] * 4, "sha256:1"]
    manifest = json.loads(read(bundle, "manifest.json"))
    assert (manifest["exported_by"], manifest["rows"]["windows.jsonl"]) == ("ada", 30)
    assert "a secret of the tests" not in read(bundle, "settings.json")


@pytest.mark.clickhouse
def test_it_holds_what_the_audit_log_has_on_it_and_the_verdicts_on_its_clients(store: ClickHouse, tmp_path: Path) -> None:
    chain = Chain(prefix="judge-0")
    at = END_NS - 10 * 60 * 10**9
    long_before, long_after = at - 90 * 86_400 * 10**9, at + 2 * 86_400 * 10**9
    store.insert(
        [
            chain.add("settings", long_before, subject="too early"),
            chain.add("alert", at, model="fraud", version="1", subject="a2"),
            chain.add("settings", at, subject="in the time range"),
            chain.add("alert", at, model="churn", version="1", subject="another model's"),
            chain.add("verdict", at, model="fraud", subject=token_of(HOSTILE), detail={"action": "block", "reason": "a2"}),
            chain.add("verdict", at, model="fraud", subject="whole model", detail={"action": "round(2)", "reason": "person"}),
            chain.add("verdict", at, model="fraud", subject="somebody else", detail={"action": "block", "reason": "a9"}),
            chain.add("verdict", long_after, model="fraud", subject=token_of(HOSTILE), detail={"what": "expired"}),
            chain.add("acknowledgement", long_after, model="fraud", version="1", subject="a2", actor="ada"),
        ],
        "audit",
    )
    export(store, "a2", tmp_path / "a2.zip", SETTINGS, NOW, by="ada")
    audit = [json.loads(line) for line in read(tmp_path / "a2.zip", "audit.jsonl").splitlines()]
    assert [row["number"] for row in audit] == [1, 2, 4, 5, 6, 8]
    verdicts = [json.loads(line) for line in read(tmp_path / "a2.zip", "verdict_history.jsonl").splitlines()]
    assert [(row["subject"], json.loads(row["detail"]).get("action")) for row in verdicts] == [
        (token_of(HOSTILE), "block"), ("whole model", "round(2)"), (token_of(HOSTILE), None),
    ]  # fmt: skip


@pytest.mark.clickhouse
def test_without_events_no_feature_value_is_in_it(store: ClickHouse, tmp_path: Path) -> None:
    file = tmp_path / "a1.zip"
    assert "sampled_events.jsonl" not in export(store, "a1", file, SETTINGS, NOW, by="ada", events=False)["rows"]
    with zipfile.ZipFile(file) as archive:
        assert "sampled_events.jsonl" not in archive.namelist()


@pytest.mark.clickhouse
def test_a_change_a_loss_and_an_addition_are_found(bundle: Path, tmp_path: Path) -> None:
    digest = verify(bundle)
    assert run("incident", "verify", bundle, "--sha256", digest).exit_code == 0
    with zipfile.ZipFile(bundle) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    changes = {
        "alert.json was changed": files | {"alert.json": files["alert.json"].replace(b"resolved", b"restored")},
        "loads.jsonl is missing": {name: body for name, body in files.items() if name != "loads.jsonl"},
        "more.txt was put in": files | {"more.txt": b""},
    }
    for said, bodies in changes.items():
        other = tmp_path / "other.zip"
        with zipfile.ZipFile(other, "w") as archive:
            for name, body in bodies.items():
                archive.writestr(name, body)
        with pytest.raises(BundleError, match=said):
            verify(other)
    done = run("incident", "verify", bundle, "--sha256", "00")
    assert done.exit_code == 1
    assert "it is another one" in done.output


@pytest.mark.clickhouse
@pytest.mark.kafka
def test_the_reference_in_force_is_in_it_as_published_or_the_manifest_says_why_not(
    store: ClickHouse, topics: Topics, tmp_path: Path
) -> None:
    kafka = Kafka(bootstrap_servers=topics.bootstrap_servers, topic_prefix=topics.prefix.rstrip("."), partitions=2)
    ensure_topics(kafka)
    one = msgspec.structs.replace(reference(), model="fraud", version="1")
    window = next(row for row in rows() if isinstance(row, WindowRow) and row.model == "fraud")
    store.insert([msgspec.structs.replace(window, start=window.start + 1_000_000, reference=one.id)], "windows")
    publish_reference(kafka, "fraud", "1", encode(one))
    publish_reference(kafka, "fraud", part_of("1", "00" * 8), b"{}")
    publish_reference(kafka, "fraud2", "1", encode(reference()))
    manifest = export(store, "a2", tmp_path / "a2.zip", SETTINGS, NOW, by="ada", topic=partial(published, kafka))
    name = f"references/{one.id}.iwref"
    assert manifest["references"] == {one.id: name, "r1": f"not on the topic: replaced since by {one.id}"}
    with zipfile.ZipFile(tmp_path / "a2.zip") as archive:
        assert decode(archive.read(name)) == one
    assert name in manifest["sha256"]
    verify(tmp_path / "a2.zip")
    nobody = msgspec.structs.replace(kafka, bootstrap_servers="127.0.0.1:9")
    away = export(store, "a2", tmp_path / "b.zip", SETTINGS, NOW, by="ada", topic=partial(published, nobody))["references"]
    assert all(why.startswith("not read: Kafka at 127.0.0.1:9") for why in away.values())
    assert len(away) == 2


def test_what_is_no_bundle_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(b"nothing")
    done = run("incident", "verify", tmp_path / "x.zip")
    assert done.exit_code == 1
    assert "no incident bundle" in done.output
    assert run("incident", "verify", tmp_path / "none.zip").exit_code == 2


@pytest.mark.clickhouse
def test_an_unknown_alert_and_a_file_that_is_there_are_refused(store: ClickHouse, tmp_path: Path) -> None:
    with pytest.raises(UnknownAlertError, match="no alert 'nope'"):
        export(store, "nope", tmp_path / "a.zip", SETTINGS, NOW, by="ada")
    assert not (tmp_path / "a.zip").exists()
    (tmp_path / "b.zip").touch()
    with pytest.raises(FileExistsError):
        export(store, "a1", tmp_path / "b.zip", SETTINGS, NOW, by="ada")


def test_a_store_that_is_away_leaves_no_file(tmp_path: Path) -> None:
    done = run("incident", "export", "a1", "--out", tmp_path / "a.zip", **NOWHERE)
    assert done.exit_code == 1
    assert not (tmp_path / "a.zip").exists()


@pytest.mark.clickhouse
def test_the_command_writes_the_bundle_and_names_the_reference_that_could_not_be_had(
    store: ClickHouse, clickhouse_dsn: str, tmp_path: Path
) -> None:
    where = NOWHERE | {"INFERWATCH_CLICKHOUSE_DSN": clickhouse_dsn, "XDG_STATE_HOME": str(tmp_path)}
    done = run("incident", "export", "a2", "--out", tmp_path / "a.zip", **where)
    assert done.exit_code == 0, done.output
    assert "Reference r1: not read: Kafka at 127.0.0.1:1 (plaintext) does not answer" in done.output
    assert verify(tmp_path / "a.zip") in done.output
    done = run("incident", "export", "a2", "--no-references", "--out", tmp_path / "b.zip", **where)
    assert "Reference r1: not read: they were not asked for" in done.output
