"""`python -m bench [NAME ...]`: runs the named measurements, or those of the table in docs/benchmarks.md, one after the other."""

from __future__ import annotations

import os
import subprocess
import sys

SHORT = ("shard", "drift_counts", "sdk", "path")


def main() -> int:
    """Runs each in a process of its own: a measurement must not warm the next one's caches."""
    for name in sys.argv[1:] or SHORT:
        print(f"\n== {name}", flush=True)
        done = subprocess.run([sys.executable, "-m", f"bench.{name}"], check=False, env=os.environ | {"OMP_NUM_THREADS": "1"})
        if done.returncode:
            return done.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
