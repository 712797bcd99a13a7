"""`map` and `amap`: results in order or as they come, errors, what an item is, and the same answers in every place."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xooai import (
    Executor,
    Flow,
    Internal,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Text,
    Unavailable,
    post,
    stream,
)
from xooai.mapping import ATTEMPTS, Mapped

Put = Callable[[Executor], Any]
PATIENCE = 20  # seconds: what waits longer fails its test instead of stopping the run


class Words(Executor):
    """Answers about texts; some refuse, some come late."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.refusals = 0
        self.retry_after: float | None = 0.001

    @post
    def upper(self, doc: Text, mark: str = "") -> Text:
        return Text(value=doc.read().upper() + mark)

    @post
    async def later(self, number: int) -> int:
        """The earlier, the later."""
        await asyncio.sleep(0.02 / (number + 1))
        return number

    @post
    async def known(self, title: str, year: int = 0) -> str:
        if title.startswith("no"):
            raise NotFound(f"no book {title!r}")
        return f"{title} {year}"

    @post
    async def both(self, left: str, right: str) -> str:
        return left + right

    @post
    async def busy(self, doc: str) -> str:
        self.calls[doc] += 1
        if self.calls[doc] <= self.refusals:
            raise ResourceExhausted("too much to do", retry_after=self.retry_after)
        return doc

    @post
    async def away(self, doc: str) -> str:
        self.calls[doc] += 1
        raise Unavailable("gone in the middle")

    @stream
    async def letters(self, doc: Text) -> AsyncIterator[str]:
        for letter in doc.read():
            yield letter


def texts(*values: str) -> list[Text]:
    return [Text(value=value) for value in values]


async def gathered(results: Any) -> list[Any]:
    async with asyncio.timeout(PATIENCE):
        return [result async for result in results]


# Order


def test_results_come_in_the_order_of_the_items_in_every_place(put: Put) -> None:
    words = put(Words())

    assert [text.read() for text in words.map("upper", texts("a", "b", "c"), mark="!")] == ["A!", "B!", "C!"]
    assert list(words.map("later", range(50))) == list(range(50))
    assert asyncio.run(gathered(words.amap("later", iter(range(50)), concurrency=7))) == list(range(50))


def test_results_come_as_they_are_there_and_say_of_which_item_they_are() -> None:
    with Words() as words:
        found = list(words.map("later", [0, 20], ordered=False))

    assert [(one.index, one.item, one.result, one.error) for one in found] == [(1, 20, 20, None), (0, 0, 0, None)]


def test_there_may_be_no_items() -> None:
    with Words() as words:
        assert list(words.map("upper", [])) == []
        assert list(words.map("upper", iter(()), ordered=False, on_error="keep")) == []
        assert asyncio.run(gathered(words.amap("upper", ()))) == []


async def counting(count: int, closed: asyncio.Event) -> AsyncIterator[int]:
    try:
        for number in range(count):
            await asyncio.sleep(0)
            yield number
    finally:
        closed.set()


def test_items_may_come_from_an_async_iterator() -> None:
    async def work() -> None:
        closed = asyncio.Event()
        with Words() as words:
            assert await gathered(words.amap("later", counting(40, closed))) == list(range(40))
            assert closed.is_set()
            closed.clear()
            results = words.amap("later", counting(1000, closed))
            assert await anext(results) == 0
            await results.aclose()
            assert closed.is_set()

    asyncio.run(work())


def test_a_flow_is_called_for_many_documents(put: Put) -> None:
    words = Words()
    held = put(words)
    if held is words:
        f = Flow().add(use=words, on="upper", id="up")
    else:
        f = Flow().add(use=lambda doc: held.post(on="upper", doc=doc), id="up")
    with f.add(use=lambda doc: doc.read() + "!", id="mark", needs="up"):
        assert list(f.map(docs=texts("a", "b"))) == ["A!", "B!"]
        assert asyncio.run(gathered(f.amap(docs=texts("a", "b")))) == ["A!", "B!"]


# What an item is


class Places:
    """A data set as some libraries have them."""

    def __getitem__(self, place: int) -> str:
        return ["emma", "persuasion"][place]


def test_items_may_come_from_places() -> None:
    with Words() as words:
        places: Any = Places()
        assert list(words.map("known", places)) == ["emma 0", "persuasion 0"]


def test_documents_are_values_of_the_parameter_that_is_left() -> None:
    with Words() as words:
        assert list(words.map("known", ["emma"], year=1815)) == ["emma 1815"]
        assert list(words.map("both", ["a", "b"], right="!")) == ["a!", "b!"]
        assert list(words.map("known", [1815], title="emma")) == ["emma 1815"]  # none is required that is left
        with pytest.raises(InvalidArgument, match=r"both needs 'left' and 'right': docs= gives the values of one"):
            list(words.map("both", ["a"]))
        with pytest.raises(InvalidArgument, match="both takes no parameter but the constants"):
            list(words.map("both", ["a"], left="a", right="b"))
        with pytest.raises(InvalidArgument, match="known has no parameter 'yaer'; did you mean 'year'"):
            list(words.map("known", ["emma"], yaer=1))


def test_calls_are_mappings_of_arguments_that_go_before_constants(put: Put) -> None:
    words = put(Words())

    found = words.map("known", calls=[{"title": "emma"}, {"title": "persuasion", "year": 1817}], year=1815)

    assert list(found) == ["emma 1815", "persuasion 1817"]


def test_a_call_that_is_no_mapping_of_parameters_is_an_error_of_its_item() -> None:
    with Words() as words:
        good = {"left": "a", "right": "b"}
        given: Any = [good, "a", {"left": "a"}, {**good, "timeout": 1}]
        first, *others = words.map("both", calls=given, on_error="keep")

    assert first.result == "ab"
    assert [str(one.error) for one in others] == [
        "calls= gives mappings of arguments by name; this one is str",
        "both needs the parameter 'right'; it takes: left, right",
        "both has no parameter 'timeout'; it takes: left, right",
    ]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "map takes either docs=, .* or calls="),
        ({"docs": [1], "calls": [{}]}, "map takes either docs=, .* or calls="),
        ({"docs": "text"}, "not one str; use post"),
        ({"docs": Text(value="a")}, "not one Text; use post"),
        ({"docs": {"doc": 1}}, "not one dict; use post"),
        ({"docs": 3}, "not one int; use post"),
        ({"docs": [], "concurrency": 0}, "concurrency=0 is no number of calls from 1 to 1,024"),
        ({"docs": [], "concurrency": 1025}, "concurrency=1025"),
        ({"docs": [], "concurrency": True}, "concurrency=True"),
        ({"docs": [], "on_error": "ignore"}, "on_error='ignore' is not known; it takes 'raise' or 'keep'"),
        ({"docs": [], "timeout": "soon"}, "timeout='soon' is no number of seconds"),
    ],
    ids=str,
)
def test_what_is_wrong_with_the_arguments_is_told_at_once(given: dict[str, Any], message: str) -> None:
    with Words() as words:
        with pytest.raises(InvalidArgument, match=message):
            words.map("upper", **given)
        with pytest.raises(InvalidArgument, match=message):
            words.amap("upper", **given)


def test_an_endpoint_that_streams_is_refused(put: Put) -> None:
    words = put(Words())

    with pytest.raises(InvalidArgument, match=r"letters takes one request and a stream of replies; .* use stream\(\)"):
        list(words.map("letters", texts("a")))


@pytest.mark.parametrize("name", ["map", "amap"])
def test_no_endpoint_is_called_as_they_are(name: str) -> None:
    async def method(self: Any, doc: Text) -> Text:
        return doc

    method.__name__ = name
    with pytest.raises(TypeError, match=f"Reader.{name}: '{name}' is an attribute of every Executor"):
        type("Reader", (Executor,), {name: post(method)})


# Errors


def test_errors_are_kept_beside_the_items_that_they_are_of(put: Put) -> None:
    words = put(Words())

    found = list(words.map("known", ["emma", "none", "persuasion"], on_error="keep"))

    assert [one.result for one in found] == ["emma 0", None, "persuasion 0"]
    assert [(one.index, one.item, type(one.error)) for one in found if one.error] == [(1, "none", NotFound)]
    assert str(found[1].error) == "no book 'none'"


def test_the_first_error_in_order_ends_it_after_the_results_before(put: Put) -> None:
    words = put(Words())
    found = words.map("known", ["emma", "persuasion", "none", "nobody", "emma"])

    assert [next(found), next(found)] == ["emma 0", "persuasion 0"]
    with pytest.raises(NotFound, match="^item 2: no book 'none'$") as caught:
        next(found)
    assert caught.value.details["index"] == 2
    assert isinstance(caught.value.__cause__, NotFound)
    assert list(found) == []


class Waiting(Executor):
    """Answers when it is told to, or never; numbers below 0 by an error, once the number `after` was asked for."""

    def __init__(self, after: int = 0) -> None:
        self.released, self.arrived, self.left = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.after = after
        self.begun: list[int] = []
        self.cancelled: list[int] = []

    @post
    async def answer(self, number: int) -> int:
        self.begun.append(number)
        if number == self.after:
            self.arrived.set()
        if number < 0:
            await self.arrived.wait()
            raise ValueError(number)
        try:
            await self.released.wait()
        except asyncio.CancelledError:
            self.cancelled.append(number)
            self.left.set()
            raise
        return number


def test_the_first_error_at_all_cancels_the_others_where_no_order_is_kept() -> None:
    async def work() -> None:
        with Waiting() as e:
            with pytest.raises(Internal, match="^item 2: the handler failed"):
                await gathered(e.amap(docs=[0, 1, -1, 3], ordered=False, concurrency=3))
            assert e.cancelled == [0, 1]
            assert 3 not in e.begun

    asyncio.run(work())


def test_in_order_an_error_cancels_only_what_comes_behind_it() -> None:
    async def work() -> None:
        with Waiting(after=2) as e:
            results = e.amap(docs=[0, -1, 2])
            first = asyncio.ensure_future(anext(results))
            await e.left.wait()
            assert e.cancelled == [2]
            e.released.set()
            assert await first == 0
            with pytest.raises(Internal, match="^item 1: "):
                await anext(results)

    asyncio.run(asyncio.wait_for(work(), PATIENCE))


def broken(count: int) -> Iterator[str]:
    for number in range(count):
        yield str(number)
    raise OSError("the disk is gone")


@pytest.mark.parametrize("on_error", ["raise", "keep"])
@pytest.mark.parametrize("ordered", [True, False], ids=["ordered", "unordered"])
def test_an_error_of_the_source_comes_after_what_was_before_it(ordered: bool, on_error: Any) -> None:
    with Words() as words:
        results = words.map("known", broken(70), ordered=ordered, on_error=on_error)
        given = [next(results) for _ in range(70)]
        with pytest.raises(OSError, match="the disk is gone"):
            next(results)

    found = [one.result if isinstance(one, Mapped) else one for one in given]
    assert sorted(found) == sorted(f"{number} 0" for number in range(70))


def test_a_source_that_ends_the_program_ends_only_the_map() -> None:
    def leaving() -> Iterator[str]:
        yield "a"
        raise SystemExit(3)

    with Words() as words:
        found = words.map("known", leaving())
        assert next(found) == "a 0"
        with pytest.raises(RuntimeError, match="SystemExit"):
            next(found)


# Servers with too much to do


def test_what_is_refused_with_a_time_to_come_back_is_called_again(put: Put) -> None:
    words = Words()
    words.refusals = 3
    held = put(words)

    assert list(held.map("busy", ["a", "b", "c"])) == ["a", "b", "c"]
    assert words.calls == {"a": 4, "b": 4, "c": 4}


def test_it_is_not_called_again_for_ever() -> None:
    with Words() as words:
        words.refusals = 1000
        (found,) = words.map("busy", ["a"], on_error="keep")

    assert isinstance(found.error, ResourceExhausted)
    assert words.calls["a"] == ATTEMPTS


@pytest.mark.parametrize("retry_after", [None, 25.0, 31.0, 1e300, float("inf"), float("nan")], ids=str)
def test_it_is_not_called_again_where_nobody_asked_for_that_or_no_time_is_left(retry_after: float | None) -> None:
    with Words() as words:
        words.refusals, words.retry_after = 1000, retry_after
        (found,) = words.map("busy", ["a"], on_error="keep", timeout=20)

    assert isinstance(found.error, ResourceExhausted)
    assert words.calls["a"] == 1


def test_what_may_have_run_is_not_called_again(put: Put) -> None:
    words = Words()
    held = put(words)

    (found,) = held.map("away", ["a"], on_error="keep")

    assert isinstance(found.error, Unavailable)
    assert words.calls["a"] == 1


def test_a_flow_of_which_nodes_have_run_is_not_run_again() -> None:
    words = Words()
    words.refusals = 1000
    with Flow().add(use=words, on="known", id="one").add(use=words, on="busy", id="two", needs="one") as f:
        (found,) = f.map(docs=["emma"], on_error="keep")

    assert isinstance(found.error, ResourceExhausted)
    assert words.calls["emma 0"] == 1


def test_each_item_has_the_time_that_is_allowed() -> None:
    with Waiting() as e:
        found = list(e.map(docs=[0, 1], timeout=0.01, on_error="keep"))

    assert [type(one.error).__name__ for one in found] == ["DeadlineExceeded", "DeadlineExceeded"]


# Against a model


class Odd(Executor):
    @post
    async def answer(self, item: tuple[int, int]) -> int:
        """The number, after so many turns of the loop; those below 0 fail."""
        number, turns = item
        for _ in range(turns):
            await asyncio.sleep(0)
        if number < 0:
            raise NotFound(str(number))
        return number


ITEMS = st.lists(st.tuples(st.integers(-1, 20), st.integers(0, 5)), max_size=40)


@given(items=ITEMS, concurrency=st.integers(1, 8), is_read_in_a_thread=st.booleans())
def test_kept_results_are_one_for_each_item(
    items: list[tuple[int, int]], concurrency: int, is_read_in_a_thread: bool
) -> None:
    model = [(index, item, -1 if item[0] < 0 else item[0]) for index, item in enumerate(items)]

    def source() -> Any:
        return (item for item in items) if is_read_in_a_thread else items

    with Odd() as e:
        for ordered in (True, False):
            found = list(e.map(docs=source(), concurrency=concurrency, ordered=ordered, on_error="keep"))
            seen = [(one.index, one.item, -1 if one.error else one.result) for one in found]
            assert (seen if ordered else sorted(seen)) == model


@given(items=ITEMS, concurrency=st.integers(1, 8))
def test_results_in_order_are_those_of_a_loop_over_post(items: list[tuple[int, int]], concurrency: int) -> None:
    good = [number for number, _ in items]
    failing = next((index for index, number in enumerate(good) if number < 0), None)
    found: list[int] = []
    with Odd() as e:
        try:
            found.extend(e.map(docs=items, concurrency=concurrency))
        except NotFound as error:
            assert error.details["index"] == failing
        else:
            assert failing is None

    assert found == good[:failing]
