"""Prometheus' own tool, which checks rules and tries them on series of numbers."""

import os
import shutil
import subprocess
from pathlib import Path

from streams.embedded.cache import cache_root
from tests.parts import unavailable


def promtool(*arguments: str | Path) -> str:
    """What it says; fails when it does, skips loudly when there is none."""
    found = shutil.which("promtool", path=os.pathsep.join([os.environ.get("PATH", ""), str(cache_root() / "bin")]))
    if found is None:
        unavailable("promtool", "`make tools` brings it, from Debian or from the URL in INFERWATCH_PROMTOOL_URL.")
    done = subprocess.run([found, *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
