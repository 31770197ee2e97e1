"""All views by name, as Grafana's JSON, and writing them to ``dashboards/json``: ``python -m dashboards.build``."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dashboards.attacks import attacks
from dashboards.debug import debug
from dashboards.executive import executive
from dashboards.forensics import forensics
from dashboards.grafana import dashboard
from dashboards.oncall import oncall
from dashboards.panels import View
from dashboards.pipeline import pipeline
from dashboards.scope import Objectives

__all__ = ["DIRECTORY", "VIEWS", "dashboards", "text", "views", "write"]

VIEWS: dict[str, Callable[[Objectives], View]] = {
    "executive": executive,
    "oncall": oncall,
    "debug": debug,
    "forensics": forensics,
    "attacks": attacks,
    "pipeline": pipeline,
}
DIRECTORY = Path(__file__).parent / "json"


def views(objectives: Objectives | None = None) -> dict[str, View]:
    """Every view, with its lines at the objectives (default: those of the default settings).

    >>> list(views())
    ['executive', 'oncall', 'debug', 'forensics', 'attacks', 'pipeline']
    """
    return {name: make(objectives or Objectives()) for name, make in VIEWS.items()}


def dashboards(objectives: Objectives | None = None) -> dict[str, dict[str, Any]]:
    """Every view as Grafana's JSON model."""
    return {name: dashboard(view) for name, view in views(objectives).items()}


def text(name: str) -> str:
    r"""The JSON file of one dashboard, as committed.

    >>> text("oncall").endswith("}\n")
    True
    """
    return json.dumps(dashboards()[name], indent=2, ensure_ascii=False) + "\n"


def write(directory: Path = DIRECTORY) -> list[Path]:
    """Write every dashboard, and remove files of dashboards that are no more. Returns what was written."""
    directory.mkdir(parents=True, exist_ok=True)
    for stale in set(directory.glob("*.json")) - {directory / f"{name}.json" for name in VIEWS}:
        stale.unlink()
    written = []
    for name in VIEWS:
        file = directory / f"{name}.json"
        file.write_text(text(name), encoding="utf-8")
        written.append(file)
    return written


if __name__ == "__main__":
    sys.stdout.writelines(f"{file.name}\n" for file in write())
