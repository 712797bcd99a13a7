"""Frames from a peer: what is malformed, too deep, too much or doubled is refused at once; look-alikes are not."""

from __future__ import annotations

import base64
import json
import struct
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field, RootModel, field_validator
from typing_extensions import TypedDict

import cases
from pace import at_once
from xooai import ComboDoc, Image, InvalidArgument, Text
from xooai.codec import JSON, MSGPACK, Codec
from xooai.schema import Schema
from xooai.screen import DEPTH_LIMIT, NODE_LIMIT

MEGABYTE = 1024 * 1024
pack = msgspec.msgpack.encode


class Line(ComboDoc):
    text: str
    box: dict[str, float] = Field(default={"x": 0.0, "y": 0.0})


class Page(ComboDoc):
    lines: list[Line] = Field(default=[])
    scan: Image | None = None
    more: Any = None


class Validated(ComboDoc):
    """A validator that makes more keys than it was given."""

    table: dict[str, int]
    x: int = 0

    @field_validator("table")
    @classmethod
    def _double(cls, table: dict[str, int]) -> dict[str, int]:
        return {**table, **{f"{key}2": value for key, value in table.items()}}


class Table(RootModel[dict[str, int]]):
    pass


class Body(TypedDict):
    page: Page
    title: str


class Point(ComboDoc):
    """Each frame has as many keys."""

    x: int
    y: list[float]


class Made(BaseModel):
    """What makes one of its keys by itself."""

    x: int
    y: int

    def __init__(self, x: int) -> None:
        super().__init__(x=x, y=0)


class Pair(TypedDict):
    point: Point
    made: Made


@dataclass
class Counted:
    """What has a field that no frame has."""

    x: int
    y: int = field(init=False, default=0)


ANY = Schema(Any, "test")
PAGE = Schema(Page, "test")


def written(codec: Codec, value: Any) -> bytes:
    return json.dumps(value).encode() if codec is JSON else pack(value)


def refused(codec: Codec, frame: bytes, words: str = ".", schema: Schema = ANY) -> None:
    with at_once(), pytest.raises(InvalidArgument, match=words) as caught:
        codec.decode(schema, frame)
    assert len(caught.value.message) < 300


# Malformed

WHOLE = {
    "lines": [{"text": 'a "q" é', "box": {"x": 1.5, "y": -0.0}}],
    "scan": {"kind": "image", "ref": "a"},
    "more": [None, True, 300, "x" * 40],
}


def test_a_whole_frame_is_read(codec: Codec) -> None:
    assert codec.decode(PAGE, written(codec, WHOLE)).lines[0].text == 'a "q" é'


def test_a_frame_cut_off_at_any_byte_is_refused(codec: Codec) -> None:
    frame = written(codec, WHOLE)
    for end in range(len(frame)):
        refused(codec, frame[:end], "the body is not")


def test_a_frame_with_something_after_it_is_refused(codec: Codec) -> None:
    for tail in (b"0", b"{}", b"\x00", b"\xff", b"\xc0"):
        refused(codec, written(codec, WHOLE) + tail, "the body is not")


@given(data=st.data())
def test_a_frame_with_changed_bytes_is_a_value_or_an_invalid_argument(data: st.DataObject) -> None:
    for codec in (JSON, MSGPACK):
        frame = bytearray(written(codec, WHOLE))
        for _ in range(data.draw(st.integers(1, 3))):
            frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
        for schema in (PAGE, ANY):
            try:
                codec.decode(schema, bytes(frame))
            except InvalidArgument:
                pass


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b" ",
        b"{",
        b"[1,]",
        b'{"a"}',
        b'{"a":}',
        b'{"a":1,}',
        b"{'a':1}",
        b"{a:1}",
        b"01",
        b"+1",
        b"1.",
        b".5",
        b"0x10",
        b"tru",
        b"nul",
        b"None",
        b'"\n"',
        b'"\\x41"',
        b'"\\ud800"',
        b'"\\udc00\\ud800"',
        b'"\xff"',
        b'"\xed\xa0\x80"',
        b'{"\xff":1}',
        b"\xef\xbb\xbf{}",
        '{"a":1}'.encode("utf-16"),
        b"[1]//x",
        b"\x00",
        b"1" * 5000,
        b'{"a":' + b"1" * 5000 + b',"a":1}',
        b'["NaN", ' + b"1" * 5000 + b", NaN]",
    ],
)
def test_what_is_not_json_is_refused(frame: bytes) -> None:
    refused(JSON, frame, "the body is not JSON")


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity", " NaN", "\tInfinity"])
@pytest.mark.parametrize("around", ["%s", "[1,%s]", '{"a":%s}', '{"a": [%s ]}', '["NaN", %s]', '["\\\\", %s]'])
def test_a_bare_constant_is_refused_and_told_how_it_is_written(constant: str, around: str) -> None:
    for schema in (ANY, Schema(Any, "test")):
        refused(JSON, (around % constant).encode(), "write it as the string", schema)


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (b"", "not msgpack"),
        (b"\xc1", "not msgpack"),
        (b"\x81\xa1a\xc1", "not msgpack"),
        (b"\xa1\xff", "not msgpack"),
        (b"\xa3\xed\xa0\x80", "not msgpack"),
        (b"\x81\xa1\xff\x01", "not msgpack"),
        (b"\x81\x80\x01", "not msgpack"),
        (b"\x81\x91\x01\x01", "a key of a msgpack map"),
        (b"\x81\xc4\x01a\x01", "a key of a msgpack map is bytes"),
        (b"\x81\xc3\x01", "a key of a msgpack map is bool"),
        (b"\x81\xc0\x01", "a key of a msgpack map is NoneType"),
        (b"\x81\xcb" + struct.pack(">d", 1.0) + b"\x01", "a key of a msgpack map is float"),
        (b"\xd4\x05\x00", "extension types are not taken"),
        (b"\xc7\x02\x05ab", "extension types are not taken"),
        (b"\xd6\xff\x00\x00\x00\x00", "extension types are not taken"),
        (b"\x91\xd7\xff" + bytes(8), "extension types are not taken"),
        (b"\xd7\xff" + b"\xff" * 8, "not msgpack"),
        (b"\xcf" + b"\xff" * 8, "64 bits"),
        (b"\x81\xcf" + b"\xff" * 8 + b"\x01", "64 bits"),
    ],
)
def test_what_is_not_msgpack_or_not_taken_is_refused(frame: bytes, words: str) -> None:
    refused(MSGPACK, frame, words)


def test_extension_types_deep_in_a_large_frame_are_refused() -> None:
    refused(
        MSGPACK,
        b"\x92\xc6" + struct.pack(">I", 100_000) + bytes(100_000) + b"\xd4\x05\x00",
        "extension types are not taken",
    )


# Announced lengths


@pytest.mark.parametrize("head", [b"\xdd", b"\xdf", b"\xc6", b"\xdb", b"\xc9", b"\x91\xdd", b"\x81\xa1a\xdf"])
@pytest.mark.parametrize("padding", [0, 100, 100_000])
def test_a_length_that_is_only_announced_costs_no_memory(head: bytes, padding: int) -> None:
    frame = head + b"\xff\xff\xff\xff" + b"\x01" * padding
    tracemalloc.start()
    try:
        refused(MSGPACK, frame)
        assert tracemalloc.get_traced_memory()[1] < 4 * MEGABYTE
    finally:
        tracemalloc.stop()


# Too deep, too much


def nested(codec: Codec, depth: int, is_map: bool, padding: int = 0) -> bytes:
    tail = "x" * padding
    if codec is MSGPACK:
        return (b"\x81\xa1a" if is_map else b"\x91") * depth + pack(tail)
    return (b'{"a":' if is_map else b"[") * depth + json.dumps(tail).encode() + (b"}" if is_map else b"]") * depth


@pytest.mark.parametrize("is_map", [False, True], ids=["arrays", "objects"])
@pytest.mark.parametrize("padding", [0, 1000, 100_000])
def test_the_limit_of_depth_is_the_same_in_every_frame(codec: Codec, is_map: bool, padding: int) -> None:
    codec.decode(ANY, nested(codec, DEPTH_LIMIT, is_map, padding))
    refused(codec, nested(codec, DEPTH_LIMIT + 1, is_map, padding), f"more than {DEPTH_LIMIT} levels")


def test_an_empty_container_counts_as_a_level(codec: Codec) -> None:
    empty = {JSON: b"[" * (DEPTH_LIMIT + 1) + b"]" * (DEPTH_LIMIT + 1), MSGPACK: b"\x91" * DEPTH_LIMIT + b"\x90"}
    refused(codec, empty[codec], f"more than {DEPTH_LIMIT} levels")


@pytest.mark.parametrize("depth", [100, 1000, 100_000, 10 * MEGABYTE])
def test_very_deep_nesting_is_refused_at_once(codec: Codec, depth: int) -> None:
    for start in {JSON: (b"[", b'{"a":'), MSGPACK: (b"\x91", b"\x81\xa1a")}[codec]:
        refused(codec, start * depth, "levels|not|values")


def test_brackets_that_were_never_opened_are_refused_at_once() -> None:
    refused(JSON, b"[" * 70 + b"]" * (20 * MEGABYTE))
    refused(JSON, b"]" * (20 * MEGABYTE))


def test_a_string_that_never_ends_is_refused_at_once() -> None:
    for tail in (
        b'\\"' * MEGABYTE,
        b"\\" * MEGABYTE,
        b"\\\\" * MEGABYTE,
        b'"' * (2 * MEGABYTE + 1),
        b"a" * (10 * MEGABYTE),
    ):
        refused(JSON, b'["' * 70 + tail)
        refused(JSON, b"[" * 60 + b'"' + tail)


def test_more_values_than_the_limit_are_refused_before_they_are_made(codec: Codec) -> None:
    count = NODE_LIMIT + 1
    frames = {
        JSON: [b"[" + b"0," * count + b"0]", b"[" + b"{}," * count + b"0]", b"{" + b'"a":0,' * count + b'"b":0}'],
        MSGPACK: [
            b"\xdd" + struct.pack(">I", count) + b"\x00" * count,
            b"\xdd" + struct.pack(">I", count) + b"\x80" * count,
            b"\x91" * 9 + b"\xdd" + struct.pack(">I", count) + b"\x90" * count,
            b"\xdd" + struct.pack(">I", count) + (b"\xcb" + bytes(8)) * count,
            b"\xdf" + struct.pack(">I", count) + b"\x01\x02" * count,
        ],
    }
    for frame in frames[codec]:
        tracemalloc.start()
        try:
            refused(codec, frame, f"more than {NODE_LIMIT:,} values")
            assert tracemalloc.get_traced_memory()[1] < 4 * len(frame) + 4 * MEGABYTE
        finally:
            tracemalloc.stop()


def test_many_values_below_the_limit_are_read(codec: Codec) -> None:
    for values in (
        [0.5] * 100_000,
        list(range(-50_000, 50_000)),
        [{"a": i} for i in range(30_000)],
        [[i] for i in range(30_000)],
    ):
        assert codec.decode(ANY, written(codec, values)) == values


# Doubled keys

KEYS = st.sampled_from(["a", "b", "", "é", "long" * 20, '"', "\\", "a:b", "{", "\n"])


def test_a_doubled_key_is_refused_where_the_fast_count_cannot_tell() -> None:
    """Each of these types makes up for the key that is lost, by keys that were not in the frame."""
    for annotation, frame in (
        (Line, b'{"text":"a","text":"b"}'),
        (Table, b'{"a":1,"a":2}'),
        (cases.Extended, b'{"x":1,"y":2,"y":3}'),
        (Validated, b'{"table":{"a":1,"b":2},"x":1,"x":2}'),
        (cases.Record, b'{"x":1,"x":2}'),
        (cases.Plain, b'{"x":1,"x":2}'),
        (dict[str, Line], b'{"a":{"text":"a"},"a":{"text":"b"}}'),
        (Body, b'{"page":{},"title":"a","title":"b"}'),
        (Text, b'{"value":"a","value":"b"}'),
        (Point, b'{"x":1,"y":[],"x":2}'),
        (Point, b'{"x":1,"y":[0.5],"y":[]}'),
        (Made, b'{"x":1,"x":2}'),
        (Counted, b'{"x":1,"x":2}'),
        (Pair, b'{"point":{"x":1,"y":[]},"made":{"x":1,"x":2}}'),
        (list[Text | Image], b'[{"kind":"text","value":"a","kind":"text"}]'),
    ):
        refused(JSON, frame, "stands twice in one object", Schema(annotation, "test"))


@pytest.mark.parametrize(
    "frame",
    [
        b'{"a":1,"a":1}',
        b'{"a":1,"\\u0061":2}',
        b'{"\\u0061":1,"a":2}',
        b'{"\\/":1,"/":2}',
        b'{"\xc3\xa9":1,"\\u00e9":2}',
        b'{"\xf0\x9d\x84\x9e":1,"\\ud834\\udd1e":2}',
        b'{"a" : 1 , "a"\t:\n2}',
        b'{"":1,"":2}',
        b'[[[{"b":{"a":1,"a":2}}]]]',
        b'{"a":{"b":1},"c":{"a":{"a":1,"a":1}}}',
        b'{"x":"\\":\\":","a":1,"a":2}',
        b'{"a":[":",":"],"b":1,"b":2}',
        b'{"a":1,"b":":","a":2}',
        b'{"a":null,"a":null}',
    ],
)
@pytest.mark.parametrize("padding", [0, 100_000])
def test_a_doubled_key_in_json_is_refused(frame: bytes, padding: int) -> None:
    refused(JSON, frame, "stands twice in one object")
    refused(JSON, b'["' + b"x" * padding + b'",' + frame + b"]", "stands twice in one object")


def test_a_key_doubled_far_from_its_twin_is_refused_at_once(codec: Codec) -> None:
    keys = [f"k{number}" for number in range(100_000)]
    if codec is JSON:
        frame = b"{" + b",".join(b'"%s":1' % key.encode() for key in [*keys, keys[-1]]) + b"}"
    else:
        frame = b"\xdf" + struct.pack(">I", len(keys) + 1) + b"".join(pack(key) + b"\x01" for key in [*keys, keys[-1]])
    refused(codec, frame, "'k99999' stands twice")


FORMS: dict[str, Callable[[str], list[bytes]]] = {
    "text": lambda text: [
        bytes([0xA0 | len(text)]) + text.encode(),
        b"\xd9" + struct.pack(">B", len(text)) + text.encode(),
        b"\xda" + struct.pack(">H", len(text)) + text.encode(),
        b"\xdb" + struct.pack(">I", len(text)) + text.encode(),
    ],
    "number": lambda text: [
        b"\x05",
        b"\xcc\x05",
        b"\xcd\x00\x05",
        b"\xce\x00\x00\x00\x05",
        b"\xcf" + bytes(7) + b"\x05",
        b"\xd0\x05",
        b"\xd3" + bytes(7) + b"\x05",
    ],
}


@pytest.mark.parametrize("kind", FORMS)
@pytest.mark.parametrize("padding", [0, 100_000])
def test_a_doubled_key_in_msgpack_is_refused_in_whatever_forms_it_is_written(kind: str, padding: int) -> None:
    forms = FORMS[kind]("abc")
    filler = pack("x" * padding)
    for one in forms:
        for other in forms:
            body = b"\x82" + one + b"\x01" + other + b"\x02"
            for frame in (body, b"\x92" + filler + body, b"\x92" + filler + b"\x81\xa1z\x91" + body):
                refused(MSGPACK, frame, "stands twice in one msgpack map")


def test_short_floats_do_not_make_up_for_a_dropped_key() -> None:
    """msgspec writes 8 bytes for each float of 4: the pair that was dropped is as long as what they gain."""
    short = b"\xca" + struct.pack(">f", 0.5)
    for pair in (b"\xa1a\xcc\x80", b"\xa1a\x01"):
        for count in (1, 2, 3):
            frame = b"\x82\xa1b" + bytes([0x90 | count]) + short * count + pair
            assert MSGPACK.decode(ANY, frame)["b"] == [0.5] * count
            refused(MSGPACK, b"\x83\xa1b" + bytes([0x90 | count]) + short * count + pair + pair, "stands twice")
            for filler in range(1, 9):
                tail = b"\xa1b" + bytes([0x90 | count]) + short * count + b"\xa1a" + pack("y" * filler)
                refused(MSGPACK, b"\x83" + tail + b"\xa1a" + pack("y" * filler), "stands twice")


@given(keys=st.lists(KEYS, min_size=2, max_size=6), depth=st.integers(0, 5), padding=st.sampled_from([0, 70_000]))
def test_keys_are_refused_if_and_only_if_one_is_doubled(keys: list[str], depth: int, padding: int) -> None:
    pairs = [(key, "x" * padding if index == 0 else index) for index, key in enumerate(keys)]
    as_json = "{" + ",".join(f"{json.dumps(key)}:{json.dumps(value)}" for key, value in pairs) + "}"
    as_msgpack = bytes([0x80 | len(keys)]) + b"".join(pack(key) + pack(value) for key, value in pairs)
    frames = ((JSON, ("[" * depth + as_json + "]" * depth).encode()), (MSGPACK, b"\x91" * depth + as_msgpack))
    for codec, frame in frames:
        if len(set(keys)) < len(keys):
            refused(codec, frame, "stands twice")
        else:
            codec.decode(ANY, frame)


class Pairs(list[tuple[Any, Any]]):
    """An object of a frame, in which a key may stand twice."""

    @classmethod
    def of(cls, value: Any) -> Any:
        """What was parsed, with its dicts as pairs."""
        if isinstance(value, dict):
            return cls((key, cls.of(inner)) for key, inner in value.items())
        return [cls.of(item) for item in value] if isinstance(value, list) else value

    @classmethod
    def all_in(cls, value: Any) -> list[Pairs]:
        inside = [inner for _, inner in value] if isinstance(value, cls) else value if isinstance(value, list) else []
        found = [pairs for inner in inside for pairs in cls.all_in(inner)]
        return [value, *found] if isinstance(value, cls) and value else found


def as_json(value: Any) -> str:
    if isinstance(value, Pairs):
        return "{" + ",".join(f"{json.dumps(key)}:{as_json(inner)}" for key, inner in value) + "}"
    return "[" + ",".join(map(as_json, value)) + "]" if isinstance(value, list) else json.dumps(value)


def as_msgpack(value: Any) -> bytes:
    if isinstance(value, Pairs):
        return b"\xde" + struct.pack(">H", len(value)) + b"".join(pack(key) + as_msgpack(inner) for key, inner in value)
    if isinstance(value, list):
        return b"\xdc" + struct.pack(">H", len(value)) + b"".join(map(as_msgpack, value))
    return pack(value)


@given(case=st.sampled_from(cases.CASES), data=st.data())
@settings(max_examples=settings().max_examples * 10)
def test_a_key_doubled_anywhere_in_a_frame_of_any_type_is_refused(case: cases.Case, data: st.DataObject) -> None:
    schema = Schema(dict[str, case.annotation], "test")  # type: ignore[name-defined]
    value = {"value": data.draw(case.values)}
    for codec in (JSON, MSGPACK):
        write = as_msgpack if codec is MSGPACK else lambda tree: as_json(tree).encode()
        parse = msgspec.msgpack.decode if codec is MSGPACK else json.loads
        tree = Pairs.of(parse(codec.encode(schema, value)))
        assert cases.same(codec.decode(schema, write(tree)), value)
        pairs = data.draw(st.sampled_from(Pairs.all_in(tree)))
        pairs.insert(data.draw(st.integers(0, len(pairs))), data.draw(st.sampled_from(list(pairs))))
        with pytest.raises(InvalidArgument):
            codec.decode(schema, write(tree))


# Look-alikes

TRICKY = [
    '{"a":1,"a":2}',
    "}" * 200 + "{" * 200,
    "[" * 1000,
    '":"' * 300,
    "\\" * 99,
    '\\"' * 100,
    "NaN, NaN: [NaN, -Infinity",
    ": Infinity",
    ",".join("," * 2000),
    "\x00\x01\u2028\ud7ff",
    "\xca\xdd\xff",
]


@pytest.mark.parametrize("repeat", [1, 300], ids=["small", "large"])
def test_strings_that_look_like_something_else_are_read(codec: Codec, repeat: int) -> None:
    for text in TRICKY:
        value = {"text" + text: [text * repeat, {text: text}]}
        with at_once():
            assert codec.decode(ANY, written(codec, value)) == value
    whole = {"more": {text: text * repeat for text in TRICKY}}
    assert codec.decode(PAGE, written(codec, whole)).more == whole["more"]


def test_the_same_key_in_different_objects_is_read(codec: Codec) -> None:
    value = {"a": {"a": {"a": [{"a": 1}, {"a": 2}]}}, "b": [{"a": 1}] * 1000}
    assert codec.decode(ANY, written(codec, value)) == value


def test_keys_that_differ_by_case_spaces_or_normal_form_are_read(codec: Codec) -> None:
    value = {"a": 1, "A": 2, " a": 3, "a ": 4, "\u00e9": 5, "e\u0301": 6, "1": 7}
    assert codec.decode(ANY, written(codec, value)) == value


def test_longer_forms_of_msgpack_than_needed_are_read() -> None:
    frame = b"\xdf\x00\x00\x00\x02\xd9\x01a\xcd\x00\x05\xdb\x00\x00\x00\x01b\xdc\x00\x01\xca" + struct.pack(">f", 0.5)
    assert MSGPACK.decode(ANY, frame) == {"a": 5, "b": [0.5]}


@pytest.mark.parametrize("size", [0, 1, 65_000, 8 * MEGABYTE])
def test_a_picture_of_any_size_is_read(codec: Codec, size: int) -> None:
    content = (b'\x89PNG NaN{[:,"' + bytes(range(256)) * (size // 256 + 1))[:size]
    frame = codec.encode(PAGE, Page(scan=Image(value=content)))
    with at_once():
        page = codec.decode(PAGE, frame)
    assert page.scan.read() == content


def test_base64_that_spells_nan_is_no_reason_to_read_it_twice() -> None:
    spelled = base64.b64decode(b"NaNN" * (2 * MEGABYTE))
    schema = Schema(Image, "test")
    frame = JSON.encode(schema, Image(value=spelled))
    assert b"NaN" in frame
    with at_once():
        assert JSON.decode(schema, frame).value == spelled
