"""Parts of the system that a machine may lack. A test that cannot run says so loudly, and in CI it fails."""

import os
from collections import Counter
from collections.abc import Iterable
from typing import NoReturn

import pytest

_NOT_HERE = " is not available here. "


def unavailable(what: str, how_to_get_it: str) -> NoReturn:
    """Skip the test that needs `what`; fail it where nothing may be skipped (`CI_NO_SKIP=1`, set by .ci/run)."""
    sentence = f"{what}{_NOT_HERE}{how_to_get_it}"
    if os.environ.get("CI_NO_SKIP") == "1":
        pytest.fail(f"{sentence} (CI_NO_SKIP=1 allows no skip)", pytrace=False)
    pytest.skip(sentence)


def lacking(skipped: Iterable[pytest.TestReport]) -> Counter[str]:
    """What was missing and how many tests it cost. Of their reports, because tests may run in several processes."""
    reasons = (report.longrepr[2].removeprefix("Skipped: ") for report in skipped if isinstance(report.longrepr, tuple))
    return Counter(reason for reason in reasons if _NOT_HERE in reason)
