"""An executor with an endpoint for every kind of parameter and reply, for tools that read its description."""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from xooai import Audio, ComboDoc, Doc, Executor, File, Image, Tensor, Text, Video, post


class Colour(enum.Enum):
    """What a picture may be tinted with."""

    RED = "red"
    BLUE = "blue"


class Box(BaseModel):
    """Where something stands, in pixels."""

    left: Annotated[int, Field(ge=0)]
    top: Annotated[int, Field(ge=0)]
    size: tuple[int, int] = (1, 1)


class Figure(ComboDoc):
    """A picture with what stands under it."""

    scan: Image
    caption: Text | None = None
    boxes: list[Box] = []


class Page(ComboDoc):
    """Figures on a page, with pages in it."""

    title: Annotated[str, Field(min_length=1, examples=["The second chapter"])]
    figures: list[Figure]
    notes: dict[str, Text] = {}
    inner: list[Page] = []


class Measures(ComboDoc):
    """Numbers that JSON has no form of its own for."""

    weight: Decimal
    ratio: float
    raw: bytes
    share: Annotated[float, Field(ge=0, le=1)] = 0.5


class Gallery(Executor):
    """Takes and gives all there is."""

    @post
    def read(self, doc: Image, min_score: float = 0.5) -> Text:
        """Tell how large a picture is.

        The score is only taken, not used.
        """
        return Text(value=f"{len(doc.read())} bytes, {min_score}")

    @post
    def shown(self, doc: Image) -> Image:
        """Give a picture back."""
        return doc

    @post
    def heard(self, doc: Audio) -> Audio:
        return doc

    @post
    def seen(self, doc: Video | None = None) -> Video | None:
        return doc

    @post
    def said(self, doc: Text) -> Text:
        return doc

    @post
    def filed(self, doc: File) -> File:
        return doc

    @post
    def album(
        self, docs: list[Image], note: str = "", is_small: bool = False, colour: Colour = Colour.BLUE
    ) -> list[Image]:
        return docs[:1] if is_small else docs

    @post
    def hashed(self, data: bytes, extra: dict[str, int] = {}) -> bytes:  # noqa: B006
        return data[::-1]

    @post
    def counted(self, doc: Tensor) -> int:
        """The number of axes."""
        return len(doc.shape)

    @post
    def anything(self, doc: Doc) -> Doc:
        return doc

    @post
    def either(self, doc: Image | Text, other: Audio | Text | None = None) -> Image | Text:
        return doc

    @post
    def pages(self, page: Page, others: list[Page] = [], limit: int | None = None) -> list[Page]:  # noqa: B006
        return [page, *others][:limit]

    @post
    async def joined(self, docs: list[Text], sep: str = ", ", by_name: dict[str, Text] = {}) -> Text:  # noqa: B006
        return Text(value=sep.join(doc.read() for doc in (*docs, *by_name.values())))

    @post
    def times(
        self, at: dt.datetime, day: dt.date, until: dt.time, lasting: dt.timedelta = dt.timedelta(hours=1)
    ) -> dt.datetime:
        return at

    @post
    def plain(
        self,
        count: int,
        is_sure: bool,
        name: str | int,
        colour: Colour = Colour.RED,
        kind: Literal["small", "large", 3] = "small",
        id: UUID = UUID(int=0),
    ) -> dict[str, Any]:
        return {"count": count, "is_sure": is_sure, "name": name, "colour": colour.value, "kind": kind, "id": str(id)}

    @post
    def bounded(
        self,
        size: Annotated[int, Field(gt=0, le=100, multiple_of=5)],
        word: Annotated[str, Field(min_length=2, max_length=5)],
        code: Annotated[str, Field(pattern="^[A-Z]{3}$", examples=["ABC"])],
        some: Annotated[list[int], Field(min_length=1, max_length=3)],
        share: Annotated[float, Field(ge=0, lt=1)] = 0.25,
        data: Annotated[bytes, Field(min_length=1, max_length=4)] = b"abc",
    ) -> Annotated[int, Field(ge=0)]:
        return size

    @post
    def gathered(
        self,
        pair: tuple[int, str],
        row: tuple[float, ...],
        names: set[str],
        by_number: dict[int, bool],
        by_id: Mapping[UUID, list[float]],
    ) -> tuple[int, set[str]]:
        return len(row), names

    @post
    def measured(self, given: Measures, scale: Decimal = Decimal("1.5"), most: float = float("inf")) -> Measures:
        return given

    @post
    def nothing(self) -> None:
        """Take nothing and give nothing."""

    @post
    def untyped(self, value: Any = None):  # type: ignore[no-untyped-def]
        return value
