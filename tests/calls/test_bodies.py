"""Bodies as curl and browsers send them: raw media, multipart forms, and what is no call at all."""

from __future__ import annotations

import datetime
import http.client
import json
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import msgspec
import pytest
from places import HERE
from pydantic import Field

from xooai import Audio, ComboDoc, Executor, File, Image, Tensor, Text, Video, post

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
JPEG = b"\xff\xd8\xff\xe0" + bytes(50)
BOUNDARY = "----------------------------123456789012"
FORM = f"multipart/form-data; boundary={BOUNDARY}"


class Page(ComboDoc):
    scan: Image
    caption: Text | None = None


class Media(Executor):
    @post
    def picture(self, doc: Image) -> Image:
        return doc

    @post
    def told(self, doc: Image, min_score: float = 0.5, note: str = "") -> dict[str, Any]:
        return {"size": len(doc.read()), "media_type": doc.media_type, "min_score": min_score, "note": note}

    @post
    def scored(self, min_score: float = 0.5) -> float:
        return min_score

    @post
    async def audio(self, doc: Audio) -> Audio:
        return doc

    @post
    def video(self, doc: Video | None = None) -> str:
        return "none" if doc is None else str(doc.media_type)

    @post
    def text(self, doc: Text) -> Text:
        return Text(value=doc.read().upper())

    @post
    def file(self, doc: File) -> File:
        return doc

    @post
    def tensor(self, doc: Tensor) -> Tensor:
        return doc

    @post
    def two(self, left: Image, right: Image) -> list[int]:
        return [len(left.read()), len(right.read())]

    @post
    def optional(self, doc: Image, mask: Image | None = None) -> list[int]:
        return [len(doc.read()), len(mask.read()) if mask else -1]

    @post
    def needing(self, doc: Image, count: int) -> int:
        return count

    @post
    def plain(self, count: int) -> int:
        return count

    @post
    def several(self, docs: list[Image], names: list[str] | None = None) -> list[Any]:
        return [[len(doc.read()) for doc in docs], names]

    @post
    def values(
        self,
        count: int = 0,
        flag: bool = False,
        when: datetime.date | None = None,
        kind: Literal["a", "b"] = "a",
        text: str | None = None,
        numbers: list[int] | None = None,
        weights: dict[str, float] | None = None,
        limited: Annotated[int, Field(le=3)] = 0,
    ) -> list[Any]:
        return [count, flag, when and when.isoformat(), kind, text, numbers, weights, limited]

    @post
    def page(self, page: Page) -> Page:
        return page

    @post
    def either(self, doc: Image | Text) -> list[Any]:
        return [type(doc).__name__, doc.media_type, len(doc.read())]

    @post
    def any_of(self, docs: list[Audio | File | Text], n: int = 0) -> list[list[Any]]:
        return [[type(doc).__name__, len(doc.read())] for doc in docs]

    @post
    def raw(self, data: bytes, more: bytes | None = None) -> list[int]:
        return [len(data), len(more or b"")]

    @post
    def nothing(self) -> str:
        return "fine"


class Answer:
    """A response."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.type = response.getheader("content-type", "")
        self.body = response.read()

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def detail(self) -> str:
        return str(self.json["detail"])


Caller = Any


@pytest.fixture
def served() -> Iterator[str]:
    with Media() as media:
        yield media.start(HERE)[0].removeprefix("http://")


@pytest.fixture
def call(served: str) -> Iterator[Caller]:
    """Post to an endpoint as any HTTP client would."""
    connection = http.client.HTTPConnection(served)

    def send(endpoint: str, body: bytes, content_type: str = "", accept: str = "") -> Answer:
        headers = {name: value for name, value in (("content-type", content_type), ("accept", accept)) if value}
        connection.request("POST", f"/media/{endpoint}", body, headers)
        return Answer(connection.getresponse())

    yield send
    connection.close()


def part(name: str, data: bytes, content_type: str = "", filename: str = "") -> bytes:
    """One part of a form, as curl writes it."""
    file = f'; filename="{filename}"' if filename else ""
    kind = f"Content-Type: {content_type}\r\n" if content_type else ""
    return (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n{kind}\r\n'.encode() + data + b"\r\n"
    )


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


# Unions of documents


@pytest.mark.parametrize(
    ("content", "content_type", "reply"),
    [
        (JPEG, "image/jpeg", ["Image", "image/jpeg", len(JPEG)]),
        (JPEG, "image/webp", ["Image", "image/webp", len(JPEG)]),
        (b"hello", "text/plain", ["Text", "text/plain", 5]),
        (PNG, "application/octet-stream", ["Image", "image/png", len(PNG)]),
    ],
)
def test_a_union_of_documents_is_what_the_content_type_says(
    call: Caller, content: bytes, content_type: str, reply: list[Any]
) -> None:
    assert call("either", content, content_type).json == reply
    assert call("either", form(part("doc", content, content_type, "x")), FORM).json == reply


def test_a_part_without_a_type_is_looked_at_or_is_text(call: Caller) -> None:
    assert call("either", form(part("doc", PNG)), FORM).json == ["Image", "image/png", len(PNG)]
    assert call("either", form(part("doc", b"hello")), FORM).json == ["Text", "text/plain", 5]
    assert call("either", form(part("doc", b'{"kind": "text", "value": "abc"}')), FORM).json == [
        "Text",
        "text/plain",
        3,
    ]


def test_parts_of_several_kinds_are_a_list(call: Caller) -> None:
    parts = [
        part("docs", b"a", "text/plain"),
        part("docs", b"%PDF", "application/pdf"),
        part("docs", b"ab", "audio/wav"),
    ]
    assert call("any_of", form(*parts), FORM).json == [["Text", 1], ["File", 4], ["Audio", 2]]
    assert call("any_of", form(part("docs", PNG, "image/png")), FORM).json == [["File", len(PNG)]]


@pytest.mark.parametrize("content_type", ["audio/wav", "application/octet-stream"])
def test_a_content_that_no_member_of_the_union_takes_is_refused(call: Caller, content_type: str) -> None:
    answer = call("either", b"nothing known", content_type)
    assert answer.status == 400
    assert f"either takes Image or Text for 'doc', the body is {content_type}" in answer.detail


# Raw media


def test_a_picture_as_it_is_is_the_one_document(call: Caller) -> None:
    answer = call("told", PNG, "image/png")
    assert (answer.status, answer.json) == (
        200,
        {"size": len(PNG), "media_type": "image/png", "min_score": 0.5, "note": ""},
    )


def test_a_picture_goes_in_and_out_as_it_is(call: Caller) -> None:
    """Issue 2, codecs: a returned Image is the picture itself when Accept asks for it."""
    for accept in ("image/*", "image/png", "image/png, application/json;q=0.5", "text/plain, image/*;q=0.9"):
        answer = call("picture", PNG, "image/png", accept)
        assert (answer.status, answer.type, answer.body) == (200, "image/png", PNG)


NOT_AS_IT_IS = [
    "",
    "*/*",
    "application/json",
    "application/*",
    "image/webp",
    "image/*;q=0.1, application/json",
    "image/*;q=0",
    "image/*;q=high",
    "text/html",
    "nonsense",
    ";q=1,",
]


@pytest.mark.parametrize("accept", NOT_AS_IT_IS)
def test_a_picture_comes_as_json_where_it_was_not_asked_for_as_it_is(call: Caller, accept: str) -> None:
    answer = call("picture", PNG, "image/png", accept)
    assert (answer.status, answer.type) == (200, "application/json")
    assert answer.json["kind"] == "image"


def test_a_ref_that_was_not_asked_for_as_json_still_comes_as_json(call: Caller) -> None:
    """There is nothing to send as it is."""
    answer = call(
        "picture", json.dumps({"doc": {"ref": "https://example.org/a.png"}}).encode(), "application/json", "image/*"
    )
    assert (answer.status, answer.type, answer.json["ref"]) == (200, "application/json", "https://example.org/a.png")


def test_msgpack_comes_where_it_was_asked_for(call: Caller) -> None:
    answer = call("picture", PNG, "image/png", "application/msgpack")
    assert (answer.status, answer.type) == (200, "application/msgpack")
    assert msgspec.msgpack.decode(answer.body)["value"] == PNG


def test_an_error_comes_as_a_problem_whatever_was_asked_for(call: Caller) -> None:
    answer = call("picture", b"", "application/json", "image/*")
    assert (answer.status, answer.type) == (400, "application/problem+json")


def test_text_goes_in_and_out_as_it_is(call: Caller) -> None:
    for content_type in ("text/plain", "text/plain; charset=utf-8", 'text/plain; charset="UTF-8"', "TEXT/PLAIN"):
        answer = call("text", "grüße".encode(), content_type, "text/plain")
        assert (answer.status, answer.type, answer.body.decode()) == (200, "text/plain; charset=utf-8", "GRÜSSE")


def test_text_in_another_charset_is_refused(call: Caller) -> None:
    answer = call("text", "grüße".encode("latin-1"), "text/plain; charset=latin-1")
    assert (answer.status, "UTF-8" in answer.detail) == (400, True)
    answer = call("text", b"gr\xfc\xdfe", "text/plain")
    assert (answer.status, "UTF-8" in answer.detail) == (400, True)


def test_audio_and_video_are_taken_as_they_are(call: Caller) -> None:
    wav = b"RIFF\x24\0\0\0WAVEfmt "
    answer = call("audio", wav, "audio/wav", "audio/*")
    assert (answer.status, answer.type, answer.body) == (200, "audio/wav", wav)
    assert call("video", b"film", "video/mp4").json == "video/mp4"


def test_bytes_without_a_type_are_looked_at(call: Caller) -> None:
    assert call("told", PNG, "application/octet-stream").json["media_type"] == "image/png"
    answer = call("file", b"\0\1\2", "application/octet-stream", "application/octet-stream")
    assert (answer.status, answer.body) == (200, b"\0\1\2")


def test_a_medium_for_a_parameter_of_another_kind_is_refused(call: Caller) -> None:
    for content_type in ("audio/wav", "video/mp4", "text/plain"):
        answer = call("told", b"RIFF", content_type)
        assert (answer.status, "Image" in answer.detail, content_type in answer.detail) == (400, True, True)
    assert call("text", PNG, "image/png").status == 400
    assert call("file", PNG, "image/png", "image/*").body == PNG  # a File takes anything


@pytest.mark.parametrize("endpoint", ["two", "needing", "plain", "nothing", "several", "page"])
def test_a_medium_for_an_endpoint_without_one_document_is_refused(call: Caller, endpoint: str) -> None:
    answer = call(endpoint, PNG, "image/png")
    assert answer.status == 400
    assert "one document" in answer.detail
    assert "form" in answer.detail


def test_the_one_document_that_is_needed_is_meant(call: Caller) -> None:
    assert call("optional", PNG, "image/png").json == [len(PNG), -1]


def test_a_tensor_as_it_is_has_no_shape(call: Caller) -> None:
    answer = call("tensor", b"\0" * 8, "application/octet-stream")
    assert answer.status == 422
    assert {tuple(mistake["loc"]) for mistake in answer.json["details"]["errors"]} == {
        ("doc", "dtype"),
        ("doc", "shape"),
    }


# Forms


def test_a_form_as_curl_sends_it(call: Caller) -> None:
    """`curl -F doc=@scan.jpg -F min_score=0.7`"""
    body = form(part("doc", PNG, "image/png", "scan.png"), part("min_score", b"0.7"), part("note", b"7"))
    assert call("told", body, FORM).json == {"size": len(PNG), "media_type": "image/png", "min_score": 0.7, "note": "7"}


def test_a_boundary_may_be_quoted(call: Caller) -> None:
    body = form(part("doc", PNG, "image/png"))
    assert call("told", body, f'multipart/form-data; charset=utf-8; boundary="{BOUNDARY}"').status == 200


def test_a_file_of_unknown_type_is_looked_at(call: Caller) -> None:
    for content_type in ("", "application/octet-stream"):
        body = form(part("doc", JPEG, content_type, "scan"))
        assert call("told", body, FORM).json["media_type"] == "image/jpeg"


def test_a_bare_text_stands_for_a_text_document(call: Caller) -> None:
    """Design 2: in forms."""
    assert call("text", form(part("doc", "grüße".encode())), FORM).json["value"] == "GRÜSSE"
    assert call("text", form(part("doc", b"a", "text/plain", "a.txt")), FORM).json["value"] == "A"


def test_parts_may_be_json(call: Caller) -> None:
    document = json.dumps({"value": "AAAA"}).encode()
    assert call("told", form(part("doc", document, "application/json")), FORM).json["size"] == 3
    page = json.dumps({"scan": {"value": "AAAA"}, "caption": {"value": "c"}}).encode()
    for content_type in ("application/json", ""):
        assert call("page", form(part("page", page, content_type)), FORM).json["caption"]["value"] == "c"


def test_plain_values_of_a_form_are_read_as_their_types(call: Caller) -> None:
    body = form(
        part("count", b"3"),
        part("flag", b"true"),
        part("when", b"2024-02-29"),
        part("kind", b"b"),
        part("text", b"[not json"),
        part("numbers", b"[1, 2]"),
        part("weights", b'{"a": 0.5}'),
    )
    assert call("values", body, FORM).json == [3, True, "2024-02-29", "b", "[not json", [1, 2], {"a": 0.5}, 0]
    assert call("values", form(), FORM).json == [0, False, None, "a", None, None, None, 0]


def test_plain_bytes_are_the_bytes_of_their_part(call: Caller) -> None:
    assert call(
        "raw", form(part("data", b"\xff\0", "application/octet-stream", "x"), part("more", b"{")), FORM
    ).json == [2, 1]


def test_a_text_stays_the_text_that_it_is(call: Caller) -> None:
    for text in ("7", "null", "true", '{"a": 1}', "", "  x "):
        assert call("values", form(part("text", text.encode())), FORM).json[4] == text


def test_repeated_parts_are_a_list(call: Caller) -> None:
    """`curl -F docs=@a.png -F docs=@b.png`"""
    body = form(
        part("docs", PNG, "image/png", "a"),
        part("docs", JPEG, "image/jpeg", "b"),
        part("names", b"a"),
        part("names", b"b"),
    )
    assert call("several", body, FORM).json == [[len(PNG), len(JPEG)], ["a", "b"]]
    assert call("several", form(part("docs", PNG, "image/png", "a")), FORM).json == [[len(PNG)], None]
    inline = json.dumps([{"value": "AAAA"}, {"value": ""}]).encode()
    assert call("several", form(part("docs", inline, "application/json")), FORM).json == [[3, 0], None]


def test_repeated_parts_for_one_value_are_refused(call: Caller) -> None:
    body = form(part("doc", PNG, "image/png"), part("doc", PNG, "image/png"))
    answer = call("told", body, FORM)
    assert (answer.status, "'doc' stands twice" in answer.detail) == (400, True)


def test_an_unknown_field_lists_the_known_ones(call: Caller) -> None:
    answer = call("told", form(part("doc", PNG, "image/png"), part("min_scor", b"0.7")), FORM)
    assert answer.status == 422
    assert "'min_scor'; did you mean 'min_score'?" in answer.detail


def test_a_missing_field_is_named(call: Caller) -> None:
    answer = call("told", form(part("min_score", b"0.7")), FORM)
    assert (answer.status, answer.json["details"]["errors"][0]["loc"]) == (422, ["doc"])


@pytest.mark.parametrize(
    ("endpoint", "given", "loc"),
    [
        ("told", part("min_score", b"high"), ["min_score"]),
        ("told", part("min_score", b'{"a": 1}'), ["min_score"]),
        ("values", part("count", b"1.5"), ["count"]),
        ("values", part("kind", b"c"), ["kind"]),
        ("values", part("limited", b"4"), ["limited"]),
        ("values", part("numbers", b'["x"]'), ["numbers", 0]),
        ("page", part("page", b'{"scan": {"value": 5}}', "application/json"), ["page", "scan", "value"]),
    ],
    ids=str,
)
def test_a_mistake_in_a_form_is_located(call: Caller, endpoint: str, given: bytes, loc: list[Any]) -> None:
    parts = [given] if endpoint != "told" else [part("doc", PNG, "image/png"), given]
    answer = call(endpoint, form(*parts), FORM)
    assert answer.status == 422
    assert [mistake["loc"] for mistake in answer.json["details"]["errors"]] == [loc]


@pytest.mark.parametrize(
    ("body", "content_type", "said"),
    [
        (form(part("doc", PNG)), "multipart/form-data", "boundary"),
        (form(part("doc", PNG)), "multipart/form-data; boundary=", "boundary"),
        (form(part("doc", PNG)), f"multipart/form-data; boundary={'x' * 71}", "boundary"),
        (form(part("doc", PNG)), "multipart/form-data; boundary=another", "form"),
        (b"", FORM, "form"),
        (b"--nonsense--", FORM, "form"),
        (part("doc", PNG), FORM, "cut off"),
        (form(part("doc", PNG))[:-8], FORM, "cut off"),
        (part("doc", PNG)[:40], FORM, "cut off"),
        (f"--{BOUNDARY}\r\nContent-Type: image/png\r\n\r\nx\r\n--{BOUNDARY}--\r\n".encode(), FORM, "no name"),
        (f"--{BOUNDARY}\r\n\r\nx\r\n--{BOUNDARY}--\r\n".encode(), FORM, "no name"),
        (f"--{BOUNDARY}\r\nBad Header\r\n\r\nx\r\n--{BOUNDARY}--\r\n".encode(), FORM, "form"),
        (form(*[part("doc", b"x")] * 300), FORM, "256"),
        (form(part("note", b"x", "text/plain; " + "a" * 9000)), FORM, "form"),
        (form(part("min_score", b"\xff\xfe"), part("doc", PNG)), FORM, "UTF-8"),
        (form(part("doc", b"{", "application/json")), FORM, "JSON"),
    ],
)
def test_a_broken_form_is_one_clear_error(call: Caller, body: bytes, content_type: str, said: str) -> None:
    answer = call("told", body, content_type)
    assert (answer.status, answer.type) == (400, "application/problem+json")
    assert said in answer.detail
    assert call("nothing", b"{}", "application/json").json == "fine"


# What is no call


@pytest.mark.parametrize(
    "content_type", ["application/x-www-form-urlencoded", "application/xml", "text/html", "", "nonsense", "a/b; c"]
)
def test_another_content_type_is_refused_with_the_known_ones(call: Caller, content_type: str) -> None:
    """By 415, unsupported media type."""
    answer = call("told", b"doc=1", content_type)
    assert answer.status == 415
    assert "application/json, application/msgpack, multipart/form-data" in answer.detail


def test_a_urlencoded_body_is_told_how_curl_sends_json(call: Caller) -> None:
    assert "--json" in call("told", b"{}", "application/x-www-form-urlencoded").detail


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"doc":',
        b"[]",
        b"null",
        b"5",
        b'{"doc": {"value": "AAAA"}} x',
        b'{"doc": {"value": "AAAA"}, "doc": {"value": "AAAA"}}',
        b'{"doc": {"value": "AAAA"}, "min_score": NaN}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'\xff\xfe{"doc": {}}',
    ],
    ids=lambda body: repr(body)[:30],
)
def test_a_body_that_is_no_call_in_json_is_refused(call: Caller, body: bytes) -> None:
    """Bad input: not JSON, truncated, too deep, doubled keys."""
    answer = call("told", body, "application/json")
    assert answer.status in (400, 422)
    assert answer.json["title"] == "INVALID_ARGUMENT"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        b"\x81",
        b"\x81\xa3doc",
        b"\xdf\xff\xff\xff\xff",
        b"\x90",
        b"\xc0",
        b"\x91" * 100_000,
        msgspec.msgpack.encode({"doc": {"value": b"x"}}) + b"x",
        b"\x82\xa3doc\x81\xa5value\xc4\x01x\xa3doc\x81\xa5value\xc4\x01x",
    ],
    ids=lambda body: repr(body)[:30],
)
def test_a_body_that_is_no_call_in_msgpack_is_refused(call: Caller, body: bytes) -> None:
    answer = call("told", body, "application/msgpack")
    assert answer.status in (400, 422)
    assert answer.json["title"] == "INVALID_ARGUMENT"


def test_a_picture_that_is_none_is_the_callers_mistake(served: str) -> None:
    """Bad input: one clear typed error."""
    pytest.importorskip("PIL", reason="it comes with: pip install 'xooai[media]'")

    class Looking(Executor):
        @post
        def width(self, doc: Image) -> int:
            return doc.pil().width

    with Looking() as looking:
        connection = http.client.HTTPConnection(looking.start(HERE)[0].removeprefix("http://"))
        connection.request("POST", "/looking/width", b"no picture", {"content-type": "image/png"})
        answer = Answer(connection.getresponse())
        connection.close()
    assert (answer.status, answer.json["title"]) == (400, "INVALID_ARGUMENT")


def test_no_body_at_all_gives_no_parameters(call: Caller) -> None:
    """`curl -X POST`, for an endpoint that needs nothing."""
    assert call("nothing", b"", "").json == "fine"
    assert call("values", b"", "").json[0] == 0
    missing = call("told", b"", "")
    assert (missing.status, missing.json["details"]["errors"][0]["loc"]) == (422, ["doc"])
    assert call("nothing", b"", "application/json").status == 400
    assert call("nothing", b"{}", "").status == 415


@pytest.mark.parametrize("endpoint", ["told", "scored"])
@pytest.mark.parametrize("codec", ["json", "msgpack", "form"])
def test_a_parameter_that_there_is_not_is_named_with_those_that_there_are(
    call: Caller, codec: str, endpoint: str
) -> None:
    sent = {"min_scroe": 1, "y" * 100_000: 2}
    if codec == "form":
        answer = call(endpoint, form(part("min_scroe", b"1")), FORM)
    else:
        body = (json.dumps(sent).encode(), msgspec.msgpack.encode(sent))[codec == "msgpack"]
        answer = call(endpoint, body, f"application/{codec}")

    assert answer.status == 422
    assert answer.detail.startswith(f"{endpoint} has no parameter 'min_scroe'; did you mean 'min_score'?; it takes: ")
    assert "extra_forbidden" in answer.body.decode()
    assert len(answer.detail) < 500
