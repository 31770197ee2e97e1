"""The demo's pure parts: data, clients, attacker, verdict and what is said."""

import io
import itertools
import sys
import time
import urllib.request
import warnings
from collections import Counter
from pathlib import Path

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner
from rich.console import Console

import inferwatch
from inferwatch import Status
from schemas.alerts import Alert
from streams.clickhouse import ClickHouse
from streams.commands.demo import command
from streams.demo import DemoError, attack, model
from streams.demo.attack import Outcome
from streams.demo.observer import Seen
from streams.demo.service import Service
from streams.demo.stage import PagerSink
from streams.demo.story import DRIFTING, Plan
from streams.demo.summary import Account, account_lines, store_lines, verdict_lines
from streams.demo.traffic import CLIENTS, Traffic
from streams.demo.verdict import Causes, judge
from streams.demo.view import View
from streams.migrate import migrate
from streams.settings import Objectives, Settings, Window

KEY = b"sixteen bytes or more"


@pytest.fixture(scope="module")
def served() -> model.Served:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.train(model.load(1), 1)


# -- the model --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_no_row_is_in_two_parts(seed: int) -> None:
    data = model.load(seed)
    parts = [{row.tobytes() for row in part.X} for part in (data.train, data.held_out, data.traffic, data.attacker)]
    assert len(set.union(*parts)) == sum(map(len, parts)) == 2086


def test_the_seed_decides_who_gets_which_row() -> None:
    assert (model.load(3).train.X == model.load(3).train.X).all()
    assert (model.load(3).train.X != model.load(4).train.X).any()


def test_the_model_has_learned_something(served: model.Served) -> None:
    assert served.accuracy > 0.9
    np.testing.assert_allclose(served.answer(served.data.traffic.X).sum(axis=1), 1.0, rtol=1e-5)


def test_the_reference_has_a_part_for_every_detector(served: model.Served) -> None:
    published = model.reference_of(served, "1", KEY, 0)
    assert set(published.parts) == {"accuracy", "drift", "evidence", "exposure", "membership", "swarm", "triggers"}
    assert (published.rows, published.members) == (1200, 600)
    assert published.features[0].low is not None
    assert published.features[0].low < served.data.bounds[0][0]


# -- the clients ------------------------------------------------------------------------------------------------------------------------

ROWS = np.random.default_rng(5).normal(size=(20_000, 4)).astype(np.float32)


def test_the_rate_is_what_was_asked_for() -> None:
    assert len(Traffic(ROWS, 300.0, seed=1).until(60.0)) == pytest.approx(300 * 60, rel=0.1)


def test_volumes_differ_but_nobody_is_the_service() -> None:
    traffic = Traffic(ROWS, 300.0, seed=2)
    counts = Counter(request.client for tenth in range(600) for request in traffic.until(tenth / 10))
    assert len(counts) > 0.9 * CLIENTS
    busiest = counts.most_common()[0][1] / sum(counts.values())
    assert 0.03 < busiest < 0.25


def test_awkward_clients_keep_their_habits() -> None:
    traffic = Traffic(ROWS, 300.0, seed=3)
    habits = Counter(traffic.habits.values())
    assert {habit: habits[habit] for habit in ("retry", "health_check", "form_edit")} == {"retry": 2, "health_check": 1, "form_edit": 2}
    asked: dict[str, list[bytes]] = {}
    edited: list[np.ndarray] = []
    for request in traffic.until(60.0):
        asked.setdefault(traffic.habits[request.client] + request.client, []).append(request.row.tobytes())
        if request.client == next(client for client, habit in traffic.habits.items() if habit == "form_edit"):
            edited.append(request.row)
    distinct = {name: len(set(rows)) / len(rows) for name, rows in asked.items()}
    assert all(len(set(rows)) == 1 for name, rows in asked.items() if name.startswith("health_check"))
    assert all(share < 0.5 for name, share in distinct.items() if name.startswith("retry"))
    changed = [int((a != b).sum()) for a, b in itertools.pairwise(edited)]
    assert Counter(changed).most_common()[0][0] == 1


def test_a_row_is_sent_again_only_after_all_others() -> None:
    traffic = Traffic(ROWS, 300.0, seed=4)
    sent = [r.row.tobytes() for r in traffic.until(20.0) if traffic.habits[r.client] in ("regular", "sessions")]
    assert len(set(sent)) == len(sent)


def test_a_drift_reaches_every_client_and_one_feature() -> None:
    plain, moved = Traffic(ROWS, 300.0, seed=5), Traffic(ROWS, 300.0, seed=5)
    moved.shift[2] = 1.5
    difference = np.array([b.row - a.row for a, b in zip(plain.until(5.0), moved.until(5.0), strict=True)])
    np.testing.assert_allclose(difference[:, 2], 1.5, atol=1e-6)
    assert (difference[:, [0, 1, 3]] == 0).all()


def test_some_requests_fail_and_time_never_goes_back() -> None:
    traffic = Traffic(ROWS, 1000.0, seed=6)
    statuses = Counter(request.status for request in traffic.until(20.0))
    assert 0.001 < statuses[Status.ERROR] / sum(statuses.values()) < 0.01
    assert traffic.until(10.0) == []


def test_a_rate_without_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="50 to 5000"):
        Traffic(ROWS, 1.0, seed=0)


def test_the_service_records_every_answer_with_its_scores(served: model.Served) -> None:
    transport = inferwatch.MemoryTransport()
    with inferwatch.Client(service="t", transport=transport, pseudonym_key=KEY, strict=True) as watch:
        service = Service(served, "9", watch, now_ns=lambda: 1_000)
        requests = Traffic(served.data.traffic.X, 300.0, seed=1).until(1.0)
        service.handle(requests)
        service.ask("mallory", served.data.attacker.X[0])
    events = transport.events()
    assert len(events) == len(requests) + 1
    assert {event["model"] for event in events} == {model.NAME}
    assert all((event["scores"] is not None) == (event["status"] == "ok") for event in events)
    assert [signal.digest for signal in transport.lifecycle] == [served.digest]


# -- the attacker -----------------------------------------------------------------------------------------------------------------------


def test_the_attack_is_real_and_asks_one_row_at_a_time(served: model.Served) -> None:
    asked, outcome = [], Outcome()
    low, high = served.data.bounds

    def ask(row: np.ndarray) -> np.ndarray:
        asked.append(row)
        answer: np.ndarray = served.answer(row[None])[0]
        return answer

    attack.hop_skip_jump(ask, served.data.attacker.X[:1], low, high, classes=7, outcome=outcome, stop=lambda: False, seed=1)
    assert (outcome.rows, outcome.fooled) == (1, 1)
    assert len(asked) == outcome.queries > 50
    assert all((row >= low - 1e-2 * (high - low)).all() for row in asked)


def test_the_attacker_stops_when_told(served: model.Served) -> None:
    outcome = Outcome()
    attack.hop_skip_jump(
        lambda row: served.answer(row[None])[0],
        served.data.attacker.X,
        *served.data.bounds,
        classes=7,
        outcome=outcome,
        stop=lambda: outcome.queries >= 30,
        seed=1,
    )
    assert outcome.queries == 30


def test_a_missing_extra_is_named_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "art.attacks.evasion", None)
    with pytest.raises(DemoError, match="uv sync --all-extras"):
        attack.check_installed()


# -- the verdict ------------------------------------------------------------------------------------------------------------------------


def alert(detector: str, severity: str, *, client: str | None = None, feature: str | None = None, at: float, state: str = "firing") -> Seen:
    body = {
        "alert_id": f"{detector}{client}{at}", "model": "m", "version": "1", "detector": detector, "severity": severity, "state": state,
        "at_ns": 1, "opened_at_ns": 1, "client": client, "feature": feature, "n_events": 120,
    }  # fmt: skip
    return Seen(msgspec.convert(body, Alert), at)


CAUSES = Causes(attacker="m1", attacked_at=10.0, feature="x", drifted_at=20.0)
FOUND = [alert("evasion", "page", client="m1", at=13.0), alert("drift", "page", feature="x", at=25.0)]


def test_both_causes_found_and_nobody_else_paged_is_good() -> None:
    verdict = judge([alert("evasion", "ticket", client="m1", at=12.0), *FOUND], CAUSES)
    assert verdict.good
    assert (verdict.attack, verdict.drift) == (FOUND[0], FOUND[1])


@pytest.mark.parametrize(
    "wrong",
    [
        alert("evasion", "page", client="c7", at=14.0),
        alert("membership", "page", client="c7", at=24.0),
        alert("drift", "page", feature="x", at=15.0),
        alert("drift", "page", feature="other", at=26.0),
        alert("quality", "page", at=26.0),
    ],
)
def test_a_page_without_a_cause_is_a_failure(wrong: Seen) -> None:
    verdict = judge([*FOUND, wrong], CAUSES)
    assert not verdict.good
    assert verdict.false_pages == (wrong.alert,)


@pytest.mark.parametrize("found", [FOUND[:1], FOUND[1:], []])
def test_a_cause_that_nobody_was_paged_for_is_a_failure(found: list[Seen]) -> None:
    assert not judge(found, CAUSES).good


def test_tickets_and_resolutions_wake_nobody_but_tickets_are_told() -> None:
    ticket = alert("evasion", "ticket", client="c7", at=14.0)
    verdict = judge([*FOUND, ticket, alert("drift", "page", at=5.0, state="resolved")], CAUSES)
    assert verdict.good
    assert verdict.tickets_on_ordinary == (ticket.alert,)


def test_events_that_nobody_accounts_for_are_a_failure() -> None:
    assert not judge(FOUND, CAUSES, missing_events=1).good


def test_the_summary_is_honest() -> None:
    good = " ".join(verdict_lines(judge(FOUND, CAUSES), CAUSES, Outcome(200, 2, 2), str, None))
    assert "Attack FOUND: InferwatchEvasion paged 3.0 s after the first query, at query 120 of 200" in good
    assert "Drift FOUND: InferwatchDrift paged 5.0 s after the shift, names x" in good
    bad = " ".join(verdict_lines(judge([alert("evasion", "page", client="c7", at=1.0)], CAUSES), CAUSES, Outcome(200), str, []))
    assert "Attack NOT FOUND" in bad
    assert "Drift NOT FOUND" in bad
    assert "FALSE PAGE: InferwatchEvasion c7" in bad
    unaccounted = account_lines(Account(sent=10, lost=1, accepted=7, rejected={"clock": 1}, windows=2, metrics={}, clients=60))
    assert "2 NOT ACCOUNTED FOR" in unaccounted[0]
    assert "1 lost in the SDK" in unaccounted[0]


def test_pages_show_names_that_only_the_demo_knows() -> None:
    text = io.StringIO()
    view = View(Console(file=text, width=200), live=False)
    view.status.names = {"0123456789abcdef": "mallory"}
    view.alert(Seen(msgspec.structs.replace(FOUND[0].alert, summary="Client 0123456789abcdef searches"), 1.0))
    assert "PAGE" in text.getvalue()
    assert "Client 01234567 (mallory) searches" in text.getvalue()


def test_the_pager_keeps_what_alertmanager_says_and_refuses_the_rest() -> None:
    pager = PagerSink()
    try:
        for body, status in ((b'{"status": "firing", "alerts": [{"labels": {}}]}', 200), (b"nonsense", 400)):
            try:
                with urllib.request.urlopen(urllib.request.Request(pager.url, body), timeout=5) as answer:
                    assert answer.status == status
            except urllib.error.HTTPError as error:
                error.close()
                assert error.code == status
    finally:
        pager.close()
    assert [(paged.status, len(paged.alerts)) for paged in pager.received] == [("firing", 1)]
    assert pager.received[0].at <= time.monotonic()


def test_every_plan_leaves_the_drift_detector_its_first_windows() -> None:
    for plan in (Plan.of(1.0, quick=True), Plan.of(2.0, quick=False), Plan.of(300.0, quick=False)):
        assert plan.drift_s >= 15 * plan.window_s
        assert plan.ordinary_s + plan.calm_s >= 10 * plan.window_s
    assert DRIFTING in model.load(0).names


@pytest.mark.parametrize(
    "options",
    [["--no-worker"], ["--bootstrap-servers", "h:1"], ["--no-worker", "--bootstrap-servers", "h:1", "--folder", "x"], ["--seed", "-1"]],
)
def test_options_that_make_no_sense_are_mistakes(options: list[str]) -> None:
    assert CliRunner().invoke(command, options).exit_code == 2


@pytest.mark.clickhouse
def test_the_command_that_shows_a_kept_run_has_what_its_lines_are_drawn_by(clickhouse_dsn: str, tmp_path: Path) -> None:
    with ClickHouse(clickhouse_dsn) as clickhouse:
        migrate(clickhouse)
    given = Settings(window=Window(length_s=2.0), objectives=Objectives(availability=99.0))
    (line,) = (line for line in store_lines(clickhouse_dsn, tmp_path, given, kept=True) if line.startswith("To see it"))
    assert line.startswith("To see it: INFERWATCH_WINDOW_LENGTH_S=2 INFERWATCH_OBJECTIVES_AVAILABILITY=99 inferwatch ui --dsn 'chdb:")
