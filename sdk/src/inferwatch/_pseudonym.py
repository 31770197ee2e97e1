"""Client ids into pseudonyms: the raw id never leaves the process."""

from __future__ import annotations

import hmac

from inferwatch._contract import MAX_TEXT
from inferwatch._partition import partition_of


def pseudonym_of(key: bytes, client: str) -> str:
    """The first 128 bits of HMAC-SHA256(key, client id in UTF-8), as 32 hexadecimal digits; no client stays no client.

    Cost: 2 us. Whoever has the key can test a guess, so the key is as secret as the ids.

    Example:
        >>> pseudonym_of(b"0123456789abcdef", "alice")
        'fdbf8b1cacd3d578e062d0e41104357d'
    """
    return hmac.digest(key, client.encode("utf-8", "surrogatepass"), "sha256").hex()[:32] if client else ""


class Clients:
    """Pseudonym and partition of each client of each model, remembered for the recent ones.

    Two generations stand in for an LRU: when the young one is full it becomes the old one, and what is asked for again moves back.
    At most ``2 * cap`` clients, 200 bytes each.
    """

    def __init__(self, key: bytes, partitions: int, cap: int = 32_768) -> None:
        self._key = key
        self._partitions = partitions
        self._cap = cap
        self._young: dict[tuple[str, str], tuple[str, int]] = {}
        self._old: dict[tuple[str, str], tuple[str, int]] = {}

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def of(self, model: str, client: str) -> tuple[str, int]:
        """Pseudonym and partition."""
        found = self._young.get((model, client))
        if found is not None:
            return found
        found = self._old.get((model, client))
        if found is None:
            name = pseudonym_of(self._key, client)
            found = name, partition_of(model, name, self._partitions)
            if len(client) > MAX_TEXT:  # a token as id: its length is the client's choice, so it is not kept
                return found
        if len(self._young) >= self._cap:
            self._old, self._young = self._young, {}
        self._young[model, client] = found
        return found
