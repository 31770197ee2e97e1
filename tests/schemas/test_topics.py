"""The topics are what the design promises, and refuse settings Kafka would refuse later and less clearly."""

import re

import numpy as np
import pytest

from detectors.drift import DriftReference, WindowCounts
from schemas.topics import state_partition, topics

WIDEST = 4_096
"""Features of a record, at most."""


def test_every_topic_of_the_design_is_there_once() -> None:
    names = [t.name for t in topics()]
    wanted = [
        "events",
        "windows",
        "findings",
        "lifecycle",
        "labels",
        "operations",
        "references",
        "alerts",
        "verdicts",
        "audit",
        "dlq",
        "state",
    ]
    assert names == [f"inferwatch.{n}" for n in wanted]


def test_all_topics_have_the_same_partitions_and_each_owner_one_for_its_state() -> None:
    assert {t.partitions for t in topics(partitions=4) if t.name != "inferwatch.state"} == {4}
    taken = [state_partition(kind, p) for kind in ("shard", "judge") for p in range(4)]
    assert sorted(taken) == list(range({t.name: t.partitions for t in topics(partitions=4)}["inferwatch.state"]))


@pytest.mark.parametrize("name", ["references", "verdicts", "audit", "state"])
def test_what_must_survive_is_compacted_and_never_expires(name: str) -> None:
    topic = next(t for t in topics() if t.name == f"inferwatch.{name}")
    assert topic.config["cleanup.policy"] == "compact"
    assert topic.config["retention.ms"] == "-1"


def test_what_is_not_compacted_expires() -> None:
    assert all(t.retention_ms > 0 for t in topics() if "delete" in t.cleanup)


def test_the_dead_letter_topic_takes_a_record_as_large_as_the_events_topic_with_headers() -> None:
    sizes = {t.name: t.max_message_bytes for t in topics()}
    assert sizes["inferwatch.dlq"] > sizes["inferwatch.events"]
    assert sizes["inferwatch.references"] == 16 * 1024 * 1024


def test_counts_of_the_widest_model_fit_the_windows_topic() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, WIDEST)).astype(np.float32)
    leaf = WindowCounts(DriftReference.fit(X, [str(j) for j in range(WIDEST)], ["numeric"] * WIDEST))
    leaf.update(X, clients=np.arange(500))
    assert len(leaf.to_bytes()) < {t.name: t.max_message_bytes for t in topics()}["inferwatch.windows"]


def test_three_copies_need_two_acknowledgements() -> None:
    assert {t.config["min.insync.replicas"] for t in topics(replication=3)} == {"2"}
    assert {t.config["min.insync.replicas"] for t in topics(replication=1)} == {"1"}


def test_names_and_values_are_kafkas() -> None:
    for topic in topics("team-a.inferwatch"):
        assert re.fullmatch(r"[a-zA-Z0-9._-]{1,249}", topic.name)
        assert all(isinstance(v, str) for v in topic.config.values())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"partitions": 0}, "partitions = 0: expected 1 to 1000"),
        ({"partitions": 1001}, "expected 1 to 1000"),
        ({"replication": 0}, "replication = 0: expected 1 to 9"),
        ({"prefix": "a b"}, "topic prefix 'a b'"),
        ({"prefix": ""}, "topic prefix ''"),
    ],
)
def test_nonsense_is_refused_with_the_range(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        topics(**settings)  # type: ignore[arg-type]  # wrong on purpose
