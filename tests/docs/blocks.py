"""The fenced blocks of the documents: what they are written in, where, and which say that they cannot be run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    ROOT / "sdk/README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
_FENCE = re.compile(r"^( *)```([\w-]*)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
_MARKER = re.compile(r"<!-- not run: (.+?) -->\s*\Z", re.DOTALL)


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes:
        document: where it is.
        line: of its fence.
        language: as the fence says.
        text: without its indentation.
        not_run: why it cannot be run; empty when it can.
    """

    document: Path
    line: int
    language: str
    text: str
    not_run: str

    def __str__(self) -> str:
        return f"{self.document.relative_to(ROOT)}:{self.line}"


def blocks(*languages: str) -> list[Block]:
    """The blocks in these languages, of all documents, in order; of all languages when none is given."""
    found = []
    for document in DOCUMENTS:
        text = document.read_text()
        for match in _FENCE.finditer(text):
            indent, language, body = match.groups()
            if languages and language not in languages:
                continue
            marker = _MARKER.search(text[: match.start()])
            plain = "".join(line.removeprefix(indent) for line in body.splitlines(keepends=True))
            found.append(Block(document, text.count("\n", 0, match.start()) + 1, language, plain, marker[1] if marker else ""))
    return found


def runnable(*languages: str) -> list[Block]:
    """Those without a marker."""
    return [block for block in blocks(*languages) if not block.not_run]
