"""The long form: ``python -m tests.fuzz --inputs 1000000 --seed 1``; one process a target, a line of report each.

No input may raise what is not documented, take longer than `PATIENCE_S`, or need more than `ROOM` bytes. An input that does is named by
target, seed and number, which repeat it: ``--target T --seed S --only N``.
"""

from __future__ import annotations

import argparse
import collections
import json
import multiprocessing
import resource
import signal
import sys
import time
import traceback
import warnings
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from types import FrameType
from typing import Any

from tests.fuzz.targets import Target, targets

ROOM = 600_000_000
"""Bytes of address space beyond what the process has after its first inputs; a bomb ends in MemoryError, which nobody documents."""
PATIENCE_S = 10.0
"""CPU time of one input: another process's work says nothing about ours."""
WAITING_S = 60.0
"""Wall time after which a process that is at the same input is ended from outside: it waits, or is in native code."""


class HangError(Exception):
    """An input took too long."""


def room(most: int) -> int:
    """The address space that this process may have: `ROOM` more than it has now, or what it was allowed before."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return max(most, pages * resource.getpagesize() + ROOM)


def _ring(number: int, frame: FrameType | None) -> None:
    raise HangError(f"longer than {PATIENCE_S} s of CPU")


def work(target: Target, seed: int, first: int, last: int, at: Synchronized[int], results: Any) -> None:
    """Inputs [first, last) of one target; what was found goes into the queue."""
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGPROF, _ring)
    outcomes: collections.Counter[str] = collections.Counter()
    found: dict[str, tuple[int, str]] = {}
    most = 0
    for seed_ in target.seeds:
        target.run(seed_)  # kernels are compiled, or loaded, by sound inputs
    for number in range(first, last):
        at.value = number
        blob = target.input(seed, number)
        if number <= first + 50:  # kernels are loaded by the first inputs
            most = room(0)
        signal.setitimer(signal.ITIMER_PROF, PATIENCE_S)
        resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))
        try:
            outcomes[target.run(blob) or "read"] += 1
        except Exception as error:  # noqa: BLE001  # that is what is looked for
            where = traceback.extract_tb(error.__traceback__)[-1]
            kind = f"{type(error).__name__} at {where.filename.rsplit('/', 1)[-1]}:{where.lineno}"
            outcomes["FOUND"] += 1
            found.setdefault(kind, (number, "".join(traceback.format_exception(error)[-6:])))
        finally:
            resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            signal.setitimer(signal.ITIMER_PROF, 0)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    results.put((dict(outcomes), found, peak))


def fuzz(target: Target, seed: int, inputs: int, first: int = 0) -> dict[str, Any]:
    """One target in a process of its own, which may die of it."""
    context = multiprocessing.get_context("fork")
    at: Synchronized[int] = context.Value("q", 0)
    results = context.SimpleQueue()
    began = time.monotonic()
    process = context.Process(target=work, args=(target, seed, first, first + inputs, at, results))
    process.start()
    seen, since, died, told = -1, time.monotonic(), "", began
    while process.is_alive() and results.empty():
        process.join(0.2)
        now = time.monotonic()
        if at.value != seen:
            seen, since = at.value, now
        elif now - since > WAITING_S:
            died = "hung: it waits, or is in native code"
            process.kill()
            process.join()
        if now - told > 15:
            told = now
            print(f"  {target.name}: {seen - first:,} of {inputs:,}", file=sys.stderr, flush=True)  # noqa: T201
    outcomes, found, peak = ({}, {}, 0.0) if results.empty() else results.get()
    process.join()
    if not outcomes:
        died = died or f"the process ended with {process.exitcode}"
        found = {died: (at.value, died)}
    return {"target": target.name, "inputs": sum(outcomes.values()), "seconds": round(time.monotonic() - began, 1),
            "peak_mb": round(peak), "outcomes": outcomes, "found": found}  # fmt: skip


def main() -> int:
    """The report on stdout, progress and findings on stderr; exit code 1 when something was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=1_000_000, help="in all, shared by the targets")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--target", default="", help="only those whose name contains this")
    parser.add_argument("--only", type=int, help="number of one input of one target: run it here, and show it")
    given = parser.parse_args()
    chosen = [target for name, target in targets().items() if given.target in name]
    if given.only is not None:
        blob = chosen[0].input(given.seed, given.only)
        print(len(blob), blob[:2_000])  # noqa: T201
        print(chosen[0].run(blob) or "read")  # noqa: T201
        return 0
    whole = sum(target.share for target in chosen)
    print("| target | inputs | seconds | peak MB | read | refused | found |\n|---|---|---|---|---|---|---|", flush=True)  # noqa: T201
    bad = 0
    for target in chosen:
        report = fuzz(target, given.seed, round(given.inputs * target.share / whole))
        outcomes = report["outcomes"]
        refused = sum(n for name, n in outcomes.items() if name not in ("read", "FOUND"))
        bad += len(report["found"])
        line = (target.name, f"{report['inputs']:,}", report["seconds"], report["peak_mb"], f"{outcomes.get('read', 0):,}", f"{refused:,}")
        print("|", " | ".join(map(str, line)), "|", len(report["found"]), "|", flush=True)  # noqa: T201
        for kind, (number, trace) in report["found"].items():
            where = {"kind": kind, "repeat": f"python -m tests.fuzz --target '{target.name}' --seed {given.seed} --only {number}"}
            print(json.dumps(where), trace, sep="\n", file=sys.stderr, flush=True)  # noqa: T201
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
