"""No compiled kernel outlives the code it was made of."""

import os
import subprocess
import sys
from pathlib import Path

from detectors.kernels import KEPT, digest, keep_in


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
