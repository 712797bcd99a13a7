"""Scalars that are not Python's own: those of numpy, and subclasses of str, int and float."""

from __future__ import annotations

import collections
import ipaddress
import logging
import pathlib
import re
from typing import Any

import pydantic
import pytest
from places import Place

from xooai import ComboDoc, Executor, Internal, InvalidArgument, post

np = pytest.importorskip("numpy", reason="it comes with: pip install 'xooai[media]'")


class Name(str):  # noqa: SLOT000 - as anybody writes it
    def __str__(self) -> str:
        return "another"


class Count(int):
    pass


class Score(float):
    pass


class Rated(ComboDoc):
    score: float
    label: str = ""


CASES: list[tuple[Any, Any, Any]] = [
    (float, np.float64(0.5), 0.5),
    (float, np.float32(0.1), float(np.float32(0.1))),
    (float, np.float16(0.1), float(np.float16(0.1))),
    (float, np.longdouble("0.5"), 0.5),
    (float, np.float64("inf"), float("inf")),
    (float, np.float32("-inf"), float("-inf")),
    (float, Score(0.5), 0.5),
    (int, np.int64(-3), -3),
    (int, np.uint8(3), 3),
    (int, Count(3), 3),
    (bool, np.bool_(True), True),
    (str, Name("q"), "q"),
    (str, np.str_("q"), "q"),
    (list[float], [np.float64(0.5), np.float32(0.25), 1.0], [0.5, 0.25, 1.0]),
    (list[int], [np.int64(3)], [3]),
    (list[bool], [np.bool_(False)], [False]),
    (dict[str, float], {Name("a"): np.float32(0.5)}, {"a": 0.5}),
    (tuple[str, float], (Name("a"), np.float64(0.5)), ("a", 0.5)),
    (Rated, Rated.model_construct(score=np.float32(0.5), label=Name("a")), Rated(score=0.5, label="a")),
    (list[Rated], [Rated.model_construct(score=np.float64(0.5), label="a")], [Rated(score=0.5, label="a")]),
    (float | None, np.float32(0.5), 0.5),
]

TOO_LARGE = np.uint64(2**63 + 5)


def executor(annotation: Any, value: Any = None) -> Executor:
    class Model(Executor):
        @post
        def take(self, value: annotation) -> str:
            return repr(value)

        @post
        def give(self) -> annotation:
            return value

        @post
        def give_untyped(self):  # type: ignore[no-untyped-def]
            return [value]

    return Model()


@pytest.mark.parametrize(("annotation", "value", "plain"), CASES)
def test_a_scalar_is_taken_as_the_number_or_text_that_it_is(
    annotation: Any, value: Any, plain: Any, place: Place, codec: str
) -> None:
    found = place(executor(annotation)).post("take", value=value, codec=codec)
    assert found.replace("Record(", "Rated(") == repr(plain)


@pytest.mark.parametrize(("annotation", "value", "plain"), CASES)
def test_a_reply_of_such_scalars_is_the_number_or_text_that_they_are(
    annotation: Any, value: Any, plain: Any, place: Place, codec: str
) -> None:
    found = place(executor(annotation, value)).post("give", codec=codec)
    assert repr(found).replace("Record(", "Rated(") == repr(plain)


@pytest.mark.parametrize("value", [np.float64(0.5), np.float32(0.5), np.int64(3), np.bool_(True), Name("a"), Count(3)])
def test_a_reply_without_annotation_may_hold_such_scalars(value: Any, place: Place, codec: str) -> None:
    assert place(executor(float, value)).post("give_untyped", codec=codec) == [value]


@pytest.mark.parametrize("value", [np.float64("nan"), np.float32("nan")])
def test_nan_in_a_reply_without_annotation_stays_refused(
    value: Any, place: Place, codec: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.CRITICAL), pytest.raises(Internal):
        place(executor(float, value)).post("give_untyped", codec=codec)


def test_a_number_beyond_64_bits_is_refused_before_it_is_sent(place: Place, codec: str) -> None:
    with pytest.raises(InvalidArgument, match="64 bits"):
        place(executor(int)).post("take", value=TOO_LARGE, codec=codec)


@pytest.mark.parametrize("value", [np.zeros(2), np.datetime64("2024-01-01"), object()])
def test_what_is_no_number_or_text_is_refused_before_it_is_sent_and_named(value: Any, place: Place, codec: str) -> None:
    with pytest.raises(InvalidArgument, match=type(value).__name__) as caught:
        place(executor(list[float])).post("take", value=[value], codec=codec)
    assert not caught.value.remote


def test_what_could_be_a_number_is_told_to_be_made_one(place: Place, codec: str) -> None:
    with pytest.raises(InvalidArgument, match=re.escape(".item()")):
        place(executor(float)).post("take", value=np.zeros((1, 1)), codec=codec)


AS_TEXT: list[tuple[Any, Any]] = [
    (pathlib.Path, pathlib.Path("a/b")),
    (ipaddress.IPv4Address, ipaddress.IPv4Address("10.0.0.1")),
    (complex, 1 + 2j),
    (collections.deque[int], collections.deque([1, 2])),
    (re.Pattern[str], re.compile("a+")),
    (pydantic.AnyUrl, pydantic.AnyUrl("http://host/a?b")),
    (dict[str, pathlib.Path], {"a": pathlib.Path("a/b")}),
]


@pytest.mark.parametrize(("annotation", "value"), AS_TEXT)
def test_what_json_carries_as_text_goes_in_msgpack_too(annotation: Any, value: Any, place: Place, codec: str) -> None:
    found = place(executor(annotation)).post("take", value=value, codec=codec)
    assert found == repr(value)
