"""Where findings go: a file of JSON lines, an HTTP endpoint, or a Kafka topic. Each takes one finding at a time, or says why not."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import aiohttp
from confluent_kafka import KafkaError, KafkaException, Producer

from streams.kafka import client_config
from streams.settings import Kafka, mask_url

__all__ = ["Destination", "File", "Http", "RefusedError", "Topic", "UnavailableError", "destination_of"]

_TIMEOUT_S = 30.0
_REFUSED = frozenset({400, 409, 410, 413, 414, 415, 422})
"""Statuses by which a finding itself is refused. Any other failure may be the way, or the key, and is tried again."""
_PERMANENT = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_MSG, KafkaError.INVALID_MSG_SIZE})


class UnavailableError(Exception):
    """It was not taken; later it may be."""


class RefusedError(Exception):
    """It was not taken, and never will be."""


class Destination(Protocol):
    """Who takes findings."""

    name: str

    async def put(self, uid: str, finding: bytes) -> None:
        """Returns when it is kept.

        Raises:
            UnavailableError: try again.
            RefusedError: do not.
        """

    async def close(self) -> None:
        """Gives back what it holds."""


class File:
    """JSON lines, appended and made durable one by one. The path is opened anew each time, so a rotated file is left alone."""

    def __init__(self, path: Path) -> None:
        self.name, self._path = str(path), path

    async def put(self, uid: str, finding: bytes) -> None:
        """See `Destination`."""
        await asyncio.to_thread(self._append, finding)

    def _append(self, finding: bytes) -> None:
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o640)
        except OSError as error:
            raise UnavailableError(f"{self._path}: {error.strerror}") from error
        try:
            size = os.fstat(descriptor).st_size
            cut = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"  # a crash in the middle of a line: it stays, on its own
            try:
                line = (b"\n" if cut else b"") + finding + b"\n"
                written = os.write(descriptor, line)
                if written < len(line):
                    raise OSError(28, "No space left on device")
                os.fsync(descriptor)
            except OSError as error:
                with suppress(OSError):  # a pipe has no end to cut
                    os.ftruncate(descriptor, size)
                raise UnavailableError(f"{self._path}: {error.strerror}") from error
        finally:
            os.close(descriptor)

    async def close(self) -> None:
        """Nothing is held."""


class Http:
    """One POST a finding, `application/json`; any 2xx is kept. Redirects are not followed: the key would travel with them.

    Args:
        url: of the endpoint.
        authorization: the whole value of the header, "Bearer ...", "Splunk ..."; empty: none.
    """

    def __init__(self, url: str, authorization: str) -> None:
        self.name = mask_url(url)
        headers = {"Content-Type": "application/json", "User-Agent": "inferwatch"}
        if authorization:
            headers["Authorization"] = authorization
        self._url = url
        self._session = aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S))

    async def put(self, uid: str, finding: bytes) -> None:
        """See `Destination`."""
        try:
            async with self._session.post(self._url, data=finding, allow_redirects=False) as response:
                status = response.status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            # Of the error its kind alone: a library's text may hold the URL, and with it a key.
            raise UnavailableError(f"{self.name}: {type(error).__name__}") from None
        if status in _REFUSED:
            raise RefusedError(f"{self.name}: HTTP {status}")
        if not 200 <= status < 300:
            raise UnavailableError(f"{self.name}: HTTP {status}")

    async def close(self) -> None:
        """Ends the connections."""
        await self._session.close()


class Topic:
    """A topic of the settings' cluster, key the alert's id. It must be there."""

    def __init__(self, kafka: Kafka, topic: str) -> None:
        self.name = f"topic {topic}"
        self._topic = topic
        own = {"enable.idempotence": True, "message.timeout.ms": int(_TIMEOUT_S * 1000), "linger.ms": 0, "allow.auto.create.topics": False}
        self._producer = Producer(client_config(kafka) | own)

    async def put(self, uid: str, finding: bytes) -> None:
        """See `Destination`."""
        await asyncio.to_thread(self._send, uid, finding)

    def _send(self, uid: str, finding: bytes) -> None:
        outcome: list[KafkaError | None] = []
        try:
            self._producer.produce(self._topic, key=uid.encode(), value=finding, on_delivery=lambda error, _: outcome.append(error))
            self._producer.flush(_TIMEOUT_S + 5)
        except (KafkaException, BufferError) as error:
            outcome = [error.args[0]] if isinstance(error, KafkaException) else []
        if outcome and outcome[0] is None:
            return
        error_text = f"{self.name}: {outcome[0].str() if outcome and outcome[0] else 'no answer'}"
        if outcome and outcome[0] and outcome[0].code() in _PERMANENT:
            raise RefusedError(error_text)
        raise UnavailableError(error_text)

    async def close(self) -> None:
        """What waits was flushed."""


def destination_of(target: str, kafka: Kafka, authorization: str) -> Destination:
    """The destination that a text names: ``https://...``, ``http://...``, ``kafka:TOPIC``, or the path of a file.

    Call it on the loop that will use it.

    Raises:
        ValueError: it names none.

    Example:
        >>> destination_of("findings.jsonl", Kafka(), "").name
        'findings.jsonl'
        >>> destination_of("ftp://siem/x", Kafka(), "")
        Traceback (most recent call last):
        ValueError: ftp://siem/x: expected https://..., kafka:TOPIC, or a file
    """
    scheme, colon, rest = target.partition(":")
    if scheme in ("http", "https") and colon:
        if not urlsplit(target).hostname:
            raise ValueError(f"{mask_url(target)}: no host in it")
        return Http(target, authorization)
    if scheme == "kafka" and colon:
        if not rest or not all(c.isascii() and (c.isalnum() or c in "._-") for c in rest):
            raise ValueError(f"{target}: expected kafka: and the name of a topic")
        return Topic(kafka, rest)
    if not target or "://" in target:
        raise ValueError(f"{mask_url(target) or 'nothing'}: expected https://..., kafka:TOPIC, or a file")
    return File(Path(target))
