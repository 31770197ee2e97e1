"""SQL of the effect sizes of several windows together, from the counts in ``feature_windows``: those that one window of that length has.

Counts of windows add up, so a slow window is a sum of fast ones, of any length, and nothing is kept for it. The formulas are those of
`detectors.drift.effect` (PSI and JS of bins of a tenth, smoothed by +0.5; KS and W1 of cumulated shares, W1 at least the shift of
the mean). Windows of an earlier reference, with other cells, are left out, and so are rows of before migration 15.
"""

__all__ = ["CURRENT", "effects"]

CURRENT = """
    (model, version, start) IN (
        SELECT model, version, start FROM windows WHERE @when AND @scope AND (model, version, reference) IN (
            SELECT model, version, argMax(reference, start) FROM windows WHERE @when AND @scope AND reference != '' GROUP BY model, version
        )
    )
"""
"""Windows of the reference in force at the end of ``@when``."""

_SUMS = """
    SELECT @as, any(past) AS reference, any(tenths) AS firsts, any(widths) AS wide, sum(n) AS events,
        sumForEach(if(empty(carried), arrayMap(x -> toFloat64(x), cells), arrayMap(x -> toFloat64(x), carried))) AS now,
        sum(if(empty(widths), 0, mean_shift * (n - missing))) AS moved, sum(n - missing) AS finite
    FROM feature_windows FINAL WHERE @where AND @current AND notEmpty(past) GROUP BY @by
"""
_SLIDING = """
    SELECT model, version, feature, arrayJoin(arrayMap(k -> time + toIntervalSecond(k * @step), range(@steps))) AS at,
        any(reference) AS reference, any(firsts) AS firsts, any(wide) AS wide, sum(events) AS events, sumForEach(now) AS now,
        sum(moved) AS moved, sum(finite) AS finite
    FROM (@sums) GROUP BY model, version, feature, at
"""
_SHARES = """
    SELECT *, moved / greatest(finite, 1) AS shift, length(now) - notEmpty(wide) AS known,
        arrayMap(x -> x / greatest(arraySum(arraySlice(reference, 1, known)), 1), arraySlice(reference, 1, known)) AS p,
        arrayMap(x -> x / greatest(arraySum(arraySlice(now, 1, known)), 1e-300), arraySlice(now, 1, known)) AS q,
        arrayCumSum(arrayMap((a, b) -> a - b, p, q)) AS after, arrayPushFront(arrayPopBack(after), 0.) AS before,
        arrayMap((a, b) -> (a + 1, b - a), firsts, arrayPushBack(arrayPopFront(firsts), length(now))) AS bins,
        arrayMap(bin -> arraySum(arraySlice(reference, bin.1, bin.2)) + 0.5, bins) AS past_bins,
        arrayMap(bin -> arraySum(arraySlice(now, bin.1, bin.2)) + 0.5, bins) AS now_bins,
        arrayMap(x -> x / arraySum(past_bins), past_bins) AS pb, arrayMap(x -> x / arraySum(now_bins), now_bins) AS qb,
        arraySum(arraySlice(now, 1, known)) > 0 AS seen
    FROM (@sums)
"""
_EFFECTS = """
    SELECT @by, events, arraySum(arrayMap((a, b) -> (b - a) * log(b / a), pb, qb)) AS psi,
        multiIf(empty(wide), 0, NOT seen, abs(shift), greatest(abs(shift), arraySum(arrayMap((a, b, width) -> width
            * if(a * b >= 0, abs(a + b) / 2, (a * a + b * b) / 2 / greatest(abs(a - b), 1e-300)), before, after,
            arraySlice(wide, 1, known))))) AS w1,
        arraySum(arrayMap((a, b) -> (a * log(2 * a / (a + b)) + b * log(2 * b / (a + b))) / 2, pb, qb)) AS js,
        multiIf(empty(wide), arraySum(arrayMap((a, b) -> abs(a - b), p, q)) / 2, seen, arrayMax(x -> abs(x), after), 0) AS ks
    FROM (@shares) WHERE events > 0
"""


def effects(where: str, when: str, *, step_s: str = "", steps: int = 1) -> str:
    """SQL with the columns ``model``, ``version``, ``feature``, ``events``, ``psi``, ``w1``, ``js``, ``ks``.

    Args:
        where: which rows of ``feature_windows``, `when` included.
        when: the same by time alone, as it also holds of ``windows``.
        step_s: SQL of whole seconds. With it there is a row for each time ``at`` that is a multiple of them: of the `steps` steps up to the
            one that begins then.
        steps: in a slow window.
    """
    by, as_, sums = "model, version, feature", "model, version, feature", _SUMS
    if step_s:
        by, as_ = f"{by}, time", f"{by}, toStartOfInterval(start, toIntervalSecond({step_s})) AS time"
        sums = _SLIDING.replace("@steps", str(steps)).replace("@step", step_s).replace("@sums", sums)
    sums = sums.replace("@current", CURRENT.replace("@when", when)).replace("@where", where).replace("@as", as_).replace("@by", by)
    out = "model, version, feature, at" if step_s else by
    return _EFFECTS.replace("@shares", _SHARES.replace("@sums", sums)).replace("@by", out).strip()
