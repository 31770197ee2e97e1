"""Records the services: `python -m bench.services OUT --seed N [--only NAME] [--jobs 2]`."""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from bench.services.catalogue import SERVICES, one


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--only", choices=sorted(SERVICES), action="append", help="this service only; may be repeated")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--queries", type=int, default=700, help="of each attack, at most")
    options = parser.parse_args()
    names = options.only or list(SERVICES)
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        for done in [pool.submit(one, name, options.out, options.seed, options.queries) for name in names]:
            print(done.result(), flush=True)


if __name__ == "__main__":
    main()
