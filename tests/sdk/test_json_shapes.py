"""Types made for a record's names change how fast it is read, and nothing else."""

import gc
import json
import weakref
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from inferwatch import DecodeError, EventColumns, Strings
from inferwatch._json import decode_json
from inferwatch._shapes import Shapes, look_at

NAMES = ["x", "y", "é", "a b", "f0", "\U0001f600", 'quo"te', "back\\slash", "line\n", "", "n" * 257]
NUMBERS = ["0", "-0", "-0.0", "1", "1.5", "-7", "1e39", "-1e39", "1e-400", "1e400", "9" * 30, "9" * 400, "123456789012345678901", "0.1"]
TEXTS = ['"a"', '"1.5"', '""', '"\\u00e9"', '"\\ud83d\\ude00"', '"\\ud800"', '"' + "v" * 256 + '"', '"' + "v" * 257 + '"', "true", "false"]
WRONG = ["NaN", "Infinity", "[]", "{}", "[1]", "01", "-", "\x00"]


def eager() -> Shapes:
    """Makes a type for all that it sees."""
    return Shapes(room=4, smallest=0, bytes_a_name=0)


def described(payload: bytes, shapes: Shapes | None) -> Any:
    """All that can be told of what a record became: values to the bit, types, order of memory."""
    try:
        decoded, bad = decode_json(payload, shapes)
    except DecodeError as error:
        return str(error)
    return [{name: _told(getattr(one, name)) for name in EventColumns.__dataclass_fields__} for one in decoded], [str(one) for one in bad]


def _told(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.dtype, value.shape, value.flags.c_contiguous, value.tobytes()
    if isinstance(value, Strings):
        return list(value.values), _told(value.codes)
    return tuple(map(_told, value)) if isinstance(value, tuple) else value


def pairs(values: st.SearchStrategy[str], max_size: int = 4) -> st.SearchStrategy[str]:
    """An object whose keys may come twice, in any order, escaped or not."""
    names = st.sampled_from(NAMES).flatmap(lambda name: st.sampled_from([json.dumps(name), json.dumps(name, ensure_ascii=False)]))
    return st.lists(st.tuples(names, values), max_size=max_size).map(lambda of: "{" + ",".join(f"{k}: {v}" for k, v in of) + "}")


_number = st.sampled_from(NUMBERS)
_value = st.one_of(_number, st.sampled_from(["null", *TEXTS]), st.sampled_from(WRONG))
_list = st.lists(st.one_of(_number, st.just("null")), max_size=3).map(lambda of: "[" + ",".join(of) + "]")
_features = st.one_of(pairs(_number), pairs(_value), _list, st.just("null"))
_scores = st.one_of(pairs(_number), _list, st.just("null"))
_rest = st.fixed_dictionaries(
    {},
    optional={
        "model": st.sampled_from(['"m"', '"other"', '""', "3"]),
        "client": st.sampled_from(['"c"', '"d"', '""', "null"]),
        "at": st.sampled_from(["5", "-1", "null", '"2026-11-26T00:00:00Z"', '"9999-01-01T00:00:00Z"', str(2**63 - 1), str(2**63)]),
        "number": st.sampled_from(["0", "7", "null", "-1", "1.5"]),
        "prediction": st.sampled_from(['"yes"', "1", "true", "null", "9" * 256, "9" * 257, "1.0"]),
        "status": st.sampled_from(['"ok"', '"error"', '"?"', "null"]),
        "latency_ms": st.one_of(_number, st.just("null")),
        "value": st.one_of(_number, st.just("null")),
        "event_id": st.sampled_from(['""', '"e"', "null"]),
        "owner": st.sampled_from(['"o"', "null"]),
        "a_field_of_the_future": _value,
    },
)


@st.composite
def events(draw: st.DrawFn) -> str:
    fields = {"model": '"m"', "version": '"1"'} | draw(_rest) | {"features": draw(_features), "scores": draw(_scores)}
    twice = draw(st.lists(st.tuples(st.just("features"), _features) | st.tuples(st.just("model"), st.just('"m"')), max_size=1))
    return written(draw(st.permutations([*fields.items(), *twice])))


def written(fields: Any) -> str:
    return "{" + ", ".join(f'"{name}": {value}' for name, value in fields) + "}"


def record(of: list[str]) -> bytes:
    """A list, with so much room behind it that all of it is looked at."""
    text = "[" + ",".join(of) + "]"
    return (text + " " * 4 * len(text)).encode("utf-8", "surrogatepass")


@settings(max_examples=400, deadline=None)
@given(st.lists(events(), min_size=1, max_size=6))
def test_any_mixture_is_read_alike_with_and_without_types(mixture: list[str]) -> None:
    payload = record(mixture)
    assert described(payload, eager()) == described(payload, None)


@st.composite
def neighbours(draw: st.DrawFn) -> tuple[list[str], list[str]]:
    """Records of nearly the same events: values of one kind a name, of which few are changed, lost, doubled, renamed or moved."""
    names = draw(st.lists(st.sampled_from(NAMES[:6]), unique=True, min_size=1, max_size=4))
    kinds = {name: draw(st.sampled_from([NUMBERS[:9], [*NUMBERS[:3], "null"], [*TEXTS[:3], "null"], ["true", "false"]])) for name in names}
    classes = draw(st.lists(st.sampled_from(NAMES[:6]), unique=True, max_size=3))

    def one() -> str:
        features = [(name, draw(st.sampled_from(kinds[name]))) for name in names]
        scores = [(name, draw(_number)) for name in classes]
        for of in (features, scores):
            if of and draw(st.integers(0, 9)) == 0:
                at = draw(st.integers(0, len(of) - 1))
                match draw(st.sampled_from(["lose", "double", "rename", "value", "move"])):
                    case "lose":
                        del of[at]
                    case "double":
                        of.append((of[at][0], draw(_value)))
                    case "rename":
                        of[at] = draw(st.sampled_from(NAMES)), of[at][1]
                    case "value":
                        of[at] = of[at][0], draw(_value)
                    case _:
                        of.append(of.pop(at))
        fields = {
            "model": '"m"' if draw(st.integers(0, 9)) else '"other"',
            "version": '"1"',
            "features": "{" + ",".join(f"{json.dumps(k)}: {v}" for k, v in features) + "}" if draw(st.integers(0, 9)) else "null",
            "scores": "{" + ",".join(f"{json.dumps(k)}: {v}" for k, v in scores) + "}",
        }
        return written((fields | (draw(_rest) if draw(st.integers(0, 4)) == 0 else {})).items())

    return [one() for _ in range(draw(st.integers(2, 8)))], [one() for _ in range(draw(st.integers(2, 8)))]


@settings(max_examples=400, deadline=None)
@given(neighbours())
def test_nearly_equal_events_are_read_alike_with_and_without_types(records: tuple[list[str], list[str]]) -> None:
    shapes = eager()
    for payload in map(record, records):  # the second meets a type made for the first
        assert described(payload, shapes) == described(payload, None)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damaged_records_are_read_alike_with_and_without_types(data: st.DataObject) -> None:
    shapes, good = eager(), record([written(event(k).items()) for k in range(4)])
    described(good, shapes)
    payload = bytearray(good)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(payload) // 5))
        payload[at : at + data.draw(st.integers(0, 2))] = data.draw(
            st.one_of(st.binary(max_size=3), st.sampled_from([b'"', b"{", b"]", b","]))
        )
    assert described(bytes(payload), shapes) == described(bytes(payload), None)


def event(k: int, **fields: str) -> dict[str, str]:
    return {"model": '"m"', "version": '"1"', "features": f'{{"x": {k}.5, "y": {k}}}', "scores": "[0.25, 0.75]"} | fields


@pytest.mark.parametrize(
    ("odd", "fast"),
    [
        ({}, True),
        ({"features": '{"x": null, "y": 1e39}'}, True),
        ({"features": '{"y": 1, "x": 2}'}, True),
        ({"features": '{"y": 1, "x": 2, "y": 3}'}, True),
        ({"features": "null"}, True),
        ({"scores": "null"}, True),
        ({"scores": "[1]"}, True),
        ({"model": '"other"'}, True),
        ({"at": '"2026-11-26T00:00:00Z"'}, True),
        ({"at": '"9999-01-01T00:00:00Z"'}, True),
        ({"prediction": "9" * 257}, True),
        ({"a_field_of_the_future": "[{}]"}, True),
        ({"features": '{"x": 1}'}, False),
        ({"features": '{"x": 1, "y": 2, "z": 3}'}, False),
        ({"features": '{"x": "1", "y": 2}'}, False),
        ({"features": '{"x": true, "y": 2}'}, False),
        ({"features": "[1, 2]"}, False),
        ({"scores": '{"a": 1}'}, False),
        ({"status": '"?"'}, False),
    ],
)
@pytest.mark.parametrize("place", [1, 7])
def test_an_odd_event_is_read_alike_with_and_without_types(odd: dict[str, str], fast: bool, place: int) -> None:
    shapes = eager()
    payload = record([written(event(k, **odd if k == place else {}).items()) for k in range(8)])
    assert described(payload, shapes) == described(payload, None)
    assert shapes.counts["fast" if fast else "other"] == 1


def test_text_once_seen_among_the_first_events_is_expected_from_then_on() -> None:
    shapes = eager()
    numbers = record([written(event(k).items()) for k in range(8)])
    text = record([written(event(k, features='{"x": "a", "y": 2}').items()) for k in range(8)])
    for payload in (numbers, text, numbers, text):
        assert described(payload, shapes) == described(payload, None)
    assert shapes.counts == {"fast": 4, "made": 1, "widened": 1}


def test_names_in_another_order_make_no_batch_of_their_own() -> None:
    names = [f"f{k}" for k in range(5)]
    rotated = [{name: float(name[1]) for name in names[k:] + names[:k]} for k in (2, 0, 4, 1)]
    payload = json.dumps([{"model": "m", "version": "1", "features": one, "scores": one} for one in rotated]).encode()
    (decoded,), bad = decode_json(payload, None)
    assert decoded.names == decoded.score_names == ("f2", "f3", "f4", "f0", "f1")
    assert decoded.scores is not None
    assert decoded.numeric.tolist() == decoded.scores.tolist() == [[2, 3, 4, 0, 1]] * 4
    assert not bad


def test_an_error_before_the_answers_hides_none_of_their_names() -> None:
    answer = '{"features": {"x": 1}, "scores": {"a": 1}}'
    look = look_at(record(['{"status": "error"}', '{"features": {}}', answer]))
    assert look is not None
    assert (look.features, look.scores) == (("x",), ("a",))


@example(b"[")
@example(b"[[[[[[[[" * 20_000)
@example(b'[{"features": 3}    ')
@example(b"[9" + b"9" * 60_000)
@given(st.binary(max_size=80))
def test_looking_at_arbitrary_bytes_raises_nothing(payload: bytes) -> None:
    look_at(payload * 4)


def churn(k: int, n: int = 40) -> bytes:
    """A record of names that no other has."""
    return json.dumps([{"model": "m", "version": "1", "features": {f"a{k}": 1.5, f"b{k}": 2.5}} for _ in range(n)]).encode()


def test_names_made_up_without_end_fill_no_memory() -> None:
    shapes = Shapes(room=8, smallest=0, bytes_a_name=0)
    made: list[weakref.ref[Any]] = []
    for k in range(60):
        found = shapes.read(churn(k))
        assert found is not None
        made.append(weakref.ref(type(found.events[0])))
    del found
    gc.collect()
    assert len(shapes) == 8
    assert shapes.counts == {"made": 60, "fast": 60, "dropped": 52}
    assert [one() is not None for one in made] == [False] * 52 + [True] * 8

    patient = Shapes()
    for k in range(1_000):
        patient.read(churn(k, 200))
    assert not patient.counts
    assert len(patient._waiting) <= 256


def test_a_type_is_made_when_as_much_has_been_read_without_it() -> None:
    shapes, payload = Shapes(smallest=0, bytes_a_name=2_000), churn(1)
    assert 1_500 < len(payload) < 4_000
    assert [shapes.read(payload) is not None for _ in range(3)] == [False, True, True]


def test_names_that_json_must_escape_make_no_type() -> None:
    shapes = eager()
    payload = record([written(event(k, features='{"quo\\"te": 1}').items()) for k in range(8)])
    assert described(payload, shapes) == described(payload, None)
    assert shapes.counts == {"made": 1, "unfit": 1}


def test_more_names_than_a_type_should_have_are_read_without_one() -> None:
    shapes = eager()
    features = {f"f{j}": 1.5 for j in range(2_000)}
    payload = json.dumps([{"model": "m", "version": "1", "features": features}] * 8).encode()
    (decoded,), _ = decode_json(payload, shapes)
    assert decoded.numeric.shape == (8, 2_000)
    assert not shapes.counts


def test_records_of_one_producer_are_read_with_its_types() -> None:
    payload = msgspec.json.encode(
        [{"model": "m", "version": "1", "features": {f"feature_{j}": (j + k) / 7 for j in range(20)}} for k in range(500)]
    )
    shapes = Shapes(bytes_a_name=0)
    for _ in range(20):
        decode_json(payload, shapes)
    assert shapes.counts["fast"] >= 19


def test_fields_that_few_send_are_read_when_one_comes_late_and_cost_one_more_type() -> None:
    events = [{"model": "m", "version": "1", "features": {"x": 0.5 + k}} for k in range(40)]
    plain = json.dumps(events).encode()
    late = json.dumps([*events, events[0] | {"feature_view": "stats:3", "feature_age_s": 2.5, "owner": "o"}]).encode()
    unknown = json.dumps([*events, events[0] | {"new_in_2030": [1]}]).encode()
    shapes = eager()
    for payload in (plain, late, plain, unknown, late):
        assert described(payload, shapes) == described(payload, None)
    assert shapes.counts == {"made": 1, "widened": 1, "fast": 5}


def test_what_is_no_object_among_the_first_events_makes_no_type() -> None:
    for payload in (b"[3, 4, 5, 6, 7, 8, 9]" * 4, b'["a", [1], {"features": {}}, null, 5, 6, 7, 8]' * 4):
        assert look_at(payload) is None
