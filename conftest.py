"""The two passes of `make test`: most tests beside each other, then those whose promise is a time, by themselves."""

from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--alone`` rather than ``-m``: one of the user's own would take its place."""
    parser.addoption("--alone", choices=("only", "without"), help="only the tests with the mark `alone`, or all others; both otherwise")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Reading a file is quicker than importing it. Files that somebody named are imported: pytest has no word for one that it may not."""
    if config.getoption("--alone") != "only" or config.args_source is not pytest.Config.ArgsSource.TESTPATHS or collection_path.is_dir():
        return None
    return b"pytest.mark.alone" not in collection_path.read_bytes() or None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves the tests of the other pass out."""
    wanted = config.getoption("--alone")
    if wanted is None:
        return
    left_out = [item for item in items if (item.get_closest_marker("alone") is None) == (wanted == "only")]
    items[:] = [item for item in items if (item.get_closest_marker("alone") is None) != (wanted == "only")]
    config.hook.pytest_deselected(items=left_out)
