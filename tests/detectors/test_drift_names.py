"""Each cell of a variable has a name of its own that a person can read, whatever the values are."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.drift import DriftReference
from detectors.drift.bins import category_cells, numeric_edges
from detectors.drift.moves import cell_name
from detectors.drift.names import LONGEST, category_names, numeric_names

finite = st.floats(-(2.0**100), 2.0**100, width=32)


@given(st.lists(finite, min_size=1, max_size=60))
def test_no_two_cells_of_a_variable_have_the_same_name(values: list[float]) -> None:
    column = np.array(values, np.float32)
    edges = numeric_edges(column)
    names = numeric_names(edges)
    assert len(names) == edges.size + 2
    # next to the smallest float two neighbours may look alike with nine digits; nothing else does
    if edges.size < 2 or np.spacing(edges).min() > 1e-38:
        assert len(set(names)) == len(names)


def test_values_that_differ_in_the_seventh_digit_only_are_told_apart() -> None:
    names = numeric_names(numeric_edges(np.array([16_000_001, 16_000_002, 16_000_004], np.float32)))
    assert names == ("below 16000001", "16000001", "16000001 to 16000002", "16000002 to 16000004", "above 16000004", "missing")


def test_rare_categories_share_the_last_name_and_long_ones_are_cut() -> None:
    codes = np.repeat(np.arange(40), np.arange(40, 0, -1)).astype(np.float32)
    names = category_names(category_cells(codes, 40), [f"{k:02d}" + "x" * 100 for k in range(40)])
    assert len(names) == 33
    assert names[-3:] == ("other", "unseen", "missing")
    assert names[29].startswith("29xx")
    assert {len(name) for name in names[:30]} == {LONGEST}


def test_a_reference_names_all_its_cells_also_those_of_a_column_without_values() -> None:
    X = np.column_stack([np.full(300, np.nan), np.arange(300) % 3, np.arange(300.0)])
    reference = DriftReference.fit(X, ["none", "c", "x"], ["numeric", "categorical", "numeric"], categories={"c": ["u", "v", "w"]})
    assert [len(names) for names in reference.cell_names] == np.diff(reference.starts).tolist()
    assert reference.cell_names[1] == ("u", "v", "w", "unseen", "missing")


@pytest.mark.parametrize("least", [0.0, -3.0, 7.5])
def test_below_is_below_the_smallest_value_of_the_reference(least: float) -> None:
    reference = DriftReference.fit(least + np.arange(1_000.0)[:, None], ["x"], ["numeric"])
    assert reference.cell_names[0][0] == f"below {least:g}"
    assert cell_name(reference, 0, 0, 1) == f"x below {least:g}"
