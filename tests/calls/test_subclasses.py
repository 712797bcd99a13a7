"""An instance of a subclass, given for its base: nothing that it holds is lost on the way unseen."""

from __future__ import annotations

import dataclasses
import logging
from typing import Any, Literal, NamedTuple

import pytest
from places import Place
from pydantic import BaseModel, ConfigDict, SerializeAsAny
from typing_extensions import TypedDict

from xooai import ComboDoc, Doc, Executor, Internal, InvalidArgument, Text, post


class Base(ComboDoc):
    a: int = 1


class Sub(Base):
    b: Text = Text(value="x")


class Same(Base):
    """Has no field of its own."""


class Cap(Text):
    lang: str = "en"


class Plain(BaseModel):
    a: int = 1


class Wider(Plain):
    b: int = 2


@dataclasses.dataclass
class Point:
    x: int


@dataclasses.dataclass
class Pixel(Point):
    y: int = 2


class Holder(ComboDoc):
    base: Base


class AsAny(ComboDoc):
    base: SerializeAsAny[Base]


class Row(TypedDict):
    base: Base


class Pair(NamedTuple):
    base: Base


class Strict(ComboDoc):
    model_config = ConfigDict(extra="forbid")
    tag: Literal["strict"] = "strict"


class Stricter(Strict):
    b: int


Tree = list[dict[str, tuple[int, Base]]]


LOST: list[tuple[Any, Any, str]] = [
    (Base, Sub(), "value is of the class Sub, of which Base keeps no field 'b'; annotate it with Sub"),
    (Text, Cap(value="a", lang="de"), "value is of the class Cap, of which Text keeps no field 'lang'"),
    (Plain, Wider(), "value is of the class Wider"),
    (Point, Pixel(1), "value is of the class Pixel"),
    (Holder, Holder(base=Sub()), "value.base is of the class Sub"),
    (AsAny, AsAny(base=Sub()), "value.base is of the class Sub"),
    (Row, {"base": Sub()}, "value.base is of the class Sub"),
    (Pair, Pair(Sub()), "value.base is of the class Sub"),
    (list[Base], [Base(), Sub()], "value.1 is of the class Sub"),
    (Tree, [{"k": (1, Sub())}], "value.0.k.1 is of the class Sub"),
    (Base | None, Sub(), "value is of the class Sub"),
    (Base | list[Base], [Sub()], "value.0 is of the class Sub"),
    (dict[str, Text], {"k": Cap(value="a")}, "value.k is of the class Cap"),
    (Doc, Cap(value="a"), "value is of the class Cap, of which Text keeps no field 'lang'"),
    (list[Doc], [Cap(value="a")], "value.0 is of the class Cap"),
    (tuple[Base, Sub], (Sub(), Sub()), "value.0 is of the class Sub"),
]

KEPT: list[tuple[Any, Any]] = [
    (Base, Same(a=2)),
    (Holder, Holder(base=Same(a=2))),
    (Sub, Sub(a=2)),
    (Strict | Stricter, Stricter(b=2)),
    (list[Strict | Stricter], [Strict(), Stricter(b=2)]),
]


def echo(annotation: Any) -> Executor:
    """Takes a `value` of this type and says what it is; `back` gives any value back as one."""

    class Echo(Executor):
        given: Any = None

        @post
        def take(self, value: annotation) -> str:
            return repr(value)

        @post
        def back(self) -> annotation:
            return self.given

    return Echo()


@pytest.mark.parametrize(("annotation", "value", "reason"), LOST)
def test_an_argument_whose_class_says_more_than_the_parameter_is_refused_before_it_is_sent(
    annotation: Any, value: Any, reason: str, place: Place, codec: str
) -> None:
    if not place.has_class:
        pytest.skip("the classes of a client without the class are those of the description")
    with pytest.raises(InvalidArgument) as caught:
        place(echo(annotation)).post("take", value=value, codec=codec)
    assert caught.value.message.startswith(reason)
    assert not caught.value.remote


@pytest.mark.parametrize(("annotation", "value", "reason"), LOST)
def test_a_reply_whose_class_says_more_than_the_annotation_is_the_servers_failure(
    annotation: Any, value: Any, reason: str, place: Place, codec: str, caplog: pytest.LogCaptureFixture
) -> None:
    executor: Any = echo(annotation)
    executor.given = value
    with caplog.at_level(logging.CRITICAL), pytest.raises(Internal):
        place(executor).post("back", codec=codec)


@pytest.mark.parametrize(("annotation", "value"), KEPT)
def test_a_class_that_says_no_more_than_the_annotation_is_sent(
    annotation: Any, value: Any, place: Place, codec: str
) -> None:
    executor: Any = echo(annotation)
    executor.given = value
    caller = place(executor)
    assert caller.post("take", value=value, codec=codec) == repr(value).replace("Same(", "Base(")
    assert caller.post("back", codec=codec) is not None
