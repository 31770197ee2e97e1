"""Pictures of the six views for the documentation: ``python -m tests.ui.pictures http://127.0.0.1:8990 docs/img CLIENT``.

The page must be served (``inferwatch ui``), of a run of ``inferwatch demo``; CLIENT is chosen on the forensics view, and a slow window of
six minutes on the debug view, as the run lasts no day.
"""

import asyncio
import sys
import tempfile
from pathlib import Path
from urllib.parse import urlencode

from tests.ui.browser import run

HEIGHTS = {"executive": 1625, "oncall": 2900, "debug": 2250, "forensics": 2255, "attacks": 1800, "pipeline": 2820}
"""Each ends with a row of panels; of the debug view the answers are the last, of forensics the linked clients."""


async def main(url: str, folder: Path, client: str) -> None:
    """One file a view, 1,050 pixels wide."""
    chosen = {"forensics": {"client": client}, "debug": {"slow": "0.1"}}
    for name, height in HEIGHTS.items():
        with tempfile.TemporaryDirectory() as profile:
            flags = (f"--window-size=1400,{height}", "--force-device-scale-factor=0.75", f"--screenshot={folder / name}.png")
            await run(f"{url}/view/{name}?{urlencode(chosen.get(name, {}))}", Path(profile), *flags)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1].rstrip("/"), Path(sys.argv[2]), sys.argv[3]))
