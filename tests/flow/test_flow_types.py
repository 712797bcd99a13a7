"""Which types fit: what is known not to is refused, what is not known is left to the call."""

from __future__ import annotations

import datetime
from typing import Annotated, Any, TypeVar

import pytest
from pydantic import Field

from xooai import ComboDoc, Doc, Image, Tensor, Text
from xooai.fitting import fits, same, shown
from xooai.untyped import ANYTHING


class Page(ComboDoc):
    scan: Image


class LongPage(Page):
    more: str = ""


class Other(ComboDoc):
    scan: Image


class Photo(Image):
    place: str = ""


FITS: list[tuple[Any, Any]] = [
    (Text, Text),
    (Photo, Image),
    (Image, Photo),  # it may be one
    (Doc, Image),
    (Image, Doc),
    (Text | Image, Image),
    (Text | None, Text),
    (Text, Text | None),
    (ANYTHING, Image),
    (Image, ANYTHING),
    (Any, Image),
    (list[Image], list[Doc]),
    (tuple[Image, ...], list[Image]),
    (list, list[Image]),
    (LongPage, Page),
    (int, float),
    (bool, int),
    (Annotated[int, Field(gt=0)], int),
    (str, datetime.date),
    (dict[str, Any], Image),
    (TypeVar("T"), Image),
    (None, Text | None),
]

FITS_NOT: list[tuple[Any, Any]] = [
    (Text, Image),
    (Text | Tensor, Image),
    (list[Text], list[Image]),
    (Image, list[Image]),
    (list[Image], Image),
    (Page, Image),
    (Image, Page),
    (Other, Page),
    (str, Text),
    (Text, str),
    (str, int),
    (bytes, str),
    (None, Text),
    (Page, str),
]


@pytest.mark.parametrize(("given", "wanted"), FITS, ids=map(shown, [pair[0] for pair in FITS]))
def test_these_fit(given: Any, wanted: Any) -> None:
    assert fits(given, wanted)


@pytest.mark.parametrize(("given", "wanted"), FITS_NOT)
def test_these_do_not(given: Any, wanted: Any) -> None:
    assert not fits(given, wanted)
    assert not same(given, wanted)


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (Text, "Text"),
        (Text | None, "Text | None"),
        (list[Text | Image], "list[Text | Image]"),
        (dict[str, int], "dict[str, int]"),
        (tuple[int, ...], "tuple[int, ...]"),
        (Annotated[int, Field(gt=0)], "int"),
        (ANYTHING, "anything"),
        (None, "None"),
    ],
)
def test_a_type_is_shown_as_people_write_it(annotation: Any, text: str) -> None:
    assert shown(annotation) == text


def test_one_name_has_one_type() -> None:
    assert same(list[Image], list[Image])
    assert same(Text | None, None | Text)
    assert same(ANYTHING, Image)
    assert not same(Image, Doc)
    assert not same(Image, Image | None)
    assert not same(list[Image], list[Text])
