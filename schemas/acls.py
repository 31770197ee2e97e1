"""What each kind of Kafka user must be allowed to do: as little as it needs, under a cluster that denies by default."""

from typing import Literal

import msgspec

__all__ = ["Acl", "acls"]

User = Literal["service", "worker", "publisher"]


class Acl(msgspec.Struct, frozen=True, kw_only=True):
    """One right.

    Attributes:
        user: ``service`` runs the SDK, ``worker`` is `inferwatch worker`, ``publisher`` is who publishes references.
        resource: Kind of the resource.
        name: Its name: of one topic or group, or with ``*`` at the end of all that begin so.
        operation: Kafka's name. ``read``, ``write`` and ``create`` imply ``describe``.
        why: In words.
    """

    user: User
    resource: Literal["topic", "group", "transactional-id"]
    name: str
    operation: Literal["read", "write", "create", "describe"]
    why: str


def acls(prefix: str = "inferwatch", group: str = "inferwatch-worker") -> tuple[Acl, ...]:
    """Every right that an installation needs; nobody needs more.

    A service cannot read anything, so it sees neither other services' events nor verdicts. Idempotent producers need no right on the
    cluster since Kafka 3.0.

    Args:
        prefix: Of the topics.
        group: Of the workers.

    Example:
        >>> sorted({one.operation for one in acls() if one.user == "service"})
        ['write']
    """

    def rights(user: User, operation: Literal["read", "write", "create"], why: str, *topics: str) -> list[Acl]:
        return [Acl(user=user, resource="topic", name=f"{prefix}.{topic}", operation=operation, why=why) for topic in topics]

    every = ("events", "windows", "findings", "lifecycle", "labels", "references", "alerts", "verdicts", "dlq", "state")
    return (
        *rights("service", "write", "sends events, heartbeats and labels", "events", "lifecycle", "labels"),
        *rights("publisher", "write", "publishes references", "references"),
        *rights("publisher", "read", "lists canary records", "references"),
        *rights("worker", "create", "makes the topics; not needed where they are there already", *every),
        *rights("worker", "read", "judges", "events", "windows", "findings", "lifecycle", "labels", "references", "state"),
        *rights(
            "worker", "write", "passes counts on, tells alerts", "windows", "findings", "alerts", "verdicts", "references", "dlq", "state"
        ),
        Acl(user="publisher", resource="group", name=f"{group}-references", operation="read", why="reads references; never joined"),
        Acl(user="worker", resource="group", name=group, operation="read", why="shares partitions with other workers"),
        Acl(user="worker", resource="group", name=f"{group}-references", operation="read", why="reads references; never joined"),
        Acl(user="worker", resource="group", name=f"{group}-probe", operation="read", why="looks whether records wait; never joined"),
        Acl(user="worker", resource="group", name=f"{group}-state", operation="read", why="reads its state; never joined"),
        Acl(user="worker", resource="transactional-id", name=f"{prefix}.state.{group}.*", operation="write", why="saves its state, fenced"),
    )
