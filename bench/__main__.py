"""`python -m bench [NAME ...]`: runs the named measurements, or those of the table in docs/benchmarks.md, one after the other.

What follows a name that is no measurement is handed to the last one: `python -m bench detection TRACES`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SHORT = ("shard", "drift_counts", "sdk", "path")


def main() -> int:
    """Runs each in a process of its own: a measurement must not warm the next one's caches."""
    runs: list[list[str]] = []
    for word in sys.argv[1:] or SHORT:
        if (Path(__file__).parent / f"{word}.py").exists() and (not runs or len(runs[-1]) == 1):
            runs.append([word])
        elif runs:
            runs[-1].append(word)
        else:
            raise SystemExit(f"bench: no measurement is called {word!r}")
    for name, *arguments in runs:
        print(f"\n== {name}", flush=True)
        command = [sys.executable, "-m", f"bench.{name}", *arguments]
        done = subprocess.run(command, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"})
        if done.returncode:
            return done.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
