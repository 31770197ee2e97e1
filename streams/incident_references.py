"""The references that an incident was judged against: which they were says the store, what they hold has only the references topic."""

from __future__ import annotations

from dataclasses import dataclass, field

from confluent_kafka import KafkaException

from schemas import reference
from schemas.reference import ReferenceFormatError
from streams import reference_topic
from streams.kafka import reach, told_by
from streams.settings import Kafka

__all__ = ["Published", "files_of", "published"]


@dataclass(frozen=True)
class Published:
    """What the topic has of a model now.

    Attributes:
        blobs: As they were published, by the reference's id.
        versions: The id of the training one, by version.
        why: Why there is nothing to look at; empty: it was read.
    """

    blobs: dict[str, bytes] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    why: str = ""


def published(kafka: Kafka, model: str) -> Published:
    """Reads the topic; blocks for some seconds at most where nobody answers."""
    if (trouble := reach(kafka)) is not None:
        return Published(why=trouble)
    try:
        records = reference_topic.published(kafka, model)
    except KafkaException as error:
        return Published(why=told_by(kafka, error))
    found = Published()
    for part, blob in records.items():
        place = reference.name_in(part)
        if place is None:
            continue
        try:
            one = reference.decode(blob).id
        except ReferenceFormatError:
            continue
        found.blobs[one] = blob
        if place[1] == reference.TRAINING:
            found.versions[place[0]] = one
    return found


def files_of(ids: list[str], version: str, topic: Published) -> tuple[dict[str, bytes], dict[str, str]]:
    """The files for the archive; and for its manifest, by id, the file, or why there is none.

    Args:
        ids: What the windows were judged against.
        version: Of the model.
        topic: What was found.

    Example:
        >>> files_of(["1f", "2e"], "7", Published({"2e": b"IWREF1"}, {"7": "2e"}))[1]
        {'1f': 'not on the topic: replaced since by 2e', '2e': 'references/2e.iwref'}
        >>> files_of(["1f"], "7", Published(why="Kafka does not answer"))[1]
        {'1f': 'not read: Kafka does not answer'}
    """
    now = topic.versions.get(version)
    gone = f"replaced since by {now}" if now else "withdrawn since, or provisional, which is never published"
    missing = f"not read: {topic.why}" if topic.why else f"not on the topic: {gone}"
    files = {f"references/{one}.iwref": topic.blobs[one] for one in ids if one in topic.blobs}
    return files, {one: f"references/{one}.iwref" if one in topic.blobs else missing for one in ids}
