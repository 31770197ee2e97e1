"""The drill's ordinary clients are paged by nobody, whatever the model does: its traffic through shard and judge, without a broker."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from inferwatch import EventColumns, Strings
from schemas import findings, windows
from schemas.alerts import Alert
from streams.demo import model
from streams.demo.attack import Outcome, square
from streams.demo.model import Served
from streams.doubt import MODELS_DOING
from streams.drill.desk import Desk
from streams.drill.modes import MODES, Mode
from streams.judge import Judge
from streams.references import References
from streams.shard import Shard
from tests.streams.events import KEY, NS, START, settings

BY_KEY = {mode.key: mode for mode in MODES}
WARM_S, FAILING_S, STEP_S, WINDOW_S = 90.0, 90.0, 0.25, 3.0


class Counter:
    """Stands where the SDK's client is: keeps what was answered in a step."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []

    def loaded(self, **what: Any) -> None: ...

    def label(self, **what: Any) -> None: ...

    def record(self, **what: Any) -> None:
        if what["scores"] is not None:
            self.told.append(what)

    def events(self, now: float, number: int) -> EventColumns | None:
        told, self.told = self.told, []
        if not told:
            return None
        return EventColumns(
            model=told[0]["model"], version=told[0]["version"], service="drill", instance="drill-1",
            client=Strings.of([one["client"] for one in told]), at_ns=np.full(len(told), START + round(now * NS), np.int64),
            number=np.arange(number, number + len(told)), status=np.zeros(len(told), np.uint8),
            latency_ms=np.full(len(told), 9.0, np.float32), names=tuple(told[0]["features"]),
            numeric=np.array([list(one["features"].values()) for one in told], np.float32),
            scores=np.array([one["scores"] for one in told], np.float32), prediction=Strings.of([one["prediction"] for one in told]),
        )  # fmt: skip


def alerts_of(mode: Mode, served: Served, seed: int) -> list[Alert]:
    """What fires for a mode, without a broker."""
    given = settings(window={"length_s": WINDOW_S}, swarm={"rows_per_slice": 0}, sampling={"events_per_window": 0}, labels={"events": 0})
    references, published = References(KEY), model.reference_of(served, "1", KEY, START)
    for version in ("1", "2"):
        references.put(msgspec.structs.replace(published, model=mode.model, version=version))
    shard, judge = Shard(0, given, references), Judge(0, given, references)
    counter, alerts, number = Counter(), [], 0
    desk = Desk(mode, served, counter, rate=80.0, window_s=WINDOW_S, step_s=STEP_S, seed=seed)  # type: ignore[arg-type]  # a stand-in
    for step in range(1, round((WARM_S + FAILING_S) / STEP_S)):
        now = step * STEP_S
        if now == WARM_S:
            desk.begin(now)
        desk.step(now)
        events = counter.events(now, number)
        if events is None:
            continue
        number += len(events)
        shard.take(events, START + round(now * NS))
        for out in shard.outbox:
            if out.to == "windows":
                partial = windows.decode_partial(out.value)
                judge.partial(partial, partial.end_ns)
                judge.tick(partial.end_ns + round(11 * NS))
            elif out.to == "findings":
                judge.told(findings.decode(out.value, out.headers), START + round(now * NS))
        shard.outbox.ack([out.id for out in shard.outbox])
        alerts += [msgspec.json.decode(out.value, type=Alert) for out in judge.outbox if out.to == "alerts"]
        judge.outbox.ack([out.id for out in judge.outbox])
    return alerts


@pytest.fixture(scope="module")
def served() -> Served:
    return model.train(model.load(1), 1)


@pytest.mark.slow
@pytest.mark.parametrize("key", ["f2-trigger", "f6-outputs", "f9-version"])
def test_a_model_whose_answers_changed_pages_for_itself_and_for_no_client(served: Served, key: str) -> None:
    told = alerts_of(BY_KEY[key], served, seed=1)
    assert {one.detector for one in told} & set(MODELS_DOING), "it was noticed"
    assert [one.summary for one in told if one.severity == "page" and one.detector in ("evasion", "extraction", "membership")] == []
    noticed = next(k for k, one in enumerate(told) if one.detector in MODELS_DOING)
    for one in told[noticed:]:
        if one.detector == "evasion":
            assert one.evidence["in_doubt"] in MODELS_DOING


@pytest.mark.slow
def test_an_attack_on_a_sound_model_pages_beside_the_same_clients(served: Served) -> None:
    mode = BY_KEY["f7-membership"]
    told = alerts_of(mode, served, seed=1)
    assert {one.client for one in told if one.severity == "page"} == {"prober"}


@pytest.mark.slow
def test_square_turns_answers_and_its_client_is_paged(served: Served) -> None:
    pytest.importorskip("art")
    mode, data, outcome = BY_KEY["f4-square"], served.data, Outcome()
    asked: list[tuple[Any, Any]] = []

    def ask(row: Any) -> Any:
        asked.append((row, served.answer(row[None])[0]))
        return asked[-1][1]

    square(ask, data.attacker.X, *data.bounds, classes=len(data.classes), outcome=outcome, stop=lambda: len(asked) >= 1_000, seed=1)
    assert outcome.queries == len(asked) == len({row.tobytes() for row, _ in asked}), "no row is paid for twice"
    assert outcome.fooled > outcome.rows / 2
    references = References(KEY)
    references.put(msgspec.structs.replace(model.reference_of(served, "1", KEY, START), model=mode.model))
    shard, counter = Shard(0, settings(swarm={"rows_per_slice": 0}), references), Counter()
    told: list[Any] = []
    for number, (row, scores) in enumerate(asked):
        features = dict(zip(data.names, row.tolist(), strict=True))
        counter.record(model=mode.model, version="1", client="mallory", features=features, scores=scores.tolist(),
                       prediction=data.classes[int(scores.argmax())])  # fmt: skip
        events = counter.events(number * 0.02, number)
        assert events is not None
        shard.take(events, START + round(number * 0.02 * NS))
        told += [findings.decode(out.value, out.headers) for out in shard.outbox if out.to == "findings"]
        shard.outbox.ack([out.id for out in shard.outbox])
    pages = [one for one in told if one.severity == "page"]
    assert {(one.family, one.client) for one in pages} == {(mode.expected[0].detector, "mallory")}
