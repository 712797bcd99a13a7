"""Copies of documents between handlers of one process: as if they were written and read, and never shared."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import (
    ConfigDict,
    Field,
    PlainSerializer,
    computed_field,
    field_serializer,
    field_validator,
    model_validator,
)

from xooai import ComboDoc, Doc, Text
from xooai.codec import MSGPACK
from xooai.copies import copier
from xooai.schema import Schema

LONG = 100_000  # characters or bytes


class Note(ComboDoc):
    text: str
    count: int = 0
    score: float | None = None
    is_done: bool = False
    data: bytes = b""
    title: Text | None = None
    either: int | str = 0


class Bound(ComboDoc):
    count: Annotated[int, Field(gt=3)]
    page: Text


class Remembering(ComboDoc):
    text: str

    @cached_property
    def length(self) -> int:
        return len(self.text)


class Aliased(ComboDoc):
    text: str = Field(alias="t")


class Excluding(ComboDoc):
    text: str = Field(default="", exclude=True)


class Computing(ComboDoc):
    text: str

    @computed_field
    def length(self) -> int:
        return len(self.text)


class Writing(ComboDoc):
    text: str

    @field_serializer("text")
    def written(self, text: str) -> str:
        return f"{text}!"


class WritingByType(ComboDoc):
    text: Annotated[str, PlainSerializer(lambda text: f"{text}!")]


class Validating(ComboDoc):
    text: str

    @field_validator("text")
    @classmethod
    def read(cls, text: str) -> str:
        return text


class ValidatingAll(ComboDoc):
    text: str

    @model_validator(mode="after")
    def read(self) -> ValidatingAll:
        return self


class Extended(ComboDoc):
    model_config = ConfigDict(extra="allow")

    text: str


class Free(ComboDoc):
    text: Any


class AnyDocument(ComboDoc):
    page: Doc


class Tree(ComboDoc):
    text: str
    inside: Tree | None = None


class Book(ComboDoc):
    first: Note


class Words(ComboDoc):
    words: list[str]


NOTES = st.builds(
    Note,
    text=st.text(),
    count=st.integers(-(2**63), 2**63 - 1),
    score=st.none() | st.floats(allow_nan=False),
    is_done=st.booleans(),
    data=st.binary(),
    title=st.none() | st.builds(Text, value=st.text()),
    either=st.integers(-(2**63), 2**63 - 1) | st.text(),
)


def written_and_read(schema: Schema, value: Any) -> Any:
    return MSGPACK.decode(schema, MSGPACK.encode(schema, value), True)


def copied(value: Any) -> Any:
    copy = copier(Schema(type(value), "notes"))
    assert copy is not None
    return copy(value)


@given(note=NOTES)
def test_a_copy_is_what_writing_and_reading_gives(note: Note) -> None:
    read = written_and_read(Schema(Note, "notes"), note)

    copy = copied(note)

    assert copy == read == note
    assert copy.model_fields_set == read.model_fields_set
    assert {name: type(value) for name, value in copy} == {name: type(value) for name, value in read}
    assert repr(copy.score) == repr(read.score)


def test_a_copy_is_another_document_and_holds_the_same_ones() -> None:
    note = Note(text="a", title=Text(value="b"))

    copy = copied(note)
    copy.text = "changed"

    assert note.text == "a"
    assert copy.title is note.title


@pytest.mark.parametrize(
    "change",
    [
        {"text": "\ud800"},
        {"text": "x" * LONG},
        {"text": 7},
        {"text": None},
        {"count": 2**63},
        {"count": True},
        {"count": "7"},
        {"data": bytearray(b"x")},
        {"data": b"x" * LONG},
        {"title": {"kind": "text", "value": "x"}},
        {"title": Text(ref="notes.txt")},
        {"title": Text(value="x" * LONG)},
        {"either": 2.5},
    ],
    ids=str,
)
def test_what_may_be_wrong_or_changes_on_its_way_is_not_copied(change: dict[str, Any]) -> None:
    assert copied(Note(text="a").model_copy(update=change)) is None


def test_what_breaks_a_bound_is_not_copied() -> None:
    fitting = Bound(count=4, page=Text(value="x"))

    assert copied(fitting) == fitting
    assert copied(fitting.model_copy(update={"count": 3})) is None


def test_a_document_of_a_subclass_or_with_more_than_its_fields_is_not_copied() -> None:
    class Long(Note):
        more: str = ""

    remembering = Remembering(text="abc")
    assert copied(remembering) == remembering
    assert remembering.length == 3
    assert copied(remembering) is None

    copy = copier(Schema(Note, "notes"))
    assert copy is not None
    assert copy(Long(text="a")) is None
    assert copy({"text": "a"}) is None


def test_a_document_of_a_subclass_in_a_field_is_not_copied() -> None:
    class Headline(Text):
        pass

    class Paper(ComboDoc):
        title: Text | None = None
        head: Headline | None = None

    copy, headline = copier(Schema(Paper, "papers")), Headline(value="a")
    assert copy is not None
    assert copy(Paper(title=headline)) is None  # it is read as a Text
    assert copy(Paper(title=Text(value="b"), head=headline)).head is headline


@pytest.mark.parametrize("error", [StopIteration, KeyError])
def test_what_raises_while_it_is_read_is_not_copied(error: type[Exception]) -> None:
    class Raising(ComboDoc):
        text: str

        def model_post_init(self, context: Any) -> None:
            if self.text == "raise":
                raise error

    copy, raising = copier(Schema(Raising, "notes")), Raising(text="a")
    raising.text = "raise"
    assert copy is not None
    assert copy(raising) is None


@pytest.mark.parametrize("value", [Tree(text="a"), Book(first=Note(text="a")), Words(words=["a"])], ids=repr)
def test_what_holds_what_may_change_is_not_copied(value: ComboDoc) -> None:
    copy = copier(Schema(type(value), "notes"))

    assert copy is None or copy(value) is None


@pytest.mark.parametrize(
    "kind",
    [
        Aliased,
        Excluding,
        Computing,
        Writing,
        WritingByType,
        Validating,
        ValidatingAll,
        Extended,
        Free,
        AnyDocument,
        str,
        Text,
        list[Note],
        Note | None,
    ],
    ids=str,
)
def test_of_types_that_are_more_than_their_fields_nothing_is_copied(kind: Any) -> None:
    assert copier(Schema(kind, "notes")) is None
