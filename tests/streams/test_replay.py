"""Replay: a recording through the worker's own code. The same bytes each time; whatever a file holds, a result or a clear message."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inferwatch import Strings
from streams import replay as module
from streams.build import BuildError
from streams.replay import Summary, replay
from streams.settings import Settings, load
from streams.tables import TableError
from tests.streams.events import settings
from tests.streams.recordings import WALKER, event_columns, lists, reference_columns, write
from tests.streams.scoring import score

TRACES = Path(__file__).parents[1] / "traces"


def run(folder: Path, out: Path, of: Settings | None = None) -> Summary:
    return replay(folder, out, of or load(None, {}))


def lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "alerts.jsonl").read_text().splitlines()]


def about_clients(out: Path) -> list[tuple[Any, ...]]:
    return [(a["at"], a["detector"], a["severity"], a["client"], a["n_events"], a["log_evidence"]) for a in lines(out) if a["client"]]


def changed(folder: Path, **columns: Any) -> Path:
    return write(folder / "shop", events=event_columns() | columns)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("recorded") / "shop")


@pytest.fixture(scope="module")
def once(recording: Path) -> Path:
    run(recording, recording.parent / "once")
    return recording.parent / "once"


# -- the same bytes ---------------------------------------------------------------------------------------------------------------------


def test_two_runs_write_the_same_bytes(recording: Path, once: Path, tmp_path: Path) -> None:
    run(recording, tmp_path)
    for name in ("alerts.jsonl", "clients.parquet"):
        assert (tmp_path / name).read_bytes() == (once / name).read_bytes()


@pytest.mark.parametrize("size", [1, 37, 4_000])
def test_how_events_are_cut_into_batches_changes_nothing_about_clients(
    size: int, recording: Path, once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATCH", size)
    monkeypatch.setattr(module, "_READ", max(size, 100))
    run(recording, tmp_path)
    assert about_clients(tmp_path) == about_clients(once)
    assert (tmp_path / "clients.parquet").read_bytes() == (once / "clients.parquet").read_bytes()


def test_the_attacker_is_found_and_nobody_else(once: Path) -> None:
    assert {a["client"] for a in lines(once) if a["severity"] == "page"} == {WALKER}
    page = next(a for a in lines(once) if a["severity"] == "page")
    assert page["n_events"] < 150
    assert page["model"] == "shop"
    assert page["techniques"]
    assert WALKER in page["summary"]


def test_lines_are_in_order_of_time_and_never_before_the_event_that_raised_them(tmp_path: Path) -> None:
    names = event_columns()["client_id"].to_pylist()
    walk = [k for k, name in enumerate(names) if name == WALKER]
    for k in walk[150:]:
        names[k] = "zweiter"
    run(changed(tmp_path, client_id=pa.array(names)), tmp_path / "out")
    found = lines(tmp_path / "out")
    at = [a["at"] for a in found]
    assert at == sorted(at)
    assert {WALKER, "zweiter"} <= {a["client"] for a in found}
    ts = event_columns()["ts"].to_numpy()
    for alert in found:
        if alert["client"]:
            row = int(alert["evidence"]["event_id"].split(":")[1])
            assert ts[row] <= alert["at"] <= ts[row] + 1e-6


@given(ts=st.floats(0, 9e9, exclude_max=True))
def test_a_time_that_becomes_nanoseconds_and_a_float_again_is_never_before_itself(ts: float) -> None:
    columns = module._columns("m", (), np.array([ts]), np.zeros((1, 0), np.float32), None, None, np.zeros(1), Strings.of(["c"]),
                              np.array([0]), np.array([0]))  # fmt: skip
    assert ts <= columns.at_ns[0] / 1e9 <= ts + 3e-6  # floats lie so far apart at 9e9


def test_clients_come_with_their_events_and_evidence(once: Path) -> None:
    table = pq.read_table(once / "clients.parquet")
    rows = {row["client"]: row for row in table.to_pylist()}
    assert rows[WALKER]["n"] == 300
    assert sum(row["n"] for row in rows.values()) == 1_800
    assert max(rows, key=lambda client: rows[client]["ln_evasion"]) == WALKER


def test_the_summary_adds_up(once: Path) -> None:
    summary = json.loads((once / "summary.json").read_text())
    assert (summary["events"], summary["accepted"], summary["clients"]) == (1_800, 1_800, 13)
    assert sum(summary["alerts"].values()) == len(lines(once))


def test_a_smaller_budget_alerts_and_pages_about_nothing_more(recording: Path, tmp_path: Path) -> None:
    alerted, paged = [], []
    for budget in (100.0, 1.0, 1e-4):
        run(recording, tmp_path, settings(budget={"false_pages_per_30d": budget}))
        causes = [(a["detector"], a["client"], a["feature"], a["severity"]) for a in lines(tmp_path)]
        alerted.append({cause[:3] for cause in causes})  # a page that needed no ticket first is one line, not two
        paged.append({cause[:3] for cause in causes if cause[3] == "page"})
    assert alerted[0] >= alerted[1] >= alerted[2]
    assert paged[0] >= paged[1] >= paged[2]
    assert alerted[0]


def test_an_older_result_is_replaced(recording: Path, tmp_path: Path) -> None:
    (tmp_path / "alerts.jsonl").write_text("old\n" * 1_000)
    run(recording, tmp_path)
    assert "old" not in (tmp_path / "alerts.jsonl").read_text()


# -- whatever the files hold ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("absent", [("label",), ("probs",), ("label", "probs")])
def test_without_answers_the_rest_is_judged(absent: tuple[str, ...], tmp_path: Path) -> None:
    summary = run(changed(tmp_path, **dict.fromkeys(absent)), tmp_path / "out")
    assert summary.accepted == 1_800
    assert pq.read_table(tmp_path / "out/clients.parquet").num_rows == 13
    if "label" in absent and "probs" not in absent:
        assert WALKER in {a["client"] for a in lines(tmp_path / "out")}


def test_labels_may_be_class_names(tmp_path: Path, once: Path) -> None:
    names = pa.array([("0", "1")[k] for k in event_columns()["label"].to_pylist()])
    run(changed(tmp_path, label=names), tmp_path / "out")
    assert about_clients(tmp_path / "out") == about_clients(once)


def test_a_truth_column_changes_nothing(tmp_path: Path, once: Path) -> None:
    run(changed(tmp_path, truth=pa.array(["attack:evasion:x"] * 1_800)), tmp_path / "out")
    assert about_clients(tmp_path / "out") == about_clients(once)


def test_nan_and_infinite_features_are_counted_and_cost_no_alert(tmp_path: Path) -> None:
    X = np.array(event_columns()["features"].to_pylist())
    X[5, 0], X[9, 1], X[400] = np.nan, np.inf, -np.inf
    summary = run(changed(tmp_path, features=lists(X)), tmp_path / "out")
    assert summary.accepted == 1_800
    assert summary.anomalies["non_finite"] == 2
    assert WALKER in {a["client"] for a in lines(tmp_path / "out")}


def test_events_out_of_order_all_count(tmp_path: Path) -> None:
    ts = event_columns()["ts"].to_numpy().copy()
    summary = run(changed(tmp_path, ts=pa.array(np.random.default_rng(0).permutation(ts))), tmp_path / "out")
    assert summary.accepted == 1_800
    at = [a["at"] for a in lines(tmp_path / "out")]
    assert at == sorted(at)


def test_times_that_are_none_are_refused_by_reason(tmp_path: Path) -> None:
    ts = event_columns()["ts"].to_numpy().copy()
    ts[:6] = [np.nan, np.inf, -np.inf, -5.0, 1e18, 1e300]
    summary = run(changed(tmp_path, ts=pa.array(ts)), tmp_path / "out")
    assert (summary.events, summary.accepted, summary.rejected) == (1_800, 1_794, {"clock": 6})


def test_an_empty_recording_is_a_result(tmp_path: Path) -> None:
    empty = {name: column[:0] for name, column in event_columns().items()}
    summary = run(write(tmp_path / "shop", events=empty), tmp_path / "out")
    assert (summary.events, summary.clients, summary.recorded_seconds) == (0, 0, 0.0)
    assert (tmp_path / "out/alerts.jsonl").read_bytes() == b""


def test_one_client_alone_is_a_result(tmp_path: Path) -> None:
    summary = run(changed(tmp_path, client_id=pa.array(["only"] * 1_800)), tmp_path / "out")
    assert summary.clients == 1


def test_events_without_client_are_judged_as_traffic_only(tmp_path: Path) -> None:
    summary = run(changed(tmp_path, client_id=pa.array([None] * 1_800, pa.string())), tmp_path / "out")
    assert (summary.accepted, summary.clients) == (1_800, 0)


def test_a_reference_of_another_width_refuses_every_event_by_reason(tmp_path: Path) -> None:
    summary = run(write(tmp_path / "shop", reference=reference_columns(d=4)), tmp_path / "out")
    assert (summary.accepted, summary.rejected) == (0, {"wrong_width": 1_800})


def test_a_reference_with_features_only_still_judges(tmp_path: Path) -> None:
    summary = run(write(tmp_path / "shop", reference={"features": reference_columns()["features"]}), tmp_path / "out")
    assert summary.accepted == 1_800
    assert any("no membership risk" in note for note in summary.notes)


@pytest.mark.parametrize(
    ("file", "change", "told"),
    [
        ("reference", {"features": lists(np.empty((0, 3)))}, "reference.parquet: the reference has no rows"),
        ("events", {"ts": None}, "events.parquet: no column ts; it has client_id, features, probs, label"),
        ("events", {"features": None, "client_id": None}, "no column client_id, features"),
        ("events", {"ts": pa.array([0] * 1_800, pa.timestamp("us"))}, r"column ts is timestamp\[us\], not numbers"),
        ("events", {"ts": pa.array(["noon"] * 1_800)}, "column ts is string, not numbers"),
        ("events", {"features": pa.array([1.0] * 1_800)}, "column features is double, not lists of numbers"),
        ("events", {"features": pa.array([[1.0, 2.0, 3.0]] * 1_799 + [[1.0]])}, "features: row 99 has 1 values, row 0 has 3"),
        ("events", {"features": pa.array([[1.0, 2.0, 3.0]] * 1_799 + [None])}, "features: row 99 is null"),
        ("events", {"probs": pa.array(["x"] * 1_800)}, "column probs is string, not lists of numbers"),
        ("events", {"client_id": pa.array([[1]] * 1_800)}, "column client_id is list"),
        ("events", {"label": pa.array([[1]] * 1_800)}, "column label is list"),
    ],
)
def test_files_that_cannot_be_judged_are_told_by_name_and_column(
    file: str, change: dict[str, Any], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_READ", 100)
    columns = change if file == "reference" else event_columns() | change
    with pytest.raises((TableError, BuildError), match=told):
        run(write(tmp_path / "shop", **{file: columns}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("missing", ["reference.parquet", "events.parquet"])
def test_a_missing_or_broken_file_is_told(missing: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "shop")
    (folder / missing).write_bytes(b"PAR1")
    with pytest.raises(TableError, match=f"{missing}: not a parquet file"):
        run(folder, tmp_path / "out")
    (folder / missing).unlink()
    with pytest.raises(TableError, match=f"{missing}: no such file"):
        run(folder, tmp_path / "out")


# -- a swarm ------------------------------------------------------------------------------------------------------------------------------


def swarm_recording(folder: Path) -> Path:
    """Three hours of 20 ordinary clients, and in the last one ten minutes of 20 more who send shuffled rows."""
    rng, mix = np.random.default_rng(2), np.random.default_rng(5).normal(size=(3, 8))

    def rows(n: int) -> Any:
        return rng.normal(size=(n, 3)) @ mix + 0.15 * rng.normal(size=(n, 8))

    ts = np.concatenate([np.sort(rng.uniform(0, 10_800, 1_800)), 9_000 + np.arange(600.0)])
    clients = np.array([f"c{k % 20}" for k in range(1_800)] + [f"w{k % 20}" for k in range(600)])
    X, order = np.concatenate([rows(1_800), rng.permuted(rows(600), axis=0)]), np.argsort(ts, kind="stable")
    events = {"ts": pa.array(ts[order]), "client_id": pa.array(clients[order]), "features": lists(X[order])}
    return write(folder / "swarm", reference={"features": lists(rows(1_500))}, events=events)


@pytest.fixture(scope="module")
def pooled(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("swarm")
    run(swarm_recording(folder), folder / "out")
    return [line for line in lines(folder / "out") if line["clients"]]


def test_a_swarm_is_named_with_its_members_only_before_a_fifth_of_its_queries(pooled: list[dict[str, Any]]) -> None:
    workers = {f"w{k}" for k in range(20)}
    assert {member for line in pooled for member in line["clients"]} == workers
    named_at = min(line["at"] for line in pooled if len(line["clients"]) >= 16)
    assert 9_000 < named_at < 9_000 + 600 / 5
    assert {(line["detector"], line["severity"], line["client"]) for line in pooled} == {("extraction", "ticket", None)}


def test_each_line_of_a_swarm_names_more_members_than_the_one_before(pooled: list[dict[str, Any]]) -> None:
    sizes = [len(line["clients"]) for line in pooled]
    assert sizes == sorted(set(sizes))
    assert [line["at"] for line in pooled] == sorted(line["at"] for line in pooled)
    assert [line["evidence"]["members"] for line in pooled] == sizes


@pytest.mark.parametrize("size", [7, 1_000])
def test_how_events_are_cut_into_batches_changes_nothing_about_swarms(
    size: int, pooled: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATCH", size)
    run(swarm_recording(tmp_path), tmp_path / "out")
    assert [line for line in lines(tmp_path / "out") if line["clients"]] == pooled


def test_where_no_rows_may_be_passed_on_no_swarm_is_found(tmp_path: Path) -> None:
    run(swarm_recording(tmp_path), tmp_path / "out", settings(swarm={"rows_per_slice": 0}))
    assert not [line for line in lines(tmp_path / "out") if line["clients"]]


# -- real attacks -----------------------------------------------------------------------------------------------------------------------

_HARD = ("membership:", "extraction:knockoff_random", "extraction:jbda_sybil")
"""Membership queries are ordinary rows, random rows on some services nearly so, a swarm is told as one: not promised alone and early."""

_EARLY = {"segments_logreg": 0.25}
"""Share of its queries by which an attacker is paged, where it is not a fifth: one of two JBDA thieves there needs 0.216."""


@pytest.mark.parametrize(
    "name", ["breast_cancer_rf", *(pytest.param(n, marks=pytest.mark.slow) for n in ("digits_mlp", "segments_logreg", "diamonds_rf"))]
)
def test_real_attackers_are_paged_early_and_no_benign_client_is(name: str, tmp_path: Path) -> None:
    run(TRACES / name, tmp_path)
    result = score(TRACES / name, tmp_path / "alerts.jsonl")
    assert result.wrongly_paged == []
    truth = dict(zip(*(pq.read_table(TRACES / name / "events.parquet")[c].to_pylist() for c in ("client_id", "truth")), strict=True))
    members = {member for line in lines(tmp_path) for member in line["clients"]}
    assert members == {client for client, of in truth.items() if of == "attack:extraction:jbda_sybil"}
    promised = {attack: shares for attack, shares in result.paged_after.items() if not attack.removeprefix("attack:").startswith(_HARD)}
    assert promised
    early = _EARLY.get(name, 0.2)
    assert all(share < early for shares in promised.values() for share in shares), promised


# -- labels -----------------------------------------------------------------------------------------------------------------------------


def labelled(folder: Path, *, worse_from: int = 10**9, delay_s: float = 600.0, **columns: Any) -> Path:
    """A recording whose labels come ten minutes later, drawn as the model says; from this event on, the contrary of its answers."""
    of = event_columns(n=6_000, walk=0)
    n = len(of["ts"])
    answer = of["label"].to_numpy()
    truth = (np.random.default_rng(3).random(n) < np.stack(of["probs"].to_numpy(zero_copy_only=False))[:, 1]).astype(np.int32)
    truth[worse_from:] = 1 - answer[worse_from:]
    written = write(folder / "shop", events=of)
    table = {"event": pa.array(np.arange(n)), "label": pa.array(truth), "ts": pa.array(of["ts"].to_numpy() + delay_s)} | columns
    pq.write_table(pa.table({name: column for name, column in table.items() if column is not None}), written / "labels.parquet")
    return written


def test_labels_are_joined_and_say_nothing_while_the_model_is_as_good_as_its_reference(tmp_path: Path) -> None:
    summary = run(labelled(tmp_path), tmp_path / "out")
    assert summary.labels == {"joined": 6_000}
    assert [a for a in lines(tmp_path / "out") if a["detector"] in ("accuracy", "concept")] == []


def test_a_model_that_turned_bad_is_paged_in_a_recording_as_it_would_be_live(tmp_path: Path) -> None:
    folder = labelled(tmp_path, worse_from=3_000)
    assert run(folder, tmp_path / "out").labels == {"joined": 6_000}
    found = [a for a in lines(tmp_path / "out") if a["detector"] == "accuracy"]
    assert [a["severity"] for a in found] == ["ticket", "page"]
    assert found[0]["at"] > 1_800 + 600
    run(folder, tmp_path / "again")
    assert (tmp_path / "again" / "alerts.jsonl").read_bytes() == (tmp_path / "out" / "alerts.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("columns", "message"),
    [({"event": None}, "no column event"), ({"ts": pa.array([float("nan")] * 6_000)}, "ts: row 0 is nan"),
     ({"event": pa.array([-1] * 6_000)}, "event: row 0 is -1"), ({"ts": pa.array(["x"] * 6_000)}, "ts")],
)  # fmt: skip
def test_labels_that_make_no_sense_are_named(columns: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(TableError, match=message):
        run(labelled(tmp_path, **columns), tmp_path / "out")


def test_labels_without_a_class_or_an_event_are_counted(tmp_path: Path) -> None:
    label = pa.array([None, 7, *[0] * 5_998], pa.int32())
    summary = run(labelled(tmp_path, label=label, event=pa.array([0, 1, 2, 2, 10**9, *range(5, 6_000)])), tmp_path / "out")
    assert summary.labels == {"joined": 5_996, "not_a_class": 2, "twice": 1, "unknown": 1}
