"""Where the time of a drift window goes: every compiled call of one window of 10,000 rows of 20 features, repeated alone.

    python -m bench.drift_parts

A window is counted and judged while the calls are noted with their arguments; each is then repeated 400 times, least taken. They are warm
then, and the whole is of 40 quiet windows one after the other, so their sum is less than that: the rest is Python and numpy between them,
and memory that is not at hand. Pin the process to a core, and compare two versions only in turns.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

from numba.core.dispatcher import Dispatcher

from bench.drift_counts import WINDOWS, Setting, best_s

MODULES = ("counts", "features", "dependence", "detector", "joint", "witness")
REPEATS = 400


def noted(module: ModuleType, calls: list[tuple[str, Callable[[], object]]]) -> Callable[[], None]:
    """Note every compiled call of a module in `calls`; what is returned ends it."""
    kernels = {name: kernel for name, kernel in vars(module).items() if isinstance(kernel, Dispatcher)}

    def through(name: str, kernel: Any) -> Callable[..., object]:
        def call(*arguments: object) -> object:
            calls.append((f"{module.__name__.rpartition('.')[2]}.{name.lstrip('_')}", lambda: kernel(*arguments)))
            return kernel(*arguments)

        return call

    for name, kernel in kernels.items():
        setattr(module, name, through(name, kernel))
    return lambda: vars(module).update(kernels)


def main() -> None:
    """Print the table."""
    given = Setting()
    given.each(given.judge)
    calls: list[tuple[str, Callable[[], object]]] = []
    modules = [importlib.import_module(f"detectors.drift.{name}") for name in MODULES]
    ends = [noted(module, calls) for module in (*modules, importlib.import_module("detectors.e_process"))]
    given.count(0)
    counted = len(calls)
    given.judge(0)
    for end in ends:
        end()
    for title, do, part in (("counting", given.count, calls[:counted]), ("quiet verdict", given.judge, calls[counted:])):
        spent = best_s(functools.partial(given.each, do), REPEATS // WINDOWS) / WINDOWS * 1e6
        alone = sorted(((best_s(call, REPEATS) * 1e6, name) for name, call in part), reverse=True)
        print(f"{title:28s} {spent:6.1f} us")
        for took, name in alone:
            print(f"  {name:26s} {took:6.1f}")
        print(f"  {'between':26s} {spent - sum(took for took, _ in alone):6.1f}")


if __name__ == "__main__":
    main()
