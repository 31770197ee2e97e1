"""Chromium without a window: what a page becomes once its scripts ran, and a picture of it."""

import asyncio
import shutil
from pathlib import Path

from tests.parts import unavailable

_NAMES = ("chromium", "chromium-browser", "google-chrome")
# The sandbox needs rights that containers lack; the pages are our own. No network but this machine's.
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", "--no-first-run", "--disable-extensions",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--enable-logging=stderr", "--virtual-time-budget=20000",
)  # fmt: skip


def chromium() -> str:
    """The program, or a loud skip."""
    for name in _NAMES:
        if found := shutil.which(name):
            return found
    return unavailable("Chromium", "Install it, for example with `apt-get install chromium`.")


async def run(url: str, profile: Path, *flags: str) -> tuple[str, list[str]]:
    """Standard output, and what the page said on its console."""
    process = await asyncio.create_subprocess_exec(
        chromium(), *_FLAGS, f"--user-data-dir={profile}", *flags, url, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await asyncio.wait_for(process.communicate(), 120)
    return out.decode(), [line for line in err.decode().splitlines() if "CONSOLE" in line]
