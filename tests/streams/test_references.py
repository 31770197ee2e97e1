"""The registry: the newest published reference is in force, an unusable one leaves the old in place, the key opens the fingerprints."""

import msgspec
import pytest

from detectors.drift import DriftReference
from schemas.reference import Feature, Reference, ReferenceFormatError
from streams.references import References, unpack
from tests.streams.events import KEY, reference

PUBLISHED = reference()


def test_watchers_hear_of_changes_and_of_nothing_else() -> None:
    references, heard = References(KEY), []

    def watcher(model: str, version: str) -> None:
        heard.append((model, version))

    references.watch(watcher)
    assert references.put(PUBLISHED)
    assert not references.put(PUBLISHED)
    references.drop("m", "1")
    references.drop("m", "1")
    references.unwatch(watcher)
    references.put(PUBLISHED)
    assert heard == [("m", "1"), ("m", "1")]
    assert len(references) == 1


def test_a_provisional_reference_never_replaces_a_published_one_but_the_other_way_round() -> None:
    provisional = msgspec.structs.replace(reference(seed=3), source="provisional")
    references = References(KEY)
    assert references.put(provisional)
    loaded = references.get("m", "1")
    assert loaded is not None
    assert loaded.provisional
    assert references.put(PUBLISHED)
    assert not references.put(provisional)
    loaded = references.get("m", "1")
    assert loaded is not None
    assert loaded.id == PUBLISHED.id


def damaged(**changes: object) -> Reference:
    return msgspec.structs.replace(PUBLISHED, **changes)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (damaged(parts=PUBLISHED.parts | {"drift": b"x"}), "reference of m 1"),
        (damaged(parts=PUBLISHED.parts | {"evidence": PUBLISHED.parts["drift"]}), "expected"),
        (damaged(features=PUBLISHED.features[:2]), "drift part has 3 features, its schema 2"),
        (damaged(features=()), "its schema 0"),
        (
            damaged(features=(*PUBLISHED.features, Feature(name="more")), parts={"evidence": PUBLISHED.parts["evidence"]}),
            "evidence part has 3",
        ),
    ],
)
def test_an_unusable_reference_is_refused_and_the_old_one_stays_in_force(wrong: Reference, told: str) -> None:
    references = References(KEY)
    references.put(PUBLISHED)
    with pytest.raises(ReferenceFormatError, match=told):
        references.put(wrong)
    loaded = references.get("m", "1")
    assert loaded is not None
    assert loaded.id == PUBLISHED.id


@pytest.mark.parametrize(("key", "note"), [(b"", "INFERWATCH_MEMBERSHIP_KEY is not set"), (b"another key of sixteen", "locked")])
def test_without_the_right_key_the_fingerprints_stay_locked_and_it_says_so(key: bytes, note: str) -> None:
    loaded = unpack(PUBLISHED, key)
    assert loaded.membership is None
    assert loaded.drift is not None
    assert any(note in said for said in loaded.notes)


def test_a_reference_without_parts_judges_nothing_and_harms_nobody() -> None:
    loaded = unpack(damaged(parts={}), KEY)
    assert (loaded.drift, loaded.evidence, loaded.membership) == (None, None, None)


def test_a_drift_part_reads_back_what_was_written() -> None:
    assert DriftReference.from_bytes(PUBLISHED.parts["drift"]).to_bytes() == PUBLISHED.parts["drift"]


def test_a_reference_of_a_new_membership_key_locks_only_its_fingerprints_until_the_worker_has_that_key() -> None:
    new = b"the new key of sixteen bytes or more"
    rebuilt = reference(key=new)
    old_worker, new_worker = References(KEY), References(new)
    for known in (old_worker, new_worker):
        assert known.put(reference())
        assert known.put(rebuilt)
    locked, opened = old_worker.get("m", "1"), new_worker.get("m", "1")
    assert locked is not None
    assert opened is not None
    assert (locked.membership is None, opened.membership is None) == (True, False)
    assert locked.drift is not None
    assert locked.evidence is not None
    assert "another key" in locked.notes[0]
    assert opened.notes == ()
