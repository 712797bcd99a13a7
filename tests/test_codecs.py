"""JSON and msgpack: what is sent arrives as it was, or is refused before it is sent; never silently altered."""

from __future__ import annotations

import base64
import functools
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import cases
from cases import CASES, REFUSED, UNFIT, Refused, Unfit, same
from xooai import ComboDoc, Executor, Image, InvalidArgument, Text, post
from xooai.codec import CODECS, JSON, MSGPACK, Codec, codec_of
from xooai.errors import Unimplemented
from xooai.schema import Schema


@functools.cache
def schema_of(index: int) -> Schema:
    return Schema(CASES[index].annotation, "test")


@functools.cache
def echo_of(index: int) -> Executor:
    return cases.echo(CASES[index].annotation)()


def ids(items: list[Any]) -> list[str]:
    return [item.name.replace(" ", "-") for item in items]


def not_json(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")


every_case = pytest.mark.parametrize("index", range(len(CASES)), ids=ids(CASES))


# There and back


@every_case
@given(data=st.data())
def test_a_value_comes_back_as_it_was(index: int, data: st.DataObject) -> None:
    schema, value = schema_of(index), data.draw(CASES[index].values)
    for codec in CODECS.values():
        frame = codec.encode(schema, value)
        assert same(codec.decode(schema, frame), value), frame
        assert same(codec.decode(schema, frame, trusted=True), value), frame


@every_case
@given(data=st.data())
def test_a_call_within_the_process_gives_back_what_it_took(index: int, data: st.DataObject) -> None:
    executor, value = echo_of(index), data.draw(CASES[index].values)
    for codec in CODECS:
        assert same(executor.post(on="echo", value=value, codec=codec), value)


@every_case
@given(data=st.data())
def test_frames_are_json_and_msgpack_to_everybody_else(index: int, data: st.DataObject) -> None:
    schema, value = schema_of(index), data.draw(CASES[index].values)
    json.loads(JSON.encode(schema, value).decode(), parse_constant=not_json)
    assert b"msgspec.msgpack.Ext" not in repr(msgspec.msgpack.decode(MSGPACK.encode(schema, value))).encode()


@pytest.mark.parametrize("case", REFUSED, ids=ids(REFUSED))
def test_what_would_not_come_back_is_refused_before_it_is_sent(case: Refused, codec: Codec) -> None:
    schema = Schema(case.annotation, "test")
    with pytest.raises(InvalidArgument, match=case.words) as caught:
        codec.encode(schema, case.value)
    assert len(caught.value.message) < 300
    assert "hush" not in caught.value.message


@pytest.mark.parametrize("case", REFUSED, ids=ids(REFUSED))
def test_a_call_refuses_it_too(case: Refused, codec: Codec) -> None:
    with pytest.raises(InvalidArgument):
        cases.echo(case.annotation)().post(on="echo", value=case.value, codec=codec.name)


@pytest.mark.parametrize("case", UNFIT, ids=ids(UNFIT))
def test_a_type_whose_values_would_not_come_back_is_refused_when_the_class_is_made(case: Unfit) -> None:
    with pytest.raises(TypeError, match=case.words) as caught:
        cases.echo(case.annotation())
    assert str(caught.value).startswith("echo.echo")


# What stands on the wire


def test_bytes_are_standard_base64_in_json_and_raw_in_msgpack() -> None:
    content = bytes(range(256))
    for annotation, value in (
        (bytes, content),
        (list[bytes], [content]),
        (Image, Image(value=content)),
        (cases.Row, {"name": "", "content": content}),
        (list[cases.Row], [{"name": "", "content": content}]),
        (cases.Tree, cases.Tree(value=0, children=[cases.Tree(value=0, content=content)])),
        (cases.Box[bytes], cases.Box[bytes](inside=content)),
    ):
        schema = Schema(annotation, "test")
        assert base64.b64encode(content) in JSON.encode(schema, value)
        assert content in MSGPACK.encode(schema, value)


def test_a_combodoc_dumps_standard_base64_and_nan_by_itself() -> None:
    dumped = cases.Tree(value=float("nan"), content=b"\xff\xfe\xfb\xff").model_dump_json()
    assert json.loads(dumped) == {"value": "NaN", "content": "//77/w==", "children": []}
    assert same(cases.Tree.model_validate_json(dumped), cases.Tree(value=float("nan"), content=b"\xff\xfe\xfb\xff"))


@pytest.mark.parametrize("alphabet", [base64.standard_b64encode, base64.urlsafe_b64encode])
def test_both_alphabets_of_base64_are_read(alphabet: Any) -> None:
    frame = b'{"kind":"image","value":"' + alphabet(b"\xff\xfe\xfb\xff") + b'"}'
    assert JSON.decode(Schema(Image, "test"), frame) == Image(value=b"\xff\xfe\xfb\xff")


def test_nan_and_infinities_are_strings_in_json_and_floats_in_msgpack() -> None:
    schema = Schema(list[float], "test")
    values = [cases.NAN, cases.INFINITY, -cases.INFINITY]
    assert json.loads(JSON.encode(schema, values)) == ["NaN", "Infinity", "-Infinity"]
    assert same(msgspec.msgpack.decode(MSGPACK.encode(schema, values)), values)


def test_a_model_that_somebody_else_wrote_is_left_as_it_is() -> None:
    before = cases.Plain.model_json_schema(mode="serialization"), cases.Plain(x=cases.NAN).model_dump_json()
    Schema(list[cases.Plain], "test")
    assert (cases.Plain.model_json_schema(mode="serialization"), cases.Plain(x=cases.NAN).model_dump_json()) == before


def test_what_a_field_is_called_on_the_wire_is_its_alias(codec: Codec) -> None:
    schema = Schema(cases.Aliased, "test")
    frame = codec.encode(schema, cases.Aliased(**{"class": "a", "Value": 1}))
    assert (
        msgspec.msgpack.decode(frame) == {"class": "a", "Value": 1}
        if codec is MSGPACK
        else json.loads(frame) == {"class": "a", "Value": 1}
    )


def test_a_peer_may_send_a_secret(codec: Codec) -> None:
    import pydantic

    schema = Schema(pydantic.SecretStr, "test")
    frame = codec.encode(Schema(str, "test"), "hush")
    assert codec.decode(schema, frame).get_secret_value() == "hush"


# What a peer may get wrong


class Page(ComboDoc):
    text: Text
    scores: list[float] = []


@pytest.mark.parametrize(
    ("value", "loc"),
    [
        ({"text": 5}, ("text",)),
        ({}, ("text",)),
        ({"text": {}}, ("text",)),
        ({"text": {"value": "a", "unknown": 1}}, ("text", "unknown")),
        ({"text": {"value": "a", "signature": "md5:00"}}, ("text", "signature")),
        ({"text": {"value": "a", "size": -1}}, ("text", "size")),
        ({"text": {"value": "a", "size": 2**63 - 1}, "scores": [1, "x"]}, ("scores", 1)),
        ({"text": {"kind": "image", "ref": "a"}}, ("text", "kind")),
        ([], ()),
        (None, ()),
    ],
)
def test_what_does_not_validate_is_an_invalid_argument_with_the_place(
    value: Any, loc: tuple[Any, ...], codec: Codec
) -> None:
    frame = json.dumps(value).encode() if codec is JSON else msgspec.msgpack.encode(value)
    with pytest.raises(InvalidArgument) as caught:
        codec.decode(Schema(Page, "test"), frame)
    assert caught.value.errors[0]["loc"] == loc
    assert caught.value.message.startswith(".".join(map(str, loc)) or "the body")


def test_integers_of_a_peer_beyond_64_bits_are_refused(codec: Codec) -> None:
    for annotation in (int, list[int], Any, dict[str, Any], int | str):
        value: Any = 2**63
        if annotation == list[int]:
            value = [value]
        elif annotation == dict[str, Any]:
            value = {"a": value}
        frame = json.dumps(value).encode() if codec is JSON else msgspec.msgpack.encode(value)
        with pytest.raises(InvalidArgument):
            codec.decode(Schema(annotation, "test"), frame)


@given(frame=st.binary(max_size=200))
def test_any_bytes_are_a_value_or_an_invalid_argument(frame: bytes) -> None:
    for annotation in (Page, Any, dict[str, list[int]]):
        for codec in CODECS.values():
            try:
                codec.decode(Schema(annotation, "test"), frame)
            except InvalidArgument as error:
                assert len(error.message) < 500


# Choosing one


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("json", JSON),
        ("msgpack", MSGPACK),
        ("application/json", JSON),
        ("Application/JSON; charset=utf-8", JSON),
        ("application/x-msgpack", MSGPACK),
        ("application/vnd.msgpack", MSGPACK),
    ],
)
def test_a_codec_is_found_by_its_name_or_media_type(name: str, found: Codec) -> None:
    assert codec_of(name) is found


def test_an_unknown_codec_is_told_the_known_ones() -> None:
    with pytest.raises(Unimplemented, match="'pickle' is not known; known are: application/json, application/msgpack"):
        codec_of("pickle")


class Echo(Executor):
    @post
    def echo(self, doc: Text) -> Text:
        return doc


def test_a_call_with_an_unknown_codec_is_refused() -> None:
    with pytest.raises(Unimplemented, match="pickle"):
        Echo().post(on="echo", doc=Text(value="a"), codec="pickle")
