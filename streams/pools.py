"""Swarms at the model's owner: suspect rows of all partitions in, one alert a swarm out, whose members may grow.

A swarm is known by its first members: a cohort that shares a member with a known one is the same swarm, so that its alert keeps its
identity while members come. What the rule cannot say is how sure it is of each member: the ln evidence is the members' median.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from detectors.state import pack, unpack
from detectors.swarm import Cohort, Swarm
from detectors.swarm.swarm import MAX_MEMBERS
from schemas.windows import Family, Severity
from streams import pages
from streams.alerts import AlertBook
from streams.clients import FAMILIES, ClientTable
from streams.owner import NS
from streams.references import Loaded
from streams.slices import Slice

MAX_POOLS = 64
"""Swarms that are remembered; of more, those that were silent longest are forgotten."""
HIGHEST = 1
"""Tickets only. On a simulated set that no constant was chosen on, pages would have named 2 of 1,780 ordinary clients among the members of
real swarms; 2 lets the detector's own pages through."""
TELL_NS = NS
"""New members of a swarm that is known are told at most so often, ..."""
GROWTH = 0.25
"""... unless they are this share of those who were told."""
_KIND, _VERSION = "streams.pools", 1


class _Pool(msgspec.Struct):
    """A swarm as it was told last, and as it is."""

    kind: str
    family: Family
    cause: str
    members: list[str]
    seeds: int
    ln: float
    onset_s: tuple[float, float]
    severity: int
    told: int = 0
    told_ns: int = 0
    seen_ns: int = 0


class SwarmWatch:
    """Owner of a model version's swarm detector and of the swarms that it named.

    Args:
        loaded: the reference in force; it has a swarm part.
        clients: how many clients are followed at most.
        alerts: takes the alerts.
    """

    def __init__(self, loaded: Loaded, clients: int, alerts: AlertBook) -> None:
        if loaded.swarm is None:
            raise ValueError(f"the reference of {loaded.reference.model} {loaded.reference.version} has no swarm part")
        self._loaded, self._limit, self._alerts = loaded, clients, alerts
        membership = loaded.membership
        self._swarm = Swarm(
            loaded.swarm,
            neighbours=membership.neighbours if membership else None,
            control=membership.control if membership else None,
            capacity=1,
        )
        self._table = ClientTable(clients, self._swarm.resize, self._swarm.clear)
        self._pools: list[_Pool] = []

    @property
    def width(self) -> int:
        """Values in a row."""
        return self._swarm.reference.width

    def tell_to(self, alerts: AlertBook) -> None:
        """Alerts go there from now on."""
        self._alerts = alerts

    def judge(self, part: Slice, now_ns: int) -> None:
        """Takes the rows of a slice of all partitions; alerts are of this moment."""
        for a in range(0, len(part.client), self._limit):  # newcomers of one batch must not need the slots of its other clients
            self._update(part, slice(a, a + self._limit))
        seen = set(part.clients)
        for pool in self._pools:
            if not seen.isdisjoint(pool.members):
                pool.seen_ns = now_ns
                self._alerts.renew(pool.family, pool.cause, now_ns, pool.ln)
            self._tell(pool, now_ns)
        if len(self._pools) > MAX_POOLS:
            self._pools = sorted(self._pools, key=lambda pool: pool.seen_ns)[-MAX_POOLS:]

    def forget(self, client: str) -> None:
        """Forgets a client, also as a member of swarms."""
        slot = self._table.find(client)
        if slot is not None:
            self._table.release(np.array([slot], np.int32))
        for pool in self._pools:
            if client in pool.members:
                pool.members.remove(client)
                pool.told = min(pool.told, len(pool.members))
        self._pools = [pool for pool in self._pools if pool.members]

    def _update(self, part: Slice, rows: slice) -> None:
        at_s, (present, client) = part.at_s[rows], np.unique(part.client[rows], return_inverse=True)
        slot = self._table.slots([part.clients[k] for k in present.tolist()])[client]
        np.add.at(self._table.n, slot, 1)
        np.maximum.at(self._table.last_ns, slot, (at_s * NS).astype(np.int64))
        for cohort in self._swarm.update(slot, at_s, part.X[rows], np.zeros(len(slot), np.int32)):
            self._gather(cohort)

    def _gather(self, cohort: Cohort) -> None:
        """Puts a cohort to the swarm that it belongs to."""
        names = [self._table.names[slot] for slot in cohort.members.tolist()]
        pool = next((p for p in self._pools if p.kind == cohort.kind and not set(names).isdisjoint(p.members)), None)
        severity = min(cohort.severity, 1 if self._loaded.provisional else HIGHEST)
        if pool is None:
            family: Family = FAMILIES[[str(f) for f in FAMILIES].index(cohort.family)]
            pool = _Pool(cohort.kind, family, f"{cohort.kind} {cohort.onset_s[0]:.3f}", [], 0, 0.0, cohort.onset_s, 0)
            self._pools.append(pool)
        known = set(pool.members)
        pool.members += [name for name in names if name not in known][: MAX_MEMBERS - len(pool.members)]
        pool.seeds, pool.ln = max(pool.seeds, cohort.seeds), cohort.ln_evidence
        pool.onset_s = min(pool.onset_s[0], cohort.onset_s[0]), max(pool.onset_s[1], cohort.onset_s[1])
        pool.severity = max(pool.severity, severity)
        self._table.severity[cohort.members, FAMILIES.index(pool.family)] = pool.severity  # they are forgotten last

    def _tell(self, pool: _Pool, now_ns: int) -> None:
        new = len(pool.members) - pool.told
        if not new or (pool.told and new < GROWTH * pool.told and 0 <= now_ns - pool.told_ns < TELL_NS):
            return
        pool.told, pool.told_ns = len(pool.members), now_ns
        severity: Severity = "page" if pool.severity == 2 else "ticket"
        slots = [slot for name in pool.members if (slot := self._table.find(name)) is not None]
        n_events = int(self._table.n[slots].sum())
        evidence: dict[str, Any] = {
            "statistic": pool.kind,
            "members": len(pool.members),
            "seeds": pool.seeds,
            "first_onset_s": pool.onset_s[0],
            "last_onset_s": pool.onset_s[1],
            "status": "a rule without a bound on false pages",
        }
        if self._loaded.provisional:
            evidence["uncalibrated"] = "the reference is provisional, made from the first events: tickets only"
        self._alerts.raise_(
            pool.family,
            pool.cause,
            severity,
            now_ns,
            summary=pages.swarm(
                pool.kind, pool.family, len(pool.members), pool.onset_s, n_events, self._alerts.model, self._alerts.version
            ),
            log_evidence=pool.ln,
            evidence=evidence,
            clients=sorted(pool.members),
            n_events=n_events,
            grown=True,
        )

    # -- snapshots ----------------------------------------------------------------------------------------------------------------------

    def snapshot(self) -> bytes:
        """The whole state."""
        body = {
            "table": self._table.rest(),
            "names": self._table.names,
            "columns": self._table.columns(),
            "swarm": self._swarm.snapshot(),
            "pools": msgspec.msgpack.encode(self._pools),
        }
        return pack(_KIND, _VERSION, body)

    def restore(self, blob: bytes) -> None:
        """Goes on from a snapshot, in a fresh object.

        Raises:
            StateError: when it is none of this reference's.
        """
        body = unpack(blob, _KIND, _VERSION)
        self._table.load_rest(body["table"])
        self._table.names = list(body["names"])
        for name, column in self._table.columns().items():
            column[:] = body["columns"][name]
        self._table.loaded()
        self._swarm.restore(body["swarm"])
        self._pools = msgspec.msgpack.decode(body["pools"], type=list[_Pool])
