"""Conditions that are data look at one place of a reply: what stands beside it goes on as it came."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from xooai import ComboDoc, Executor, FailedPrecondition, Flow, Image, Internal, Text, post
from xooai.call import Call, Service
from xooai.codec import codec_of
from xooai.conditions import MISSING, inside
from xooai.flow.places import at
from xooai.flow.unread import Reply, answered
from xooai.origin import STRANGER
from xooai.schema import Schema

DOC = Text(value="x")
WRITERS: dict[str, Callable[[Any], bytes]] = {
    "application/json": msgspec.json.encode,
    "application/msgpack": msgspec.msgpack.encode,
}


class Line(ComboDoc):
    score: float
    words: list[str] = []


class Page(ComboDoc):
    score: float = 0.0
    scan: Image | None = None
    lines: list[Line] = []
    labels: dict[str, int] = {}
    first: Line | None = None
    shown_as: str = Field(default="x", alias="shown-as")


class There(Executor):
    @post
    def page(self, doc: Text) -> Page:
        return Page()

    @post
    def anything(self, doc: Text):  # type: ignore[no-untyped-def]
        return {}


class Answers:
    """A layer of a server that answers what it is told to, whatever its endpoint returns."""

    reply: Any = None
    media_type = "application/msgpack"

    def __call__(self, service: Service) -> Service:
        async def answer(call: Call) -> None:
            await service(call)
            if self.reply is not None:
                call.reply, call.reply_codec = WRITERS[self.media_type](self.reply), self.media_type

        return answer


@pytest.fixture(scope="module")
def answers() -> Answers:
    return Answers()


@pytest.fixture(scope="module")
def there(answers: Answers) -> Iterator[str]:
    with There(layers=(answers,)) as executor:
        yield executor.start("memory://condition-places")[0] + "/there"


@pytest.fixture
def asked(there: str, answers: Answers) -> Iterator[Callable[..., Any]]:
    """What a condition says of a reply of the server, in a codec."""

    def asked(codec: str, when: Mapping[str, Any], reply: Any, on: str = "page") -> bool:
        answers.reply, answers.media_type = reply, codec
        with Flow().add(use=f"{there}/{on}", id="page") as f:
            f.add(use=lambda input: "called", needs=("page", "input"), id="end", join=lambda input: input, when=when)
            return bool(f.post(doc=DOC) == "called")

    yield asked
    answers.reply = None


every_codec = pytest.mark.parametrize("codec", WRITERS)
WRONG = {"lines": "no list at all", "labels": {"a": "no number"}, "scan": 5}

HOLD: dict[str, tuple[Mapping[str, Any], Mapping[str, Any], bool]] = {
    "a field": ({"page.score": {"ge": 0.5}}, {"score": 0.5, **WRONG}, True),
    "a field that says no": ({"page.score": {"ge": 0.5}}, {"score": 0.4, **WRONG}, False),
    "the field of an item": ({"page.lines.1.score": 2}, {"scan": 5, "lines": [7, {"score": 2, "words": 3}]}, True),
    "an item that is missing": ({"page.lines.2": {"exists": False}}, {"scan": 5, "lines": [7, 8]}, True),
    "a key": ({"page.labels.b": 3}, {"scan": 5, "labels": {"a": "x", "b": 3}}, True),
    "a key that is missing": ({"page.labels.c": {"exists": True}}, {"scan": 5, "labels": {"a": "x"}}, False),
    "a field below one that may be missing": ({"page.first.score": 1}, {"scan": 5, "first": {"score": 1}}, True),
    "below null": ({"page.first.score": {"exists": False}}, {"scan": 5, "first": None}, True),
    "a field that has a default": ({"page.shown-as": "x"}, {"scan": 5}, True),
    "an alias": ({"page.shown-as": "y"}, {"scan": 5, "shown-as": "y"}, True),
    "a field of a document": ({"page.scan.media_type": "image/png"}, {"lines": 5, "scan": {"ref": "http://a/b.png"}}, True),
    "that it is there at all": ({"page": {"exists": True}}, WRONG, True),
}  # fmt: skip


@every_codec
@pytest.mark.parametrize("name", HOLD)
def test_a_condition_reads_its_place_and_nothing_beside_it(asked: Callable[..., bool], codec: str, name: str) -> None:
    when, reply, expected = HOLD[name]

    assert asked(codec, when, reply) is expected


@every_codec
@pytest.mark.parametrize("step", ["value", "deep.0.value"])
def test_a_condition_looks_into_what_has_no_type(asked: Callable[..., bool], codec: str, step: str) -> None:
    reply = {"value": "x", "deep": [{"value": "x"}]}

    assert asked(codec, {f"page.{step}": "x"}, reply, "anything")


@every_codec
def test_a_document_that_no_type_told_is_read_as_one(asked: Callable[..., bool], codec: str) -> None:
    reply = {"kind": "image", "ref": "http://host/a.png"}

    assert asked(codec, {"page.media_type": "image/png"}, reply, "anything")


@every_codec
def test_what_is_compared_is_of_the_type_that_was_promised(asked: Callable[..., bool], codec: str) -> None:
    with pytest.raises(Internal, match=r"node 'page' .*answered with what it does not return: score: .*valid number"):
        asked(codec, {"page.score": {"ge": 0.5}}, {"score": "0.9"})
    with pytest.raises(Internal, match=r"lines\.0\.score: .*valid number"):
        asked(codec, {"page.lines.0.score": {"ge": 0.5}}, {"lines": [{"score": "0.9"}]})
    with pytest.raises(Internal, match=r"lines\.0\.score: .*required"):
        asked(codec, {"page.lines.0.score": {"exists": False}}, {"lines": [{}]})
    with pytest.raises(FailedPrecondition, match=r"'page\.labels\.a', which there is not"):
        asked(codec, {"page.labels.a": 1}, {})


@pytest.mark.parametrize(
    ("media_type", "frame"),
    [
        ("application/json", b'{"score": 0.9, "score": 0.1}'),
        ("application/json", b'{"score": 0.9, "\\u0073core": 0.1}'),
        ("application/msgpack", b"\x82\xa5score\xcb?\xf0\0\0\0\0\0\0\xa5score\xcb\0\0\0\0\0\0\0\0"),
    ],
)
def test_a_field_that_stands_twice_is_refused(
    answers: Answers, asked: Callable[..., bool], monkeypatch: pytest.MonkeyPatch, media_type: str, frame: bytes
) -> None:
    monkeypatch.setitem(WRITERS, media_type, lambda _: frame)

    with pytest.raises(Internal, match="score"):
        asked(media_type, {"page.score": {"ge": 0.5}}, {"score": 1})


def test_a_large_reply_is_no_objects_for_a_look_at_one_field(there: str, answers: Answers) -> None:
    lines = [{"score": 0.5, "words": ["one", "two"]}] * 1_000
    answers.reply, answers.media_type = {"score": 0.9, "lines": lines}, "application/msgpack"
    size = len(WRITERS[answers.media_type](answers.reply))

    def grown(when: Mapping[str, Any]) -> int:
        with Flow().add(use=f"{there}/page", id="page") as f:
            f.add(use=f"{there}/page", id="end", needs=("input", "page"), when=when)
            f.post(doc=DOC)
            tracemalloc.start()
            f.post(doc=DOC)
            return tracemalloc.get_traced_memory()[1]

    try:
        at_one_field, at_a_list = (
            grown({"page.score": {"lt": 0.5}}),
            grown({"page.lines": {"exists": True}, "page.score": {"lt": 0.5}}),
        )
    finally:
        tracemalloc.stop()
        answers.reply = None
    assert at_one_field < 4 * size  # the reply, which the server writes here, and its bytes
    assert at_a_list > 2 * at_one_field


NUMBERS = st.floats() | st.integers(-5, 5).map(float)
LINES = st.builds(Line, score=NUMBERS, words=st.lists(st.text(max_size=3), max_size=2))
PAGES = st.builds(
    Page,
    score=NUMBERS,
    scan=st.none() | st.just(Image(ref="http://host/a.png")),
    lines=st.lists(LINES, max_size=3),
    labels=st.dictionaries(st.sampled_from(["a", "b", "0", "score"]), st.integers(-5, 5)),
    first=st.none() | LINES,
    **{"shown-as": st.text(max_size=3)},
)
STEPS = st.sampled_from(
    "score scan lines labels first shown-as shown_as words 0 1 2 a b value ref media_type none".split()
)


@pytest.fixture(scope="module")
def schema(there: str) -> Schema:
    """What the server's description says of a page."""
    with Flow().add(use=f"{there}/page", id="page") as f:
        return f._made().steps["page"].endpoint.result


@every_codec
@given(page=PAGES, steps=st.lists(STEPS, max_size=4))
def test_what_is_found_in_a_place_is_what_is_there_when_all_is_read(
    schema: Schema, codec: str, page: Page, steps: list[str]
) -> None:
    frame = codec_of(codec).encode(schema, page)

    def reply() -> Reply:
        return answered(frame, codec, schema, STRANGER, ("server", "node"))

    found, expected = at(reply(), steps), inside(reply().value(), steps)

    assert (found is MISSING) == (expected is MISSING)
    assert repr(found) == repr(expected)  # NaN is not equal to itself
    assert type(found) is type(expected)
