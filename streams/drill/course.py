"""The course of the drill: ordinary traffic for every model, then every failure at once, each on a model of its own."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np
from confluent_kafka import Consumer, TopicPartition

import inferwatch
from schemas import canaries
from schemas.alerts import Alert
from schemas.canaries import Canary, layout_of, part_of
from schemas.reference import Reference
from streams.canaries import codes_of, key_tag
from streams.clickhouse import ClickHouse, ClickHouseError
from streams.demo import model
from streams.demo.model import Served
from streams.demo.stage import Stage
from streams.drill.desk import Desk, LossyTransport
from streams.drill.modes import CONTROL, TRUSTED_KEY, Mode, canary_row
from streams.drill.report import Line, Report, line_of
from streams.embedded.process import Child
from streams.gate import decide, facts
from streams.kafka import client_config, publish_reference
from streams.settings import Settings

__all__ = ["ENVIRONMENT", "Plan", "hold"]

ENVIRONMENT = {"INTEGRITY_KEY_IDS": TRUSTED_KEY, "OBJECTIVES_SATURATION_S": "20", "SWARM_ROWS_PER_SLICE": "0", "METRICS_STALL_S": "120"}
"""Of the drill's worker, beside the demo's: no swarms are made, and twenty models at once take a small machine's breath away."""
_STEP_S = 0.25
_LEAST_WINDOWS = 12
"""Of failures, also when all that is expected has fired: what else fires takes its time."""
_PSEUDONYMS = b"of a drill, sixteen"


@dataclass(frozen=True)
class Plan:
    """How long, and how much.

    Attributes:
        warm_windows: Of ordinary traffic; the detectors learn what is usual in twelve, and a client's own rate takes as long.
        failing_s: Of failures; silence takes more than a minute to tell.
        rate: Ordinary requests a second and model, at least 50.
        seed: Of data, training and traffic.
    """

    warm_windows: int = 30
    failing_s: float = 150.0
    rate: float = 80.0
    seed: int = 1


class _Alerts:
    """Reads the alerts topic in a thread."""

    def __init__(self, settings: Settings) -> None:
        self.seen: list[tuple[Alert, float]] = []
        self._over = threading.Event()
        kafka = settings.kafka
        self._consumer = Consumer(client_config(kafka) | {"group.id": "drill", "enable.auto.commit": False})
        topic = f"{kafka.topic_prefix}.alerts"
        self._consumer.assign([TopicPartition(topic, p, 0) for p in range(kafka.partitions)])
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._over.is_set():
            message = self._consumer.poll(0.2)
            if message is not None and message.error() is None and message.value():
                self.seen.append((msgspec.json.decode(message.value() or b"", type=Alert), time.monotonic()))

    def close(self) -> None:
        self._over.set()
        self._thread.join(5)
        self._consumer.close()


def hold(stage: Stage, modes: Sequence[Mode], plan: Plan, say: Callable[[str], None]) -> Report:
    """Holds the drill on a stage that was started.

    Raises:
        DemoError: a part is missing or failed.
    """
    began = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    every = [*modes, CONTROL]
    served = model.train(model.load(plan.seed), plan.seed)
    _publish(stage, served, every)
    stage.wait_for_worker()
    window_s = stage.settings.window.length_s
    with ExitStack() as ends:
        alerts = _Alerts(stage.settings)
        ends.callback(alerts.close)
        desks, lossy, killed = _open(stage, served, every, plan, ends)
        warm_s = plan.warm_windows * window_s
        say(f"{len(every)} models, {plan.rate:g} requests a second each: {warm_s:.0f} s of ordinary traffic")
        start = time.monotonic()
        _traffic(stage, desks, start, start + warm_s)
        onset = time.monotonic()
        say(f"now everything fails at once, for {plan.failing_s:.0f} s at most")
        counts: dict[str, list[tuple[float, int]]] = {}
        for desk in desks:
            desk.begin(onset - start)
        for transport in lossy:
            transport.lossy = True
        for child in killed:
            child.stop(kill=True)
        _traffic(
            stage,
            desks,
            start,
            onset + plan.failing_s,
            counts,
            lambda: time.monotonic() > onset + _LEAST_WINDOWS * window_s and _done(every, alerts.seen, onset),
        )
        failing_s = time.monotonic() - onset
        for desk in desks:
            desk.end()
        time.sleep(2 * window_s)  # the last windows are judged
        seen = list(alerts.seen)
    gates = _gates(stage, every, {desk.mode.key: desk.version for desk in desks}, say)
    lines = tuple(_line(mode, seen, onset, counts.get(mode.key, []), stage, gates.get(mode.key, "")) for mode in every)
    return Report(began=began, window_s=window_s, warm_s=warm_s, failing_s=failing_s, rate=plan.rate, lines=lines)


def _publish(stage: Stage, served: Served, modes: Sequence[Mode]) -> None:
    key = stage.settings.membership.key.encode()
    published = model.reference_of(served, "1", key, time.time_ns())
    for mode in modes:
        versions = ("1", "2") if mode.key == "f9-version" else ("1",)
        for version in versions:
            stage.publish(msgspec.structs.replace(published, model=mode.model, version=version))
        if mode.canary:
            _register(stage, served, mode, published)


def _register(stage: Stage, served: Served, mode: Mode, published: Reference) -> None:
    """As `inferwatch canary add` does."""
    key = stage.settings.membership.key
    code = codes_of(key, mode.model, mode.version, canary_row(served.data)[None])[0]
    one = Canary(name="drill-1", code=code, layout=layout_of(published.features), key_tag=key_tag(key), added_at_ns=time.time_ns())
    publish_reference(stage.settings.kafka, mode.model, part_of(mode.version, code), canaries.encode(one))


def _open(
    stage: Stage, served: Served, modes: Sequence[Mode], plan: Plan, ends: ExitStack
) -> tuple[list[Desk], list[LossyTransport], list[Child]]:
    kafka = stage.settings.kafka
    window_s = stage.settings.window.length_s

    def client(instance: str, transport: LossyTransport | None = None) -> inferwatch.Client:
        where: dict[str, Any] = {"transport": transport} if transport else {"bootstrap_servers": kafka.bootstrap_servers}
        made = inferwatch.Client(service="drill", instance=instance, pseudonym_key=_PSEUDONYMS, topic_prefix=kafka.topic_prefix,
                                 heartbeat_s=2.0, **where)  # fmt: skip
        ends.callback(made.close)
        return made

    shared = client("drill-1")
    desks, lossy, killed = [], [], []
    for k, mode in enumerate(modes):
        if mode.own_client == "process":
            killed.append(_process(stage, served, mode, plan, ends))
            continue
        watch = shared
        if mode.own_client == "lossy":
            lossy.append(LossyTransport(kafka.bootstrap_servers))
            watch = client("drill-lossy", lossy[-1])
        elif mode.own_client == "full":
            watch = client("drill-full")
        desks.append(Desk(mode, served, watch, rate=plan.rate, window_s=window_s, step_s=_STEP_S, seed=plan.seed + k))
    return desks, lossy, killed


def _process(stage: Stage, served: Served, mode: Mode, plan: Plan, ends: ExitStack) -> Child:
    data, file = served.data, stage.home / "rows.npz"
    np.savez(file, X=data.traffic.X, scores=served.answer(data.traffic.X), names=data.names, classes=data.classes)
    kafka = stage.settings.kafka
    argv = [
        sys.executable,
        "-m",
        "streams.drill.service",
        str(file),
        kafka.bootstrap_servers,
        kafka.topic_prefix,
        mode.model,
        "1",
        f"{plan.rate:g}",
    ]
    child = Child("the service that is killed", ["env", f"PYTHONPATH={os.pathsep.join(sys.path)}", *argv], stage.home / "service.log")
    ends.callback(child.stop)
    return child


def _traffic(
    stage: Stage, desks: Sequence[Desk], start: float, until: float,
    counts: dict[str, list[tuple[float, int]]] | None = None, done: Callable[[], bool] = lambda: False,
) -> None:  # fmt: skip
    while (now := time.monotonic()) < until and not done():
        stage.check()
        for desk in desks:
            desk.step(now - start)
            if counts is not None:
                counts.setdefault(desk.mode.key, []).append((time.monotonic(), desk.events))
        time.sleep(max(0.0, now + _STEP_S - time.monotonic()))


def _done(modes: Sequence[Mode], seen: Sequence[tuple[Alert, float]], onset: float) -> bool:
    """Everything that is expected has fired; never, where nothing is: then the whole time is given to what fires besides."""
    if not any(mode.expected for mode in modes):
        return False
    fired = {(alert.model, alert.detector, alert.severity) for alert, at in list(seen) if at >= onset and alert.state == "firing"}
    return all(
        any((mode.model, expected.detector, severity) in fired for severity in ("page", expected.severity))
        for mode in modes for expected in mode.expected
    )  # fmt: skip


def _line(
    mode: Mode, seen: Sequence[tuple[Alert, float]], onset: float, counts: Sequence[tuple[float, int]], stage: Stage, gate: str
) -> Line:
    mine = [(alert, at - onset, _events(counts, at)) for alert, at in seen if alert.model == mode.model]
    paged = [
        received.at - onset
        for received in (stage.pager.received if stage.pager is not None else [])
        if received.at >= onset and received.status == "firing"
        and any(one["labels"].get("model") == mode.model and one["labels"].get("severity") == "page" for one in received.alerts)
    ]  # fmt: skip
    return line_of(mode, mine, round(min(paged), 1) if paged else None, gate)


def _events(counts: Sequence[tuple[float, int]], at: float) -> int:
    """Events recorded until then."""
    return max((n for when, n in counts if when <= at), default=0)


def _gates(stage: Stage, modes: Sequence[Mode], versions: dict[str, str], say: Callable[[str], None]) -> dict[str, str]:
    """What the gate says of each model, asked of the worker's store once it is free."""
    say("asking the gate about every model")
    stage.stop_worker()
    found = {}
    try:
        with ClickHouse(stage.store) as clickhouse:
            for mode in modes:
                answer = decide(facts(clickhouse, mode.model, versions.get(mode.key, "1"), stage.settings), stage.settings)
                found[mode.key] = "may" if answer.passed else f"may not: {answer.reasons[0][:150]}"
    except ClickHouseError as error:
        say(f"the gate could not ask the store: {error}")
    return found
