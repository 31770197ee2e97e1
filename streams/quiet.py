"""How long a model version had gone without a refused request: the objective is none in a week."""

from __future__ import annotations

__all__ = ["QuietTime"]

_DAY_NS = 86_400 * 10**9


class QuietTime:
    """The time since the last refusal, or since the first window, as far as it was watched.

    Where nothing was seen for more than half of the days, nobody knows what was refused: the time begins anew.

    Args:
        days: Without a refusal, after which one is told; 0: never.

    Example:
        >>> day = 86_400 * 10**9
        >>> quiet = QuietTime(7)
        >>> [quiet.take(k * day, (k + 1) * day, refused=k in (3, 12, 13)) for k in range(14)][11:]
        [None, 8.0, None]
    """

    def __init__(self, days: float) -> None:
        self._days = days
        self._since_ns: int | None = None
        self._seen_ns = 0

    def take(self, start_ns: int, end_ns: int, *, refused: bool) -> float | None:
        """A judged window; the days without a refusal that it ends, where they are enough to be told."""
        if self._since_ns is None or start_ns - self._seen_ns > self._days * _DAY_NS / 2:
            self._since_ns = start_ns
        self._seen_ns = max(self._seen_ns, end_ns)
        if not refused:
            return None
        days = (start_ns - self._since_ns) / _DAY_NS
        self._since_ns = max(self._since_ns, end_ns)
        return days if days >= self._days > 0 else None

    def dump(self) -> tuple[int | None, int]:
        """For a snapshot."""
        return self._since_ns, self._seen_ns

    def load(self, body: tuple[int | None, int]) -> None:
        """From a snapshot."""
        self._since_ns, self._seen_ns = body
