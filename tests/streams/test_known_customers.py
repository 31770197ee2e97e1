"""Who may ask for training rows: with the owner's list, anybody else who asks one record after another gets a ticket."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from streams.replay import replay
from streams.settings import load
from tests.streams.recordings import answers, lists, reference_columns, write


def events(reference: dict[str, Any], n: int = 200) -> dict[str, Any]:
    """Two clients who ask members and other rows, each once and in random order; one of them has reason to. Ten others ask no members."""
    rng = np.random.default_rng(3)
    members = np.array(reference["features"].to_pylist()[:500], np.float32)
    mixed = [rng.permutation(np.concatenate([members[a : a + n // 2], rng.normal(size=(n // 2, 3))])) for a in (0, n // 2)]
    X = np.concatenate([*mixed, rng.normal(size=(600, 3))]).astype(np.float32)
    clients = ["bank"] * n + ["prober"] * n + [f"c{k % 10}" for k in range(600)]
    order = rng.permutation(len(X))
    scores = answers(X[order])
    return {
        "ts": pa.array(np.arange(len(X)) * 5.0),
        "client_id": pa.array([clients[k] for k in order.tolist()]),
        "features": lists(X[order]),
        "probs": lists(scores),
        "label": pa.array(np.argmax(scores, 1).astype(np.int32)),
    }


def membership_tickets(folder: Path, environ: dict[str, str]) -> list[tuple[str, str]]:
    reference = reference_columns(1_000)
    replay(write(folder / "shop", reference=reference, events=events(reference)), folder / "out", load(None, environ))
    alerts = [json.loads(line) for line in (folder / "out" / "alerts.jsonl").read_text().splitlines()]
    return [(a["client"], a["severity"]) for a in alerts if a["detector"] == "membership"]


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ("", []),  # nobody knows who may: asking for members is a customer's right, and is counted only
        ("bank, insurer", [("prober", "ticket")]),
        ("insurer", [("bank", "ticket"), ("prober", "ticket")]),
    ],
)
def test_members_asked_by_who_is_no_known_customer_open_a_ticket(known: str, expected: list[tuple[str, str]], tmp_path: Path) -> None:
    environ = {"INFERWATCH_MEMBERSHIP_KNOWN_CUSTOMERS": known} if known else {}
    assert sorted(membership_tickets(tmp_path, environ)) == expected
