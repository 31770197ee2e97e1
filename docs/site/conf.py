"""Sphinx's settings of the documentation site: ``make docs``.

The source folder is the root of the repository, so that a link that works between files there works on the site, too. What is a page:
docs/, the README files, and what a contributor reads. The navigation follows Diataxis, and takes new files up by their folder.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

project = "inferwatch"
author = "the authors of inferwatch"
root_doc = "docs/index"
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
include_patterns = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "sdk/README.md", "docs/**"]
exclude_patterns = [".*", ".*/**", "site/**", "tests/**", "**/__pycache__"]

myst_heading_anchors = 3  # page.md#heading, as on a code host
nitpicky = True
html_theme = "furo"  # brings its own fonts, styles and scripts: a page asks no other host for anything
html_title = "inferwatch"
html_copy_source = False
html_show_sphinx = False
html_domain_indices = False
html_use_index = False

NAVIGATION = {
    "Begin": ["/docs/demo"],
    "How to": ["/docs/howto/*"],
    "Look up": ["/docs/reference/*", "/sdk/README", "/docs/benchmarks"],
    "Understand": ["/docs/explanation/*"],
    "Runbooks": ["/docs/runbooks/*"],
    "Work on it": ["/README", "/docs/development", "/CONTRIBUTING", "/CHANGELOG"],
}
"""Caption, and the pages below it; with a star those of a folder, whichever there are."""


def navigation() -> str:
    """The table of contents as MyST: hidden, because the map is written for people already."""
    blocks = [
        "\n".join(["```{toctree}", ":hidden:", ":glob:", f":caption: {caption}", "", *pages, "```"])
        for caption, pages in NAVIGATION.items()
    ]
    return "\n\n" + "\n\n".join(blocks) + "\n"


def _give_the_map_its_contents(app: Any, docname: str, source: list[str]) -> None:
    if docname == root_doc:
        source[0] += navigation()


def _lead_the_root_to_the_map(app: Any, error: Exception | None) -> None:
    if error is None and app.builder.format == "html":
        shutil.copy(Path(app.confdir) / "index.html", app.outdir)


def setup(app: Any) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("source-read", _give_the_map_its_contents)
    app.connect("build-finished", _lead_the_root_to_the_map)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
