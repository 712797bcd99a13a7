"""/openapi.json: valid, honest, and with examples that work; over a real server with every kind of type."""

from __future__ import annotations

import base64
import datetime as dt
import enum
import http.client
import json
import uuid
from collections.abc import Iterator, Mapping
from decimal import Decimal
from io import BytesIO
from typing import Annotated, Any, Literal
from urllib.parse import urljoin, urlsplit

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

import cases
import judging
from cases import CASES, Case
from gallery import Box, Colour, Gallery
from xooai import Audio, Doc, Executor, Image, InvalidArgument, Tensor, Text, Video, post
from xooai.codec import JSON
from xooai.describe import document
from xooai.endpoint import Endpoint

judging.needed()

HERE = "http://127.0.0.1:0"
PROBLEM = "application/problem+json"
Json = Any


def ask(url: str, body: bytes = b"", *, method: str = "POST", **headers: str) -> tuple[int, str, bytes]:
    """Status, content type and body of a response."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=20)
    try:
        connection.request(method, parts.path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        return response.status, response.getheader("content-type", ""), response.read()
    finally:
        connection.close()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with Gallery() as gallery:
        yield gallery.start(HERE)[0]


@pytest.fixture
def described(url: str) -> Json:
    status, content_type, body = ask(f"{url}/openapi.json", method="GET")
    assert (status, content_type) == (200, "application/json")
    return json.loads(body)


def operations(described: Json) -> dict[str, Json]:
    return {path: methods["post"] for path, methods in described["paths"].items()}


def contents(described: Json, media_type: str) -> dict[str, Json]:
    """What is said of bodies of one type, by path."""
    bodies = {path: operation["requestBody"]["content"] for path, operation in operations(described).items()}
    return {path: content[media_type] for path, content in bodies.items() if media_type in content}


def inside(value: Json) -> Iterator[Json]:
    """All objects in a JSON value."""
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from inside(inner)


# The document


def test_the_description_of_every_kind_of_type_is_valid_openapi(described: Json) -> None:
    assert judging.faults_of_openapi(described) == []


def test_it_shows_every_endpoint_with_what_its_docstring_says(described: Json) -> None:
    found = operations(described)
    assert list(found) == [f"/gallery/{name}" for name in vars(Gallery) if not name.startswith("_")]
    assert found["/gallery/read"]["summary"] == "Tell how large a picture is."
    assert found["/gallery/read"]["description"] == "The score is only taken, not used."
    assert not found["/gallery/said"].keys() & {"summary", "description"}  # it has none
    assert all(operation["tags"] == ["gallery"] for operation in found.values())


def test_it_names_no_class_that_stands_for_a_body(described: Json) -> None:
    for path, content in contents(described, "application/json").items():
        assert content["schema"]["title"] == path.removeprefix("/gallery/")
        assert not any("title" in schema for schema in content["schema"]["properties"].values())
    names = {name.removesuffix("-Input").removesuffix("-Output") for name in described["components"]["schemas"]}
    kinds = {"Audio", "File", "Image", "Tensor", "Text", "Video"}
    assert names >= kinds | {"Box", "Colour", "Figure", "Measures", "Page", "Problem"}
    assert not any(name.startswith("_") or "gallery" in name.lower() for name in names)


def test_paths_stand_beside_the_document_wherever_it_is(described: Json) -> None:
    base = urljoin("http://127.0.0.1:1/models/openapi.json", described["servers"][0]["url"])
    assert urljoin(base, "gallery/read") == "http://127.0.0.1:1/models/gallery/read"


def test_defaults_and_examples_fit_their_own_schemas(described: Json) -> None:
    said = 0
    for schema in inside(described):
        if not schema.keys() & {"type", "anyOf", "oneOf", "$ref", "enum", "const", "properties"}:
            continue
        judge = judging.validator(schema, described)
        for value in [
            *schema.get("examples", ()),
            *(schema[name] for name in ("default", "example") if name in schema),
        ]:
            assert judge.is_valid(value), (value, schema)
            said += 1
    assert said > 20
    for media in contents(described, "application/json").values():
        assert judging.validator(media["schema"], described).is_valid(media["example"])


def test_every_example_is_taken_by_the_server_and_answered_as_described(url: str, described: Json) -> None:
    for path, media in contents(described, "application/json").items():
        status, content_type, body = ask(
            f"{url}{path}", json.dumps(media["example"]).encode(), content_type="application/json"
        )
        assert (status, content_type) == (200, "application/json"), (path, body)
        reply = operations(described)[path]["responses"]["200"]["content"]["application/json"]["schema"]
        assert judging.validator(reply, described).is_valid(json.loads(body)), (path, body)


def test_examples_show_real_documents(described: Json) -> None:
    pytest.importorskip("numpy")
    examples = {path: media["example"] for path, media in contents(described, "application/json").items()}
    picture = Image.model_validate_json(json.dumps(examples["/gallery/shown"]["doc"]))
    assert pytest.importorskip("PIL.Image").open(BytesIO(picture.read())).size == (64, 64)
    sound = Audio.model_validate_json(json.dumps(examples["/gallery/heard"]["doc"]))
    assert (sound.array().shape, sound.rate) == ((80, 1), 8000)
    film = Video.model_validate_json(json.dumps(examples["/gallery/seen"]["doc"]))
    assert [frame.shape for frame in film.frames()] == [(8, 8, 3)]
    tensor = Tensor.model_validate_json(json.dumps(examples["/gallery/counted"]["doc"]))
    assert tensor.array().tolist() == [0.5, 1.5]


def test_an_example_that_no_rule_gives_is_left_out() -> None:
    class Picky(Executor):
        @post
        def take(self, code: Annotated[str, Field(pattern="^[A-Z]{3}$")]) -> str:
            return code

    (media,) = contents(json.loads(document("openapi", [Picky()._xooai_local()])), "application/json").values()
    assert "example" not in media


# Content types


def test_one_document_may_be_sent_as_the_types_that_are_described(url: str, described: Json) -> None:
    offered = {path: [*operation["requestBody"]["content"]] for path, operation in operations(described).items()}
    always = ["application/json", "application/msgpack"]
    form = ["multipart/form-data"]
    assert offered["/gallery/shown"] == [*always, "image/*", "application/octet-stream", *form]
    assert offered["/gallery/said"] == [*always, "text/plain"]
    assert offered["/gallery/heard"] == offered["/gallery/seen"] == [*always, "application/octet-stream", *form]
    assert offered["/gallery/counted"] == offered["/gallery/pages"] == offered["/gallery/nothing"] == always
    assert offered["/gallery/either"] == [*always, "image/*", "text/plain"]
    assert "audio/*" in operations(described)["/gallery/heard"]["requestBody"]["description"]
    for path, content_type in (
        ("shown", "image/png"),
        ("shown", "application/octet-stream"),
        ("said", "text/plain"),
        ("heard", "audio/wav"),
        ("filed", "application/octet-stream"),
    ):
        status, _, body = ask(f"{url}/gallery/{path}", b"content", content_type=content_type)
        value = json.loads(body)["value"]
        assert (status, value if path == "said" else base64.b64decode(value).decode()) == (200, "content")


@pytest.mark.parametrize(("content_type", "kind"), [("image/png", "image"), ("text/plain", "text")])
def test_a_member_of_a_union_may_be_sent_as_the_types_that_are_described(
    url: str, content_type: str, kind: str
) -> None:
    status, _, body = ask(f"{url}/gallery/either", b"content", content_type=content_type)
    assert (status, json.loads(body)["kind"]) == (200, kind)


def test_msgpack_is_taken_where_it_is_described(url: str, described: Json) -> None:
    example = contents(described, "application/json")["/gallery/filed"]["example"]
    example["doc"]["value"] = base64.b64decode(example["doc"]["value"])
    status, content_type, body = ask(
        f"{url}/gallery/filed", msgspec.msgpack.encode(example), content_type="application/msgpack"
    )
    assert (status, content_type) == (200, "application/msgpack")
    assert msgspec.msgpack.decode(body) == {"kind": "file", "value": b"Hello"}


def multipart(*parts: tuple[str, bytes]) -> tuple[bytes, str]:
    lines = [
        b'--x\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n' % (name.encode(), data)
        for name, data in parts
    ]
    return b"".join([*lines, b"--x--\r\n"]), "multipart/form-data; boundary=x"


@pytest.mark.parametrize(
    ("path", "parts", "reply"),
    [
        ("read", [("doc", b"abc"), ("min_score", b"0.7")], {"kind": "text", "value": "3 bytes, 0.7"}),
        ("read", [("doc", b"abc"), ("min_score", b"NaN")], {"kind": "text", "value": "3 bytes, nan"}),
        ("album", [("docs", b"a"), ("docs", b"b"), ("is_small", b"yes")], [{"kind": "image", "value": "YQ=="}]),
        ("album", [("docs", b"a"), ("colour", b"red")], [{"kind": "image", "value": "YQ=="}]),
        ("hashed", [("data", b"ab"), ("extra", b'{"a": 1}')], "YmE="),
    ],
)
def test_forms_are_taken_as_they_are_described(
    url: str, described: Json, path: str, parts: list[tuple[str, bytes]], reply: Json
) -> None:
    form = contents(described, "multipart/form-data")[f"/gallery/{path}"]
    values: dict[str, Json] = {name: data.decode() for name, data in parts}
    values |= {name: json.loads(values[name]) for name in form.get("encoding", {})}
    assert judging.validator(form["schema"], described).is_valid(
        values | ({"min_score": 0.7} if "0.7" in values.values() else {})
    )
    body, content_type = multipart(*parts)
    status, _, answer = ask(f"{url}/gallery/{path}", body, content_type=content_type)
    assert (status, json.loads(answer)) == (200, reply)


def test_a_document_may_come_back_as_the_types_that_are_described(url: str, described: Json) -> None:
    replies = {path: [*said["responses"]["200"]["content"]] for path, said in operations(described).items()}
    assert replies["/gallery/shown"] == [
        "application/json",
        "application/msgpack",
        "image/*",
        "application/octet-stream",
    ]
    assert replies["/gallery/read"] == ["application/json", "application/msgpack", "text/plain"]
    assert replies["/gallery/album"] == ["application/json", "application/msgpack"]
    picture = base64.b64decode(contents(described, "application/json")["/gallery/shown"]["example"]["doc"]["value"])
    assert ask(f"{url}/gallery/shown", picture, content_type="image/png", accept="image/*") == (
        200,
        "image/png",
        picture,
    )


# Problems


def test_each_refusal_is_a_problem_as_described(url: str, described: Json) -> None:
    told = operations(described)["/gallery/shown"]["responses"]
    assert list(told) == ["200", "400", "404", "413", "415", "422", "500", "503", "default"]
    fit = json.dumps({"doc": {"ref": "a"}}).encode()
    for status, path, body, headers in (
        (400, "/gallery/shown", b"{", {"content_type": "application/json"}),
        (404, "/gallery/nowhere", fit, {"content_type": "application/json"}),
        (405, "/gallery/shown", b"", {"method": "GET"}),
        (413, "/gallery/shown", b"", {"content_type": "application/json", "content_length": str(2**31)}),
        (415, "/gallery/shown", fit, {"content_type": "application/x-www-form-urlencoded"}),
        (422, "/gallery/shown", b'{"doc": {}}', {"content_type": "application/json"}),
        (403, "/gallery/read", fit, {"content_type": "application/json"}),  # the ref of a peer is not read
    ):
        found, content_type, answer = ask(f"{url}{path}", body, **headers)
        assert (found, content_type) == (status, PROBLEM)
        response = told.get(str(status), told["default"])["$ref"].rpartition("/")[2]
        schema = described["components"]["responses"][response]["content"][PROBLEM]["schema"]
        assert judging.validator(schema, described).is_valid(json.loads(answer))


# What is said and what is done are the same

AWKWARD: list[Json] = [
    None, True, False, 0, 1, -1, 1.0, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 0.5, 1e300, "", "0", "1", "1.5", "a",
    "true", "null", "NaN", "Infinity", "-Infinity", "inf", "AAAA", "AA==", "AA", "AB==", "__-_", "_+", "A", "red",
    "2020-01-01", "2020-01-01T00:00:00Z", "2020-13-01T00:00:00Z", "12:00:00", "12:00:00Z", "24:00:00", "PT1S",
    str(uuid.UUID(int=1)), [], [0], [0.5], ["a"], [None], [[]], [1, 1], ["a", "a"], [True], [1, "a"], [1, 2, 3], {},
    {"a": 1}, {"1": 1}, {"1.5": 1}, {"true": 1}, {"x": 1}, {"left": 1, "top": 1}, {"left": "1", "top": 1},
    {"left": -1, "top": 1}, {"left": 1, "top": 1, "size": [1, True]}, {"left": 1.0, "top": 1, "size": [1, 2], "more": 1},
    {"kind": "text"}, {"kind": "text", "value": "a"}, {"kind": "image", "value": "AA=="}, {"kind": "image", "value": "a"},
    {"value": "a"}, {"value": "AAAA"}, {"ref": None}, {"ref": "x"}, {"kind": "nope", "ref": "x"}, {"ref": "x", "value": None},
    {"ref": "x", "size": "1"}, {"ref": "x", "size": None, "signature": None}, {"ref": "x", "more": 1}, {"ref": 1},
]  # fmt: skip

TYPES: Mapping[str, Any] = {
    "integer": int,
    "bounded integer": Annotated[int, Field(ge=0, lt=10)],
    "float": float,
    "bounded float": Annotated[float, Field(ge=0, le=1)],
    "float from 0 on": Annotated[float, Field(ge=0)],
    "finite float": Annotated[float, Field(allow_inf_nan=False)],
    "boolean": bool,
    "text": str,
    "short text": Annotated[str, Field(min_length=1, max_length=3)],
    "bytes": bytes,
    "bounded bytes": Annotated[bytes, Field(min_length=1, max_length=2)],
    "decimal": Decimal,
    "time": dt.time,
    "uuid": uuid.UUID,
    "enum": Colour,
    "literal": Literal["a", "red"],
    "nothing": None,
    "optional": int | None,
    "union": int | str | None,
    "number or flag": float | bool,
    "list": list[int],
    "bounded list": Annotated[list[int], Field(min_length=1, max_length=2)],
    "tuple": tuple[int, str],
    "tuple of any length": tuple[float, ...],
    "set": set[str],
    "dict": dict[str, int],
    "dict by integer": dict[int, int],
    "dict by float": dict[float, int],
    "plain model": Box,
    "text document": Text,
    "picture": Image,
    "union of documents": Image | Text,
    "any document": Doc,
    "optional documents": list[Image] | None,
}


@pytest.mark.parametrize("name", TYPES)
def test_what_the_schema_allows_is_taken_and_nothing_else(name: str) -> None:
    endpoint, described = echoing(TYPES[name])
    judge = judging.validator(contents(described, "application/json")["/echo/echo"]["schema"], described)
    for value in AWKWARD:
        assert is_taken(endpoint, {"value": value}) == judge.is_valid({"value": value}), value


@pytest.mark.parametrize("case", CASES, ids=[case.name.replace(" ", "-") for case in CASES])
@given(data=st.data())
def test_what_is_written_is_what_the_schema_of_the_reply_says(case: Case, data: st.DataObject) -> None:
    if case.name not in KNOWN:
        KNOWN[case.name] = echoing(case.annotation)
    endpoint, described = KNOWN[case.name]
    schema = operations(described)["/echo/echo"]["responses"]["200"]["content"]["application/json"]["schema"]
    written = json.loads(JSON.encode(endpoint.result, data.draw(case.values)))
    assert judging.validator(schema, described).is_valid(written), written


KNOWN: dict[str, tuple[Endpoint, Json]] = {}


def echoing(annotation: Any) -> tuple[Endpoint, Json]:
    """An endpoint that gives back its `value`, and its description."""
    local = cases.echo(annotation)()._xooai_local()
    return next(endpoint for endpoint, _ in local.endpoints()), json.loads(document("openapi", [local]))


def is_taken(endpoint: Endpoint, body: Json) -> bool:
    try:
        JSON.decode(endpoint.arguments, json.dumps(body).encode())
    except InvalidArgument:
        return False
    return True


def test_numbers_in_json_are_numbers_however_they_are_spelled() -> None:
    endpoint, _ = echoing(list[int | None] | dict[str, float])
    for written, value in (
        (b"[1.0, -0.0, 1e3, 9007199254740993, 9007199254740993.0, null]", [1, 0, 1000, 2**53 + 1, 2**53 + 1, None]),
        (
            b'{"a": "Infinity", "list[int]": 2.50, "dict[str,float]": 1}',
            {"a": float("inf"), "list[int]": 2.5, "dict[str,float]": 1.0},
        ),
    ):
        assert JSON.decode(endpoint.arguments, b'{"value": %b}' % written) == {"value": value}
    for refused in (
        b"[1.5]",
        b'["1"]',
        b"[true]",
        b"[1e19]",
        b"[1e999999]",
        b'{"a": "1"}',
        b'{"a": true}',
        b'{"a": "nan"}',
    ):
        with pytest.raises(InvalidArgument):
            JSON.decode(endpoint.arguments, b'{"value": %b}' % refused)


def test_a_form_takes_the_words_that_people_write() -> None:
    class Switch(Executor):
        @post
        def set(self, doc: Text, is_on: bool = False) -> bool:
            return is_on

    with Switch() as switch:
        url = switch.start(HERE)[0]
        for word, is_on in (("true", True), ("1", True), ("on", True), ("no", False)):
            body, content_type = multipart(("doc", b"x"), ("is_on", word.encode()))
            assert ask(f"{url}/switch/set", body, content_type=content_type)[2] == json.dumps(is_on).encode()


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


def test_names_of_objects_are_described_as_the_texts_that_they_are() -> None:
    for keys, good, bad in (
        (int, "-5", "a"),
        (Level, "1", "LOW"),
        (bool, "true", "maybe"),
        (Decimal, "1.5", "x"),
        (dt.date, "2020-01-01", "soon"),
    ):
        endpoint, described = echoing(dict[keys, str])  # type: ignore[valid-type]
        judge = judging.validator(contents(described, "application/json")["/echo/echo"]["schema"], described)
        assert judge.is_valid({"value": {good: ""}}) and is_taken(endpoint, {"value": {good: ""}})
        assert not judge.is_valid({"value": {bad: ""}}) and not is_taken(endpoint, {"value": {bad: ""}})
