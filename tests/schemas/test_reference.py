"""A reference comes back as it was sent, and any other bytes are refused with a reason."""

import cramjam
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.reference import MAX_BYTES, Feature, Reference, ReferenceFormatError, decode, encode, key_of

_text = st.text(min_size=1, max_size=20).filter(lambda t: t < "\ud800" or t > "\udfff")


def small(**changes: object) -> Reference:
    plain = Reference(
        model="böse",
        version="7",
        built_at_ns=1,
        source="file",
        rows=2,
        members=1,
        features=(Feature(name="país", low=-1.5), Feature(name="c", kind="categorical", categories=("é", "日本"))),
        classes=("no", "yes"),
        image=None,
        parts={"drift": b"\x00\xff" * 500},
        gauge={"balanced_accuracy": {"value": 0.5}},
    )
    return msgspec.structs.replace(plain, **changes)


@given(model=_text, classes=st.lists(_text, max_size=4), part=st.binary(max_size=300))
def test_a_reference_survives_the_journey(model: str, classes: list[str], part: bytes) -> None:
    sent = small(model=model, classes=tuple(classes), parts={"drift": part})
    came = decode(encode(sent))
    assert came == sent
    assert came.id == sent.id


@given(blob=st.one_of(st.binary(max_size=200), st.binary(max_size=200).map(lambda tail: b"IWREF1\n" + tail)))
def test_any_bytes_are_decoded_or_refused(blob: bytes) -> None:
    with pytest.raises(ReferenceFormatError):
        decode(blob)


@given(data=st.data())
def test_a_flipped_byte_is_decoded_or_refused(data: st.DataObject) -> None:
    blob = bytearray(encode(small()))
    at = data.draw(st.integers(0, len(blob) - 1))
    blob[at] ^= data.draw(st.integers(1, 255))
    try:
        decode(bytes(blob))
    except ReferenceFormatError as error:
        assert str(error)


@given(
    body=st.recursive(
        st.none() | st.integers(-(2**63), 2**64 - 1) | st.text() | st.floats(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_well_packed_bytes_of_something_else_are_refused(body: object) -> None:
    raw = msgspec.msgpack.encode(body)
    with pytest.raises(ReferenceFormatError):
        decode(b"IWREF1\n" + len(raw).to_bytes(8, "little") + bytes(cramjam.zstd.compress(raw)))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_truncated_reference_says_so(share: float) -> None:
    blob = encode(small(parts={"drift": bytes(range(256)) * 50}))
    with pytest.raises(ReferenceFormatError, match="truncated"):
        decode(blob[: int(share * len(blob))])


def test_a_file_of_something_else_is_told_how_to_become_one() -> None:
    with pytest.raises(ReferenceFormatError, match="inferwatch reference build"):
        decode(b"PAR1 some parquet file")


def test_a_reference_that_claims_to_be_enormous_is_refused_before_it_is_unpacked() -> None:
    claim = b"IWREF1\n" + (MAX_BYTES + 1).to_bytes(8, "little") + bytes(cramjam.zstd.compress(b""))
    with pytest.raises(ReferenceFormatError, match="at most 67108864"):
        decode(claim)


def test_a_bomb_that_lies_about_its_size_does_not_get_more_room_than_it_claimed() -> None:
    bomb = b"IWREF1\n" + (100).to_bytes(8, "little") + bytes(cramjam.zstd.compress(bytes(30_000_000)))
    assert len(bomb) < 10_000
    with pytest.raises(ReferenceFormatError):
        decode(bomb)


def test_nested_without_end_is_refused() -> None:
    deep = msgspec.msgpack.encode(small(gauge={"x": 0})).replace(b"\x81\xa1x\x00", b"\x81\xa1x" + b"\x91" * 20_000 + b"\x00")
    with pytest.raises(ReferenceFormatError):
        decode(b"IWREF1\n" + len(deep).to_bytes(8, "little") + bytes(cramjam.zstd.compress(deep)))


def test_the_id_follows_what_judges_not_when_it_was_built() -> None:
    assert small(built_at_ns=2, source="provisional").id == small().id
    changes: list[dict[str, object]] = [{"parts": {"drift": b"x"}}, {"classes": ("yes", "no")}, {"version": "8"}]
    assert len({small().id, *(small(**change).id for change in changes)}) == 4


def test_the_key_tells_model_and_version_apart() -> None:
    assert key_of("a", "b1") != key_of("ab", "1")
