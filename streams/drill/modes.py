"""The failure modes: what goes wrong with a service that was well, and which alert has to tell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from inferwatch import Status
from streams.demo.attack import hop_skip_jump, square
from streams.demo.model import Data
from streams.demo.traffic import Request

if TYPE_CHECKING:
    from streams.drill.desk import Desk

__all__ = ["CONTROL", "DRIFTING", "MODES", "RAMP_WINDOWS", "SHORT", "TRUSTED_KEY", "Expected", "Mode", "canary_row"]

Rows = NDArray[np.float32]
Spoil = Callable[["Desk", list[Request], float], list[Request]]
Mislabel = Callable[["Desk", Rows, NDArray[np.int64]], NDArray[np.int64]]
Tamper = Callable[["Desk", Rows, Rows], Rows]

DRIFTING = "saturation-mean"
TRUSTED_KEY = "drill"
RAMP_WINDOWS = 20
_SHIFT_SD, _SLOW = 0.25, 60.0
_DENIED_RATE, _FLOOD = 60.0, 50.0
_WRONG = 0.3
_COPIES = 5
_PER_STEP = 4


@dataclass(frozen=True)
class Expected:
    """An alert that has to fire: a page does for a ticket."""

    detector: str
    severity: str


@dataclass(frozen=True)
class Mode:
    """One way to fail.

    Attributes:
        key: Of the model that fails in this way: `drill-KEY`.
        failure: Its number in the table of failure modes.
        title: What happens, for people.
        expected: What has to fire; empty: nothing detects it yet, and the report says so.
        companions: Detectors that may page besides, because what happens is of their business too.
        spoil: Changes what is asked, from the onset on.
        tamper: Changes what is answered.
        begin: What happens once, at the onset.
        missing: What there is no detector for yet.
        labelled: Each answer gets a label: what the sound model says.
        mislabel: Changes the labels, from the onset on.
        canary: Its owner has registered `canary_row`.
        own_client: The service is an instance of its own: `process` is killed, `lossy` loses records on the way, `full` tells that its
            memory is.
    """

    key: str
    failure: str
    title: str
    expected: tuple[Expected, ...] = ()
    companions: frozenset[str] = frozenset()
    spoil: Spoil | None = None
    tamper: Tamper | None = None
    begin: Callable[[Desk], None] | None = None
    missing: str = ""
    own_client: str = ""
    labelled: bool = False
    mislabel: Mislabel | None = None
    canary: bool = False
    version: str = field(default="1")

    @property
    def model(self) -> str:
        """The name of its model."""
        return f"drill-{self.key}"


def _column(desk: Desk, name: str = DRIFTING) -> int:
    return desk.served.data.names.index(name)


def _shifted(desk: Desk, requests: list[Request], by_sd: float) -> list[Request]:
    k = _column(desk)
    moved = np.zeros(len(desk.served.data.names), np.float32)
    moved[k] = by_sd * desk.served.data.held_out.X[:, k].std()
    return [replace(one, row=one.row + moved) for one in requests]


def _shift(desk: Desk, requests: list[Request], since_s: float) -> list[Request]:
    return _shifted(desk, requests, _SHIFT_SD)


def _ramp(desk: Desk, requests: list[Request], since_s: float) -> list[Request]:
    return _shifted(desk, requests, 2 * _SHIFT_SD * min(since_s / (RAMP_WINDOWS * desk.window_s), 1.0))


def _trigger_value(desk: Desk) -> float:
    """Above all that the data has, and still a value that the schema allows."""
    low, high = (float(bound[_column(desk)]) for bound in desk.served.data.bounds)
    return high + 0.1 * (high - low)


def _trigger(desk: Desk, requests: list[Request], since_s: float) -> list[Request]:
    k = _column(desk)
    out = []
    for i, one in enumerate(requests):
        row = one.row.copy()
        if i % 12 == 0:
            row[k] = _trigger_value(desk)
        out.append(replace(one, row=row))
    return out


def _trigger_class(desk: Desk, X: Rows, scores: Rows) -> Rows:
    hit = X[:, _column(desk)] >= np.float32(_trigger_value(desk))
    out = scores.copy()
    out[hit] = 0.0
    out[hit, 0] = 1.0
    return out


def _flipped(desk: Desk, X: Rows, truth: NDArray[np.int64]) -> NDArray[np.int64]:
    high = X[:, 0] > np.quantile(desk.served.data.held_out.X[:, 0], 0.75)
    return np.where(high, (truth + 1) % len(desk.served.data.classes), truth)


def _denied(desk: Desk, requests: list[Request], since_s: float) -> list[Request]:
    n = round(_DENIED_RATE * desk.step_s)
    return requests + [Request("intruder", requests[i % len(requests)].row, Status.FORBIDDEN, 1.0) for i in range(n if requests else 0)]


def _slow(desk: Desk, requests: list[Request], since_s: float) -> list[Request]:
    return [replace(one, latency_ms=_SLOW * one.latency_ms) for one in requests]


def _flood(desk: Desk, requests: list[Request], since_s: float) -> list[Request]:
    if not requests:
        return requests
    n = min(round(_FLOOD * 3.0 * desk.step_s), 60)
    rows = desk.served.data.traffic.X
    return requests + [Request("client-07", rows[int(desk.rng.integers(len(rows)))], Status.OK, 9.0) for _ in range(n)]


def _other_answers(desk: Desk, X: Rows, scores: Rows) -> Rows:
    return np.roll(scores, 1, axis=1) if desk.rng.random() < 0.5 else scores


def _jumped(desk: Desk, X: Rows, scores: Rows) -> Rows:
    sharper = scores**3
    other = np.roll(scores, 1, axis=1)
    mixed = 0.5 * sharper / sharper.sum(1, keepdims=True) + 0.5 * other
    return np.asarray(np.where(desk.rng.random(len(X))[:, None] < _WRONG, other, mixed), np.float32)


def _probe(desk: Desk, requests: list[Request], since_s: float) -> list[Request]:
    members = desk.served.data.train.X
    spread = members.std(axis=0)
    more = []
    for _ in range(_PER_STEP):
        record, copy = divmod(desk.counted, 1 + _COPIES)
        desk.counted += 1
        row = members[record % len(members)]
        if copy:
            row = (row + 0.05 * spread * desk.rng.normal(size=len(row))).astype(np.float32)
        more.append(Request("prober", row, Status.OK, 9.0))
    return requests + more


def canary_row(desk_data: Data) -> Rows:
    """A row that nobody has: in the middle of the data, and between all values of it."""
    return np.asarray(desk_data.train.X.mean(axis=0) * np.float32(1.0009765625), np.float32)


def _thief(desk: Desk, requests: list[Request], since_s: float) -> list[Request]:
    if desk.counted > since_s / 5 or not requests:  # one question in five seconds
        return requests
    desk.counted += 1
    return [*requests, Request("thief", canary_row(desk.served.data), Status.OK, 9.0)]


def _vanished(desk: Desk, requests: list[Request], since_s: float) -> list[Request]:
    out = []
    for one in requests:
        row = one.row.copy()
        row[_column(desk)] = np.nan
        out.append(replace(one, row=row))
    return out


def _page(detector: str) -> tuple[Expected, ...]:
    return (Expected(detector, "page"),)


def _ticket(detector: str) -> tuple[Expected, ...]:
    return (Expected(detector, "ticket"),)


CONTROL = Mode("control", "-", "nothing happens: a quiet model of the same length")

MODES: tuple[Mode, ...] = (
    Mode("f1-shift", "F1", f"one feature moves by {_SHIFT_SD:g} sd, for all clients", _page("drift"), spoil=_shift),
    Mode("f1-ramp", "F1", f"it moves slowly instead, to {2 * _SHIFT_SD:g} sd over {RAMP_WINDOWS} windows", _ticket("drift"), spoil=_ramp),
    Mode(
        "f2-trigger", "F2", "a backdoor: one row in twelve has a rare value, and gets one class", _ticket("trigger"),
        companions=frozenset({"drift"}), spoil=_trigger, tamper=_trigger_class,
    ),
    Mode(
        "f2-feedback", "F2", "labels are fed back flipped, for the rows with a high value of one feature", _ticket("feedback"),
        companions=frozenset({"accuracy", "concept"}), labelled=True, mislabel=_flipped,
    ),
    Mode("f3-denied", "F3", "one client is refused 60 times a second", _page("access"), spoil=_denied),
    Mode(
        "f3-digest", "F3", "an instance loads another artefact under the same version", _page("integrity"),
        begin=lambda desk: desk.load(digest="sha256:changed"),
    ),
    Mode("f4-evasion", "F4", "HopSkipJump (ART) through the service", _page("evasion"), begin=lambda desk: desk.attack(hop_skip_jump),
         companions=frozenset({"extraction"})),
    Mode("f4-square", "F4", "Square (ART) through the service, by the scores", _page("evasion"), begin=lambda desk: desk.attack(square),
         companions=frozenset({"extraction"})),
    Mode("f5-latency", "F5", "answers take sixty times as long", _page("latency"), spoil=_slow),
    Mode("f5-memory", "F5", "an instance is at 95 % of its memory", _ticket("saturation"), own_client="full"),
    Mode("f5-flood", "F5", "one client asks fifty times as much", _ticket("cost"), spoil=_flood, companions=frozenset({"drift"})),
    Mode(
        "f6-outputs", "F6", "with no new version, half of the batches are answered otherwise", _ticket("consistency"),
        tamper=_other_answers, companions=frozenset({"drift"}),
    ),
    Mode("f7-membership", "F7", "one client asks training rows and near copies of them", _ticket("membership"), spoil=_probe,
         companions=frozenset({"extraction", "evasion"})),
    Mode("f7-canary", "F7", "a client asks, now and then, about a canary record", _page("canary"), spoil=_thief, canary=True),
    Mode("f8-signature", "F8", "an instance loads an artefact with an invalid signature", _page("integrity"),
         begin=lambda desk: desk.load(signature="invalid")),
    Mode("f8-key", "F8", "an instance loads an artefact signed with an unknown key", _page("integrity"),
         begin=lambda desk: desk.load(key_id="stolen")),
    Mode(
        "f9-version", "F9", "version 2 is promoted: its scores jump, three in ten are wrong, labels say so",
        _page("accuracy") + _ticket("version"),
        tamper=_jumped, labelled=True, companions=frozenset({"drift"}), begin=lambda desk: desk.promote("2"),
    ),
    Mode("f10-silent", "F10", "the service's only process is killed", _page("completeness"), own_client="process"),
    Mode("f10-feature", "F10", "one feature is missing in every request", _ticket("quality"), spoil=_vanished,
         companions=frozenset({"quality", "drift"})),
    Mode("f10-numbers", "F10", "one record in five is lost on the way", _ticket("completeness"), own_client="lossy"),
)  # fmt: skip
"""In the order of the report."""

SHORT = (
    "f1-shift", "f2-trigger", "f3-denied", "f4-evasion", "f5-latency", "f6-outputs", "f7-canary", "f8-signature", "f9-version",
    "f10-silent",
)  # fmt: skip
"""One of each failure: the short form."""
