"""JSON and msgpack mean the same: what one takes the other takes, as the same value, and so for what is refused."""

from __future__ import annotations

import datetime as dt
import decimal
import functools
import json
import uuid
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cases
from cases import CASES, same
from xooai import InvalidArgument, Text
from xooai.codec import CODECS, JSON, MSGPACK, Codec
from xooai.schema import Schema
from xooai.untyped import untyped

NOTHING = object()


@functools.cache
def schema_of(index: int) -> Schema:
    return Schema(CASES[index].annotation, "test")


every_case = pytest.mark.parametrize("index", range(len(CASES)), ids=[case.name.replace(" ", "-") for case in CASES])


def read(codec: Codec, schema: Schema, value: Any) -> Any:
    """What a peer's value is read as; NOTHING where it is refused."""
    frame = json.dumps(value).encode() if codec is JSON else msgspec.msgpack.encode(value)
    try:
        return codec.decode(schema, frame)
    except InvalidArgument:
        return NOTHING


# What a peer may send where something else is meant

SCALARS = st.sampled_from(
    [
        None, True, False, 0, 1, 2, -1, 5, 1.0, 0.0, -0.0, 0.5, 1e16, 1e300, 1700000000, 2**53 + 1, 2**63 - 1,
        "", "0", "1", "5", "5.0", " 5", "-0", "1e3", "0x10", "1_000", "true", "True", "yes", "null", "NaN", "nan", "Infinity",
        "-Infinity", "inf", "aGk=", "aGk", "_-8=", "red", "RED", "light", "a", "b", "auto", "now", "2024-02-29",
        "2024-02-29T00:00:00", "2024-02-29T00:00:00Z", "2024-02-29 12:30", "12:30", "12:30:01.5+01:00", "P1D", "1 day, 00:00:01",
        "00000000-0000-0000-0000-000000000001", "1/2", "1+2j", "http://host/", "10.0.0.1", "::1", "10.0.0.0/8", "1kb", "5s",
        "text", "image", "uint8", "1700000000", "1,000",
    ]
)  # fmt: skip
KEYS = st.sampled_from(["a", "kind", "value", "ref", "x", "y", "name", "left", "1", "true", "red", "2024-02-29"])
ANY = st.recursive(
    # Beyond 2**53 a float in msgpack is not the number that its digits in JSON are.
    SCALARS | cases.TEXTS | cases.INTS | st.floats(-(2.0**53), 2.0**53),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)


@st.composite
def altered(draw: st.DrawFn, index: int) -> Any:
    """What stands in JSON for a value of the type, with one place of it replaced."""
    schema = schema_of(index)
    value = [json.loads(JSON.encode(schema, draw(CASES[index].values)))]
    holder, key = draw(st.sampled_from(list(_places(value))))
    old = holder[key]
    others = SCALARS | ANY
    if isinstance(old, str | int | float):
        others = others | st.sampled_from([str(old), json.dumps(old), [old], {"value": old}])
    if isinstance(old, str):
        others = others | st.sampled_from([old.upper(), f" {old}", f"{old} ", old[:-1], old.removesuffix("Z")])
    elif isinstance(old, int) and abs(old) < 2**53:
        others = others | st.just(float(old))
    holder[key] = draw(others)
    return value[0]


def _places(holder: Any) -> Any:
    for key, inner in list(enumerate(holder)) if isinstance(holder, list) else list(holder.items()):
        yield holder, key
        if isinstance(inner, list | dict):
            yield from _places(inner)


def assert_alike(index: int, value: Any) -> None:
    schema = schema_of(index)
    one, other = read(JSON, schema, value), read(MSGPACK, schema, value)
    assert one is not NOTHING or other is NOTHING, f"JSON refuses {value!r}, msgpack reads {other!r}"
    assert other is not NOTHING or one is NOTHING, f"msgpack refuses {value!r}, JSON reads {one!r}"
    assert same(one, other), f"of {value!r} JSON makes {one!r}, msgpack {other!r}"


@pytest.mark.filterwarnings("ignore::FutureWarning")  # about a text that is read as a regular expression
@every_case
@given(data=st.data())
def test_both_codecs_take_any_value_alike(index: int, data: st.DataObject) -> None:
    assert_alike(index, data.draw(SCALARS | ANY))


@pytest.mark.filterwarnings("ignore::FutureWarning")
@every_case
@given(data=st.data())
def test_both_codecs_take_a_value_alike_of_which_a_part_is_something_else(index: int, data: st.DataObject) -> None:
    assert_alike(index, data.draw(altered(index)))


# What only msgpack can say


@pytest.mark.parametrize(
    "annotation", [str, int, float, bool, dt.date, dt.datetime, uuid.UUID, decimal.Decimal, cases.Colour, Text]
)
def test_bytes_in_msgpack_stand_for_bytes_alone(annotation: Any) -> None:
    schema = Schema(list[annotation], "test")
    for content in (b"5", b"", b"true", b"2024-02-29", b"red", b"00000000-0000-0000-0000-000000000005"):
        assert read(MSGPACK, schema, [content]) is NOTHING


def test_bytes_in_msgpack_are_read_raw_or_as_json_has_them() -> None:
    schema = Schema(dict[str, bytes], "test")
    assert read(MSGPACK, schema, {"a": b"aGk="}) == {"a": b"aGk="}
    assert read(MSGPACK, schema, {"a": "aGk="}) == read(JSON, schema, {"a": "aGk="}) == {"a": b"hi"}


def test_an_integer_key_in_msgpack_is_what_its_digits_are_in_json() -> None:
    for annotation in (dict[int, int], dict[float, int], dict[decimal.Decimal, int]):
        schema = Schema(annotation, "test")
        assert same(read(MSGPACK, schema, {5: 1}), read(JSON, schema, {"5": 1}))
        assert same(read(MSGPACK, schema, {"5": 1}), read(JSON, schema, {"5": 1}))
    assert read(MSGPACK, Schema(dict[str, int], "test"), {5: 1}) is NOTHING


def test_a_class_stays_as_lax_as_it_was_in_python() -> None:
    Schema(cases.Everything, "test").native.validate_python({})
    assert cases.Everything.model_validate({"numbers": {"5"}, "name": 5.0}).numbers == {5}


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize(("annotation", "value"), [(int, "5"), (bool, 1), (str, 5), (float, "5"), (list[int], ["5"])])
def test_a_call_within_the_process_takes_no_more_than_one_from_elsewhere(
    annotation: Any, value: Any, codec: str
) -> None:
    with pytest.raises(InvalidArgument):
        cases.echo(annotation)().post(on="echo", value=value, codec=codec)


# Replies without annotation


FLAT = st.none() | st.booleans() | cases.INTS | cases.FLOATS | cases.TEXTS | cases.BYTES | st.dates() | st.uuids()
UNTYPED = st.recursive(
    FLAT
    | cases.DOCUMENTS
    | st.builds(cases.Tree, value=cases.FLOATS)
    | st.builds(cases.Plain, x=cases.FLOATS)
    | st.builds(cases.Record, x=cases.FLOATS),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(cases.TEXTS | cases.INTS, inner, max_size=3) | st.tuples(inner)
    ),
    max_leaves=6,
)


@given(value=UNTYPED)
@settings(max_examples=settings().max_examples * 10)
def test_a_reply_without_annotation_is_read_alike_from_both_or_refused(value: Any) -> None:
    schema, found = untyped(), []
    for codec in (JSON, MSGPACK):
        try:
            frame = codec.encode(schema, value)
        except InvalidArgument:
            found.append(NOTHING)
        else:
            found.append(codec.decode(schema, frame))
    assert same(*found)


@pytest.mark.parametrize(
    "value", [cases.NAN, [-cases.INFINITY], {"a": b"a"}, cases.Tree(value=1.0, content=b"a"), iter([1])]
)
@pytest.mark.parametrize("codec", [JSON, MSGPACK])
def test_a_reply_without_annotation_refuses_what_would_be_read_as_a_text(codec: Codec, value: Any) -> None:
    with pytest.raises(InvalidArgument, match="annotate the reply|can be read once only"):
        codec.encode(untyped(), value)


def test_a_document_keeps_its_bytes_and_nan_in_a_reply_without_annotation() -> None:
    value = {"mesh": [cases.Mesh(value=b"a", scale=cases.NAN)], "n": 1}
    for codec in (JSON, MSGPACK):
        assert same(codec.decode(untyped(), codec.encode(untyped(), value)), value)
