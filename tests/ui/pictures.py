"""Pictures of the six views for the documentation: ``python -m tests.ui.pictures http://127.0.0.1:8990 docs/img CLIENT``.

The page must be served (``inferwatch ui``); CLIENT is chosen on the forensics view.
"""

import asyncio
import sys
import tempfile
from pathlib import Path
from urllib.parse import urlencode

from tests.ui.browser import run

HEIGHTS = {"executive": 1680, "oncall": 1500, "debug": 1500, "forensics": 1640, "attacks": 1420, "pipeline": 1500}


async def main(url: str, folder: Path, client: str) -> None:
    """One file a view, 1,050 pixels wide."""
    for name, height in HEIGHTS.items():
        chosen = f"?{urlencode({'client': client})}" if name == "forensics" else ""
        with tempfile.TemporaryDirectory() as profile:
            flags = (f"--window-size=1400,{height}", "--force-device-scale-factor=0.75", f"--screenshot={folder / name}.png")
            await run(f"{url}/view/{name}{chosen}", Path(profile), *flags)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1].rstrip("/"), Path(sys.argv[2]), sys.argv[3]))
