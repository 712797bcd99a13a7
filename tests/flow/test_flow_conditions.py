"""Conditions that are data: what they may say, when they hold, and what they look at."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from xooai import ComboDoc, Executor, FailedPrecondition, Flow, FlowError, Image, Text, post
from xooai.conditions import OPERATORS, condition

Put = Callable[[Executor], dict[str, Any]]
DOC = Text(value="x")


class Color(Enum):
    RED = "red"


class Line(ComboDoc):
    text: Text
    score: float


@dataclasses.dataclass
class Size:
    width: int


class Page(ComboDoc):
    language: str = "en"
    score: float = 0.5
    lines: list[Line] = []
    scan: Image | None = None
    labels: dict[str, int] = {}
    color: Color = Color.RED
    shown_as: str = Field(default="x", alias="shown-as")


PAGE = Page(
    lines=[Line(text=Text(value="Hi"), score=0.9)], scan=Image(value=b"abc", media_type="image/png"), labels={"cat": 2}
)

HOLD: dict[str, tuple[Mapping[str, Any], bool]] = {
    "a literal": ({"page.language": "en"}, True),
    "another literal": ({"page.language": "de"}, False),
    "eq": ({"page.score": {"eq": 0.5}}, True),
    "ne": ({"page.score": {"ne": 0.5}}, False),
    "a range": ({"page.score": {"ge": 0.5, "lt": 0.6}}, True),
    "an open range": ({"page.score": {"gt": 0.5}}, False),
    "le": ({"page.score": {"le": 0}}, False),
    "texts have an order": ({"page.language": {"gt": "de"}}, True),
    "in": ({"page.language": {"in": ["de", "en"]}}, True),
    "not in": ({"page.language": {"not_in": ["de", "en"]}}, False),
    "all of several": ({"page.language": "en", "page.score": {"ge": 0.6}}, False),
    "a place of a list": ({"page.lines.0.score": {"gt": 0.8}}, True),
    "a field of a document": ({"page.scan.media_type": "image/png"}, True),
    "the value of a text": ({"page.lines.0.text.value": "Hi"}, True),
    "a key": ({"page.labels.cat": 2}, True),
    "true is not 1": ({"page.labels.cat": {"not_in": [True]}}, True),
    "an enum": ({"page.color": "red"}, True),
    "an alias": ({"page.shown-as": "x"}, True),
    "what is there": ({"page.scan": {"exists": True}}, True),
    "what is not there": ({"page.lines.1": {"exists": True}}, False),
    "what is to be missing": ({"page.labels.dog": {"exists": False}}, True),
    "what is asked for first": ({"page.labels.dog": {"ge": 1, "exists": True}}, False),
    "what is asked for elsewhere": ({"page.lines.1.score": {"ge": 1}, "page.lines.1": {"exists": True}}, False),
    "nothing of the object but its data": ({"page.__class__": {"exists": False}}, True),
}


@pytest.mark.parametrize("name", HOLD)
def test_a_condition_holds_or_not(name: str) -> None:
    said, expected = HOLD[name]

    assert condition(said, ["page"], "when=").holds({"page": PAGE}) is expected


MISSING: dict[str, tuple[Mapping[str, Any], str]] = {
    "a field": ({"a.dog": 1}, "when= looks at 'a.dog', which there is not; {'exists': True} beside it"),
    "a reply": ({"b": 1}, "when= looks at 'b', which there is not"),
    "below a text": ({"a.cat.x": {"ne": 1}}, "'a.cat.x', which there is not"),
    "a place": ({"a.list.2": 1}, "'a.list.2', which there is not"),
    "a place that is no number": ({"a.list.-1": 1}, "'a.list.-1', which there is not"),
    "an order": ({"a.cat": {"ge": 1}}, "cannot order 'a.cat': str and int have no order"),
    "an order with nothing": ({"a.none": {"ge": 1}}, "NoneType and int have no order"),
}


@pytest.mark.parametrize("what", MISSING)
def test_what_cannot_be_compared_is_an_error(what: str) -> None:
    said, complaint = MISSING[what]

    with pytest.raises(FailedPrecondition) as told:
        condition(said, ["a", "b"], "when=").holds({"a": {"cat": "Tom", "list": [1, 2], "none": None}})

    assert complaint in told.value.message


REFUSED: dict[str, tuple[Any, str]] = {
    "nothing": ({}, "node 'n': when= says nothing"),
    "no operator": ({"a.x": {}}, "nothing is said of 'a.x'; there are: eq, ne, lt"),
    "another operator": ({"a.x": {"gte": 1}}, "'a.x': no operator 'gte'; did you mean 'g"),
    "an operator that is no text": ({"a.x": {1: 1}}, "no operator 1; there are: eq, ne"),
    "a path that is no text": ({1: 1}, "1 is no path"),
    "who is not needed": ({"b.x": 1}, "'b.x', which is none of: 'a', 'a.b'"),
    "an empty step": ({"a..x": 1}, "'a..x' is no path: there is nothing between two of its dots"),
    "an empty end": ({"a.": 1}, "'a.' is no path"),
    "an empty path": ({"": 1}, "'', which is none of"),
    "an object": ({"a": object()}, "eq takes a text, a number, true, false or null, and got <object"),
    "a list": ({"a": [1]}, "eq takes a text"),
    "what is no number": ({"a": {"lt": float("nan")}}, "lt takes a number or a text, and got nan"),
    "an order of truth": ({"a": {"lt": True}}, "lt takes a number or a text, and got True"),
    "in no list": ({"a": {"in": "abc"}}, "in takes a list of texts, numbers, true, false and null; got 'abc'"),
    "in a list of lists": ({"a": {"not_in": [[1]]}}, "not_in takes a list"),
    "existing to some degree": ({"a": {"exists": 1}}, "exists takes true or false, and got 1"),
}


@pytest.mark.parametrize("mistake", REFUSED)
def test_what_no_condition_says_is_refused_when_the_node_is_added(mistake: str) -> None:
    said, complaint = REFUSED[mistake]
    f = Flow()

    for use in (lambda x: x, "http://127.0.0.1:1/not/asked"):
        with pytest.raises(FlowError) as told:
            f.add(use=use, id="n", needs=("a", "a.b"), when=said)
        assert complaint in told.value.message
    assert repr(f) == "<Flow 'flow' of 0 nodes>"


def paged(doc: Text) -> Page:
    return PAGE


def sized(doc: Text) -> tuple[int, Size]:
    return 1, Size(1)


def test_a_condition_is_as_it_was_when_the_node_was_added() -> None:
    said: dict[str, Any] = {"a": {"eq": 1}}
    f = Flow().add(use=lambda doc: 1, id="a").add(use=lambda a: "called", id="b", needs="a", when=said)
    said["a"]["eq"] = 2
    said["b"] = 3

    with f:
        assert f.post(doc="x") == "called"


UNKNOWN: dict[str, tuple[Mapping[str, Any], str]] = {
    "a field": ({"page.scor": 1}, "looks at 'page.scor', and page, which is Page, has no 'scor'; did you mean 'score'"),
    "a field of an item": (
        {"page.lines.0.size": 1},
        "and page.lines.0, which is Line, has no 'size'; it has: score, text",
    ),
    "a place that is no number": ({"page.lines.first": 1}, "and page.lines, which is list[Line], has no 'first'"),
    "below a number": ({"page.score.value": 1}, "and page.score, which is float, has no 'value'"),
    "a field of one that may be None": ({"page.scan.width": 1}, "which is Image | None, has no 'width'"),
    "beyond a tuple": ({"size.2": 1}, "and size, which is tuple[int, Size], has no '2'"),
    "a field of a dataclass": ({"size.1.height": 1}, "which is Size, has no 'height'; it has: width"),
    "a field of a document": ({"input.size_": 1}, "and input, which is Text, has no 'size_'; did you mean 'size'"),
}


@pytest.mark.parametrize("mistake", UNKNOWN)
def test_a_field_that_a_type_does_not_have_is_told_by_check(mistake: str) -> None:
    said, complaint = UNKNOWN[mistake]
    f = Flow().add(use=paged, id="page").add(use=sized, id="size")
    f.add(use=lambda x: x, id="n", needs=("page", "size", "input"), when=said)

    with pytest.raises(FlowError) as told:
        f.check()

    assert complaint in told.value.message
    assert told.value.message.startswith("node 'n': when= looks at")


def test_what_is_not_known_of_a_type_is_not_told() -> None:
    class Open(ComboDoc, extra="allow"):
        pass

    def opened(doc: Text) -> Open:
        return Open.model_validate({"x": {"y": 1}})

    def either(doc: Text) -> Page | list[int]:
        return [1]

    for use, path in ((opened, "a.x.y"), (either, "a.0"), (lambda doc: {"x": 1}, "a.x")):
        f = Flow().add(use=use, id="a").add(use=lambda a: "called", id="b", needs="a", when={path: 1})
        with f:
            assert f.check() == []
            assert f.post(doc=DOC) == "called"


class Ocr(Executor):
    @post
    async def read(self, doc: Text) -> Page:
        return Page(score=float(len(doc.read())))

    @post
    async def publish(self, page: Page, draft: bool = False) -> str:
        return "draft" if draft else "published"


def test_a_condition_of_data_decides_wherever_the_nodes_are(put: Put) -> None:
    ocr = put(Ocr())
    f = Flow().add(**ocr, on="read", id="read.1")
    f.add(**ocr, on="publish", id="good", needs="read.1", when={"read.1.score": {"ge": 3}, "read.1.language": "en"})
    f.add(**ocr, on="publish", id="bad", needs="read.1", args={"draft": True}, when={"read.1.score": {"lt": 3}})
    f.add(use=lambda found: found, id="end", needs=("good", "bad"))

    with f:
        assert f.check() == []
        assert [f.post(doc=Text(value=text)) for text in ("abc", "ab")] == ["published", "draft"]
        assert "only when read.1.score ge 3 and read.1.language eq 'en'" in f.explain()


def test_a_condition_of_data_on_the_input_sees_defaults(put: Put) -> None:
    class Cuts(Executor):
        @post
        async def cut(self, doc: Text, width: int = 10, mode: Literal["a", "b"] = "a") -> str:
            return doc.read()[:width]

    with Flow().add(**put(Cuts()), on="cut", when={"width": {"gt": 5}, "doc.value": {"exists": True}}) as f:
        assert f.post(doc=Text(value="abc")) == "abc"
        assert f.post(doc=Text(value="abc"), width=2) is None


def test_a_condition_on_what_is_missing_names_its_node(serve: Callable[[Any], str]) -> None:
    f = Flow(name="f").add(use=lambda doc: {}, id="a").add(use=lambda a: a, id="b", needs="a", when={"a.x": 1})

    with Executor(serve(f)) as client:
        for call in (f.post, client.post):
            with pytest.raises(FailedPrecondition, match=r"node 'b' .* failed: when= looks at 'a.x'") as told:
                call(doc="x")
            assert told.value.details["node"] == "b"


# Against a model, and whatever is given

KEYS = st.sampled_from(["a", "b", "0", "1", "x"])
SCALARS = (
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([0.5, 1.0]) | st.sampled_from(["a", "b", "1"])
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=6
)
PATHS = st.lists(KEYS, max_size=2).map(lambda steps: ".".join(["need", *steps]))
SAID = st.dictionaries(st.sampled_from(OPERATORS), SCALARS | st.lists(SCALARS, max_size=2), min_size=1, max_size=2)


def model(said: Mapping[str, Mapping[str, Any]], value: Any) -> bool | None:
    """Whether it holds; None for an error. Written another way: with exceptions, and no order of tests but that of exists."""

    def at(path: str) -> Any:
        found = value
        for step in path.split(".")[1:]:
            found = found[int(step)] if isinstance(found, list) else dict(found)[step]
        return found

    def there(path: str) -> bool:
        try:
            at(path)
        except (LookupError, ValueError, TypeError):
            return False
        return True

    def key(one: Any) -> Any:
        return (isinstance(one, bool), one)

    tests = [(path, kind, wanted) for path, kinds in said.items() for kind, wanted in kinds.items()]
    if not all(there(path) is wanted for path, kind, wanted in tests if kind == "exists"):
        return False
    for path, kind, wanted in tests:
        if kind == "exists":
            continue
        if not there(path):
            return None
        found = at(path)
        try:
            tests_of: dict[str, Callable[[Any, Any], bool]] = {
                "eq": lambda f, w: key(f) == key(w),
                "ne": lambda f, w: key(f) != key(w),
                "in": lambda f, w: key(f) in [key(one) for one in w],
                "not_in": lambda f, w: key(f) not in [key(one) for one in w],
                "lt": lambda f, w: f < w,
                "le": lambda f, w: f <= w,
                "gt": lambda f, w: f > w,
                "ge": lambda f, w: f >= w,
            }
            holds = tests_of[kind](found, wanted)
        except TypeError:
            return None
        if not holds:
            return False
    return True


@given(st.dictionaries(PATHS, SAID, min_size=1, max_size=3), VALUES)
def test_a_condition_does_as_its_model_and_looks_at_no_more_than_it_says(
    said: dict[str, dict[str, Any]], value: Any
) -> None:
    try:
        read = condition(said, ["need"], "when=")
    except FlowError:
        return

    def holds(given: Any) -> bool | None:
        try:
            return read.holds({"need": given, "other": object()})
        except FailedPrecondition:
            return None

    assert holds(value) is model(said, value)
    fields = read.looks_at["need"]
    if fields is not None and isinstance(value, dict):
        assert holds({name: inner for name, inner in value.items() if name in fields}) is holds(value)


@given(st.dictionaries(st.text(max_size=5) | SCALARS, VALUES | st.binary(max_size=2) | st.floats(), max_size=3), VALUES)
def test_whatever_is_given_is_a_condition_or_a_mistake(said: dict[Any, Any], value: Any) -> None:
    try:
        read = condition(said, ["a", "b", "a.b"], "when=")
        read.check({"a": Page, "b": dict[str, int]}, "when=")
        assert read.holds({"a": value, "b": value, "a.b": value}) in (True, False)
    except (FlowError, FailedPrecondition):
        pass
