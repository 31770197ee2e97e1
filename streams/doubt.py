"""Whose doing are flipped answers: the client's, or the model's?

Evidence that rests on answers which flip between neighbouring rows supposes a model that answers as it did. While an alert says that this
model does not (a trigger, other answers to the same input, a version that answers otherwise), the flips are no news of the client: its page
is held back as a ticket. It pages when that alert is over and its evidence has grown a hundredfold since.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from schemas.alerts import Detector
from schemas.windows import Finding, Severity

__all__ = ["MODELS_DOING", "Doubt"]

MODELS_DOING: tuple[Detector, ...] = ("trigger", "consistency", "version")
"""Alerts that say that the model's answers are not what they were."""
FLIPS = frozenset({"flips", "closing", "lattice"})
"""Statistics that suppose that they are."""
_GROWN = math.log(100.0)
_MOST = 10_000


class Doubt:
    """The clients of one model version whose pages are held back, and the evidence that they had then.

    Bounded: of 10,000 the one held longest is let go, and judged as if it never was.

    Example:
        >>> import msgspec
        >>> found = Finding(model="m", version="1", partition=0, epoch=0, sequence=0, at_ns=0, family="evasion", severity="page",
        ...                 client="c", clients=[], n_events=50, log_evidence=20.0, statistic="lattice", evidence={}, event_id="",
        ...                 renewed=False)
        >>> doubt = Doubt()
        >>> doubt.weigh(found, ["trigger"]), doubt.holds(found)
        (('ticket', 'trigger'), True)
        >>> later = msgspec.structs.replace(found, renewed=True, statistic="", log_evidence=24.0)
        >>> doubt.weigh(later, []), doubt.weigh(msgspec.structs.replace(later, log_evidence=25.0), []), doubt.holds(found)
        (('ticket', ''), ('page', ''), False)
    """

    def __init__(self) -> None:
        self._held: dict[str, float] = {}

    def holds(self, found: Finding) -> bool:
        """Whether the page of this finding's client is held back."""
        return found.family == "evasion" and found.client in self._held

    def weigh(self, found: Finding, answers_changed: Iterable[Detector]) -> tuple[Severity, str]:
        """The severity that the finding may have, and the open alert that puts it in doubt, and holds its page back.

        Args:
            found: about a client.
            answers_changed: those of `MODELS_DOING` that are open.
        """
        held = self.holds(found)
        if found.family != "evasion" or not (held or found.statistic in FLIPS):
            return found.severity, ""
        by = next(iter(answers_changed), "")
        if found.severity != "page":
            return found.severity, by
        if by:
            self._held[found.client] = max(found.log_evidence, self._held.pop(found.client, 0.0))
            if len(self._held) > _MOST:
                del self._held[next(iter(self._held))]
            return "ticket", by
        if held and found.log_evidence < self._held[found.client] + _GROWN:
            return "ticket", ""
        self._held.pop(found.client, None)
        return "page", ""

    def forget(self, client: str) -> None:
        """Forgets a client."""
        self._held.pop(client, None)

    def dump(self) -> dict[str, float]:
        """For a snapshot."""
        return dict(self._held)

    def load(self, body: dict[str, Any]) -> None:
        """From a snapshot."""
        self._held = {str(client): float(evidence) for client, evidence in list(body.items())[-_MOST:]}
