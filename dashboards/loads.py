"""What instances had loaded during some time, as SQL over the table ``loads``."""

__all__ = ["loaded_since"]

_LOADED = """
    SELECT model, version, service, instance, digest AS artefact, min(signature = 'valid' AND problem = '') AS valid,
        max(ends = never) AS still
    FROM (
        SELECT model, version, service, instance, kind, digest, signature, problem, toDateTime64('2200-01-01 00:00:00', 3, 'UTC') AS never,
            leadInFrame(toDateTime64(at, 3, 'UTC'), 1, never) OVER (
                PARTITION BY model, version, service, instance ORDER BY at ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
            ) AS ends
        FROM loads FINAL WHERE @where
    ) WHERE kind = 'loaded' AND ends > @since GROUP BY model, version, service, instance, digest
"""


def loaded_since(where: str, since: str) -> str:
    """SQL with a row for each artefact that an instance had loaded at some time, whatever it loaded afterwards.

    Columns: ``model, version, service, instance, artefact`` (its digest), ``valid`` (each load of it told a valid signature and nothing
    wrong), ``still`` (loaded at the end). A load lasts until the instance's next one of the version, or until it ended (unloaded, said
    goodbye, or was silent for an hour).

    Args:
        where: Which rows: all until the time's end.
        since: SQL of the time's begin.

    >>> "FROM loads FINAL WHERE at < now()" in loaded_since("at < now()", "now() - 60")
    True
    """
    return _LOADED.replace("@where", where).replace("@since", since).strip()
