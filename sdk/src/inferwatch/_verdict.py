"""A verdict: what a gateway is asked to do about a client, or about a model as a whole."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from inferwatch._contract import Name, Nanoseconds, Text

VerdictAction = Literal["observe", "round", "throttle", "block"]
"""From the mildest to the strongest."""
STRENGTH: dict[str, int] = {"observe": 0, "round": 1, "throttle": 2, "block": 3}
MAX_DIGITS = 6
MAX_VERDICT_BYTES = 8_192
"""A longer record is no verdict of ours."""
_MAX_EVIDENCE = 16


class Verdict(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """The value of a record of the topic ``verdicts``, as JSON; its key is ``model NUL client``.

    Raises:
        ValueError: the action lacks its number or has another's, or it ends before it begins.

    Example:
        >>> Verdict(model="fraud", client="54cd255f", action="round", digits=2, not_before_ns=0, expires_ns=9).holds(5)
        True
        >>> Verdict(model="fraud", action="throttle", not_before_ns=0, expires_ns=9)
        Traceback (most recent call last):
        ValueError: throttle needs a rate above 0 and nothing else has one
    """

    model: Name
    client: Text = ""
    """The pseudonym; empty: everybody who asks this model (the circuit breaker)."""
    action: VerdictAction = "observe"
    rate: Annotated[float, msgspec.Meta(gt=0, le=1e9)] | None = None
    """Of `throttle`: requests a minute."""
    digits: Annotated[int, msgspec.Meta(ge=0, le=MAX_DIGITS)] | None = None
    """Of `round`: decimal places of the scores that are answered."""
    reason: Text = ""
    """The alert's id, or `person`."""
    evidence: dict[Text, str | float] = {}
    """What it rests on: detector, evidence in nats, or who decided and why."""
    issued_ns: Nanoseconds = 0
    not_before_ns: Nanoseconds = 0
    expires_ns: Nanoseconds = 0
    """From then on it does not hold, whatever the topic says."""

    def __post_init__(self) -> None:
        if (self.action == "throttle") != (self.rate is not None) or (self.rate is not None and not 0 < self.rate <= 1e9):
            raise ValueError("throttle needs a rate above 0 and nothing else has one")
        if (self.action == "round") != (self.digits is not None) or (self.digits is not None and not 0 <= self.digits <= MAX_DIGITS):
            raise ValueError(f"round needs digits from 0 to {MAX_DIGITS} and nothing else has them")
        if len(self.evidence) > _MAX_EVIDENCE:
            raise ValueError(f"evidence has {len(self.evidence)} entries; at most {_MAX_EVIDENCE}")
        if self.expires_ns < self.not_before_ns:
            raise ValueError("it expires before it begins")

    @property
    def key(self) -> bytes:
        """Of its record."""
        return verdict_key(self.model, self.client)

    @property
    def text(self) -> str:
        """The action as settings and commands write it: ``throttle(10)``.

        Example:
            >>> Verdict(model="m", action="throttle", rate=10).text
            'throttle(10)'
        """
        number = self.rate if self.action == "throttle" else self.digits
        return self.action if number is None else f"{self.action}({number:g})"

    def holds(self, now_ns: int) -> bool:
        """Whether it is in force at this time."""
        return self.not_before_ns <= now_ns < self.expires_ns


NOTHING = Verdict(model="none")
"""What is said when there is no verdict: observe. One object, so ``is`` tells it from a verdict that says observe."""


def verdict_key(model: str, client: str) -> bytes:
    r"""The record's key.

    Example:
        >>> verdict_key("fraud", "54cd255f")
        b'fraud\x0054cd255f'
    """
    return f"{model}\0{client}".encode("utf-8", "surrogatepass")


def read_verdict(key: bytes | None, value: bytes) -> Verdict:
    """The verdict of a record.

    Raises:
        ValueError: it is none, or another's than the key says.
    """
    if len(value) > MAX_VERDICT_BYTES:
        raise ValueError(f"{len(value)} bytes; a verdict has at most {MAX_VERDICT_BYTES}")
    verdict = msgspec.json.decode(value, type=Verdict)
    if verdict.key != key:
        raise ValueError("its key is of another model or client than its value")
    return verdict
