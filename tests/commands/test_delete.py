"""`inferwatch delete` asks for exactly one name, makes pseudonyms here, and says what it did not find."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
import pytest

from inferwatch import pseudonym_of
from schemas.retention import Retention
from schemas.rows import AckRow, AlertRow, ClientWindowRow, SampledEventRow
from streams.clickhouse import ClickHouse
from streams.commands.delete import _pseudonyms
from streams.erase import count, erase, open_alerts_of, steps
from streams.migrate import migrate
from tests.commands.cli import run

NS = time.time_ns() // 10**9 * 10**9  # rows that are older than the retention are not kept
ALICE, BOB, SHORT = "a" * 32, "b" * 32, "o'b\\"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "give one of"),
        (["--client", "a", "--event", "b"], "give one of"),
        (["--client-id", "alice"], "needs the services' key"),
        (["--client", "a" * 300], "256"),
        (["--client", "a", "--timeout", "-1"], "timeout"),
    ],
)
def test_options_that_make_no_sense_are_refused(arguments: list[str], says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("", "_FILE", "_PREVIOUS"):
        monkeypatch.delenv(f"INFERWATCH_PSEUDONYM_KEY{name}", raising=False)
    done = run("delete", *arguments)
    assert done.exit_code == 2
    assert says in done.output


def test_a_client_has_a_pseudonym_under_each_known_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("the key in force now\n")
    monkeypatch.delenv("INFERWATCH_PSEUDONYM_KEY", raising=False)
    monkeypatch.setenv("INFERWATCH_PSEUDONYM_KEY_FILE", str(file))
    monkeypatch.setenv("INFERWATCH_PSEUDONYM_KEY_PREVIOUS", "the key before that")
    assert _pseudonyms("alice") == [pseudonym_of(key, "alice") for key in (b"the key in force now", b"the key before that")]


def _told(event_id: str) -> str:
    return msgspec.json.encode({"event_id": event_id, "chain": [{"event_id": "x", "answer": "a"}, {"event_id": event_id}]}).decode()


def store(clickhouse: ClickHouse) -> None:
    migrate(clickhouse)
    for name in (ALICE, BOB, SHORT):
        clickhouse.insert([ClientWindowRow(model="m", version="1", start=NS, client=name, n=3)], f"w{name}")
        clickhouse.insert([SampledEventRow(model="m", version="1", at=NS, event_id=f"e-{name}", client=name, reason="random")], f"s{name}")
    about = {"model": "m", "version": "1", "alertname": "InferwatchEvasion", "severity": "page", "opened_at": NS, "at": NS}
    for number, (client, clients) in enumerate([(ALICE, ()), (BOB, ()), ("", (ALICE, BOB, SHORT))]):
        row = AlertRow(alert_id=f"a{number}", detector="evasion", state="firing", client=client, clients=clients,
                       summary=f"Client {client or ALICE} asks", evidence=_told(f"e-{client}"), **about)  # type: ignore[arg-type]  # fmt: skip
        clickhouse.insert([row], f"alert{number}")
    judged = {"verdict": "true", "at": NS, "note": f"was {ALICE}"}
    ack = AckRow(alert_id="a0", opened_at=NS, model="m", version="1", detector="evasion", severity="page", **judged)  # type: ignore[arg-type]
    clickhouse.insert([ack], "ack")


@pytest.mark.clickhouse
def test_rows_go_alerts_are_redacted_and_an_open_one_is_closed(clickhouse: ClickHouse) -> None:
    store(clickhouse)
    plan = steps([ALICE])
    assert count(clickhouse, plan) == {"client_windows": 1, "sampled_events": 1, "alerts": 2, "acknowledgements": 1}
    erase(clickhouse, plan, open_alerts_of(clickhouse, [ALICE]), NS + 10**9)
    assert not any(count(clickhouse, plan).values())
    alerts = clickhouse.query("SELECT alert_id, state, client, clients, summary, evidence FROM alerts FINAL ORDER BY alert_id, state")
    assert [(a["alert_id"], a["state"], a["client"], list(a["clients"])) for a in alerts] == [
        ("a0", "firing", "", []), ("a0", "resolved", "", []), ("a1", "firing", BOB, []), ("a2", "firing", "", [BOB, SHORT]),
    ]  # fmt: skip
    assert [a["summary"] for a in alerts] == ["Erased on request.", "Erased on request.", f"Client {BOB} asks", "Client  asks"]
    assert clickhouse.query("SELECT note, verdict FROM acknowledgements") == [{"note": "was ", "verdict": "true"}]


@pytest.mark.clickhouse
def test_a_short_strange_name_deletes_its_rows_only(clickhouse: ClickHouse) -> None:
    store(clickhouse)
    plan = steps([SHORT])
    erase(clickhouse, plan, [], NS)
    assert [row["client"] for row in clickhouse.query("SELECT client FROM client_windows ORDER BY client")] == [ALICE, BOB]
    assert clickhouse.query("SELECT clients FROM alerts WHERE alert_id = 'a2'") == [{"clients": [ALICE, BOB]}]


@pytest.mark.clickhouse
def test_of_another_model_nothing_is_deleted(clickhouse: ClickHouse) -> None:
    store(clickhouse)
    assert not any(count(clickhouse, steps([ALICE], model="other")).values())
    assert count(clickhouse, steps([ALICE], model="m"))["client_windows"] == 1


@pytest.mark.clickhouse
def test_an_event_is_deleted_and_an_alert_points_at_it_no_more(clickhouse: ClickHouse) -> None:
    store(clickhouse)
    plan = steps([], event_id=f"e-{BOB}")
    erase(clickhouse, plan, [], NS)
    assert [row["event_id"] for row in clickhouse.query("SELECT event_id FROM sampled_events ORDER BY event_id")] == [
        f"e-{ALICE}",
        f"e-{SHORT}",
    ]
    assert clickhouse.query("SELECT evidence, client FROM alerts WHERE alert_id = 'a1'") == [{"evidence": _told(""), "client": BOB}]
    strange = 'order/7 "ü"'
    row = AlertRow(alert_id="b", model="m", version="1", detector="evasion", alertname="E", severity="page", state="firing", opened_at=NS,
                   at=NS, evidence=_told(strange))  # fmt: skip
    clickhouse.insert([row], "b")
    plan = steps([], event_id=strange)
    assert count(clickhouse, plan)["alerts"] == 1
    erase(clickhouse, plan, [], NS)
    assert clickhouse.query("SELECT evidence FROM alerts WHERE alert_id = 'b'") == [{"evidence": _told("")}]


@pytest.mark.clickhouse
def test_what_is_older_than_the_retention_goes_by_itself_and_sooner_when_it_is_shortened(clickhouse: ClickHouse) -> None:
    migrate(clickhouse)
    days = {"old": 31, "kept": 20, "new": 1}
    for name, age in days.items():
        row = SampledEventRow(model="m", version="1", at=NS - age * 86_400 * 10**9, event_id=name, client=ALICE, reason="random")
        clickhouse.insert([row], name)

    def kept() -> list[str]:
        clickhouse.command("OPTIMIZE TABLE sampled_events FINAL")
        return [row["event_id"] for row in clickhouse.query("SELECT event_id FROM sampled_events ORDER BY at")]

    assert kept() == ["kept", "new"]
    migrate(clickhouse, retention=Retention(sampled_days=10))
    assert kept() == ["new"]
