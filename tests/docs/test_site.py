"""Promises of the site: it is built without a warning, holds every page, and asks no other host for anything."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [*(ROOT / "docs").rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", ROOT / "sdk/README.md"]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as `make docs` builds it."""
    out = tmp_path_factory.mktemp("site")
    (line,) = re.findall(r"\$\(BIN\)/sphinx-build (.+)", (ROOT / "Makefile").read_text())
    words = [str(out / "html") if word == "site" else str(out / word) if word == ".cache/docs" else word for word in line.split()]
    done = subprocess.run([sys.executable, "-m", "sphinx", *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return out / "html"


def html_of(site: Path, page: Path) -> str:
    return (site / page.relative_to(ROOT).with_suffix(".html")).read_text()


def test_every_document_is_a_page_that_the_navigation_names(site: Path) -> None:
    front = html_of(site, ROOT / "docs/index.md")
    (sidebar,) = re.findall(r'<div class="sidebar-tree">.*?\n</div>', front, re.DOTALL)
    for page in PAGES:
        if page != ROOT / "docs/index.md":
            target = page.relative_to(ROOT).with_suffix(".html")
            named = (
                target.name
                if target.parent == Path("docs")
                else f"../{target}"
                if target.parts[0] != "docs"
                else str(Path(*target.parts[1:]))
            )
            assert f'href="{named}"' in sidebar, f"{page}: put its folder or name into NAVIGATION of docs/site/conf.py"
            assert html_of(site, page)


def test_the_root_leads_to_the_map(site: Path) -> None:
    assert 'url=docs/index.html"' in (site / "index.html").read_text()


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    loads = re.compile(r'<(?:script|img|iframe|source)[^>]* src="(https?:)?//|<link[^>]* href="(https?:)?//|@import|url\(["\']?https?:')
    for file in [*site.rglob("*.html"), *site.rglob("*.css")]:
        assert not loads.search(file.read_text()), file.name


def test_a_link_to_nowhere_fails_the_build(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/index.md").write_text("# Map\n\n[a page](no-such-page.md)\n")
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-W",
        "-q",
        "-b",
        "html",
        "-c",
        str(ROOT / "docs/site"),
        str(tmp_path),
        str(tmp_path / "out"),
    ]
    done = subprocess.run([*command, "-D", "suppress_warnings=toc"], capture_output=True, text=True)
    assert done.returncode != 0
    assert "no-such-page.md" in done.stderr
