"""The course of the demo: ordinary days, an attack, a drift; then what was found, how soon, and what stayed quiet."""

from __future__ import annotations

import math
import secrets
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import inferwatch
from schemas.reference import Reference
from streams.demo import attack, model
from streams.demo.attack import Outcome
from streams.demo.model import Served
from streams.demo.observer import Observer
from streams.demo.outside import Outside
from streams.demo.service import Service
from streams.demo.stage import Stage
from streams.demo.summary import Account, account_lines, store_lines, verdict_lines
from streams.demo.traffic import Traffic
from streams.demo.verdict import Causes, Verdict, judge
from streams.demo.view import View
from streams.settings import Settings

ATTACKER = "mallory"
DRIFTING, DRIFT_SD = "saturation-mean", 0.75
RATE, ATTACK_RATE = 300.0, 40.0
_QUERIES = 600
"""The attacker has no more; pages come after 60 to 300, in one of twelve seeds after 500."""
_STEP_S, _LAST_S = 0.1, 2.0
_MIN_WINDOWS = 13
"""The drift detector learns the clients' habits in 12 windows before its first page."""


@dataclass(frozen=True)
class Plan:
    """How long each chapter takes; attack and drift end when they were paged, which a busy machine delays."""

    window_s: float
    ordinary_s: float
    attack_s: float
    calm_s: float
    drift_s: float

    @staticmethod
    def of(window_s: float, *, quick: bool) -> Plan:
        """For windows of this length.

        Example:
            >>> Plan.of(2.0, quick=False)
            Plan(window_s=2.0, ordinary_s=32.0, attack_s=40.0, calm_s=6.0, drift_s=40.0)
        """
        longest = max(40.0, 15 * window_s)
        if quick:
            return Plan(window_s, 8 * window_s, longest, 2 * window_s, longest)
        return Plan(window_s, (_MIN_WINDOWS + 3) * window_s, longest, 3 * window_s, longest)


class Story:
    """One run.

    Args:
        stage: what it runs on, not started; the caller stops it.
        view: where it is shown.
        plan: how long its chapters take.
        version: of the model.
        seed: of data, training, traffic and attack.
        keep: go on after the end, until KeyboardInterrupt.
    """

    def __init__(self, stage: Stage | Outside, view: View, plan: Plan, *, version: str, seed: int, keep: bool) -> None:
        self._stage, self._view, self._plan = stage, view, plan
        self._version, self._seed, self._keep = version, seed, keep
        self._causes, self._outcome = Causes(feature=DRIFTING), Outcome()
        self._began = 0.0
        self._told = 0
        self._enough = threading.Event()

    def run(self) -> bool:
        """Tells the story; whether everything was found and nobody was paged for nothing.

        Raises:
            DemoError: a part is missing or failed.
        """
        say = self._view.say
        with ThreadPoolExecutor(1) as pool:
            training = pool.submit(self._train)
            self._stage.start()
            served = training.result()
            say(
                f"trained {model.NAME}: {len(served.data.train.X)} training rows of {len(served.data.names)} features and "
                f"{len(served.data.classes)} classes, accuracy {served.accuracy:.1%} on {len(served.data.held_out.X)} held-out rows"
            )
        published = self._publish(served)
        self._stage.wait_for_worker()
        settings = self._stage.settings
        options = {name: value for name, value in _security(settings).items() if value}
        with inferwatch.Client(
            settings.kafka.bootstrap_servers,
            "demo",
            pseudonym_key=secrets.token_bytes(32),
            topic_prefix=settings.kafka.topic_prefix,
            heartbeat_s=2.0,
            kafka_options=options,
        ) as watch:
            observer = Observer(settings, published, self._stage.metrics_url)
            try:
                return self._perform(served, watch, observer)
            finally:
                self._enough.set()
                observer.close()

    def _train(self) -> Served:
        attack.check_installed()
        return model.train(model.load(self._seed), self._seed)

    def _publish(self, served: Served) -> Reference:
        key = self._stage.settings.membership.key.encode()
        published = model.reference_of(served, self._version, key, time.time_ns())
        self._stage.publish(published)
        self._view.say(f"published its reference {published.id}: {published.rows} rows, {published.members} of them trained on")
        return published

    # -- the chapters -------------------------------------------------------------------------------------------------------------------

    def _perform(self, served: Served, watch: inferwatch.Client, observer: Observer) -> bool:
        plan, data = self._plan, served.data
        service = Service(served, self._version, watch)
        traffic = Traffic(data.traffic.X, RATE, self._seed)
        names = {watch.pseudonym(client): client for client in (*traffic.clients, ATTACKER)}
        self._view.status.names = names
        self._causes.attacker = watch.pseudonym(ATTACKER)
        self._began = time.monotonic()

        def pump(seconds: float, until: Callable[[], bool] = lambda: False) -> None:
            self._pump(seconds, until, service, traffic, watch, observer)

        self._view.begin(f"1  ordinary traffic: {len(traffic.clients)} clients, {RATE:.0f} requests/s, windows of {plan.window_s:g} s")
        pump(plan.ordinary_s)

        self._view.begin(f"2  attack: {ATTACKER} runs ART's HopSkipJump against the service, {ATTACK_RATE:.0f} queries/s, among the others")
        self._causes.attacked_at = time.monotonic()
        attacker = threading.Thread(target=self._attack, args=(service, data), name="attacker", daemon=True)
        attacker.start()
        pump(plan.attack_s, lambda: self._verdict(observer).attack is not None)
        pump(2.0)  # what the attacker reaches while on-call reaches for the phone
        self._enough.set()
        attacker.join()
        pump(plan.calm_s)

        column = data.names.index(DRIFTING)
        shift = np.float32(DRIFT_SD * data.train.X[:, column].std())
        self._view.begin(f"3  drift: {DRIFTING} rises by {DRIFT_SD:g} sd for all clients; the model answers as if nothing were wrong")
        traffic.shift[column] = shift
        self._causes.drifted_at = time.monotonic()
        pump(plan.drift_s, lambda: self._verdict(observer).drift is not None)
        pump(2.0)

        self._view.begin("4  the end: the last windows are judged")
        self._settle(watch, observer)
        verdict = self._conclude(watch, observer)
        if self._keep:
            traffic.shift[column] = 0
            traffic.until(time.monotonic() - self._began)  # nobody asked anything meanwhile
            self._go_on(pump)
        if not isinstance(self._stage, Outside):
            self._view.say("stopping the worker")
            self._stage.stop_worker()
            for text in store_lines(self._stage.store, self._stage.home, self._stage.settings, kept=self._stage.kept):
                self._view.say(text)
        self._view.say("The demo has shown what it should." if verdict.good else "The demo has NOT shown what it should: see above.")
        return verdict.good

    def _pump(
        self, seconds: float, until: Callable[[], bool], service: Service, traffic: Traffic, watch: inferwatch.Client, observer: Observer
    ) -> None:
        """Ordinary traffic for some time, or until something happened, while all is shown."""
        end = time.monotonic() + seconds
        while (now := time.monotonic()) < end and not until():
            service.handle(traffic.until(now - self._began))
            self._show(watch, observer)
            time.sleep(max(0.0, now + _STEP_S - time.monotonic()))

    def _show(self, watch: inferwatch.Client, observer: Observer) -> None:
        self._stage.check()
        status = self._view.status
        sent, passed = watch.stats().accepted, time.monotonic() - self._began
        status.rate += (
            0.05 * ((sent - status.sent) / max(passed - status.passed, 0.01) - status.rate) if status.sent else sent / max(passed, 0.1)
        )
        status.sent, status.passed = sent, passed
        if self._outcome.queries:
            status.attack = f"attack: {self._outcome.queries} queries, {self._outcome.fooled} of {self._outcome.rows} rows fooled"
        status.paged = len(self._stage.pager.received) if self._stage.pager is not None else 0
        with observer.lock:
            for seen in observer.picture.alerts[self._told :]:
                self._view.alert(seen)
            self._told = len(observer.picture.alerts)
            self._view.show(observer.picture)

    def _attack(self, service: Service, data: model.Data) -> None:
        due = time.monotonic()

        def ask(row: NDArray[np.float32]) -> NDArray[np.float32]:
            nonlocal due
            self._enough.wait(max(0.0, due - time.monotonic()))
            due = max(due + 1.0 / ATTACK_RATE, time.monotonic() - 1.0)
            return service.ask(ATTACKER, row)

        def stop() -> bool:
            return self._enough.is_set() or self._outcome.queries >= _QUERIES

        low, high = data.bounds
        attack.hop_skip_jump(ask, data.attacker.X, low, high, classes=len(data.classes), outcome=self._outcome, stop=stop, seed=self._seed)

    def _settle(self, watch: inferwatch.Client, observer: Observer) -> None:
        """Waits until the last window was judged and the worker has accounted for all that was sent."""
        watch.flush(10.0)
        end = time.monotonic() + 15.0 + 3 * self._plan.window_s
        while time.monotonic() < end and observer.picture.judged < watch.stats().sent:
            self._show(watch, observer)
            time.sleep(_STEP_S)
        time.sleep(_LAST_S)  # the worker's own judge has them at about the same time as the observer's
        self._show(watch, observer)

    def _verdict(self, observer: Observer, missing: int = 0) -> Verdict:
        with observer.lock:
            return judge(observer.picture.alerts, self._causes, missing)

    def _conclude(self, watch: inferwatch.Client, observer: Observer) -> Verdict:
        self._view.still()
        stats, picture = watch.stats(), observer.picture
        verdict = self._verdict(observer, stats.sent - picture.counted)
        pager = self._stage.pager
        account = Account(
            sent=stats.sent,
            lost=sum(stats.dropped.values()) + stats.queued,
            accepted=picture.accepted,
            rejected=dict(picture.rejected),
            windows=picture.windows,
            metrics=picture.metrics,
            clients=len(self._view.status.names) - 1,
        )
        for text in account_lines(account):
            self._view.say(text)
        received = None if pager is None else pager.received
        for text in verdict_lines(verdict, self._causes, self._outcome, self._view.who, received):
            self._view.say(text, "bold" if verdict.good else "bold red")
        return verdict

    def _go_on(self, pump: Callable[[float], None]) -> None:
        """Ordinary traffic until somebody has seen enough."""
        kafka, say = self._stage.settings.kafka, self._view.say
        say("ordinary traffic goes on until Ctrl-C. Look around:")
        say(f"  Kafka         {kafka.bootstrap_servers}, topics {kafka.topic_prefix}.*")
        if self._stage.metrics_url:
            say(f"  worker        {self._stage.metrics_url}/metrics, /healthz; log {self._stage.home / 'worker.log'}")
        if self._stage.alertmanager_url:
            say(f"  Alertmanager  {self._stage.alertmanager_url}")
        try:
            pump(math.inf)
        except KeyboardInterrupt:
            say("enough")


def _security(settings: Settings) -> dict[str, Any]:
    from streams.kafka import client_config

    return {name: value for name, value in client_config(settings.kafka).items() if name.startswith(("security.", "sasl.", "ssl."))}
