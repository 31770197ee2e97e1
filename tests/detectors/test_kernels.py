"""No compiled kernel outlives the code it was made of."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.evidence import EvidenceReference
from detectors.kernels import KEPT, digest, keep_in
from tests.detectors.crowd import fitted


def sources(folder: Path, text: str = "x = 1\n") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "one.py").write_text(text)
    return folder


def test_any_changed_byte_means_another_folder(tmp_path: Path) -> None:
    before = digest(sources(tmp_path / "code"))
    assert digest(sources(tmp_path / "code")) == before
    assert digest(sources(tmp_path / "code", "x = 2\n")) != before
    assert keep_in(tmp_path / "kept", tmp_path / "code") == tmp_path / "kept" / digest(tmp_path / "code")


def test_folders_of_long_gone_sources_go(tmp_path: Path) -> None:
    made = [keep_in(tmp_path / "kept", sources(tmp_path / "code", f"x = {k}\n")) for k in range(KEPT + 4)]
    for age, folder in enumerate(reversed(made)):
        assert folder is not None
        if folder.exists():
            os.utime(folder, (1e9 - age, 1e9 - age))
    last = keep_in(tmp_path / "kept", sources(tmp_path / "code", "last\n"))
    assert len(list((tmp_path / "kept").iterdir())) == KEPT + 1
    assert last is not None
    assert last.exists()


def test_where_nothing_can_be_written_numba_looks_for_its_own_place(tmp_path: Path) -> None:
    (tmp_path / "a file").write_text("")
    assert keep_in(tmp_path / "a file", sources(tmp_path / "code")) is None


def test_the_users_choice_is_respected(tmp_path: Path) -> None:
    told = "import detectors, numba; print(numba.config.CACHE_DIR)"
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    for extra, expected in (
        ({"NUMBA_CACHE_DIR": str(tmp_path / "mine")}, str(tmp_path / "mine")),
        ({"INFERWATCH_CACHE": str(tmp_path / "cache")}, str(tmp_path / "cache" / "kernels")),
    ):
        done = subprocess.run([sys.executable, "-c", told], env=environment | extra, capture_output=True, text=True, check=True)
        assert done.stdout.startswith(expected)


def _arrays(value: object) -> list[NDArray[Any]]:
    """All arrays in a reference, however deep."""
    if isinstance(value, np.ndarray):
        return [value]
    parts = vars(value).values() if isinstance(value, EvidenceReference) else value if isinstance(value, tuple) else ()
    return [array for part in parts for array in _arrays(part)]


def test_references_hold_their_arrays_in_one_order_so_that_one_kernel_is_compiled_for_all() -> None:
    """Two processes that keep different kernels of one function at the same time overwrite each other's."""
    a, b = np.random.default_rng(0).normal(size=(2, 2000))
    bent = np.column_stack([a, b, a * b + 0.05 * a, np.maximum(a, 0) + b**2, a**2 - b, np.abs(a + b)])
    reference = fitted(bent)
    assert reference.look.coefficients.shape[1] > 1
    for one in (reference, EvidenceReference.from_bytes(reference.to_bytes())):
        assert len(_arrays(one)) > 40
        assert all(array.flags.c_contiguous for array in _arrays(one))
