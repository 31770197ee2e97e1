"""SQL of measures that need more than a sum: AUC with its error, and F1, of the counts in ``accuracy_windows`` (`schemas.measures`)."""

from schemas.measures import SCORE_BINS

__all__ = ["measures"]

_AUC = f"""
    SELECT @by, toNullable(avg(area)) AS auc, toNullable(avg(error)) AS auc_error FROM (
        SELECT @by, k, sum(pos * (below + neg / 2)) / (sum(pos) * sum(neg)) AS area, sum(pos * neg) / 2 / (sum(pos) * sum(neg)) AS error
        FROM (
            SELECT *, sum(neg) OVER (PARTITION BY @by, k ORDER BY bin ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) - neg AS below
            FROM (
                SELECT @as, intDiv(code, {2 * SCORE_BINS}) AS k, code % {SCORE_BINS} AS bin,
                    toFloat64(sumIf(c, intDiv(code, {SCORE_BINS}) % 2 = 1)) AS pos,
                    toFloat64(sumIf(c, intDiv(code, {SCORE_BINS}) % 2 = 0)) AS neg
                FROM accuracy_windows FINAL ARRAY JOIN score_codes AS code, score_counts AS c WHERE @where GROUP BY @by, k, bin
            )
        )
        GROUP BY @by, k HAVING sum(pos) > 0 AND sum(neg) > 0
    )
    GROUP BY @by
"""  # noqa: S608 - our own text
_F1 = """
    SELECT @by, avgIf(2 * tp / (2 * tp + wrong), classes != 2 OR k = 1) AS f1 FROM (
        SELECT @as, classes, part.1 AS k, sum(part.2) AS tp, sum(part.3) AS wrong
        FROM accuracy_windows FINAL ARRAY JOIN answer_codes AS code, answer_counts AS c
        ARRAY JOIN if(intDiv(code, classes) = code % classes, [(code % classes, c, toUInt64(0))],
            [(code % classes, toUInt64(0), c), (intDiv(code, classes), toUInt64(0), c)]) AS part
        WHERE @where AND classes > 0 GROUP BY @by, classes, k
    )
    GROUP BY @by
"""


def measures(by: dict[str, str], where: str) -> str:
    """SQL with the columns `by`, ``auc``, ``auc_error`` (the exact one is so close), ``f1``, null where there is none.

    Args:
        by: what is told apart: name and SQL of each column.
        where: which rows of ``accuracy_windows``.
    """
    names = ", ".join(by)
    as_ = ", ".join(name if name == expression else f"{expression} AS {name}" for name, expression in by.items())
    auc, f1 = (text.replace("@by", names).replace("@as", as_).replace("@where", where).strip() for text in (_AUC, _F1))
    return f"SELECT * FROM ({f1}) AS f LEFT JOIN ({auc}) AS a USING ({names})"  # noqa: S608 - our own text; where there are scores are answers
