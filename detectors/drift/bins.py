"""Cells of one variable: where a value is counted, fixed when the reference is fitted.

Numeric: below the reference's minimum, up to 14 bins, above its maximum, missing. Interior edges are the distinct deciles and the quantiles
1, 4, 96 and 99 %, of the inverted CDF; a value on an edge belongs to the left bin (x <= q), so ties never straddle two cells and a column
with three distinct values gets three bins. Categorical: the 30 most frequent categories, other, unseen, missing.

The four outer quantiles are for changes of scale and shape: of what a normal variable tells when it is stretched by 1.25, ten bins of
equal mass keep 57 % and these 14 keep 88 %; of two modes instead of one (same mean and variance) 59 and 91 %; of a shift 95 and 99 %.

Fixed bins rather than a quantile sketch: counts are exact and merge by addition, while a KLL sketch of 2.5 KB adds 1.65 % of error in
each cell, more than the usual materiality of 1 %.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MAX_EDGES = 16
"""Room for thresholds per numeric variable, in a rectangular table padded with +inf, the last one always; 14 bins need 15."""

BINS = 10
"""Of equal mass, as effect sizes count them."""
QUANTILES = np.array([0.01, 0.04, *(j / BINS for j in range(1, BINS)), 0.96, 0.99])
TOP_CATEGORIES = 30
MAX_CATEGORIES = 4096


def numeric_edges(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Thresholds t_0 < ... < t_m; a value's cell is the number of thresholds it exceeds.

    t_0 is the float just below the minimum, then the distinct inner quantiles, then the maximum: cell 0 is "below", cell m + 1 is "above".

    Args:
        values: reference values, shape (n,), n >= 1; NaN and infinities must have been removed.

    Example:
        >>> numeric_edges(np.float32([1, 1, 1, 2, 3]))[1:]
        array([1., 2., 3.], dtype=float32)
    """
    quantiles = np.quantile(values, QUANTILES, method="inverted_cdf")
    low, high = values.min(), values.max()
    inner = np.unique(quantiles[quantiles < high])
    return np.concatenate([[np.nextafter(low, np.float32(-np.inf))], inner, [high]]).astype(np.float32)


def category_cells(codes: NDArray[np.float32], categories: int) -> NDArray[np.int32]:
    """Cell of each category code 0..K-1 by the reference's frequencies, shape (K,).

    Cells: 0..top-1 the most frequent categories in the order of their codes, top = other (only when K > 30); unseen and missing follow.

    Example:
        >>> category_cells(np.float32([0, 2, 2]), 3)
        array([0, 1, 2], dtype=int32)
    """
    if categories <= TOP_CATEGORIES:
        return np.arange(categories, dtype=np.int32)
    whole = codes[~np.isnan(codes)].astype(np.int64)
    counts = np.bincount(whole[(whole >= 0) & (whole < categories)], minlength=categories)
    top = np.sort(np.argsort(-counts, kind="stable")[:TOP_CATEGORIES])
    cells = np.full(categories, TOP_CATEGORIES, np.int32)
    cells[top] = np.arange(TOP_CATEGORIES, dtype=np.int32)
    return cells
