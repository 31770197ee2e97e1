"""Whatever is killed, stalled, cut off or sent twice: every event counts exactly once, and every page comes exactly once."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.embedded.kafka import EmbeddedKafka
from tests.faults.run import Outcome
from tests.faults.scenarios import STRIKES
from tests.faults.theatre import Theatre

pytestmark = [pytest.mark.kafka, pytest.mark.clickhouse, pytest.mark.alertmanager]


@pytest.fixture(scope="module")
def theatre(
    kafka: EmbeddedKafka, chdb_directory: Path, alertmanager_binary: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Theatre]:
    # the fixtures are there to say loudly what is missing; the run has a Kafka of its own, which it may kill
    with Theatre(tmp_path_factory.mktemp("faults"), progress=print) as made:
        yield made


def exact(outcome: Outcome) -> None:
    wrong = outcome.comparison.wrong
    assert not wrong, f"{len(wrong)} of {outcome.comparison.compared.total()} figures differ:\n" + "\n".join(wrong[:30])
    assert outcome.sent == outcome.accepted + outcome.rejected > 0
    assert outcome.pages_seen == outcome.pages_expected > 0


@pytest.mark.timeout(600)
def test_all_faults_one_after_the_other_leave_every_count_and_every_page_exact(theatre: Theatre) -> None:
    exact(theatre.short(seed=1))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_all_faults_leave_all_exact_with_the_snapshots_in_kafka(
    kafka: EmbeddedKafka, chdb_directory: Path, alertmanager_binary: Path, tmp_path: Path
) -> None:
    with Theatre(tmp_path, "kafka", print) as theatre:
        exact(theatre.short(seed=1))


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("fault", STRIKES)
def test_every_fault_by_itself_in_the_long_form_leaves_every_count_and_every_page_exact(theatre: Theatre, fault: str) -> None:
    (outcome,) = theatre.long(1, (fault,))
    exact(outcome)
