"""What the runs share: brokers of their own, to be killed, and one store; and the two programmes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from streams.embedded.alertmanager import EmbeddedAlertmanager, render_config
from streams.embedded.kafka import EmbeddedKafka
from streams.settings import load
from streams.warmup import warm_up
from tests.faults.run import Outcome, perform
from tests.faults.scenarios import STRIKES, small_disk
from tests.faults.store import Store
from tests.pager import Pager

_BROKERS = {"broker.session.timeout.ms": "3000", "broker.heartbeat.interval.ms": "500"}
_THREE, _DISK, _STALLED = "one broker of three dies", "the snapshots' disk is full", "stalled workers that wake up"
_RARELY = {"INFERWATCH_STATE_SNAPSHOT_S": "2"}
"""A stalled worker then nearly always wakes up with something to save; at five snapshots a second it has nothing, and needs no fence."""


class Theatre:
    """`with Theatre(folder) as theatre: theatre.short(seed=1)`.

    Args:
        folder: For everything; the caller removes it.
        store: Of the snapshots, "folder" or "kafka".
        progress: Told what happens.
    """

    def __init__(self, folder: Path, store: str = "folder", progress: Callable[[str], None] = lambda _: None) -> None:
        self._folder, self._progress = folder, progress
        self._extra = {"INFERWATCH_STATE_STORE": store}
        self._strikes = {name: strike for name, strike in STRIKES.items() if store == "folder" or name != _DISK}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        warm_up(load(None, {}))  # here, so that the workers find the kernels compiled
        enter = self._stack.enter_context
        self._store = enter(Store(self._folder / "store"))
        self._kafka = enter(EmbeddedKafka(properties=_BROKERS))
        return self

    def __exit__(self, *_: Any) -> None:
        self._stack.close()

    def short(self, seed: int) -> Outcome:
        """All faults but the three brokers', one after the other on one stage."""
        return self._perform("all, one after the other", {k: v for k, v in self._strikes.items() if k != _THREE}, "short", seed, long=False)

    def long(self, seed: int, words: tuple[str, ...] = ()) -> Iterator[Outcome]:
        """A run for each fault whose name holds one of the words, or for all."""
        for k, name in enumerate(name for name in self._strikes if not words or any(word in name for word in words)):
            yield self._perform(name, {name: STRIKES[name]}, f"long{k}", seed + k, long=True)

    def _perform(self, name: str, strikes: dict[str, Any], prefix: str, seed: int, *, long: bool) -> Outcome:
        folder = self._folder / prefix
        with ExitStack() as stack:
            state = None
            if _DISK in strikes:
                state = small_disk(folder / "small-disk")
                stack.callback(os.system, f"umount '{state}'")
            pager = stack.enter_context(Pager())  # of this run: alerts of the one before would resolve in it
            config = render_config(  # each alert a page of its own, so that each can be counted
                pagerduty=pager.pagerduty_url, webhook=pager.webhook_url, group_wait=0.1, group_interval=0.3,
                group_by=("alertname", "model", "client"),
            )  # fmt: skip
            alertmanager = stack.enter_context(EmbeddedAlertmanager(config, folder=folder / "alertmanager"))
            kafka = stack.enter_context(EmbeddedKafka(3, properties=_BROKERS)) if _THREE in strikes else self._kafka
            return perform(
                name,
                strikes,
                folder,
                kafka=kafka,
                store=self._store,
                alertmanager=alertmanager,
                pager=pager,
                prefix=prefix,
                long=long,
                seed=seed,
                state=state,
                extra=self._extra | (_RARELY if list(strikes) == [_STALLED] else {}),
                progress=self._progress,
            )
