"""Building: what the rows do not allow is a note, what makes no sense an error, and the same rows give the same reference."""

from typing import Any

import msgspec
import numpy as np
import pytest

from schemas.reference import Feature, decode, encode
from streams.build import BuildError, Built, Rows, build
from streams.references import References, unpack
from tests.streams.events import KEY

_N = 400


def rows(n: int = _N, seed: int = 0, **changes: Any) -> Rows:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 3)).astype(np.float32)
    p = (1 / (1 + np.exp(-X[:, 0]))).astype(np.float32)
    given: dict[str, Any] = {
        "features": tuple(Feature(name=f"f{j}") for j in range(3)),
        "X": X,
        "scores": np.stack([1 - p, p], axis=1),
        "classes": ("no", "yes"),
        "y": (p > 0.5).astype(np.int32),
        "member": np.arange(n) < n // 2,
    }
    return Rows(**given | changes)


def built(of: Rows, key: bytes = KEY, **changes: Any) -> Built:
    return build("m", "1", of, membership_key=key, **({"built_at_ns": 0} | changes))


@pytest.fixture(scope="module")
def whole() -> Built:
    return built(rows())


def test_rows_that_allow_everything_give_every_part_and_no_note(whole: Built) -> None:
    assert set(whole.reference.parts) == {"accuracy", "drift", "evidence", "exposure", "membership", "swarm", "triggers"}
    assert whole.notes == ()
    assert (whole.reference.rows, whole.reference.members) == (_N, _N // 2)
    assert whole.reference.gauge


def test_the_same_rows_give_the_same_id_at_any_time(whole: Built) -> None:
    again = built(rows(), built_at_ns=10**18)
    assert again.reference.id == whole.reference.id
    assert again.reference.parts == whole.reference.parts
    assert built(rows(seed=1)).reference.id != whole.reference.id


def test_what_is_built_can_be_sent_and_used(whole: Built) -> None:
    came = decode(encode(whole.reference))
    loaded = unpack(came, KEY)
    assert loaded.notes == ()
    assert loaded.id == whole.reference.id
    assert all(part is not None for part in (loaded.drift, loaded.evidence, loaded.membership, loaded.exposure))


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({"member": None}, "do not say which were trained on"),
        ({"scores": None, "classes": ()}, "needs the model's probabilities"),
        ({"y": None}, "true class"),
        ({"y": np.full(_N, -1, np.int32)}, "no row is a member"),
        ({"member": np.ones(_N, bool)}, "add held-out rows"),
        ({"X": np.ones((_N, 3), np.float32)}, "all rows are the same"),
    ],
)
def test_what_the_rows_do_not_allow_is_a_note(changes: dict[str, Any], note: str) -> None:
    one = built(rows(**changes))
    assert any(note in said for said in one.notes), one.notes
    assert "drift" in one.reference.parts
    assert unpack(one.reference, KEY).drift is not None


@pytest.mark.parametrize("key", [b"", b"short"])
def test_without_a_key_there_are_no_fingerprints_and_a_note_that_names_the_variable(key: bytes) -> None:
    one = built(rows(), key)
    assert "membership" not in one.reference.parts
    assert any("INFERWATCH_MEMBERSHIP_KEY" in note for note in one.notes)


@pytest.mark.parametrize("n", [1, 2, 10, 60])
def test_few_rows_give_tickets_only_and_say_so(n: int) -> None:
    notes = built(rows(n)).notes
    assert any("tickets, no pages" in note for note in notes)
    assert any("query patterns" in note for note in notes) == (n < 50)


@pytest.mark.filterwarnings("ignore:overflow")  # of the members' spread, in float32
@pytest.mark.parametrize("what", ["nan column", "all nan", "infinite", "huge", "scores nan", "scores infinite", "scores no shares"])
def test_values_that_make_no_sense_are_no_crash(what: str) -> None:
    plain = rows()
    X, scores = plain.X.copy(), None if plain.scores is None else plain.scores.copy()
    assert scores is not None
    if what == "nan column":
        X[:, 1] = np.nan
    elif what == "all nan":
        X[:] = np.nan
    elif what == "infinite":
        X[::5, 0], X[1::5, 0] = np.inf, -np.inf
    elif what == "huge":
        X *= 1e37
    elif what == "scores nan":
        scores[:] = np.nan
    elif what == "scores infinite":
        scores[:] = np.inf
    else:
        scores *= -100
    unpack(built(rows(X=X, scores=scores)).reference, KEY)


def test_categories_are_watched_by_their_codes() -> None:
    color = Feature(name="color", kind="categorical", categories=("blau", "grün", "rot"))
    X = rows().X.copy()
    X[:, 0] = np.random.default_rng(0).integers(0, 3, _N)
    reference = built(rows(X=X, features=(color, Feature(name="b"), Feature(name="c")))).reference
    drift = unpack(reference, KEY).drift
    assert drift is not None
    assert drift.kinds[0] == "categorical"


def test_a_picture_is_known_as_one_with_and_without_colours() -> None:
    grey = np.random.default_rng(0).integers(0, 16, (_N, 12)).astype(np.float32)
    features = tuple(Feature(name=f"p{j}", low=0, high=16) for j in range(12))
    for image in ((3, 4), (2, 2, 3)):
        one = built(rows(X=grey, features=features, image=image))
        assert one.reference.image == image
        assert "evidence" in one.reference.parts


def test_a_regressions_value_is_watched() -> None:
    plain = rows()
    one = built(rows(scores=None, classes=(), y=None, member=None, value=plain.X[:, 0].astype(np.float64)))
    drift = unpack(one.reference, KEY).drift
    assert drift is not None
    assert drift.has_value
    assert not drift.n_scores


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"X": np.empty((0, 3), np.float32)}, "has no rows"),
        ({"X": np.empty((_N, 0), np.float32), "features": ()}, "0 features are named"),
        ({"features": (Feature(name="a"), Feature(name="b"))}, "rows have 3 columns, but 2 features are named"),
        ({"features": (Feature(name="a"), Feature(name="b"), Feature(name="a"))}, "a feature is named twice: \\['a'\\]"),
        ({"scores": np.zeros((_N - 1, 2), np.float32)}, f"scores has {_N - 1} rows, the features have {_N}"),
        ({"classes": ("no",)}, "probs have 2 columns, but 1 classes are named"),
        ({"classes": ("no", "no")}, "must be distinct"),
        ({"y": np.full(_N, 2, np.int32)}, "y says class 2, but there are 2 classes"),
        ({"image": (2, 2)}, "has 4 values, the rows have 3"),
    ],
)
def test_rows_that_disagree_with_themselves_are_refused_with_the_numbers(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(BuildError, match=told):
        built(rows(**changes))


def test_an_id_of_another_schema_is_another_id(whole: Built) -> None:
    renamed = msgspec.structs.replace(whole.reference, features=(Feature(name="x"), *whole.reference.features[1:]))
    references = References(KEY)
    assert references.put(whole.reference)
    assert not references.put(whole.reference)
    assert references.put(renamed)


@pytest.mark.parametrize("scale", [1e-44, 1e30, 3e38])
def test_rows_at_the_ends_of_32_bits_are_rows_like_others(scale: float) -> None:
    rng = np.random.default_rng(0)
    X = (np.clip(rng.normal(size=(400, 2)), -1, 1) * scale).astype(np.float32)
    scores = rng.random((400, 2)).astype(np.float32)
    rows = Rows(features=(Feature(name="a"), Feature(name="b")), X=X, scores=scores, classes=("no", "yes"),
                y=scores.argmax(1).astype(np.int32), member=np.arange(400) < 200)  # fmt: skip
    made = build("m", "1", rows, membership_key=b"k" * 16, built_at_ns=0).reference
    assert set(made.parts) == {"accuracy", "drift", "evidence", "exposure", "membership", "swarm", "triggers"}
