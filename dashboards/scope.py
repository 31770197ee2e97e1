"""What all panels' SQL shares: the filters by the dashboard's variables, written as ``@name`` and filled in here."""

from textwrap import dedent

__all__ = ["client_link", "severities", "sql"]

_MODEL = "$__conditionalAll(model IN (${model:singlequote}), $model)"
_VERSION = "$__conditionalAll(version IN (${version:singlequote}), $version)"
_FILTERS = {
    "@scope": f"{_MODEL} AND {_VERSION}",
    "@model": _MODEL,
    "@client": "$__conditionalAll(client IN (${client:singlequote}), $client)",
    "@about_client": "$__conditionalAll((client IN (${client:singlequote}) OR hasAny(clients, [${client:singlequote}])), $client)",
    # An instance that serves several models may leave the model of a heartbeat empty.
    "@beat": "$__conditionalAll(model IN ('', ${model:singlequote}), $model) AND "
    "$__conditionalAll(version IN ('', ${version:singlequote}), $version)",
}


def sql(text: str) -> str:
    """Panel SQL with its filters in place.

    ``@scope`` is model and version, ``@model`` the model alone, ``@client`` the client, ``@about_client`` an alert about
    the client or a group with it, ``@beat`` the model and version of a heartbeat.

    >>> sql("SELECT 1 WHERE @model")
    'SELECT 1 WHERE $__conditionalAll(model IN (${model:singlequote}), $model)'
    """
    for name, condition in _FILTERS.items():
        text = text.replace(name, condition)
    return dedent(text).strip()


severities = {"page": "red", "ticket": "orange"}
"""Colours of the severities."""


def client_link(uid: str) -> tuple[str, str]:
    """Title and address of a client's cell: the dashboard ``uid`` for this client, with the same models and time range."""
    return "Only this client", f"/d/{uid}?${{__url_time_range}}&${{model:queryparam}}&${{version:queryparam}}&var-client=${{__value.raw}}"
