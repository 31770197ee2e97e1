"""Promises of bench/detection's rules: what counts as found, early and wrong."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.detection import score, table


def alert(at: float, severity: str, client: str = "", clients: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"at": at, "severity": severity, "client": client, "clients": list(clients), "detector": "evasion"}


CLIENT = ["good"] * 10 + ["bad"] * 110
TRUTH = ["benign:regular"] * 20 + ["attack:evasion:walk"] * 100
TS = np.arange(120.0)


def test_queries_to_find_count_attack_events_until_the_first_page() -> None:
    found = score("s", TS, CLIENT, TRUTH, [alert(24.0, "ticket", "bad"), alert(39.0, "page", "bad")]).ids[0]
    assert (found.queries, found.alerted, found.paged) == (100, 5, 20)


def test_an_alert_before_the_attack_begins_is_wrong_and_finds_nothing() -> None:
    s = score("s", TS, CLIENT, TRUTH, [alert(15.0, "page", "bad")])
    assert s.ids[0].paged is None
    assert dict(s.wrong) == {("page", "alone", "benign:past of evasion:walk"): 1}


def test_benign_names_alone_and_in_a_pool_are_told_apart() -> None:
    s = score("s", TS, CLIENT, TRUTH, [alert(5.0, "ticket", "good"), alert(30.0, "page", clients=("good", "bad")), alert(31.0, "page")])
    assert dict(s.wrong) == {("ticket", "alone", "benign:regular"): 1, ("page", "pool", "benign:regular"): 1}
    assert dict(s.model_level) == {"evasion:page": 1}
    text = table([s])
    assert "wrong ticket, alone: 1   (regular 1)" in text
    assert "paged 100.0%  before a fifth 100.0%" in text
