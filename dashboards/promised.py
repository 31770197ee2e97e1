"""What is promised otherwise for some models and versions, as SQL over the columns ``model`` and ``version``."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from schemas.alerts import SECURITY

__all__ = ["SPENDING", "Promise", "choose", "literal_pattern"]

SPENDING = f"""(
    SELECT DISTINCT model, version, alert_id, opened_at FROM alerts
    LEFT ANTI JOIN (SELECT alert_id, opened_at FROM acknowledgements FINAL WHERE verdict = 'false') AS judged USING (alert_id, opened_at)
    WHERE severity = 'page' AND state != 'pending' AND detector IN ({", ".join(f"'{detector}'" for detector in SECURITY)})
)"""  # noqa: S608 - ours
"""SQL of what spends error budget: pages about security that on-call did not judge false, each opening once."""
_PLAIN = re.compile(r"[A-Za-z0-9_]")


@dataclass(frozen=True, kw_only=True)
class Promise:
    """One entry of the settings' ``objectives.by_model``.

    Attributes:
        model: Pattern, with ``*``, ``?`` and ``[...]`` as in the shell.
        version: The same.
        values: Objective by name, as (name, value).
    """

    model: str
    version: str
    values: tuple[tuple[str, float], ...]


def choose(promises: Sequence[Promise], name: str, otherwise: str) -> str:
    r"""SQL of what is promised: the last entry that fits the row's model and version, else ``otherwise``.

    >>> one = Promise(model="fraud", version="8.*", values=(("latency_ms", 50.0),))
    >>> choose([one], "latency_ms", "200.0")
    "multiIf(match(model, '^(?s:fraud)\\\\z') AND match(version, '^(?s:8\\\\x{2e}.*)\\\\z'), 50.0, 200.0)"
    >>> choose([one], "availability", "99.9")
    '99.9'
    """
    cases = []
    for promise in reversed(promises):
        given = dict(promise.values)
        if name in given:
            of = [_fits(column, text) for column, text in (("model", promise.model), ("version", promise.version)) if text != "*"]
            cases.append(f"{' AND '.join(of) or '1'}, {given[name]!r}")
    return f"multiIf({', '.join(cases)}, {otherwise})" if cases else otherwise


def _fits(column: str, pattern: str) -> str:
    """Neither Grafana's variables nor the views' own names begin in it: all but letters, digits and _ is written by number."""
    text = literal_pattern(pattern).replace("\\", "\\\\")
    return f"match({column}, '{text}')"


def literal_pattern(pattern: str) -> str:
    r"""A shell pattern in the syntax of ClickHouse's regular expressions (RE2), which has no ``\Z`` and no atomic groups.

    >>> literal_pattern("a$*[!b-d]?")
    '^(?s:a\\x{24}.*[^b-d].)\\z'
    """
    out, at = [], 0
    while at < len(pattern):
        end = pattern.find("]", at + (3 if pattern[at + 1 : at + 2] == "!" else 2)) if pattern[at] == "[" else -1
        if end > 0:
            inside = pattern[at + 1 : end]
            out.append("[" + "".join(_written(c, "-") for c in inside.removeprefix("!")) + "]")
            if inside.startswith("!"):
                out[-1] = "[^" + out[-1][1:]
            at = end + 1
            continue
        out.append({"*": ".*", "?": "."}.get(pattern[at]) or _written(pattern[at]))
        at += 1
    return "^(?s:" + "".join(out) + r")\z"


def _written(character: str, also: str = "") -> str:
    return character if _PLAIN.match(character) or character in also else f"\\x{{{ord(character):x}}}"
