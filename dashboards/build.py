"""All dashboards by file name, and writing them to ``dashboards/json``: ``python -m dashboards.build``."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dashboards.oncall import oncall

__all__ = ["DASHBOARDS", "DIRECTORY", "text", "write"]

DASHBOARDS: dict[str, Callable[[], dict[str, Any]]] = {"oncall": oncall}
DIRECTORY = Path(__file__).parent / "json"


def text(name: str) -> str:
    r"""The JSON file of one dashboard, as committed.

    >>> text("oncall").endswith("}\n")
    True
    """
    return json.dumps(DASHBOARDS[name](), indent=2, ensure_ascii=False) + "\n"


def write(directory: Path = DIRECTORY) -> list[Path]:
    """Write every dashboard, and remove files of dashboards that are no more. Returns what was written."""
    directory.mkdir(parents=True, exist_ok=True)
    for stale in set(directory.glob("*.json")) - {directory / f"{name}.json" for name in DASHBOARDS}:
        stale.unlink()
    written = []
    for name in DASHBOARDS:
        file = directory / f"{name}.json"
        file.write_text(text(name), encoding="utf-8")
        written.append(file)
    return written


if __name__ == "__main__":
    sys.stdout.writelines(f"{file.name}\n" for file in write())
