"""SQL of measures that need more than a sum: AUC with its error, and F1, of the counts in ``accuracy_windows`` (`schemas.measures`)."""

from schemas.measures import SCORE_BINS

__all__ = ["measures"]

_GROUPS = "SELECT DISTINCT @as, sipHash64(@expressions) AS g FROM accuracy_windows WHERE @where"
_COUNTS = """
    SELECT g, classes, toUInt32(one) AS code, sum(c) AS n FROM (
        SELECT sipHash64(@expressions) AS g, toUInt32(classes) AS classes, @codes AS codes, @counts AS counts
        FROM accuracy_windows FINAL WHERE @where
    ) ARRAY JOIN codes AS one, counts AS c GROUP BY g, classes, code
"""
"""A month has millions of counts: they are added up by numbers alone, and what tells them apart is looked up for the sums."""
_AUC = f"""
    SELECT g, toNullable(avg(area)) AS auc, toNullable(avg(error)) AS auc_error FROM (
        SELECT g, k, sum(pos * (below + neg / 2)) / (sum(pos) * sum(neg)) AS area, sum(pos * neg) / 2 / (sum(pos) * sum(neg)) AS error
        FROM (
            SELECT *, sum(neg) OVER (PARTITION BY g, k ORDER BY bin ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) - neg AS below
            FROM (
                SELECT g, intDiv(code, {2 * SCORE_BINS}) AS k, code % {SCORE_BINS} AS bin,
                    toFloat64(sumIf(n, intDiv(code, {SCORE_BINS}) % 2 = 1)) AS pos,
                    toFloat64(sumIf(n, intDiv(code, {SCORE_BINS}) % 2 = 0)) AS neg
                FROM (@score_counts) GROUP BY g, k, bin
            )
        )
        GROUP BY g, k HAVING sum(pos) > 0 AND sum(neg) > 0
    )
    GROUP BY g
"""  # noqa: S608 - our own text
_F1 = """
    SELECT g, avgIf(2 * tp / (2 * tp + wrong), classes != 2 OR k = 1) AS f1 FROM (
        SELECT g, classes, part.1 AS k, sum(part.2) AS tp, sum(part.3) AS wrong FROM (@answer_counts)
        ARRAY JOIN if(intDiv(code, classes) = code % classes, [(code % classes, n, toUInt64(0))],
            [(code % classes, toUInt64(0), n), (intDiv(code, classes), toUInt64(0), n)]) AS part
        WHERE classes > 0 GROUP BY g, classes, k
    )
    GROUP BY g
"""


def measures(by: dict[str, str], where: str) -> str:
    """SQL with the columns `by`, ``auc``, ``auc_error`` (the exact one is so close), ``f1``, null where there is none.

    Args:
        by: what is told apart: name and SQL of each column.
        where: which rows of ``accuracy_windows``.
    """
    names, expressions = ", ".join(by), ", ".join(by.values())
    as_ = ", ".join(name if name == expression else f"{expression} AS {name}" for name, expression in by.items())
    auc, f1 = (
        text.replace(f"@{of}_counts", _COUNTS.replace("@codes", f"{of}_codes").replace("@counts", f"{of}_counts"))
        for text, of in ((_AUC, "score"), (_F1, "answer"))
    )
    # Where there are scores are answers.
    # Null, not 0, for what is joined to it and has no answers counted.
    text = (
        f"SELECT {names}, auc, auc_error, toNullable(f.f1) AS f1 FROM ({_GROUPS}) AS b "  # noqa: S608 - ours
        f"INNER JOIN ({f1}) AS f USING g LEFT JOIN ({auc}) AS a USING g"
    )
    return text.replace("@expressions", expressions).replace("@as", as_).replace("@where", where).strip()
