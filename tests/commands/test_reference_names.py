"""`inferwatch reference list | use | drop`, on Apache Kafka: what they say is what every worker does."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas.reference import decode, encode
from streams.incident_references import published
from streams.kafka import ensure_topics
from streams.reference_topic import ReferenceReader
from streams.references import References
from streams.settings import Kafka
from tests.commands.cli import NOWHERE, run
from tests.streams.events import KEY, NAMES, reference
from tests.topics import Topics

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]
TRAINING = reference()


class Installation:
    """Topics, and the registries of two workers that read them."""

    def __init__(self, topics: Topics, folder: Path, stack: ExitStack) -> None:
        self.kafka = Kafka(bootstrap_servers=topics.bootstrap_servers, topic_prefix=topics.prefix.rstrip("."), partitions=3)
        self.folder, self._stack = folder, stack
        ensure_topics(self.kafka)
        self.workers = [self.worker(), self.worker()]

    def worker(self) -> References:
        """Another one; it reads all that is there."""
        references = References(KEY)
        reader = ReferenceReader(self.kafka, references.take, lambda: None)
        reader.start()
        self._stack.callback(reader.close)
        return references

    def say(self, *arguments: object, code: int = 0) -> str:
        said = run(
            "reference", *arguments, INFERWATCH_KAFKA_BOOTSTRAP_SERVERS=self.kafka.bootstrap_servers,
            INFERWATCH_KAFKA_TOPIC_PREFIX=self.kafka.topic_prefix, INFERWATCH_KAFKA_PARTITIONS="3",
        )  # fmt: skip
        assert said.exit_code == code, said.output
        return said.output

    def until(self, ids: tuple[str, str], *more: References) -> None:
        """Waits until every worker judges by these: all else, drift."""
        deadline, found = time.monotonic() + 20, set[object]()
        while time.monotonic() < deadline:
            loaded = [worker.get("m", "1") for worker in (*self.workers, *more)]
            found = {(one.id, one.drift_id) if one else ("", "") for one in loaded}
            if found == {ids}:
                return
            time.sleep(0.05)
        pytest.fail(f"{found}, not {ids}")

    def published(self, name: str, seed: int) -> str:
        """A second reference, built and published; its id."""
        rng = np.random.default_rng(seed)
        X = rng.normal(size=(500, 3))
        p = 1 / (1 + np.exp(-X[:, 0]))
        # in another order than the training one's, as the file of somebody else is
        columns = {name: X[:, j] for j, name in reversed(list(enumerate(NAMES)))} | {"prob_yes": p, "prob_no": 1 - p}
        pq.write_table(pa.table(columns), self.folder / "rows.parquet")
        out = self.folder / f"{name}.iwref"
        at = ["--model", "m", "--version", "1", "--name", name]
        said = self.say("build", self.folder / "rows.parquet", *at, "--out", out, "--publish")
        assert f"inferwatch reference use m 1 {name}" in said
        return decode(out.read_bytes()).id


@pytest.fixture
def there(topics: Topics, tmp_path: Path) -> Iterator[Installation]:
    with ExitStack() as stack:
        yield Installation(topics, tmp_path, stack)


def test_the_chosen_one_judges_drift_in_every_worker_and_after_a_restart(there: Installation) -> None:
    first = there.folder / "training.iwref"
    first.write_bytes(encode(TRAINING))
    assert "no training reference of m 1 is published" in there.say(
        "build", first, "--model", "m", "--version", "1", "--name", "month", code=2
    )
    there.say("publish", first)
    month = there.published("month", 1)
    there.until((TRAINING.id, TRAINING.id))
    said = there.say("list", "m").splitlines()
    assert [line.split()[:4] for line in said] == [["m", "1", "training", TRAINING.id], ["m", "1", "month", month]]
    assert said[0].endswith("  drift")
    assert f"Drift of m 1 is judged by month ({month})." in there.say("use", "m", "1", "month")
    there.until((TRAINING.id, month))
    there.until((TRAINING.id, month), there.worker())
    said = there.say("list", "m", "--version", "1").splitlines()
    assert "drift" not in said[0]
    assert "  drift since 20" in said[1]
    assert set(published(there.kafka, "m").blobs) == {TRAINING.id, month}  # what windows name is in an incident's archive
    again = there.published("month", 2)  # a second run with the same name replaces it, and is in force
    assert again != month
    there.until((TRAINING.id, again))
    there.say("use", "m", "1", "training")
    there.until((TRAINING.id, TRAINING.id))
    there.say("use", "m", "1", "month")
    assert "Left: training." in there.say("drop", "m", "1", "--name", "month")
    there.until((TRAINING.id, TRAINING.id), there.worker())
    there.published("month", 3)  # begins anew: nobody chose it
    assert there.say("list", "m").splitlines()[0].endswith("  drift")
    there.until((TRAINING.id, TRAINING.id))
    there.say("drop", "m", "1", "--name", "month")
    assert "Left: none." in there.say("drop", "m", "1")
    there.until(("", ""))
    assert "No reference of m is published." in there.say("list", "m")


def test_mistakes_are_told_with_what_there_is(there: Installation) -> None:
    assert "no reference month of m 1 is published; there are none" in there.say("use", "m", "1", "month", code=2)
    first = there.folder / "training.iwref"
    first.write_bytes(encode(TRAINING))
    there.say("publish", first)
    assert "no reference month of m 1 is published; there are 1: training" in there.say("drop", "m", "1", "--name", "month", code=2)
    turned = msgspec.structs.replace(TRAINING, name="turned", features=TRAINING.features[::-1])
    other = there.folder / "turned.iwref"
    other.write_bytes(encode(turned))
    there.say("publish", other)
    assert "turned has other columns, categories or classes than training" in there.say("use", "m", "1", "turned", code=2)
    for more, told in (
        (["--like", first], "--like goes with --name"),
        (["--name", "a/b"], "--name 'a/b': 1 to 64 letters"),
        (["--name", "b", "--like", there.folder / "absent"], "absent: No such file"),
    ):
        assert told in there.say("build", "rows.parquet", "--model", "m", "--version", "1", *more, code=2)
    assert run("reference", "list", "m", **NOWHERE).exit_code == 1
