"""A client whose records stay here."""

from typing import Any

from inferwatch import Client, MemoryTransport

KEY = "a key of the tests' own"


def client(transport: Any = None, **settings: Any) -> tuple[Client, Any]:
    """A strict client and its transport, quick to flush."""
    transport = MemoryTransport() if transport is None else transport
    defaults: dict[str, Any] = {"service": "svc", "pseudonym_key": KEY, "strict": True, "flush_age_s": 0.01, "heartbeat_s": 3600.0}
    return Client(transport=transport, **defaults | settings), transport
