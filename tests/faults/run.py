"""One run: faults strike while events flow, everything comes to rest, and every figure is compared."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from schemas.reference import Reference, encode
from schemas.windows import decode_partial
from streams.clickhouse import ClickHouse
from streams.embedded.alertmanager import EmbeddedAlertmanager
from streams.embedded.kafka import EmbeddedKafka
from streams.kafka import publish_reference
from tests.faults.compare import Comparison, compare, pages, stored
from tests.faults.recompute import arithmetic, replay
from tests.faults.scenarios import Scene, Strike
from tests.faults.stage import SETTLE_S, Stage
from tests.faults.store import Store
from tests.faults.workload import MODELS, Traffic
from tests.pager import Pager
from tests.streams.events import reference


@dataclass(frozen=True)
class Outcome:
    """A row of the report."""

    name: str
    faults: int
    ends: str
    sent: int
    accepted: int
    rejected: int
    comparison: Comparison
    pages_expected: int
    pages_seen: int
    standstill_s: float
    took_s: float


def perform(
    name: str,
    strikes: Mapping[str, Strike],
    folder: Path,
    *,
    kafka: EmbeddedKafka,
    store: Store,
    alertmanager: EmbeddedAlertmanager,
    pager: Pager,
    prefix: str,
    long: bool,
    seed: int,
    workers: int = 2,
    state: Path | None = None,
    extra: Mapping[str, str] | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Outcome:
    """Runs the strikes one after the other on one stage."""
    began = time.monotonic()
    with ExitStack() as stack:
        stage = stack.enter_context(Stage(folder, kafka, store, alertmanager, pager, prefix, extra, state))
        before = len(pager.notifications)
        references = [reference(seed=11 + k, model=model) for k, model in enumerate(MODELS)]
        for one in references:
            publish_reference(stage.settings.kafka, one.model, one.version, encode(one))
        for _ in range(workers):
            stage.join()
        stage.wait_until_ready()
        traffic = Traffic(kafka.bootstrap_servers, prefix, seed)
        traffic.start()
        scene = Scene(stage, traffic, np.random.default_rng(seed), long)
        faults = 0
        scene.pause(4.0, 5.0)
        scene.goes_on()  # every partition has closed a window
        for k, (what, strike) in enumerate(strikes.items()):
            progress(f"{time.monotonic() - began:4.0f} s  {what}")
            if k == len(strikes) // 2:  # so that faults come before, while and after a page is raised
                traffic.attack.set()
            faults += strike(scene)
        stage.until(lambda: traffic.attacked > 400, "the attack is long enough", 120)
        traffic.finish()
        progress(f"{time.monotonic() - began:4.0f} s  comes to rest")
        return _judge(name, stage, traffic, references, faults, before, began, progress)


def _judge(
    name: str,
    stage: Stage,
    traffic: Traffic,
    references: list[Reference],
    faults: int,
    before: int,
    began: float,
    progress: Callable[[str], None],
) -> Outcome:
    stage.drain("all that was sent is durable", read_only=True)
    expected = replay(stage.settings, references, stage.read("events"))
    sums = arithmetic(traffic.account, references[0])
    stage.step_clock(traffic.last_end_s + 2.0 - time.time())
    progress("rest: all is durable, and computed again")
    stage.until(lambda: _partials(stage) >= expected.partials, f"{expected.partials} shares of windows are on their topic", SETTLE_S - 8.0)
    stage.drain("the last windows are with their judges", read_only=True)
    progress("rest: the last windows are closed")
    stage.step_clock(traffic.last_end_s + 2.0 * SETTLE_S - time.time())
    stage.drain("all is judged and stored", 60)
    time.sleep(1.5)  # the judges' next tick, after which nothing is left
    stage.drain("all is judged and stored", 60)
    with ClickHouse(stage.store.dsn(stage.name)) as clickhouse:
        rows = stored(clickhouse)
    comparison = compare(rows, expected, sums)
    accepted = sum(row["accepted"] for row in rows["windows"])
    rejected = sum(sum(row["rejected"].values()) for row in rows["windows"])
    comparison.check("accepted + rejected", "", traffic.sent, accepted + rejected)
    comparison.check("rejected", "duplicate", traffic.twice, expected.rejected["duplicate"])
    comparison.check("rejected", "clock", traffic.account.astray.total(), expected.rejected["clock"])
    comparison.check("takeovers in an older state", "", [], stage.went_back())
    comparison.check("snapshots of a replaced owner", "", [], stage.overwritten[:5])
    for words in stage.last_words:
        progress(words)
    comparison.check("workers that ended without a fault of ours", "", 0, len(stage.last_words))
    wanted = expected.pages
    comparison.check("page", "of the attack", True, any(page[0] == "InferwatchEvasion" for page in wanted))
    stage.until(lambda: len([n for n in stage.pager.notifications[before:] if n.receiver == "pagerduty"]) >= len(wanted), "the pages", 30)
    time.sleep(2.0)  # a second one would come now
    seen = pages(comparison, stage.pager.notifications[before:], wanted, set(MODELS))
    ends = ", ".join(f"{n} x {code}" for code, n in sorted(stage.ends.items()))
    return Outcome(
        name, faults, ends, traffic.sent, accepted, rejected, comparison, len(wanted), seen, stage.longest_standstill(),
        time.monotonic() - began,
    )  # fmt: skip


def _partials(stage: Stage) -> int:
    """Shares of windows on their topic, each counted once."""
    found = set()
    for messages in stage.read("windows"):
        for message in messages:
            partial = decode_partial(message.value())  # type: ignore[attr-defined]
            found.add((partial.partition, partial.epoch, partial.model, partial.sequence))
    return len(found)


def table(outcomes: list[Outcome]) -> str:
    """The report, as markdown."""
    head = (
        "scenario", "faults", "workers ended (exit code)", "sent", "accepted", "rejected", "figures compared", "differing",
        "pages expected / seen", "longest standstill, s", "ran, s",
    )  # fmt: skip
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    for o in outcomes:
        cells = (
            o.name, o.faults, o.ends or "-", f"{o.sent:,}", f"{o.accepted:,}", f"{o.rejected:,}", f"{o.comparison.compared.total():,}",
            len(o.comparison.wrong), f"{o.pages_expected} / {o.pages_seen}", f"{o.standstill_s:.1f}", f"{o.took_s:.0f}",
        )  # fmt: skip
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)
