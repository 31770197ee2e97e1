"""``python -m tests.faults.worker``: the real ``inferwatch worker``, on a machine whose wall clock a test can step.

It is the command itself, with its shards, judges, sink, pager and store of snapshots. Three things are the test's: `time.time_ns` adds the
nanoseconds in the file ``TEST_CLOCK`` to the machine's time, as if somebody had set the clock (monotonic time goes on as it is); while
the file ``TEST_REREAD`` exists, the consumer reads some records again, as clients do after a lost answer; while ``TEST_NO_COMMITS`` exists,
its commits fail.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_real_ns = time.time_ns


def stepped_ns(file: int) -> int:
    """UTC ns of a machine whose clock was stepped by what the file says."""
    return _real_ns() + int(os.pread(file, 24, 0) or b"0")


def disturb(reread: Path, no_commits: Path) -> None:
    """While the first file exists, sends the consumer up to thirty records back, at random; while the second does, its commits fail."""
    from streams.app import _Consumer

    real, back, lost = _Consumer.show_commit, reread.exists, no_commits.exists

    async def show_commit(self: _Consumer, offsets: Mapping[Any, int]) -> None:
        if lost():
            raise ConnectionError("a test loses the commits")
        await real(self, offsets)
        if back():
            for tp, offset in offsets.items():
                if random.random() < 0.3:
                    await self.seek(tp, max(offset - random.randrange(30), 0))

    _Consumer.show_commit = show_commit  # type: ignore[method-assign]


if __name__ == "__main__":
    clock = os.open(os.environ.pop("TEST_CLOCK"), os.O_RDONLY)
    time.time_ns = lambda: stepped_ns(clock)  # before anything of ours is imported and takes the function for its default

    from streams.cli import main

    disturb(Path(os.environ.pop("TEST_REREAD")), Path(os.environ.pop("TEST_NO_COMMITS")))

    main(["worker"])
