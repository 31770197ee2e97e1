"""What every detector looks like: columns in, a frozen report out, state as bytes.

`update` takes one batch or one closed window and keeps none of its arrays; `report` gives the last verdict; `snapshot` and `restore` carry
the state bit for bit. `merge` exists only where order cannot matter: on leaves that add. A recursion has exactly one owner and no `merge`.
No method asks for the time or draws at random. One suite of laws runs over all of them (tests/detectors/test_laws.py).
"""

from __future__ import annotations

from typing import Protocol, Self, TypeVar

Window_contra = TypeVar("Window_contra", contravariant=True)
Report_co = TypeVar("Report_co", covariant=True)


class Leaf(Protocol):
    """Mergeable counts of one open window, added to by a shard (its `update` takes the columns of a batch)."""

    def merge(self, other: Self) -> None:
        """Add the counts of another partition; `other` is left alone."""

    def clear(self) -> None:
        """Start the next window."""

    def to_bytes(self) -> bytes:
        """Everything that was counted."""


class Detector(Protocol[Window_contra, Report_co]):
    """The owner of a recursion, fed with one closed and merged window at a time."""

    def update(self, counts: Window_contra, /) -> Report_co:
        """Judge one closed window."""

    def report(self) -> Report_co | None:
        """The verdict of the last window; None before the first and after `restore`."""

    def snapshot(self) -> bytes:
        """The state, without references and settings."""

    def restore(self, blob: bytes, /) -> None:
        """Continue a snapshot bit for bit."""

    def reset(self) -> None:
        """Forget the evidence."""
