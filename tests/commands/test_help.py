"""Every command explains itself, loads only when it is called, and a typo is exit code 2."""

import subprocess
import sys

import pytest

from streams import cli
from tests.commands.cli import environment, run

_COMMANDS = [[name] for name in cli._COMMANDS] + [["reference", name] for name in ("build", "publish", "show")] + [["dashboards", "push"]]


def test_the_front_page_lists_every_command_and_where_to_begin() -> None:
    said = run("--help")
    assert said.exit_code == 0
    assert all(name in said.output for name in cli._COMMANDS)
    assert "inferwatch demo" in said.output


@pytest.mark.parametrize("command", _COMMANDS, ids=" ".join)
def test_every_command_explains_itself_and_its_options(command: list[str]) -> None:
    said = run(*command, "--help")
    assert said.exit_code == 0
    assert said.output.startswith("Usage: ")
    assert len(said.output.splitlines()) > 5
    assert "--help" in said.output


@pytest.mark.parametrize("arguments", [["wroker"], ["worker", "--fast"], ["replay"], ["reference", "build", "x.parquet"]])
def test_a_typo_or_a_missing_argument_is_exit_code_2(arguments: list[str]) -> None:
    said = run(*arguments)
    assert said.exit_code == 2
    assert "Usage: " in said.output


def test_the_version_is_told() -> None:
    assert "inferwatch, version " in run("--version").output


def test_the_installed_script_answers_without_loading_the_engines() -> None:
    code = "import sys, streams.cli; heavy = {'faust', 'numba', 'chdb', 'pyarrow'} & set(sys.modules); sys.exit(str(heavy) if heavy else 0)"
    assert subprocess.run([sys.executable, "-c", code], env=environment(), timeout=60, capture_output=True).returncode == 0
    said = subprocess.run([sys.executable, "-m", "streams.cli", "--help"], env=environment(), timeout=60, capture_output=True, text=True)
    assert (said.returncode, said.stderr) == (0, "")
    assert "replay" in said.stdout
