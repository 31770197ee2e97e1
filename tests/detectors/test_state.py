"""A state's bytes come back as they were, or are refused with a reason."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from detectors.state import StateError, pack, unpack

arrays = st.sampled_from(["?", "u1", "i4", "i8", "f4", "f8"]).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
)


@given(arrays, st.text(), st.integers(-(2**63), 2**63 - 1))
def test_arrays_text_and_numbers_come_back_as_they_were(array: np.ndarray[Any, Any], text: str, number: int) -> None:
    body = unpack(pack("k", 2, {"a": array, text: number}), "k", 2)
    assert body["a"].dtype == array.dtype if text != "a" else True
    assert body[text] == number
    if text != "a":
        np.testing.assert_array_equal(body["a"], array)
        body["a"].fill(0)  # fresh and writable


def test_another_kind_or_version_is_refused_by_name() -> None:
    blob = pack("drift", 1, {})
    with pytest.raises(StateError, match="expected evidence version 1, got drift version 1"):
        unpack(blob, "evidence", 1)
    with pytest.raises(StateError, match="expected drift version 2"):
        unpack(blob, "drift", 2)


@given(st.binary(max_size=200))
def test_any_bytes_are_decoded_or_refused(blob: bytes) -> None:
    with pytest.raises(StateError):
        unpack(blob, "k", 1)


@given(st.data())
def test_a_damaged_state_never_crashes(data: st.DataObject) -> None:
    blob = bytearray(pack("k", 1, {"a": np.arange(5.0), "b": "é"}))
    blob[data.draw(st.integers(0, len(blob) - 1))] = data.draw(st.integers(0, 255))
    try:
        unpack(bytes(blob), "k", 1)
    except StateError as error:
        assert str(error)
