"""An executor whose endpoints are called by stubs that protoc makes of its .proto file."""

from __future__ import annotations

import asyncio
import datetime as dt
import decimal
import enum
import threading
import uuid
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, WithJsonSchema

from xooai import Audio, ComboDoc, Doc, Executor, Image, NotFound, Tensor, Text, current, post, stream


class Colour(enum.Enum):
    RED = "red"
    DARK_BLUE = "dark-blue"


class Span(NamedTuple):
    start: int
    end: int = 9
    step: int = 1


class Cell(ComboDoc):
    """One cell of a table."""

    row: int
    text: str = "none"


class Page(ComboDoc):
    """A page with a field of every kind."""

    title: str
    score: float
    is_final: bool
    content: bytes
    count: int | None
    scan: Image | None = None
    day: dt.date | None = None
    id: uuid.UUID | None = None
    price: decimal.Decimal | None = None
    colour: Colour | None = None
    side: Literal["left", "right"] = "left"
    limit: int | None = 5
    tags: list[str] = Field(default_factory=list)
    words: list[str] = Field(default=["a"])
    box: tuple[int, int] | None = None
    cells: dict[str, Cell] = Field(default_factory=dict)
    rows: list[list[int]] = Field(default_factory=list)
    parts: list[Text | Audio] = Field(default_factory=list)
    key: int | str | None = None
    anything: Any = None
    children: list[Page] = Field(default_factory=list)


PAGE = Page(
    title="ä",
    score=0.1,
    is_final=True,
    content=b"\xff\x00",
    count=None,
    scan=Image(value=b"GIF89a", media_type="image/gif"),
    day=dt.date(2024, 2, 29),
    id=uuid.UUID(int=7),
    price=decimal.Decimal("1.10"),
    colour=Colour.DARK_BLUE,
    side="right",
    limit=None,
    tags=["x", ""],
    words=[],
    box=(3, -4),
    cells={"a": Cell(row=1), "": Cell(row=-1, text="")},
    rows=[[1], [], [2**63 - 1, -(2**63)]],
    parts=[Text(value="t"), Audio(value=b"RIFF")],
    key="k",
    anything={"list": [1, 2.0, None, True, "x", {}]},
    children=[Page(title="", score=0, is_final=False, content=b"", count=0)],
)


class Kit(Executor):
    def __init__(self) -> None:
        super().__init__()
        self.started = threading.Event()
        self.cancelled = threading.Event()

    @post
    def read(self, doc: Image, min_score: float = 0.5) -> Text:
        """Say what there is in a picture.

        In two paragraphs.
        """
        return Text(value=f"{len(doc.read())} bytes over {min_score}")

    @post
    async def turn(self, page: Page) -> Page:
        return page

    @post
    async def is_the_page(self, page: Page) -> bool:
        return page == PAGE

    @post
    def add(self, x: int, y: int) -> int:
        return x + y

    @post
    def nothing(self) -> None:
        pass

    @post
    def untyped(self, what: Any):  # type: ignore[no-untyped-def]
        return what

    @post
    def kind(self, doc: Doc) -> Doc:
        return doc

    @post
    def tensor(self, doc: Tensor) -> Tensor:
        return doc

    @post
    def colours(self, many: list[Colour], named: dict[str, Colour], either: list[Colour] | int = 3) -> list[Colour]:
        return [*many, *named.values(), *([] if isinstance(either, int) else either)]

    @post
    def echo_colours(self, either: dict[str, list[Colour] | int]) -> dict[str, list[Colour] | int]:
        return either

    @post
    def span(self, of: Span) -> Span:
        return of

    @post
    def lied(self) -> Annotated[str, WithJsonSchema({"type": "integer"})]:
        """Give what the description does not say."""
        return "hunter2"

    @post
    async def wait(self) -> None:
        self.started.set()
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise

    @post
    def said(self, name: str) -> str:
        current().reply_metadata["x-model"] = "v3"
        return current().metadata.get(name, "")

    @post
    def missing(self, page: int) -> Text:
        raise NotFound(f"no page {page}", details={"near": [1, 2]})

    @post
    def wrong(self) -> Text:
        raise ValueError("hunter2 in /srv/models")

    @stream
    async def count(self, n: int) -> AsyncIterator[int]:
        """Count to n, and fail where n is odd."""
        for index in range(n):
            yield index
        if n % 2:
            raise NotFound("no more")

    @stream
    async def join(self, doc: AsyncIterator[Text], sep: str = ",") -> Text:
        return Text(value=sep.join([one.read() async for one in doc]))

    @stream
    async def total(self, number: AsyncIterator[int | None]) -> float:
        return sum([0.5 if one is None else one async for one in number])

    @stream
    async def talk(self, doc: AsyncIterator[Text]) -> AsyncIterator[Text]:
        """Speak first, then in turn."""
        yield Text(value="hello")
        async for one in doc:
            yield Text(value=one.read().upper())

    @stream
    async def repeat(self, doc: AsyncIterator[Text], times: int) -> AsyncIterator[str]:
        async for one in doc:
            yield one.read() * times
