"""Labels that are flipped for one segment: from the shards' answers and the labels topic to one ticket, across restarts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from schemas.outcomes import Outcomes, columns_of
from streams.feedback import group_of_service
from tests.streams.events import NS, events
from tests.streams.judging import alerts
from tests.streams.labelling import Pair, answers, label, other


def course(*, flip: bool, restart: bool = False) -> Pair:
    """Thirty windows of 100 answers, each labelled; from the twentieth on the labels of high ages are turned."""
    pair = Pair(labels={"segments": ("age",)})
    for window in range(30):
        batch = events(100, seed=window, start_s=300.0 * window, rate=1.0, number=100 * window, clients=30)
        pair.events(batch)
        pair.close_windows()
        said = answers(batch)
        for k in range(100):
            turned = flip and window >= 20 and batch.numeric[k, 0] > 0.7
            pair.labels(label(100 * window + k, other(said[k]) if turned or k % 25 == 0 else said[k]))
        pair.tick(150.0)
        pair.tick(151.0)
        if restart:
            pair.restart()
    return pair


@pytest.mark.parametrize("restart", [False, True])
def test_flipped_labels_of_one_segment_are_one_ticket_that_names_it(restart: bool) -> None:
    found = [one for one in alerts(course(flip=True, restart=restart).judge) if one.detector == "feedback"]
    assert [(one.severity, one.feature) for one in found] == [("ticket", "age")]
    assert found[0].evidence["segment"].endswith("to inf")
    assert found[0].evidence["share_of_the_others"] < 0.1


def test_honest_labels_are_quiet() -> None:
    assert [one for one in alerts(course(flip=False).judge) if one.detector == "feedback"] == []


def test_answers_bring_their_cells_and_damaged_ones_are_refused() -> None:
    whole: dict[str, Any] = {
        "model": "m", "version": "1", "reference": "", "partition": 0, "epoch": 0, "sequence": 0, "classes": ["a"], "width": 0,
        "scores": b"",
        "keys": np.array([7, 8], "<u8").tobytes(), "at_ns": np.array([NS, NS], "<i8").tobytes(), "answer": bytes(4),
    }  # fmt: skip
    told = columns_of(Outcomes(**whole, fields=["client"], cells=bytes([3, 15])))
    assert (told.fields, np.asarray(told.cells).tolist()) == (("client",), [[3], [15]])
    assert columns_of(Outcomes(**whole)).fields == ()  # of a release that sent none
    for cells in (bytes([3]), bytes([3, 16])):
        with pytest.raises(ValueError, match="cells of 1 fields"):
            columns_of(Outcomes(**whole, fields=["client"], cells=cells))


def test_a_service_has_its_group_in_every_process_and_no_service_has_its_own() -> None:
    assert group_of_service("shop") == 2
    assert group_of_service("") == 15
    assert all(group_of_service(f"s{k}") < 15 for k in range(200))
