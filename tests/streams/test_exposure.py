"""Exposure from the event to the ticket: a limit that the owner set, one ticket a client, and no suspicion."""

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from inferwatch import Strings
from schemas.windows import Finding
from streams import pages
from streams.replay import replay
from streams.settings import SettingsError, load
from streams.watch import ClientWatch
from tests.streams.recordings import lists, reference_columns, write

LIMIT = {"INFERWATCH_EXPOSURE_AGREEMENT_LIMIT": "0.9", "INFERWATCH_EXPOSURE_FLAGGED_CLASSES": "1, fraud"}


def answers(X: Any) -> Any:
    """Of a model that is not copied from a handful of answers."""
    p = 1 / (1 + np.exp(-6 * np.sin(3 * X[:, 0]) * np.cos(2 * X[:, 1]) - X[:, 2]))
    return np.stack([1 - p, p], 1).astype(np.float32)


def reference(n: int = 3_000) -> dict[str, Any]:
    X = np.random.default_rng(0).normal(size=(n, 3))
    return reference_columns(n) | {"features": lists(X), "probs": lists(answers(X))}


def quiet_thief(n: int = 4_000) -> dict[str, Any]:
    """One client asks natural rows, as many as all twenty others together, who ask fifty rows again and again."""
    rng = np.random.default_rng(4)
    X = rng.normal(size=(n, 3))
    thief = np.arange(n) % 2 == 0
    X[~thief] = X[1:101:2][rng.integers(0, 50, int((~thief).sum()))]
    scores = answers(X)
    return {
        "ts": pa.array(np.arange(n) * 2.0),
        "client_id": pa.array(np.where(thief, "thief", [f"c{k % 20}" for k in range(n)])),
        "features": lists(X),
        "probs": lists(scores),
        "label": pa.array(np.argmax(scores, 1).astype(np.int32)),
    }


def run(folder: Path, environ: dict[str, str]) -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]:
    replay(write(folder / "shop", reference=reference(), events=quiet_thief()), folder / "out", load(None, environ))
    alerts = [json.loads(line) for line in (folder / "out" / "alerts.jsonl").read_text().splitlines()]
    return alerts, {row["client"]: row for row in pq.read_table(folder / "out" / "clients.parquet").to_pylist()}


def test_natural_rows_are_not_found_but_they_are_counted_and_a_limit_opens_one_ticket(tmp_path: Path) -> None:
    alerts, clients = run(tmp_path, LIMIT)
    about = [a for a in alerts if a["client"]]
    assert [(a["client"], a["detector"], a["severity"]) for a in about] == [("thief", "cost", "ticket")]
    evidence = about[0]["evidence"]
    assert evidence["copy_agreement"] >= 0.9
    assert evidence["flagged_answers"] > 0
    assert "over the owner's limit" in about[0]["summary"]
    thief = clients.pop("thief")
    assert 1_400 < thief["distinct_answers"] < 2_600
    assert 800 < thief["flagged_answers"] < 1_200
    assert thief["severity"] == 0  # having much is no suspicion
    assert thief["exposure"] > 0.9 > max(row["exposure"] for row in clients.values())
    assert thief["members_touched"] == 0
    assert all(row["distinct_answers"] < 100 for row in clients.values())


def test_without_a_limit_there_is_no_ticket_and_the_count_is_the_same(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    alerts, clients = run(tmp_path / "a", {})
    assert [a for a in alerts if a["client"]] == []
    assert clients["thief"]["distinct_answers"] > 1_400
    assert clients["thief"]["flagged_answers"] == 0


def test_the_limit_is_a_share() -> None:
    assert load(None, {}).exposure.agreement_limit == 0
    assert load(None, LIMIT).exposure.flagged_classes == ("1", "fraud")
    with pytest.raises(SettingsError, match="agreement_limit"):
        load(None, {"INFERWATCH_EXPOSURE_AGREEMENT_LIMIT": "90"})


def test_the_sentence_of_a_renewed_or_foreign_finding_is_made_of_what_it_has() -> None:
    given = {"model": "m", "version": "1", "partition": 0, "epoch": 0, "sequence": 0, "at_ns": 0, "family": "cost", "severity": "ticket"}
    given |= {"client": "c", "clients": [], "n_events": 9, "log_evidence": 0.0, "statistic": "exposure", "event_id": "", "renewed": True}
    found = msgspec.convert(given | {"evidence": {"copy_agreement": "x"}}, Finding)
    assert "so many distinct answers" in pages.finding(found)


def watch() -> ClientWatch:
    return ClientWatch("m", "1", 0, load(None, {}), lambda capacity: None, lambda slots: None)


def test_rows_of_a_release_without_a_ledger_are_taken_and_begin_with_nothing_given() -> None:
    before, after, older = watch(), watch(), watch()
    slot = before.slots(Strings.of(["a", "b", "a"]))
    X = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    before.judge(slot, np.arange(3), X, np.empty((3, 0), np.float32), np.full(3, -1, np.int32), before.detectors.codes(X))
    rows, rest = next(before.all_rows()), before.rest()
    for one in (after, older):
        one.load_rest(rest, same_reference=True)
    after.load_rows(rows)
    assert after.detectors.exposure(np.arange(2))["distinct_answers"].tolist() == [2, 1]
    older.load_rows(rows | {"columns": {name: c for name, c in rows["columns"].items() if not name.startswith("exposure.")}})
    assert older.detectors.exposure(np.arange(2))["distinct_answers"].tolist() == [0, 0]
    assert older.table.names == ["a", "b"]
