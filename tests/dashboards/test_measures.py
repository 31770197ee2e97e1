"""AUC within its stated error and F1, from parts that add up: as scikit-learn has them of the rows, from the judge through the store."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import f1_score, roc_auc_score

from dashboards.build import views
from dashboards.macros import expand
from schemas.measures import answer_codes, auc, f1, score_codes
from schemas.outcomes import P_ONE
from schemas.rows import AccuracyWindowRow
from streams.clickhouse import ClickHouse
from streams.migrate import migrate
from tests.dashboards.test_dashboards import ALL
from tests.streams.events import NS, START
from tests.streams.test_accuracy import Service


def of_rows(classes: int, n: int, seed: int, base: float = 0.0) -> tuple[Any, Any, Any]:
    """Truth, answers and probabilities of a model that knows something."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(classes, n, p=np.array([1.0 + base, *[1.0] * (classes - 1)]) / (classes + base))
    logits = rng.normal(size=(n, classes)) + 1.2 * np.eye(classes)[truth]
    logits[:, 0] += np.log1p(base)
    scores = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return truth, scores.argmax(1), np.round(scores * P_ONE).astype(np.uint16)


@pytest.mark.parametrize(("classes", "base"), [(2, 0.0), (2, 200.0), (5, 0.0), (16, 0.0)])
def test_they_are_those_of_the_rows(classes: int, base: float) -> None:
    truth, answer, scores = of_rows(classes, 6_000, seed=classes, base=base)
    _, codes = score_codes(truth, scores, classes)
    found = auc(Counter(codes.tolist()))
    assert found is not None
    p = scores / scores.sum(1, keepdims=True)
    exact = roc_auc_score(truth, p[:, 1]) if classes == 2 else roc_auc_score(truth, p, multi_class="ovr", average="macro")
    assert abs(found[0] - exact) <= found[1] + 1e-4  # of 16 bits a probability, and the sums of many classes
    assert found[1] < 0.04
    of_answers = f1(Counter(answer_codes(truth, answer, classes).tolist()), classes)
    assert of_answers == pytest.approx(f1_score(truth, answer, average="binary" if classes == 2 else "macro", zero_division=0))


def test_without_both_kinds_of_rows_or_every_probability_there_is_none() -> None:
    assert auc({}) is None
    assert f1({}, 2) is None
    truth, _, scores = of_rows(2, 50, seed=1)
    _, codes = score_codes(np.zeros(50, int), scores, 2)
    assert auc(Counter(codes.tolist())) is None
    assert len(score_codes(truth, scores[:, :1], 2)[1]) == 0


@pytest.mark.clickhouse
def test_the_panel_shows_what_the_judge_counted(clickhouse: ClickHouse) -> None:
    migrate(clickhouse)
    service = Service()
    service.play(3)
    service.pair.restart()
    service.play(4)
    service.pair.tick(400)
    rows = [AccuracyWindowRow(**row) for row in service.pair.rows("accuracy_windows")]
    clickhouse.insert(rows, "rows")
    clickhouse.insert(rows, "again")
    told: dict[str, tuple[Counter[int], Counter[int]]] = {row.delay: (Counter(), Counter()) for row in rows}
    for row in rows:
        told[row.delay][0].update(dict(zip(row.answer_codes, row.answer_counts, strict=True)))
        told[row.delay][1].update(dict(zip(row.score_codes, row.score_counts, strict=True)))
    assert [sum(sum(of[kind].values()) for of in told.values()) for kind in (0, 1)] == [1_400, 1_400]
    end = datetime.fromtimestamp(START / NS, UTC) + timedelta(hours=2)
    panel = views()["debug"].panel("Right and promised")
    shown = clickhouse.query(expand(panel.sql, start=end - timedelta(hours=6), end=end, variables=ALL))
    assert {line["delay"] for line in shown} == set(told)
    for line in shown:
        answers, scores = told[line["delay"]]
        area = auc(scores)
        assert area is not None
        assert (line["AUC"], line["AUC +-"]) == (pytest.approx(area[0]), pytest.approx(area[1]))
        assert line["F1"] == pytest.approx(f1(answers, 2))
        assert 0.6 < line["AUC"] < 0.95
    with_time = views()["debug"].panel("AUC and F1")
    points = clickhouse.query(expand(with_time.sql, start=end - timedelta(hours=6), end=end, variables=ALL))
    assert len(points) >= 5
    assert all(0.5 < point["AUC"] < 1 for point in points)
