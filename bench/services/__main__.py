"""Records the services: `python -m bench.services OUT --seed N [--held-out] [--only NAME] [--jobs 2]`."""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from bench.services.catalogue import HELD_OUT, SERVICES, one


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--only", choices=sorted(SERVICES | HELD_OUT), action="append", help="this service only; may be repeated")
    parser.add_argument("--held-out", action="store_true", help="the tables on which no constant was chosen, instead of the others")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--queries", type=int, default=700, help="of each attack, at most")
    options = parser.parse_args()
    names = options.only or list(HELD_OUT if options.held_out else SERVICES)
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        for done in [pool.submit(one, name, options.out, options.seed, options.queries) for name in names]:
            print(done.result(), flush=True)


if __name__ == "__main__":
    main()
