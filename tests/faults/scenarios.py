"""The faults. Each strikes while events flow, and returns how many faults it was; nothing here knows what the outcome must be."""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.faults.stage import LENGTH_S, Stage
from tests.faults.workload import Traffic
from tests.parts import unavailable


@dataclass
class Scene:
    """What a fault has to strike at."""

    stage: Stage
    traffic: Traffic
    rng: np.random.Generator
    long: bool
    """The long form: more, and for longer."""

    def pause(self, low: float, high: float) -> None:
        """Events flow for a random time."""
        time.sleep(float(self.rng.uniform(low, high)))

    def goes_on(self) -> None:
        """Waits until every partition's events of before this moment are durable: no partition is struck again before it has caught up."""
        wanted = self.stage.ends_of_events()
        self.stage.until(lambda: self.stage.holds(wanted), "it goes on after the fault", 120)


def kills(scene: Scene) -> int:
    """kill -9 of a random worker at a random time."""
    n = 20 if scene.long else 4
    for _ in range(n):
        victim = scene.stage.workers[int(scene.rng.integers(len(scene.stage.workers)))]
        victim.send(signal.SIGKILL)
        scene.pause(0.5, 6.0 if scene.long else 1.5)
        scene.goes_on()
    return n


def zombies(scene: Scene) -> int:
    """A worker is stopped for longer than its session, replaced, and goes on where it was."""
    n = 3 if scene.long else 1
    for k in range(n):
        victim = scene.stage.workers[k % len(scene.stage.workers)]
        victim.send(signal.SIGSTOP)
        time.sleep(7.0)  # the session is 6 s
        scene.goes_on()
        victim.send(signal.SIGCONT)
        scene.pause(1.0, 3.0)
        scene.stage.wait_until_ready()
    return n


def rebalances(scene: Scene) -> int:
    """Workers join and leave in order."""
    n = 5 if scene.long else 1
    for _ in range(n):
        joined = scene.stage.join()
        scene.stage.until(joined.is_ready, "the new worker is ready", 90)
        scene.pause(0.5, 1.5)
        joined.stop()
        scene.stage.workers.remove(joined)
        scene.goes_on()
    return 2 * n


def broker_restarts(scene: Scene) -> int:
    """The only broker is restarted in order, then after kill -9."""
    (node,) = scene.stage.kafka.nodes
    for _ in range(2 if scene.long else 1):
        node.stop()
        node.start()
        scene.goes_on()
        scene.pause(1.0, 3.0)
        node.kill()
        node.start()
        scene.goes_on()
    return 4 if scene.long else 2


def one_broker_of_three(scene: Scene) -> int:
    """One broker of three dies (copies: 3, in sync: at least 2), for a while; then the next."""
    for node in scene.stage.kafka.nodes:
        node.kill()
        scene.goes_on()
        scene.pause(5.0, 10.0)
        node.start()
        scene.goes_on()
        scene.pause(5.0, 8.0)
    return len(scene.stage.kafka.nodes)


def commits_moved(scene: Scene) -> int:
    """All workers are killed; somebody sets the group's committed offsets, half of them to the end and half to 0; workers start again.

    It is a fault only when the end is not where a state ends: so records come first that no state can hold. The workers' commits, which
    would put the offsets right, fail until all states go on, after the first one's start and after the rebalance.
    """
    stage = scene.stage
    for worker in stage.workers:
        worker.stop(kill=True)
    beyond = {key: end + 8 for key, end in stage.ends_of_events().items()}
    stage.until(lambda: all(end >= beyond[key] for key, end in stage.ends_of_events().items()), "records come that no state holds", 60)
    stage.no_commits.touch()
    stage.move_commits()
    for worker in stage.workers:
        worker.start()
        stage.wait_until_ready()
        wanted = stage.ends_of_events()
        stage.until(lambda w=wanted: stage.applies(w), "states go on although the commits are elsewhere", 120)  # type: ignore[misc]
    stage.no_commits.unlink()
    scene.goes_on()
    return len(stage.workers) + 1


def store_away(scene: Scene) -> int:
    """ClickHouse dies and stays away."""
    scene.stage.store.kill()
    time.sleep(60.0 if scene.long else 6.0)
    scene.stage.store.start()
    return 1


def pager_away(scene: Scene) -> int:
    """Alertmanager is away while an attack begins, and comes back."""
    scene.stage.alertmanager.stop()
    scene.traffic.attack.set()
    time.sleep(30.0 if scene.long else 5.0)
    scene.stage.alertmanager.start()
    return 1


def disk_full(scene: Scene) -> int:
    """The file system of the snapshots is full (ENOSPC)."""
    ballast = scene.stage.state / "ballast"
    for _ in range(2 if scene.long else 1):
        failed = scene.stage.events_of("no snapshot, so nothing leaves")
        _fill(ballast)
        scene.stage.until(lambda n=failed: scene.stage.events_of("no snapshot, so nothing leaves") > n, "a snapshot fails", 60)  # type: ignore[misc]
        time.sleep(10.0 if scene.long else 3.0)
        ballast.unlink()
        scene.goes_on()
    return 2 if scene.long else 1


def slow_worker(scene: Scene) -> int:
    """Workers get a twentieth of the time: lag grows, then they catch up."""
    end = time.monotonic() + (20.0 if scene.long else 5.0)
    while time.monotonic() < end:
        for number, pause in ((signal.SIGSTOP, 0.95), (signal.SIGCONT, 0.05)):
            for worker in scene.stage.workers:
                worker.send(number)
            time.sleep(pause)
    return 1


def clock_jumps(scene: Scene) -> int:
    """Producers' clocks are hours ahead and days behind, and right again, and the workers' are set back two hours meanwhile; then the
    workers' clocks step ahead at a quiet moment.
    """
    scene.traffic.astray.set()
    scene.pause(2.0, 3.0)
    scene.stage.step_clock(-7_200.0)
    scene.pause(2.0, 3.0)
    scene.traffic.astray.clear()
    scene.pause(2.0, 3.0)
    scene.stage.step_clock(0.0)
    return 2


def records_again(scene: Scene) -> int:
    """The workers' consumers read records again that were applied already."""
    scene.stage.reread.touch()
    time.sleep(30.0 if scene.long else 4.0)
    scene.stage.reread.unlink()
    skipped = sum(worker.metrics()["inferwatch_records_skipped_total"] for worker in scene.stage.workers)
    assert skipped > 0, "no record was read again"
    return int(skipped)


def unruly_network(scene: Scene) -> int:
    """Batches are sent twice and overtake each other."""
    before = sum(transport.swapped for transport in scene.traffic.transports), scene.traffic.twice
    scene.traffic.unruly(True)
    time.sleep(30.0 if scene.long else 4.0)
    scene.traffic.unruly(False)
    time.sleep(1.0)
    assert scene.traffic.twice > before[1], "no batch was sent twice"
    return sum(transport.swapped for transport in scene.traffic.transports) - before[0]


Strike = Callable[[Scene], int]
STRIKES: dict[str, Strike] = {
    "kill -9 of workers": kills,
    "stalled workers that wake up": zombies,
    "workers join and leave": rebalances,
    "commits are moved": commits_moved,
    "broker restarts": broker_restarts,
    "one broker of three dies": one_broker_of_three,
    "ClickHouse is away": store_away,
    "Alertmanager is away": pager_away,
    "the snapshots' disk is full": disk_full,
    "slow workers": slow_worker,
    "clocks jump": clock_jumps,
    "records are read again": records_again,
    "batches twice and out of order": unruly_network,
}


def small_disk(folder: Path) -> Path:
    """A file system of 96 MB for snapshots; only root can mount it."""
    folder.mkdir(parents=True, exist_ok=True)
    if os.system(f"mount -t tmpfs -o size=96m tmpfs '{folder}' 2>/dev/null"):
        unavailable("A file system that can be filled", "Run as root, with the right to mount a tmpfs")
    return folder


def _fill(file: Path) -> None:
    """Takes all room that is left, and any that a snapshot gives back meanwhile."""
    full = 0
    with file.open("wb", buffering=0) as stream:
        while full < 40:
            try:
                stream.write(b"\0" * 4096)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                full += 1
                time.sleep(0.05)


__all__ = ["LENGTH_S", "STRIKES", "Scene", "Strike", "small_disk"]
