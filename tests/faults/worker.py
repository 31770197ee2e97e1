"""``python -m tests.faults.worker``: the real ``inferwatch worker``, on a machine whose wall clock a test can step.

It is the command itself, with its shards, judges, sink, pager and store of snapshots. The one thing of the test's is `time.time_ns`: it
adds the nanoseconds in the file ``TEST_CLOCK`` to the machine's time, as if somebody had set the clock. Monotonic time goes on as it is.
"""

from __future__ import annotations

import os
import time

_real_ns = time.time_ns


def stepped_ns(file: int) -> int:
    """UTC ns of a machine whose clock was stepped by what the file says."""
    return _real_ns() + int(os.pread(file, 24, 0) or b"0")


if __name__ == "__main__":
    clock = os.open(os.environ.pop("TEST_CLOCK"), os.O_RDONLY)
    time.time_ns = lambda: stepped_ns(clock)  # before anything of ours is imported and takes the function for its default

    from streams.cli import main

    main(["worker"])
