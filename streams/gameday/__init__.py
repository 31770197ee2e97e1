"""Game day: attacks on one's own model, offline, through the same shard and judge as in production, and what was found of them."""


class GamedayError(RuntimeError):
    """The game day cannot be held; the message says why and what to do."""
