"""The same program gives the same answers: in process, over HTTP, and to a client that has not its class."""

from __future__ import annotations

import asyncio
import datetime
import enum
import math
import uuid
from decimal import Decimal
from typing import Any, Literal

import pytest
from places import Place
from pydantic import BaseModel

from xooai import Audio, ComboDoc, Doc, Executor, File, Image, Tensor, Text, Video, post

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
SIGNED = f"sha256:{'0a' * 32}"
DOCUMENTS = [
    Text(value="Grüße, \u4f60\u597d \U0001f600"),
    Text(ref="https://example.org/a.txt"),
    Text(value="# title", media_type="text/markdown"),
    Image(value=PNG),
    Image(ref="https://example.org/a.jpg", signature=SIGNED, size=123),
    Image(ref="https://example.org/a.png", value=PNG),
    Audio(value=b"RIFF\0\0\0\0WAVE"),
    Video(ref="https://example.org/a.mp4"),
    File(value=b""),
    File(value=b"\0\xff" * 1000),
    Tensor(value=b"\1\2\3\4\5\6", dtype="uint8", shape=(2, 3)),
    Tensor(ref="https://example.org/a.bin", dtype="float32", shape=()),
]


class Page(ComboDoc):
    scan: Image
    caption: Text | None = None


class Book(ComboDoc):
    title: Text
    cover: Page
    pages: list[Page] = []
    by_name: dict[str, Image | Audio] = {}
    either: Image | Text
    anything: Doc
    scale: float = 1.0
    thumb: bytes = b""


class Point(BaseModel):
    x: int
    y: float = 0.0


class Colour(enum.Enum):
    RED = "red"
    BLUE = 2


class Echo(Executor):
    @post
    def text(self, doc: Text) -> Text:
        return doc

    @post
    async def image(self, doc: Image) -> Image:
        return doc

    @post
    def audio(self, doc: Audio) -> Audio:
        return doc

    @post
    async def video(self, doc: Video) -> Video:
        return doc

    @post
    def file(self, doc: File) -> File:
        return doc

    @post
    def tensor(self, doc: Tensor) -> Tensor:
        return doc

    @post
    async def any_kind(self, doc: Doc) -> Doc:
        return doc

    @post
    def either(self, doc: Text | Image) -> Image | Text:
        return doc

    @post
    async def unsaid(self, doc: Doc):  # type: ignore[no-untyped-def]
        return doc

    @post
    async def book(self, book: Book) -> Book:
        return book

    @post
    def several(self, docs: list[Image | Text], named: dict[str, Text] | None = None) -> list[Image | Text]:
        return [*docs, *(named or {}).values()]

    @post
    def pair(self, left: Text, right: Image) -> tuple[Image, Text]:
        return right, left

    @post
    async def nothing(self) -> None:
        return None


class Plain(Executor):
    @post
    def integer(self, value: int) -> int:
        return value

    @post
    async def number(self, value: float) -> float:
        return value

    @post
    def boolean(self, value: bool) -> bool:
        return value

    @post
    def string(self, value: str) -> str:
        return value

    @post
    async def raw(self, value: bytes) -> bytes:
        return value

    @post
    def moment(self, value: datetime.datetime) -> datetime.datetime:
        return value

    @post
    def day(self, value: datetime.date) -> datetime.date:
        return value

    @post
    def span(self, value: datetime.timedelta) -> datetime.timedelta:
        return value

    @post
    def identity(self, value: uuid.UUID) -> uuid.UUID:
        return value

    @post
    def exact(self, value: Decimal) -> Decimal:
        return value

    @post
    def choice(self, value: Literal["a", 3, None]) -> Literal["a", 3, None]:
        return value

    @post
    def maybe(self, value: int | None) -> int | None:
        return value

    @post
    def mixed(self, value: int | str | list[int]) -> int | str | list[int]:
        return value

    @post
    def listed(self, value: list[dict[str, tuple[int, str]]]) -> list[dict[str, tuple[int, str]]]:
        return value

    @post
    def distinct(self, value: set[int]) -> set[int]:
        return value

    @post
    def anything(self, value: Any) -> Any:
        return value

    @post
    def defaults(self, doc: Text, threshold: float = 0.5, top: int = 3, language: str | None = None) -> list[Any]:
        return [doc.read(), threshold, top, language]

    @post
    def point(self, value: Point) -> Point:
        return value

    @post
    def colour(self, value: Colour) -> Colour:
        return value


VALUES = [
    ("integer", 2**63 - 1),
    ("integer", -(2**63)),
    ("number", 0.1),
    ("number", -0.0),
    ("number", math.inf),
    ("boolean", True),
    ("string", "\u0000\u2028\U0001f600 'quoted\"\\"),
    ("raw", bytes(range(256))),
    ("moment", datetime.datetime(2024, 2, 29, 23, 59, 59, 123456, tzinfo=datetime.UTC)),
    ("moment", datetime.datetime(1999, 1, 1)),
    ("day", datetime.date(2024, 2, 29)),
    ("span", datetime.timedelta(days=-3, microseconds=7)),
    ("identity", uuid.UUID("12345678-1234-5678-1234-567812345678")),
    ("exact", Decimal("3.140")),
    ("choice", 3),
    ("choice", None),
    ("maybe", None),
    ("maybe", 7),
    ("mixed", 1),
    ("mixed", "1"),
    ("mixed", [1, 2]),
    ("listed", [{"a": (1, "x")}, {}]),
    ("distinct", {3, 1, 2}),
    ("anything", {"nested": [1, 2.5, None, True, "x", {}]}),
]


@pytest.mark.parametrize("doc", DOCUMENTS, ids=lambda doc: f"{doc.kind}-{'value' if doc.value is not None else 'ref'}")
def test_a_document_comes_back_as_it_went(place: Place, codec: str, doc: Doc) -> None:
    """Whatever kind, by whichever codec."""
    echo = place(Echo())

    for endpoint in (doc.kind, "any_kind", "unsaid"):
        found = echo.post(on=endpoint, doc=doc, codec=codec)
        assert (type(found), found) == (type(doc), doc)
        assert found.media_type == doc.media_type


def test_a_document_in_a_union_keeps_its_kind(place: Place, codec: str) -> None:
    echo = place(Echo())
    for doc in (Text(value="a"), Image(value=PNG)):
        assert echo.post(on="either", doc=doc, codec=codec) == doc


def test_a_combo_doc_comes_back_whole(place: Place, codec: str) -> None:
    """Nested, in lists, in dicts, optional, in unions."""
    page = Page(scan=Image(value=PNG), caption=Text(value="one"))
    book = Book(
        title=Text(value="t"),
        cover=Page(scan=Image(ref="https://example.org/cover.png")),
        pages=[page, Page(scan=Image(value=b"\xff\xd8\xff"))],
        by_name={"a": Image(value=PNG), "b": Audio(ref="https://example.org/b.wav")},
        either=Text(value="x"),
        anything=Tensor(value=b"\0" * 8, dtype="float64", shape=(1,)),
        scale=math.inf,
        thumb=b"\0\xff",
    )

    found = place(Echo()).post(on="book", book=book, codec=codec)

    if place.has_class:
        assert found == book
    else:
        assert found.model_dump() == book.model_dump()


def test_lists_dicts_and_tuples_of_documents_come_back(place: Place, codec: str) -> None:
    echo = place(Echo())
    a, b, c = Text(value="a"), Image(value=PNG), Text(value="c")

    assert echo.post(on="several", docs=[a, b], named={"c": c}, codec=codec) == [a, b, c]
    assert echo.post(on="several", docs=[], codec=codec) == []
    assert echo.post(on="pair", left=a, right=b, codec=codec) == (b, a)


def test_a_reply_of_nothing_is_none(place: Place, codec: str) -> None:
    assert place(Echo()).post(on="nothing", codec=codec) is None


@pytest.mark.parametrize(("endpoint", "value"), VALUES, ids=lambda given: repr(given)[:30])
def test_a_plain_value_comes_back_equal_and_of_its_type(place: Place, codec: str, endpoint: str, value: Any) -> None:
    """Ints stay ints."""
    found = place(Plain()).post(on=endpoint, value=value, codec=codec)

    assert (found, type(found)) == (value, type(value))
    if isinstance(value, float | Decimal):
        assert str(found) == str(value)  # tells -0.0 from 0.0, and 3.140 from 3.14


def test_nan_comes_back_as_nan(place: Place, codec: str) -> None:
    assert math.isnan(place(Plain()).post(on="number", value=math.nan, codec=codec))


def test_what_is_left_out_has_its_default(place: Place, codec: str) -> None:
    plain = place(Plain())
    doc = Text(value="x")

    assert plain.post(on="defaults", doc=doc, codec=codec) == ["x", 0.5, 3, None]
    assert plain.post(on="defaults", doc=doc, threshold=0.7, codec=codec) == ["x", 0.7, 3, None]
    assert plain.post(on="defaults", doc=doc, top=5, language="de", codec=codec) == ["x", 0.5, 5, "de"]


def test_a_client_with_the_class_gets_its_models_and_enums(place: Place, codec: str) -> None:
    plain = place(Plain())
    found = plain.post(on="point", value=Point(x=1, y=2.5), codec=codec)
    colours = [plain.post(on="colour", value=colour, codec=codec) for colour in Colour]

    if place.has_class:
        assert (found, colours) == (Point(x=1, y=2.5), list(Colour))
    else:
        assert (found.x, found.y, colours) == (1, 2.5, ["red", 2])


def test_apost_gives_the_same_as_post(place: Place, codec: str) -> None:
    echo = place(Echo())
    doc = Image(value=PNG)

    async def main() -> list[Any]:
        async with echo:
            return [
                await echo.apost(on=name, doc=doc, codec=codec) for name in ("image", "any_kind", "unsaid", "either")
            ]

    assert asyncio.run(main()) == [doc] * 4


def test_on_may_be_left_out_where_there_is_one_endpoint(place: Place) -> None:
    class Single(Executor):
        @post
        def twice(self, value: int) -> int:
            return 2 * value

    assert place(Single()).post(value=4) == 8


def test_on_is_the_first_argument(place: Place) -> None:
    assert place(Plain()).post("integer", value=4) == 4
