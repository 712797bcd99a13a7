"""JSON and msgpack: what is sent arrives as it was, or is refused before it is sent; never silently altered."""

from __future__ import annotations

import ast
import base64
import functools
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cases
from cases import CASES, same
from pace import at_once
from unfit import REFUSED, UNFIT, Refused, Unfit
from xooai import ComboDoc, Executor, Image, InvalidArgument, Tensor, Text, post
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


@given(case=cases.composed(), data=st.data())
@settings(max_examples=settings().max_examples * 10)
def test_types_put_together_at_random_are_refused_or_their_values_come_back(
    case: cases.Case, data: st.DataObject
) -> None:
    try:
        schema = Schema(case.annotation, "test")
    except TypeError:
        return
    value = data.draw(case.values)
    for codec in CODECS.values():
        try:
            frame = codec.encode(schema, value)
        except InvalidArgument:
            continue
        assert same(codec.decode(schema, frame), value), frame


@every_case
@given(data=st.data())
def test_frames_are_json_and_msgpack_to_everybody_else(index: int, data: st.DataObject) -> None:
    schema, value = schema_of(index), data.draw(CASES[index].values)
    json.loads(JSON.encode(schema, value).decode(), parse_constant=not_json)
    assert "Ext(" not in repr(msgspec.msgpack.decode(MSGPACK.encode(schema, value)))


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
    frame = codec.encode(schema, cases.Aliased.model_validate({"class": "a", "Value": 1}))
    assert (
        msgspec.msgpack.decode(frame) == {"class": "a", "Value": 1}
        if codec is MSGPACK
        else json.loads(frame) == {"class": "a", "Value": 1}
    )


def test_a_peer_may_send_a_secret(codec: Codec) -> None:
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
        ({"text": {"ref": "a", "size": 2**63 - 1}, "scores": [1, "x"]}, ("scores", 1)),
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


@pytest.mark.parametrize("annotation", [list[int], list[float], dict[str, int], list[Text], list[list[int]]], ids=str)
def test_of_very_many_mistakes_the_first_are_told_at_once(annotation: Any, codec: Codec) -> None:
    value: Any = {f"k{number}": "x" for number in range(100_000)} if annotation == dict[str, int] else ["x"] * 100_000
    frame = json.dumps(value).encode() if codec is JSON else msgspec.msgpack.encode(value)
    with at_once(), pytest.raises(InvalidArgument, match=r"\(and 99,999 more\)") as caught:
        codec.decode(Schema(annotation, "test"), frame)
    assert [error["loc"] for error in caught.value.errors] == [
        (place,) for place in list(value if isinstance(value, dict) else range(100))[:100]
    ]


def test_an_embedding_with_many_nans_comes_back(codec: Codec) -> None:
    values = [cases.NAN, 1.0, -cases.INFINITY, 1e16] * 12_000
    schema = Schema(list[float], "test")
    assert same(codec.decode(schema, codec.encode(schema, values)), values)


def test_more_nans_than_json_is_read_with_are_refused_before_they_are_sent() -> None:
    schema = Schema(dict[str, list[float]], "test")
    values = {"a": [cases.NAN] * 100_001}
    with pytest.raises(InvalidArgument, match="more than 100,000 NaN or infinite numbers; send msgpack, or a Tensor"):
        JSON.encode(schema, values)
    assert same(MSGPACK.decode(schema, MSGPACK.encode(schema, values)), values)
    with pytest.raises(InvalidArgument, match="should be a valid number"):
        JSON.decode(schema, json.dumps({"a": ["NaN"] * 100_001}).encode())


def test_texts_that_say_nan_are_texts(codec: Codec) -> None:
    schema = Schema(list[str], "test")
    assert codec.decode(schema, codec.encode(schema, ["NaN"] * 100_001)) == ["NaN"] * 100_001


def test_nan_beside_numbers_of_every_form_leaves_them_as_they_are(codec: Codec) -> None:
    schema = Schema(cases.Everything, "test")
    value = cases.Everything(
        plain=cases.Plain(x=cases.NAN, scores={"a": 1e16, "b": -0.0}),
        anything=[1.5e16, 2**53 + 1, 1.0, "NaN", {"Infinity": 0.1}],
    )
    assert same(codec.decode(schema, codec.encode(schema, value)), value)


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


# What no codec may be made of

RUNS_CODE = {"cloudpickle", "dill", "jsonpickle", "marshal", "pickle", "shelve", "yaml"}


def test_nothing_of_ours_imports_what_runs_code_that_stands_in_bytes() -> None:
    packages = [find_spec(name) for name in ("xooai", "xooai_http")]
    folders = [Path(folder) for package in packages if package for folder in package.submodule_search_locations or ()]
    sources = [path for folder in folders for path in folder.rglob("*.py")]
    assert len(sources) > 40
    for path in sources:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.partition(".")[0] for name in names} & RUNS_CODE, path
            if isinstance(node, ast.Call):
                assert getattr(node.func, "id", "") not in ("eval", "exec"), path
                given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
                assert given.get("allow_pickle", "False") == "False", path


def test_an_array_of_objects_is_refused_since_it_would_have_to_be_pickled() -> None:
    numpy = pytest.importorskip("numpy")
    with pytest.raises(InvalidArgument, match="'object' does not travel"):
        Tensor(value=numpy.array([object()]))
