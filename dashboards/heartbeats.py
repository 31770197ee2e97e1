"""What was made and what arrived during some time, as SQL over the table ``producers``, whose numbers run from a process's start on."""

__all__ = ["DAY_BEFORE", "arrived_since"]

DAY_BEFORE = "{} - INTERVAL 1 DAY"
"""From then on rows are needed: an instance's newest one before the time is what the time began with. Longer silence is its end."""
_WITHIN = "toUInt64({0}_now - if({0}_then > {0}_now, 0, {0}_then))"
"""Numbers that fell are a new process's of the same name."""
_ARRIVED = f"""
    SELECT model, version, service, instance, {_WITHIN.format("made")} AS made, least({_WITHIN.format("got")}, made) AS got,
        {_WITHIN.format("lost")} AS lost
    FROM (
        SELECT model, version, service, instance,
            argMaxIf(sent + dropped, at, at >= @since) AS made_now, argMaxIf(sent + dropped, at, at < @since) AS made_then,
            argMaxIf(received, at, at >= @since) AS got_now, argMaxIf(received, at, at < @since) AS got_then,
            argMaxIf(dropped, at, at >= @since) AS lost_now, argMaxIf(dropped, at, at < @since) AS lost_then
        FROM producers FINAL WHERE @where GROUP BY model, version, service, instance HAVING countIf(at >= @since) > 0
    )
"""  # noqa: S608 - ours


def arrived_since(where: str, since: str) -> str:
    """SQL with a row an instance and model version that had a heartbeat in the time.

    Columns: ``model, version, service, instance, made`` (events sent, or dropped in the service), ``got`` (of these), ``lost`` (dropped in
    the service). What was on its way when the time began counts as made before.

    Args:
        where: Which rows: until the time's end, from `DAY_BEFORE` its begin on.
        since: SQL of the time's begin.

    >>> "at < now() - 60" in arrived_since("at > " + DAY_BEFORE.format("now()"), "now() - 60")
    True
    """
    return _ARRIVED.replace("@where", where).replace("@since", since).strip()
