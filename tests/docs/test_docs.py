"""Promises of the documents: commands parse, links resolve, snippets run, names exist, generated pages are fresh."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import click
import msgspec
import pytest
from prometheus_client import generate_latest

from schemas.alerts import ALERTNAMES
from schemas.techniques import ATLAS, BY_DETECTOR, OWASP
from streams.cli import main
from streams.clickhouse import ClickHouse
from streams.kserve import KserveMetrics
from streams.metrics import Metrics
from streams.migrate import migrate
from streams.settings import Settings
from streams.siem_export import ExportMetrics
from tests.commands.cli import run
from tests.deploy.promtool import promtool

ROOT = Path(__file__).parents[2]
OURS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
DOCUMENTS = [*OURS, ROOT / "sdk/README.md"]
RUNBOOKS = ROOT / "docs/runbooks"
HEADINGS = ["First checks", "Likely causes", "Containment", "Tell", "Over when"]
OUTSIDE = "https?:|mailto:"
OF_THE_WATCHER = set(re.findall(r"- alert: (\w+)", (ROOT / "deploy/prometheus/rules.yml").read_text()))

documents = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))


def blocks(document: Path, language: str) -> list[str]:
    """The fenced blocks of a language, without their indentation."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```", document.read_text(), re.DOTALL | re.MULTILINE)
    return ["\n".join(line.removeprefix(indent) for line in body.splitlines()) for indent, body in found]


def prose(document: Path) -> str:
    """The text without fenced blocks."""
    return re.sub(r"^ *```.*?^ *```", "", document.read_text(), flags=re.DOTALL | re.MULTILINE)


def command_lines(document: Path) -> Iterator[str]:
    """What follows `inferwatch` in shell blocks, and in code in the text."""
    for block in blocks(document, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            if found := re.match(r"(?:export )?(?:[A-Z_]+=\S+ )*(?:\S*/)?inferwatch (.+)", line):
                yield found[1]
    yield from re.findall(r"`(?:\S*/)?inferwatch ([^`]+)`", prose(document))


def command_of(words: list[str]) -> tuple[list[str], click.Command, list[str]]:
    """The words that name a command, the command, and its arguments."""
    command: click.Command = main
    for n, word in enumerate(words):
        if not isinstance(command, click.Group):
            return words[:n], command, words[n:]
        found = command.get_command(click.Context(command), word)
        assert found is not None, f"inferwatch {' '.join(words)}: no command {word}"
        command = found
    return words, command, []


@documents
def test_every_quoted_command_parses(document: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFANA_URL", "http://grafana:3000")
    for line in command_lines(document):
        words = [word for word in shlex.split(re.split(r" [<>] ", line)[0], comments=True) if word != "|"]
        if "|" in line:  # "reference build | publish | show": names only
            words = words[:2]
        _, command, arguments = command_of(words)
        if arguments and "..." not in arguments:
            try:
                command.make_context(words[0], list(arguments))
            except click.exceptions.Exit:
                pass  # --help
            except click.UsageError as error:
                pytest.fail(f"{document.name}: inferwatch {line}: {error.format_message()}")


def test_every_quoted_command_has_help() -> None:
    quoted = {tuple(command_of(line.split("|")[0].split())[0]) for document in DOCUMENTS for line in command_lines(document)}
    assert len(quoted) >= 8
    for words in quoted:
        assert run(*words, "--help").exit_code == 0, words


@documents
def test_every_make_target_exists(document: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"`make ([a-z]+)", document.read_text()))
    named |= {word for block in blocks(document, "sh") for word in re.findall(r"^make ([a-z]+)", block, re.MULTILINE)}
    assert named <= targets


def anchors(path: Path) -> set[str]:
    """GitHub's anchors of a document's headings."""
    headings = re.findall(r"^#+ (.+)$", prose(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@documents
def test_every_relative_link_resolves(document: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(document)):
        if re.match(OUTSIDE, target):
            continue
        path, _, anchor = target.partition("#")
        place = (document.parent / path).resolve() if path else document
        assert place.exists(), f"{target}: no such file"
        assert not anchor or anchor in anchors(place), f"{target}: no such heading"


def test_every_page_of_the_docs_can_be_reached_from_the_map() -> None:
    index = ROOT / "docs/index.md"
    linked = {(index.parent / target.partition("#")[0]).resolve() for target in re.findall(r"\]\(([^)\s]+)\)", index.read_text())}
    assert set((ROOT / "docs").rglob("*.md")) - {index} <= linked


@documents
def test_files_named_in_the_text_exist(document: Path) -> None:
    folders = "bench|dashboards|deploy|detectors|docs|schemas|sdk|streams|tests"
    for name in re.findall(rf"`((?:{folders})/[^`\s*<>]*)`", prose(document)):
        assert (ROOT / name).exists(), name


@documents
def test_python_snippets_compile(document: Path) -> None:
    for block in blocks(document, "python"):
        compile(block, document.name, "exec")


@pytest.mark.parametrize("document", OURS, ids=lambda path: str(path.relative_to(ROOT)))
def test_python_snippets_that_need_no_broker_run(document: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for block in blocks(document, "python"):
        if "Client(" not in block or "MemoryTransport" in block:
            exec(compile(block, document.name, "exec"), {"__name__": "snippet"})


def test_the_three_lines_of_the_readme_are_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    from inferwatch import Client, MemoryTransport

    (block,) = blocks(ROOT / "README.md", "python")
    transport = MemoryTransport()
    block = block.replace('Client("localhost:29092", ', "Client(transport=transport, pseudonym_key='a key of the tests', strict=True, ")
    names: dict[str, object] = {"transport": transport}
    exec(compile(block, "README.md", "exec"), names)
    watch = names["watch"]
    assert isinstance(watch, Client)
    watch.close()
    assert len(transport.events()) == 1


@documents
def test_nothing_names_the_path_of_a_machine(document: Path) -> None:
    for number, line in enumerate(document.read_text().splitlines(), 1):
        assert not re.search(r"(?<![\w.])/(?:work|root|tmp|home|Users)/", line), f"line {number}: {line}"


@documents
def test_the_text_can_be_read_in_a_terminal(document: Path) -> None:
    long = [line for line in prose(document).splitlines() if len(line) > 150 and not line.lstrip().startswith(("|", "!["))]
    assert not long


# -- what the code says, and the documents repeat -------------------------------------------------------------------------------------


def generator() -> ModuleType:
    """docs/generate.py, which is run as a script: what is beside it is on its path."""
    if str(ROOT / "docs") not in sys.path:
        sys.path.append(str(ROOT / "docs"))
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs/generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SETTINGS = {
    f"{section.name}.{field.name}" for section in msgspec.structs.fields(Settings) for field in msgspec.structs.fields(section.type)
}


def test_generated_pages_are_fresh() -> None:
    for path, text in generator().pages().items():
        assert path.read_text() == text, f"{path.name} is stale: run python docs/generate.py"


def test_every_setting_is_explained_and_no_other() -> None:
    page = (ROOT / "docs/reference/settings.md").read_text()
    rows = re.findall(r"^\| `\w+` \|.*\|(.*)\|$", page, re.MULTILINE)
    assert len(rows) == len(SETTINGS)
    assert all(row.strip(" *.") not in ("", "Secret") for row in rows)
    assert set(generator().MEANINGS) <= SETTINGS


@documents
def test_settings_named_in_the_text_exist(document: Path) -> None:
    sections = {name.partition(".")[0] for name in SETTINGS}
    for section, name in re.findall(r"`([a-z]+)\.([a-z0-9_]+)`", document.read_text()):
        assert section not in sections or f"{section}.{name}" in SETTINGS, f"{section}.{name}"


@documents
def test_variables_named_in_the_text_exist(document: Path) -> None:
    variables = {"INFERWATCH_" + name.replace(".", "_").upper() for name in SETTINGS}
    code = [*(ROOT / "streams").rglob("*.py"), *(ROOT / "sdk/src").rglob("*.py"), *(ROOT / ".ci").iterdir(), ROOT / "Makefile"]
    known = variables | {f"{name}_FILE" for name in variables}
    named = set(re.findall(r"\bINFERWATCH_[A-Z0-9_]*[A-Z0-9]\b", document.read_text()))
    unknown = {name for name in named - known if not any(name in path.read_text() for path in code if path.is_file())}
    assert not unknown


@documents
def test_metrics_named_in_the_text_exist(document: Path) -> None:
    registries = Metrics().registry, ExportMetrics().registry, KserveMetrics().registry
    text = "".join(generate_latest(registry).decode() for registry in registries)
    for name in re.findall(r"`(inferwatch_\w+)`", document.read_text()):
        assert f"# TYPE {name} " in text, name


def test_the_readme_says_what_the_default_budget_means() -> None:
    readme = re.sub(r"\s*\n> ?|\s+", " ", (ROOT / "README.md").read_text())
    said = run("check", "--no-connect").output.strip().splitlines()[-1]
    assert said in readme


def test_the_alerts_page_names_every_alert_and_technique() -> None:
    page = (ROOT / "docs/reference/alerts.md").read_text()
    for detector, name in ALERTNAMES.items():
        assert f"| `{name}` | {detector} |" in page
    for ids, owasp in BY_DETECTOR.values():
        for number in ids:
            assert f"{number} {ATLAS[number]}" in page
        for number in owasp:
            assert f"{number} {OWASP[number]}" in page


# -- runbooks ---------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(ALERTNAMES.values()))
def test_every_alert_has_a_runbook_that_says_what_to_do(name: str) -> None:
    text = (RUNBOOKS / f"{name}.md").read_text()
    assert text.startswith(f"# {name}\n\n**Means**")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == HEADINGS
    assert "```sql" in text


@pytest.mark.parametrize("name", sorted(OF_THE_WATCHER))
def test_every_alert_of_prometheus_has_a_runbook_with_queries_of_metrics_that_there_are(name: str) -> None:
    text = (RUNBOOKS / f"{name}.md").read_text()
    assert text.startswith(f"# {name}\n\n**Means**")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == HEADINGS
    queries = blocks(RUNBOOKS / f"{name}.md", "promql")
    assert queries
    known = "".join(generate_latest(registry).decode() for registry in (Metrics().registry, ExportMetrics().registry))
    for metric in re.findall(r"\binferwatch_\w+", " ".join(queries)):
        assert f"# TYPE {metric.removesuffix('_bucket')} " in known or metric == "inferwatch_", metric  # a pattern's beginning


def test_the_promql_of_the_runbooks_is_promql(tmp_path: Path) -> None:
    queries = [query for path in RUNBOOKS.glob("*.md") for query in blocks(path, "promql")]
    rules = [{"record": f"runbook:query_{number}", "expr": query} for number, query in enumerate(queries)]
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": [{"name": "runbooks", "rules": rules}]}))
    assert f"{len(rules)} rules found" in promtool("check", "rules", tmp_path / "rules.yml")


def test_no_runbook_is_of_an_alert_that_does_not_exist() -> None:
    assert {path.stem for path in RUNBOOKS.glob("*.md")} == set(ALERTNAMES.values()) | OF_THE_WATCHER


@pytest.mark.clickhouse
def test_the_queries_of_the_runbooks_run(clickhouse: ClickHouse) -> None:
    migrate(clickhouse)
    for path in RUNBOOKS.glob("*.md"):
        for query in blocks(path, "sql"):
            clickhouse.query(query)
