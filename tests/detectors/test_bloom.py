import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from detectors.bloom import BloomFilter, _hash_rows, float_bits
from detectors.state import StateError

KEY = b"a deployment key of 32 bytes ..."


def rows(n: int, d: int = 6, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def siphash_2_4(message: bytes, k0: int, k1: int) -> int:
    """The paper's algorithm, word by word in Python integers."""
    mask = 2**64 - 1
    v = [k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D, k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573]

    def turn(x: int, b: int) -> int:
        return ((x << b) | (x >> (64 - b))) & mask

    def rounds(n: int) -> None:
        for _ in range(n):
            v[0] = (v[0] + v[1]) & mask
            v[2] = (v[2] + v[3]) & mask
            v[1] = turn(v[1], 13) ^ v[0]
            v[3] = turn(v[3], 16) ^ v[2]
            v[0] = turn(v[0], 32)
            v[2] = (v[2] + v[1]) & mask
            v[0] = (v[0] + v[3]) & mask
            v[1] = turn(v[1], 17) ^ v[2]
            v[3] = turn(v[3], 21) ^ v[0]
            v[2] = turn(v[2], 32)

    full = len(message) // 8 * 8
    words = [int.from_bytes(message[i : i + 8], "little") for i in range(0, full, 8)]
    for word in [*words, (len(message) & 0xFF) << 56 | int.from_bytes(message[full:], "little")]:
        v[3] ^= word
        rounds(2)
        v[0] ^= word
    v[2] ^= 0xFF
    rounds(4)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


@pytest.mark.parametrize("width", [1, 2, 3, 20, 65])
def test_the_row_hash_is_siphash_of_the_float32_bytes(width: int) -> None:
    x = rows(5, width)
    seed = np.array([0x0706050403020100, 0x0F0E0D0C0B0A0908], np.uint64)
    assert [int(h) for h in _hash_rows(float_bits(x), seed)] == [siphash_2_4(r.tobytes(), int(seed[0]), int(seed[1])) for r in x]


def test_the_row_hash_gives_the_published_vector() -> None:
    message = np.frombuffer(bytes(range(8)), "<f4").reshape(1, 2)
    seed = np.array([0x0706050403020100, 0x0F0E0D0C0B0A0908], np.uint64)
    assert int(_hash_rows(float_bits(message), seed)[0]) == int.from_bytes(bytes.fromhex("6224939a79f5f593"), "little")


@given(st.integers(1, 400), st.integers(1, 9), st.integers(0, 2**32))
def test_what_was_added_is_always_found(n: int, d: int, seed: int) -> None:
    x = rows(n, d, seed)
    seen = BloomFilter(KEY, rows=n, width=d)
    seen.add(x)
    assert seen.contains(x).all()


def test_false_positives_stay_at_the_chosen_rate() -> None:
    seen = BloomFilter(KEY, rows=20_000, width=6, p=1e-2)
    seen.add(rows(20_000))
    measured = seen.contains(rows(50_000, seed=1)).mean()
    assert measured == pytest.approx(0.01, rel=0.2)
    assert seen.false_positive_rate() == pytest.approx(0.01, rel=0.1)


def test_a_million_rows_need_two_and_a_half_megabytes() -> None:
    assert BloomFilter(KEY, rows=10**6, width=6).table.nbytes == pytest.approx(2.4e6, rel=0.01)


def test_signed_zero_and_every_nan_are_one_value() -> None:
    seen = BloomFilter(KEY, rows=10, width=2)
    seen.add(np.array([[0.0, np.nan]], np.float32))
    other_nan = np.array([[0x80000000, 0xFFC12345]], np.uint32).view(np.float32)
    assert seen.contains(other_nan).all()
    assert not seen.contains(np.array([[0.0, np.inf]], np.float32)).any()


def test_the_bytes_come_back_with_their_key_only() -> None:
    x = rows(100)
    seen = BloomFilter(KEY, rows=100, width=6)
    seen.add(x)
    blob = seen.to_bytes()
    assert KEY not in blob
    assert BloomFilter.from_bytes(blob, KEY).contains(x).all()
    with pytest.raises(StateError, match="another key"):
        BloomFilter.from_bytes(blob, b"another key of some bytes")


def test_another_key_finds_nothing_in_the_same_table() -> None:
    x = rows(1000)
    seen, stranger = (BloomFilter(key, rows=1000, width=6) for key in (KEY, b"another key of some bytes"))
    seen.add(x)
    stranger.table[:] = seen.table
    assert stranger.contains(x).mean() < 0.01


def test_rows_are_neither_changed_nor_kept() -> None:
    x = rows(50)
    copy = x.copy()
    seen = BloomFilter(KEY, rows=50, width=6)
    seen.add(x)
    assert np.array_equal(x, copy)
    x[:] = 0
    assert seen.contains(copy).all()


def test_nonsense_is_refused_with_the_range() -> None:
    for arguments, said in (({"rows": 0}, "between 1 and"), ({"width": 0}, "at least 1"), ({"p": 0.7}, r"\(1e-9, 0.5\)")):
        with pytest.raises(ValueError, match=said):
            BloomFilter(KEY, **({"rows": 10, "width": 2} | arguments))
    with pytest.raises(ValueError, match="16 random bytes"):
        BloomFilter(b"short", rows=10, width=2)
    with pytest.raises(ValueError, match=r"expected \(n, 2\)"):
        BloomFilter(KEY, rows=10, width=2).contains(rows(3, 5))


@given(st.binary(max_size=60))
def test_foreign_bytes_are_refused(blob: bytes) -> None:
    with pytest.raises(StateError):
        BloomFilter.from_bytes(blob, KEY)
