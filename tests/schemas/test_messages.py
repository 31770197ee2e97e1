"""What shards tell the judge, and what alerts say, has one form; anything else is refused."""

from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import techniques
from schemas.alerts import ALERTNAMES, Alert, Detector, alert_id
from schemas.windows import Finding, WindowPartial, decode_finding, decode_partial, encode
from tests.streams.messages import finding, partial


@given(blob=st.binary(max_size=300))
def test_any_bytes_are_no_message(blob: bytes) -> None:
    for decode in (decode_partial, decode_finding):
        with pytest.raises((msgspec.DecodeError, UnicodeDecodeError)):
            decode(blob)


def test_messages_survive_the_journey() -> None:
    share, found = partial(n=3), finding(client="é日本\U0001f600", evidence={"a": [1, 2.5, "ü"]})
    assert decode_partial(encode(share)) == share
    assert decode_finding(encode(found)) == found


def test_one_message_is_not_taken_for_the_other() -> None:
    with pytest.raises(msgspec.ValidationError):
        decode_partial(encode(finding()))
    with pytest.raises(msgspec.ValidationError):
        decode_finding(encode(partial()))


@pytest.mark.parametrize(
    "wrong",
    [partial(n=-1), partial(rejected={"clock": -5}), partial(start_ns=-1), finding(log_evidence=float("nan")),
     finding(log_evidence=float("inf"))],
)  # fmt: skip
def test_impossible_numbers_are_refused(wrong: WindowPartial | Finding) -> None:
    with pytest.raises(msgspec.ValidationError):
        (decode_partial if isinstance(wrong, WindowPartial) else decode_finding)(encode(wrong))


def test_every_detector_has_an_alert_name_and_techniques() -> None:
    assert set(get_args(Detector)) == set(ALERTNAMES) == set(techniques.BY_DETECTOR)


def test_every_technique_that_an_alert_names_is_in_the_pinned_lists() -> None:
    for atlas, owasp in techniques.BY_DETECTOR.values():
        assert set(atlas) <= set(techniques.ATLAS)
        assert set(owasp) <= set(techniques.OWASP)


def test_an_alerts_id_depends_on_its_cause_and_start_and_on_nothing_else() -> None:
    base = ("m", "1", "drift", "", 5)
    assert alert_id(*base) == alert_id(*base)
    others = [
        ("n", "1", "drift", "", 5),
        ("m", "2", "drift", "", 5),
        ("m", "1", "quality", "", 5),
        ("m", "1", "drift", "c", 5),
        ("m", "1", "drift", "", 6),
    ]
    assert len({alert_id(*base), *(alert_id(*other) for other in others)}) == 6


def test_an_alert_in_json_reads_back_the_same() -> None:
    alert = Alert(
        alert_id="a", model="m", version="1", detector="drift", severity="page", state="firing", at_ns=1, opened_at_ns=1, client="é"
    )
    assert msgspec.json.decode(msgspec.json.encode(alert), type=Alert) == alert
