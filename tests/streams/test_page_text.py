"""What a person reads of an alert: short, whole in its first line, and the same whatever an attacker writes into it."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.alerts import ALERTNAMES, Alert
from streams.page_text import LONGEST, PageText
from streams.settings import Budget, Routing, Settings, SettingsError, load
from tests.deploy.files import ROOT

OPENED = 1_790_000_000_000_000_000
HOUR = 3_600 * 10**9
ROUTING = Routing(
    environment="production", cluster="eu-1", team="ml", teams=("fraud=payments", "a=b=c"), runbooks_url="https://docs.example/runbooks",
    dashboards_url="https://grafana.example",
)  # fmt: skip
WORDS = PageText(Settings(routing=ROUTING))


def alert(**more: Any) -> Alert:
    given: dict[str, Any] = {
        "alert_id": "a1", "model": "fraud", "version": "7", "detector": "evasion", "severity": "page", "state": "firing",
        "at_ns": OPENED, "opened_at_ns": OPENED, "client": "c0ffee", "n_events": 240, "log_evidence": 18.04,
        "summary": "Client c0ffee searches for an input that the model gets wrong: evidence e^18.0 after 240 events on fraud 7.",
        "techniques": ("AML.T0043.001", "AML.T0015"), "owasp": ("ML01:2023",),
    }  # fmt: skip
    return Alert(**given | more)


def test_the_first_line_says_what_happened_and_the_rest_how_sure_how_big_since_when_who_and_what_to_do() -> None:
    lines = WORDS.text(alert()).splitlines()
    assert lines[0] == alert().summary
    assert lines[1] == "Sure: evidence e^18.0; a page takes e^16.1, so that at most 1 false page comes in 30 days."
    assert lines[2] == "Size: 240 events. Since 2026-09-21 14:13:20 UTC. Client c0ffee."
    assert [lines[3].count(f"{n}. ") for n in (1, 2, 3)] == [1, 1, 1]
    assert lines[4] == "Runbook: https://docs.example/runbooks/InferwatchEvasion.md"
    assert lines[5].startswith("Dashboard: https://grafana.example/d/inferwatch-forensics?from=1789996400000&to=now&var-model=fraud")
    assert lines[5].endswith("&var-client=c0ffee")
    assert lines[6] == "ATLAS AML.T0043.001, AML.T0015; OWASP ML01:2023"


def test_a_page_that_is_not_the_first_says_what_was_spent_of_the_budget() -> None:
    assert WORDS.text(alert(evidence={"page_of_30d": 3})).splitlines()[1].endswith("in 30 days. Page 3 of this version in 30 days.")
    rule = alert(detector="integrity", log_evidence=0.0, evidence={"page_of_30d": 2})
    assert WORDS.text(rule).splitlines()[1].endswith(". Page 2 of this version in 30 days.")


def test_what_is_over_says_for_how_long_it_lasted_and_asks_for_nothing() -> None:
    text = WORDS.text(alert(state="resolved", resolved_at_ns=OPENED + HOUR + 120 * 10**9))
    assert text.startswith("Over after 1 h 2 min: Client c0ffee")
    assert "Do:" not in text


def test_drift_after_a_deploy_says_so_at_once() -> None:
    text = WORDS.text(alert(detector="drift", evidence={"deploy": {"version": "8", "loaded_at_ns": OPENED}}))
    assert text.startswith("New version 8: ")
    assert "Version 8 was first loaded at 2026-09-21 14:13:20 UTC: is its reference published?" in text


def test_drift_says_since_when_what_it_looks_like_how_far_and_where() -> None:
    first = {
        "name": "amount",
        "psi": 0.41,
        "quantiles": [[0.05, 1.0, 2.0], [0.5, 10.0, 25.123], [0.95, 99.0, 250.0]],
        "moves": [["amount > 99", 0.05, 0.31], ["amount missing", 0.0, 0.02]],
    }
    evidence = {
        "since_ns": OPENED - HOUR,
        "looks_like": "population",
        "variables": [first, {"name": "age"}, {"name": "city"}],
        "segments": [{"segment": "region=eu", "share": 0.125}],
        "slow": {"hours": 23.4, "psi": 0.052, "w1": 0.147},
        "stuck": {"country": "at"},
    }
    text = WORDS.text(alert(detector="drift", client=None, summary="amount of fraud 7 moved up.", evidence=evidence))
    lines = text.splitlines()
    assert lines[2] == "Size: 240 events. Since 2026-09-21 13:13:20 UTC."
    assert lines[3] == "Looks like another population: several features moved at once."
    assert lines[4] == "Over 23 h: PSI 0.052, W1 0.15 sd."
    assert lines[5] == "In all events country is at."
    assert lines[6] == "Quantiles 5/50/95 % of amount: 1/10/99 -> 2/25.1/250."
    assert lines[7] == "Most: amount > 99 5.0% -> 31.0%; amount missing 0.0% -> 2.0%."
    assert lines[8] == "Where: region=eu (12% of the events)."
    assert lines[9] == "Also: age, city."
    assert lines[10].startswith("Do: 1. ")
    assert lines[-2].startswith("Plot: https://grafana.example/d/inferwatch-debug?")
    as_fast = WORDS.text(alert(detector="drift", evidence=evidence | {"slow": {"hours": 23.4, "psi": 0.4, "w1": 0.6}}))
    assert "Over 23 h" not in as_fast
    assert len(text) <= LONGEST
    deployed = WORDS.text(alert(detector="drift", evidence=evidence | {"deploy": {"version": "8", "loaded_at_ns": OPENED}}))
    assert deployed.startswith("New version 8: ")
    assert "Looks like" not in deployed


@given(
    evidence=st.dictionaries(
        st.sampled_from(["since_ns", "looks_like", "variables", "segments", "deploy", "slow", "stuck"]),
        st.recursive(st.none() | st.integers() | st.floats() | st.text(max_size=300), lambda x: st.lists(x, max_size=4) | st.dictionaries(
            st.sampled_from(["name", "quantiles", "moves", "segment", "share", "version", "psi", "w1", "hours"]), x, max_size=4),
            max_leaves=12),
    )
)  # fmt: skip
def test_whatever_the_evidence_of_drift_is_the_text_is_short_and_whole(evidence: dict[str, Any]) -> None:
    text = WORDS.text(alert(detector="drift", evidence=evidence))
    assert len(text) <= LONGEST
    assert "Runbook: " in text


def test_a_provisional_reference_is_not_sold_as_sure() -> None:
    assert "uncalibrated" in WORDS.text(alert(severity="ticket", evidence={"uncalibrated": "the reference is provisional"}))


def test_the_budget_in_the_text_is_the_one_of_the_settings() -> None:
    generous = PageText(Settings(budget=Budget(false_pages_per_30d=4)))
    assert "at most 4 false pages come in 30 days" in generous.text(alert())


@pytest.mark.parametrize("detector", sorted(ALERTNAMES))
def test_every_detector_says_three_things_to_do_and_names_its_runbook(detector: str) -> None:
    text = PageText(Settings()).text(alert(detector=detector))
    assert "3. " in text
    (path,) = (line.removeprefix("Runbook: ") for line in text.splitlines() if line.startswith("Runbook: "))
    assert (ROOT / Path(path)).is_file()


@given(
    st.text(max_size=3_000), st.text(max_size=600), st.text(max_size=600), st.sampled_from(sorted(ALERTNAMES)),
    st.lists(st.text(max_size=300), max_size=30), st.text(max_size=300), st.booleans(),
)  # fmt: skip
def test_it_is_short_and_clean_whatever_is_in_it(
    summary: str, model: str, client: str, detector: str, clients: list[str], version: str, over: bool
) -> None:
    given = {"summary": summary, "model": model, "client": client, "clients": tuple(clients), "detector": detector}
    ended = {"state": "resolved", "resolved_at_ns": OPENED + HOUR} if over else {}
    text = WORDS.text(alert(**given, **ended, evidence={"deploy": {"version": version, "loaded_at_ns": OPENED}}))
    assert len(text) <= LONGEST
    assert all(line.isprintable() for line in text.splitlines())
    assert "Runbook: https://docs.example/runbooks/" in text
    assert "Sure: " in text


EVERYTHING: dict[str, Any] = {
    "since_ns": OPENED - HOUR,
    "looks_like": "population",
    "slow": {"hours": 23.4, "psi": 0.052, "w1": 0.147},
    "variables": [
        {
            "name": "amount",
            "psi": 0.41,
            "quantiles": [[0.05, 1.0, 2.0], [0.25, 5.0, 9.0], [0.5, 10.0, 25.1], [0.75, 30.0, 80.0], [0.95, 99.0, 250.0]],
            "moves": [["amount above 99", 0.05, 0.31], ["5 < amount <= 10", 0.25, 0.12], ["amount missing", 0.0, 0.02]],
        }
    ],
    "segments": [{"segment": "region=eu", "share": 0.125}],
}


def test_the_examples_in_the_docs_are_what_the_code_writes() -> None:
    page = (ROOT / "docs/howto/pages.md").read_text()
    drift = alert(
        detector="drift", version="8", client=None, feature="amount", n_events=5_000, log_evidence=14.0, techniques=(), owasp=(),
        summary="amount and 4 more of fraud 8 moved up from the reference (PSI 0.210, W1 0.60 sd; "
        "evidence e^14.0, 5,000 events in the window).",
        evidence={"deploy": {"version": "8", "loaded_at_ns": OPENED}},
    )  # fmt: skip
    everything = alert(
        detector="drift", client=None, n_events=5_000, log_evidence=24.0, techniques=(), owasp=(), evidence=EVERYTHING,
        summary="amount and 3 more of fraud 7 moved up from the reference: share of amount > 99: 0.050 -> 0.310 (PSI 0.410, W1 0.60 sd; "
        "evidence e^24.0, 5,000 events in the window).",
    )  # fmt: skip
    constant = alert(
        detector="quality", part="constant", client=None, feature="amount", n_events=5_000, log_evidence=24.0, techniques=(), owasp=(),
        summary="amount of fraud 7 is constant: 19.5 in all of 5,000 events, of many clients (by the reference at most 10.0% are there).",
        evidence={"log_page": 12.98},
    )  # fmt: skip
    for example in (alert(), drift, everything, constant):
        assert len(WORDS.text(example)) <= LONGEST
        assert f"```text\n{WORDS.text(example)}\n```" in page


def test_a_model_has_its_teams_label_and_others_the_default() -> None:
    assert WORDS.labels(alert()) == {"environment": "production", "cluster": "eu-1", "team": "payments"}
    assert WORDS.labels(alert(model="churn"))["team"] == "ml"
    assert WORDS.labels(alert(model="a=b"))["team"] == "c"


def test_routing_that_makes_no_sense_is_refused_by_path(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('[routing]\nteams = ["fraud"]\n')
    with pytest.raises(SettingsError, match=r"routing\.teams"):
        load(file, {})
    with pytest.raises(SettingsError, match=r"routing\.dashboards_url"):
        load(None, {"INFERWATCH_ROUTING_DASHBOARDS_URL": "grafana"})
    assert load(None, {"INFERWATCH_ROUTING_TEAMS": "fraud=payments, churn=crm"}).routing.teams == ("fraud=payments", "churn=crm")
