"""Parts of the system that a machine may lack. A test that cannot run says so loudly, and in CI it fails."""

import os
from typing import NoReturn

import pytest

#: What was missing; shown at the end of the run.
lacking: set[str] = set()


def unavailable(what: str, how_to_get_it: str) -> NoReturn:
    """Skip the test that needs `what`; fail it where nothing may be skipped (`CI_NO_SKIP=1`, set by .ci/run)."""
    sentence = f"{what} is not available here. {how_to_get_it}"
    if os.environ.get("CI_NO_SKIP") == "1":
        pytest.fail(f"{sentence} (CI_NO_SKIP=1 allows no skip)", pytrace=False)
    lacking.add(sentence)
    pytest.skip(sentence)
