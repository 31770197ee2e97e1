"""`python -m bench [NAME ...] [OPTIONS]`: runs the named measurements, or those of the table in docs/benchmarks.md, one after the other."""

from __future__ import annotations

import os
import subprocess
import sys

SHORT = ("shard", "drift_counts", "sdk", "path")


def main() -> int:
    """Runs each in a process of its own: a measurement must not warm the next one's caches."""
    first = next((k for k, word in enumerate(sys.argv) if word.startswith("-")), len(sys.argv))
    names, options = sys.argv[1:first] or SHORT, sys.argv[first:]
    for name in names:
        print(f"\n== {name}", flush=True)
        done = subprocess.run([sys.executable, "-m", f"bench.{name}", *options], check=False, env=os.environ | {"OMP_NUM_THREADS": "1"})
        if done.returncode:
            return done.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
