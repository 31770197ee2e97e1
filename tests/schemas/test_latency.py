"""Latency counts merge, leave nothing usable out, and give percentiles within the stated error."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from schemas.latency import BINS, RELATIVE_ERROR, counts_of, percentile_ms

_HOUR_MS = 3_600_000.0
_latencies = hnp.arrays(np.float64, st.integers(1, 200), elements=st.floats(0.001, _HOUR_MS))


@given(latency=_latencies, share=st.floats(0.01, 1.0))
def test_percentiles_are_within_two_percent_of_the_raw_values(
    latency: "np.ndarray[tuple[int], np.dtype[np.float64]]", share: float
) -> None:
    exact = float(np.percentile(latency, 100 * share, method="inverted_cdf"))
    # numpy and we may disagree by one rank where share * n is a whole number but for rounding: allow its neighbours
    ordered = np.sort(latency)
    rank = math.ceil(share * len(ordered)) - 1
    candidates = {exact, float(ordered[max(rank, 0)])}
    assert any(abs(percentile_ms(counts_of(latency), share) / value - 1) <= RELATIVE_ERROR + 1e-9 for value in candidates)


@given(left=_latencies, right=_latencies)
def test_counts_of_parts_add_up_to_the_counts_of_the_whole(
    left: "np.ndarray[tuple[int], np.dtype[np.float64]]", right: "np.ndarray[tuple[int], np.dtype[np.float64]]"
) -> None:
    assert np.array_equal(counts_of(left) + counts_of(right), counts_of(np.concatenate([left, right])))


def test_what_is_no_latency_is_left_out() -> None:
    assert counts_of(np.array([np.nan, np.inf, -np.inf, -1.0], np.float32)).sum() == 0


@pytest.mark.parametrize("absurd", [0.0, 1e-30, 1e9, 3e38])
def test_absurd_latencies_land_in_the_outer_bins(absurd: float) -> None:
    counts = counts_of(np.array([absurd], np.float32))
    assert counts.shape == (BINS,)
    assert counts[0 if absurd < 1 else -1] == 1


def test_without_requests_there_is_no_percentile() -> None:
    assert math.isnan(percentile_ms(np.zeros(BINS, np.int64), 0.5))
