"""Shared by all areas: the real engines, each started once and only when a test asks for it."""

import itertools
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

from streams.embedded import MissingPartError
from streams.embedded.alertmanager import HOW_TO_GET_ALERTMANAGER, EmbeddedAlertmanager, find_alertmanager, render_config
from streams.embedded.kafka import EmbeddedKafka
from tests.pager import Pager
from tests.parts import lacking, unavailable
from tests.topics import Topics

if TYPE_CHECKING:
    from streams.clickhouse import ClickHouse

_numbers = itertools.count()

# The first call of a kernel compiles it, which says nothing about the code under test.
hypothesis.settings.register_profile("inferwatch", deadline=None)
hypothesis.settings.load_profile("inferwatch")


@pytest.fixture(scope="session", autouse=True)
def _state_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Commands keep the ends of their audit chains; those of tests are not this user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="session")
def chdb_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the engine keeps its data. A process can have only one, so all tests share it and differ by database."""
    try:
        import chdb  # noqa: F401 - only to know whether it is there
    except ImportError:
        unavailable("chDB, the embedded ClickHouse engine,", "Install inferwatch-server with the extra `embedded`.")
    return tmp_path_factory.mktemp("chdb")


@pytest.fixture
def clickhouse_dsn(chdb_directory: Path) -> str:
    """The DSN of a database of this test's own, which does not exist yet."""
    return f"chdb://{chdb_directory}?database=test{next(_numbers)}"


@pytest.fixture
def clickhouse(clickhouse_dsn: str) -> "Iterator[ClickHouse]":
    """A connection to a database of this test's own, which does not exist yet."""
    from streams.clickhouse import ClickHouse, ClickHouseError

    with ClickHouse(clickhouse_dsn) as connection:
        yield connection
        # The engine loads all databases whenever it starts, which is at each connection.
        with suppress(ClickHouseError):  # closed, or never made
            connection.command(f"DROP DATABASE {connection.database} SYNC")


@pytest.fixture(scope="session")
def kafka() -> Iterator[EmbeddedKafka]:
    """One Kafka node for the whole run. Never stop or restart it: start your own `EmbeddedKafka` for that."""
    try:
        with EmbeddedKafka() as running:
            yield running
    except MissingPartError as error:
        unavailable("The embedded Kafka", str(error))


@pytest.fixture
def topics(kafka: EmbeddedKafka) -> Iterator[Topics]:
    """A prefix and topics of this test's own, deleted when it is over."""
    made = Topics(kafka)
    yield made
    made.delete_all()


@pytest.fixture(scope="session")
def pager() -> Iterator[Pager]:
    """What stands for PagerDuty, Slack and the webhook. Shared: use a model or client name of the test's own."""
    with Pager() as running:
        yield running


@pytest.fixture(scope="session")
def alertmanager_binary() -> Path:
    """The binary, or a loud skip."""
    try:
        binary = find_alertmanager()
    except MissingPartError as error:
        unavailable("Alertmanager", str(error))
    if binary is None:
        unavailable("Alertmanager", f"{HOW_TO_GET_ALERTMANAGER}.")
    return binary


@pytest.fixture(scope="session")
def alertmanager(alertmanager_binary: Path, pager: Pager) -> Iterator[EmbeddedAlertmanager]:
    """One Alertmanager for the whole run, which notifies `pager` within half a second."""
    config = render_config(
        webhook=pager.webhook_url, pagerduty=pager.pagerduty_url, slack=pager.slack_url, group_wait=0.1, group_interval=0.3
    )
    with EmbeddedAlertmanager(config) as running:
        yield running


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if missing := lacking(terminalreporter.stats.get("skipped", [])):
        terminalreporter.section("SKIPPED FOR LACK OF A PART", sep="!", red=True, bold=True)
        for sentence, tests in sorted(missing.items()):
            terminalreporter.write_line(f"{tests} tests: {sentence}", red=True)
