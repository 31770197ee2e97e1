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


def key_id_of(key: bytes) -> str:
    """Names a key without giving it away: the first 32 bits of HMAC-SHA256(key, a fixed text), as 8 hexadecimal digits.

    Example:
        >>> key_id_of(b"0123456789abcdef")
        'c1c85e30'
    """
    return hmac.digest(key, b"inferwatch key id", "sha256").hex()[:8]


class Known(dict[str, tuple[str, int]]):
    """Pseudonym and partition of each client of one model, by raw id; what is missing is made on reading.

    Two generations stand in for an LRU: when this one is full it becomes the old one, and what is asked for again moves back. At most
    ``2 * cap`` clients, about 250 bytes each.
    """

    def __init__(self, key: bytes, model: str, partitions: int, cap: int) -> None:
        super().__init__()
        self._key = key
        self._model = model
        self._partitions = partitions
        self._cap = cap
        self.old: dict[str, tuple[str, int]] = {}

    def __missing__(self, client: str) -> tuple[str, int]:
        found = self.old.get(client)
        if found is None:
            name = pseudonym_of(self._key, client)
            found = name, partition_of(self._model, name, self._partitions)
            if len(client) > MAX_TEXT:  # a token as id: its length is the client's choice, so it is not kept
                return found
        if len(self) >= self._cap:
            self.old = dict(self)
            self.clear()
        self[client] = found
        return found


class Clients:
    """`Known` of each model; of the last sixteen models."""

    def __init__(self, key: bytes, partitions: int, cap: int = 16_384, models: int = 16) -> None:
        self._key = key
        self._partitions = partitions
        self._cap = cap
        self._max_models = models
        self._models: dict[str, Known] = {}

    def of(self, model: str) -> Known:
        """The model's clients: subscript it with a raw id."""
        known = self._models.get(model)
        if known is None:
            if len(self._models) >= self._max_models:
                del self._models[next(iter(self._models))]
            known = self._models[model] = Known(self._key, model, self._partitions, self._cap)
        return known
