"""What a service says beside its events: labels, loads and unloads, gauges."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, Literal

import msgspec

from inferwatch._account import DropReason
from inferwatch._arguments import BadArgumentError, name_of, optional_text, plain
from inferwatch._contract import MAX_TEXT, Label, Lifecycle
from inferwatch._log import RateLimited
from inferwatch._sender import Sender
from inferwatch._settings import Settings

MAX_SIGNALS = 10_000
"""Labels and lifecycle messages waiting or in flight."""
MAX_GAUGES = 64
SHARE = "_share"
"""A gauge whose name ends so is a share of what there is, 0 to 1, and followed for saturation."""


class Signals:
    """The rarer half of the client's methods. They write JSON in the caller's thread, 10 us, and refuse what the reader would."""

    _settings: Settings
    _sender: Sender
    _gauges: dict[str, float]
    _log: RateLimited
    _strict: bool
    _closed: bool

    def label(
        self,
        *,
        model: str,
        event_id: str,
        truth: str | float | bool,
        version: str = "",
        at_ns: int | None = None,
        source: str | None = None,
    ) -> bool:
        """The truth about an earlier event, whenever it becomes known; `source` says who found it out."""
        return self._signal(
            "labels", "label", model, version,
            lambda: Label(
                model=model,
                event_id=event_id,
                truth=plain(truth),  # type: ignore[arg-type]  # None is refused by the type itself, when it is read back
                version=version,
                at=time.time_ns() if at_ns is None else at_ns,
                source=optional_text(source),
            ),
        )  # fmt: skip

    def loaded(
        self,
        *,
        model: str,
        version: str,
        digest: str = "",
        signature: Literal["valid", "invalid", "missing"] = "missing",
        key_id: str = "",
        registry_url: str = "",
    ) -> bool:
        """This process now serves the model version; `digest` is of the artefact, `signature` what its check said."""
        return self._lifecycle("loaded", model, version, digest, signature, key_id, registry_url)

    def unloaded(self, *, model: str, version: str, digest: str = "") -> bool:
        """This process no longer serves the model version."""
        return self._lifecycle("unloaded", model, version, digest, "missing", "", "")

    def gauge(self, name: str, value: float, *, limit: float | None = None) -> None:
        """A number of the service's own (GPU memory, queue length) for the next heartbeats; at most 64 names.

        Where there is at most so much of it, say `limit`: ``gauge("queue", 40, limit=50)`` tells ``queue_share`` 0.8, too, and a share that
        stays near 1 opens a ticket. Shares of the process's memory and CPU are told without a call (``memory_share``, ``cpu_share``);
        gauges of these names are told in their place.
        """
        try:
            told = {name_of(name) or "gauge": float(value)}
            if limit is not None:
                if not float(limit) > 0:
                    raise BadArgumentError("a gauge's limit must be above 0")
                (called,) = told
                told[called[: MAX_TEXT - len(SHARE)] + SHARE] = float(value) / float(limit)
            if not all(map(math.isfinite, told.values())) or len(self._gauges.keys() | told.keys()) > MAX_GAUGES:
                raise BadArgumentError(f"gauge must be finite, and there are at most {MAX_GAUGES}")
            self._gauges.update(told)
        except Exception as error:  # noqa: BLE001  # monitoring never breaks the service
            self._complain("gauge", error)

    def _lifecycle(
        self, kind: Literal["loaded", "unloaded"], model: str, version: str, digest: str, signature: Any, key_id: str, registry_url: str
    ) -> bool:
        return self._signal(
            "lifecycle", "lifecycle", model, version,
            lambda: Lifecycle(
                kind=kind, model=model, version=version, service=self._settings.service, instance=self._settings.instance,
                at=time.time_ns(), digest=digest, signature=signature, key_id=key_id, registry_url=registry_url,
            ),
        )  # fmt: skip

    def _signal(self, topic: str, kind: str, model: str, version: str, make: Callable[[], Label | Lifecycle]) -> bool:
        signals = self._sender.signals
        try:
            signal = make()
            payload = msgspec.json.encode(signal)
            msgspec.json.decode(payload, type=type(signal))  # what the reader would refuse is refused here
            reason: DropReason | None = "closed" if self._closed else "queue_full" if signals.held >= MAX_SIGNALS else None
            if reason is not None:
                signals.refuse("", "", reason)
                self._complain(reason, None)
                return False
            signals.queue.append((topic, kind, model, version, payload))
            if not self._sender.started:
                self._sender.start()
        except Exception as error:  # noqa: BLE001  # monitoring never breaks the service
            signals.refuse("", "", "invalid")
            self._complain("invalid", error)
            return False
        return True

    def _complain(self, reason: str, error: Exception | None) -> None:
        if error is not None and self._strict:
            raise ValueError(f"{reason}: {error}") from error
        # Only our own messages are logged: a foreign one may quote what was in the event.
        detail = "" if error is None else str(error) if isinstance(error, BadArgumentError) else type(error).__name__
        self._log.line(reason, "dropped (%s): %s", reason, detail or f"{self._sender.events.held} events are held")
