"""SQL of the effect sizes of several windows together, from the counts in ``feature_windows``: those that one window of that length has.

Counts of windows add up, so a slow window is a sum of fast ones, of any length, and nothing is kept for it. The formulas are those of
`detectors.drift.effect` (PSI and JS of bins of a tenth, smoothed by +0.5; KS and W1 of cumulated shares, W1 at least the shift of
the mean). Windows of an earlier reference, with other cells, are left out, and so are rows of before migration 15.
"""

__all__ = ["CURRENT", "effects", "of_features"]

CURRENT = """
    (model, version, start) IN (
        SELECT model, version, start FROM windows WHERE @when AND @scope AND (model, version, reference) IN (
            SELECT model, version, argMax(reference, start) FROM windows WHERE @when AND @scope AND reference != '' GROUP BY model, version
        )
    )
"""
"""Windows of the reference in force at the end of ``@when``."""

_ROWS = "(SELECT * FROM feature_windows WHERE @which ORDER BY revision DESC LIMIT 1 BY model, version, start, feature)"
_SUMS = """
    SELECT @as, sum(n) AS events,
        sumForEach(if(empty(carried), arrayMap(x -> toFloat64(x), cells), arrayMap(x -> toFloat64(x), carried))) AS now,
        sum(if(empty(widths), 0, mean_shift * (n - missing))) AS moved, sum(n - missing) AS finite
    FROM @rows GROUP BY @by
"""
_SLIDING = """
    SELECT model, version, feature, arrayJoin(arrayMap(k -> time + toIntervalSecond(k * @step), range(@steps))) AS at,
        sum(events) AS events, sumForEach(now) AS now, sum(moved) AS moved, sum(finite) AS finite
    FROM (@sums) GROUP BY model, version, feature, at
"""
_REFERENCE = """
    SELECT model, version, feature, past AS reference, tenths AS firsts, widths AS wide FROM feature_windows FINAL
    WHERE @when AND @scope AND (model, version, start) IN (
        SELECT model, version, max(start) FROM feature_windows WHERE @when AND @scope AND @current AND notEmpty(past)
        GROUP BY model, version
    )
"""
"""What a reference says of its features stands with every window; it is read of one."""
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
    FROM (@sums) AS s INNER JOIN (@reference) AS r USING (model, version, feature)
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


def of_features(which: str) -> str:
    """SQL of each row's newest revision, of some features: the projection by_feature finds them without a scan; FINAL would not use it."""
    return _ROWS.replace("@which", which)


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
    out = "model, version, feature, at" if step_s else by
    text = _EFFECTS.replace("@shares", _SHARES).replace("@sums", sums.replace("@by", by).replace("@as", as_)).replace("@by", out)
    text = (
        text.replace("@rows", of_features("@where AND @current AND notEmpty(past)"))
        .replace("@reference", _REFERENCE)
        .replace("@current", CURRENT)
    )
    return text.replace("@where", where).replace("@when", when).strip()
