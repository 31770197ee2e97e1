"""What each kind of Kafka user must be allowed to do: as little as it needs, under a cluster that denies by default."""

from typing import Literal

import msgspec

__all__ = ["Acl", "acls"]

User = Literal["service", "worker", "publisher", "builder", "exporter", "eraser", "oncall", "gateway"]


class Acl(msgspec.Struct, frozen=True, kw_only=True):
    """One right.

    Attributes:
        user: ``service`` runs the SDK, ``worker`` is `inferwatch worker`, ``publisher`` is who publishes references, ``oncall`` who
            acknowledges alerts and decides verdicts, ``gateway`` who looks verdicts up, ``exporter`` runs `inferwatch ocsf`,
            ``eraser`` is who runs `inferwatch delete`.
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

    A service cannot read anything, so it sees neither other services' events nor verdicts; one that looks verdicts up needs the gateway's
    rights too. Nobody but the worker writes verdicts: on-call tells the judge, which keeps them. Idempotent producers need no right on the
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

    read = ("events", "windows", "findings", "lifecycle", "labels", "operations", "references", "state")
    every = (*read[:-1], "alerts", "verdicts", "audit", "dlq", "state")
    return (
        *rights("service", "write", "sends events, heartbeats and labels", "events", "lifecycle", "labels"),
        *rights("publisher", "write", "publishes references", "references"),
        *rights("publisher", "read", "lists references and canary records", "references"),
        Acl(user="publisher", resource="group", name=f"{group}-references", operation="read", why="reads references; never joined"),
        *rights("builder", "read", "builds references from the stream", "events", "labels", "verdicts"),
        *rights("exporter", "read", "hands alerts to the SIEM", "alerts"),
        Acl(user="exporter", resource="group", name="inferwatch-ocsf", operation="read", why="remembers what the SIEM has"),
        *rights("eraser", "write", "lets the workers forget somebody", "events"),
        Acl(user="eraser", resource="topic", name=f"{prefix}.findings", operation="describe", why="sees how far the workers are"),
        Acl(user="eraser", resource="group", name=group, operation="describe", why="sees how far the workers are"),
        *rights("worker", "create", "makes the topics; not needed where they are there already", *every),
        *rights("worker", "read", "judges", *read),
        *rights("worker", "write", "passes counts on, tells alerts", "windows", "findings", "alerts", "verdicts", "audit"),
        *rights("worker", "write", "makes references, sets aside, saves its state", "references", "dlq", "state"),
        *rights("oncall", "write", "acknowledges, decides verdicts", "operations"),
        *rights("oncall", "read", "lists verdicts", "verdicts"),
        *rights("gateway", "read", "looks verdicts up", "verdicts"),
        *rights("oncall", "read", "checks the audit log", "audit"),
        Acl(user="worker", resource="group", name=group, operation="read", why="shares partitions with other workers"),
        Acl(user="worker", resource="group", name=f"{group}-references", operation="read", why="reads references; never joined"),
        Acl(user="worker", resource="group", name=f"{group}-probe", operation="read", why="looks whether records wait; never joined"),
        Acl(user="worker", resource="group", name=f"{group}-state", operation="read", why="reads its state; never joined"),
        Acl(user="worker", resource="transactional-id", name=f"{prefix}.state.{group}.*", operation="write", why="saves its state, fenced"),
    )
