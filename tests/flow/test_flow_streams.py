"""Streams through Flows: nodes that stream, nodes that are called for each item, and what a Flow of them is to its caller."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xooai import (
    DeadlineExceeded,
    Executor,
    Flow,
    FlowError,
    Internal,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Text,
    post,
    stream,
)
from xooai.doc import mark_wire

Put = Callable[[Executor], dict[str, Any]]
PATIENCE = 20  # seconds: what waits longer fails its test instead of stopping the run


class Numbers(Executor):
    @stream
    async def count(self, n: int) -> AsyncIterator[int]:
        for x in range(n):
            yield x

    @stream
    def count_in_thread(self, n: int) -> Iterator[int]:
        yield from range(n)

    @stream
    async def plus(self, xs: AsyncIterator[int], by: int = 1) -> AsyncIterator[int]:
        async for x in xs:
            yield x + by

    @stream
    def pairs(self, xs: Iterator[int]) -> Iterator[int]:
        for x in xs:
            yield x
            yield x

    @stream
    async def total(self, xs: AsyncIterator[int]) -> int:
        found = 0
        async for x in xs:
            found += x
        return found

    @stream
    async def until(self, xs: AsyncIterator[int], last: int) -> AsyncIterator[int]:
        async for x in xs:
            if x == last:
                raise NotFound(f"no {x}")
            yield x

    @post
    async def double(self, x: int) -> int:
        await asyncio.sleep(0.003 if x % 3 else 0)  # so that later ones are done before
        return 2 * x

    @post
    def square(self, x: int) -> int:
        return x * x

    @post
    def remainder(self, x: int) -> int:
        return x % 100

    @post
    def not_three(self, x: int) -> int:
        if x == 3:
            raise NotFound("no 3")
        return x

    @post
    def text(self, doc: Text) -> Text:
        return doc


def test_a_stream_goes_through_nodes_that_stream_and_nodes_that_are_called_for_each_item(put: Put) -> None:
    there = put(Numbers())
    f = Flow().add(**there, on="count", id="n").add(**there, on="double", id="d", needs="n")
    f.add(**there, on="plus", id="p", needs="d", args={"by": 7}).add(**there, on="square", needs="p")

    with f:
        assert list(f.stream(n=40)) == [(2 * x + 7) ** 2 for x in range(40)]
        assert list(f(n=2)) == [49, 81]
        with pytest.raises(InvalidArgument, match="call takes one request and a stream of replies"):
            f.post(n=2)


def test_a_node_that_takes_a_stream_and_gives_one_reply_ends_it(put: Put) -> None:
    there = put(Numbers())
    f = Flow().add(**there, on="count_in_thread", id="n").add(**there, on="pairs", id="p", needs="n")
    f.add(**there, on="total", id="t", needs="p").add(**there, on="square", id="s", needs="t")

    with f:
        assert f.post(n=5) == 400
        ran = f.run(n=5)
        assert dict(ran.replies) == {"t": 20, "s": 400}
        assert {span.id for span in ran.trace.spans} == {"n", "p", "t", "s"}


def test_a_flow_whose_root_takes_a_stream_takes_one(put: Put) -> None:
    there = put(Numbers())
    f = Flow().add(**there, on="plus", id="p").add(**there, on="double", id="d", needs="p")
    total = Flow(name="sum").add(use=f, id="f").add(**there, on="total", needs="f")

    async def word_by_word() -> list[int]:
        async with f.open(by=2) as s:
            found = []
            for x in (1, 5):
                await s.send(x)
                found.append(await s.receive())
            await s.end()
            assert await s.receive() is None
        return found

    with f, total:
        assert list(f.stream(xs=range(5), by=3)) == [6, 8, 10, 12, 14]
        assert total.stream(xs=iter(range(5))) == 30
        assert asyncio.run(asyncio.wait_for(word_by_word(), PATIENCE)) == [6, 14]
        with pytest.raises(InvalidArgument, match="call takes 'xs' as a stream"):
            f.post(xs=[1])
        with pytest.raises(InvalidArgument) as told:
            total.stream(xs=[1, "a"])
        assert told.value.errors[0]["loc"] == ("xs", 1)


def test_a_stream_and_other_replies_come_together_in_a_node() -> None:
    numbers = Numbers()
    f = Flow().add(use=numbers, on="square", id="by").add(use=numbers, on="count", id="n", args={"n": 4})
    f.add(use=numbers, on="plus", id="xs", needs=("n", "by"))
    f.add(use=lambda xs, by: (xs, by), id="both", needs=("xs", "by"))

    with f:
        assert list(f.stream(x=3)) == [[9, 9], [10, 9], [11, 9], [12, 9]]

    g = Flow().add(use=numbers, on="square", id="by").add(use=numbers, on="plus", needs=("input", "by"))
    with g:
        assert list(g.stream(x=3, xs=[1, 2])) == [10, 11]


def test_functions_that_yield_and_conditions_on_items() -> None:
    def letters(doc: Text) -> Iterator[str]:
        yield from doc.read()

    async def twice(letters):  # type: ignore[no-untyped-def]
        return letters * 2

    async def joined(xs: AsyncIterator[str], by: str = "-") -> str:
        return by.join([x async for x in xs])

    f = Flow().add(use=letters).add(use=twice, needs="letters", when=lambda letters: letters != "b")
    with f.add(use=joined, needs="twice"):
        assert f.post(doc=Text(value="abc")) == "aa-cc"

    g = Flow().add(use=Numbers, on="count", id="n").add(use=Numbers, on="not_three", needs="n", optional=True)
    with g:
        assert list(g.stream(n=6)) == [0, 1, 2, 4, 5]

    h = (
        Flow()
        .add(use=Numbers, on="square", id="s")
        .add(use=Numbers, on="count", needs="s", id="n", when=lambda s: s < 5)
    )
    with h.add(use=Numbers, on="double", needs="n"):
        assert list(h.stream(x=2)) == [0, 2, 4, 6]
        assert list(h.stream(x=3)) == []


REFUSED: dict[str, tuple[Callable[[Flow], Flow], str]] = {
    "two readers": (
        lambda f: f.add(use=Numbers, on="double", id="a", needs="n").add(use=Numbers, on="total", id="b", needs="n"),
        "node 'n' gives a stream, which has one reader; 'a', 'b' all need it",
    ),
    "one of several results": (
        lambda f: f.add(use=Numbers, on="double", id="a"),
        "node 'n' gives a stream, which cannot be one of several results; nobody needs 'a' either",
    ),
    "a join of streams": (
        lambda f: f.add(use=Numbers, on="count", id="m").add(use=lambda n, m: n, id="c", needs=("n", "m")),
        "node 'c': n and m both give a stream, and a node reads one",
    ),
    "a stream for each item": (
        lambda f: f.add(use=Numbers, on="count", id="m", needs="n"),
        "node 'm': numbers.count would give a stream for each item of that of n",
    ),
    "a stream of one reply": (
        lambda f: f.add(use=Numbers, on="total", id="t", needs="n").add(use=Numbers, on="plus", id="p", needs="t"),
        "node 'p': numbers.plus takes a stream as 'xs', and none of what the node needs gives one: 't'",
    ),
    "items of another type": (
        lambda f: f.add(use=Numbers, on="text", id="t", needs="n"),
        "types do not fit: n: numbers.count -> int, t: numbers.text(doc: Text)",
    ),
    "a stream of another type": (
        lambda f: f.add(use=_texts, id="t", needs="n"),
        "types do not fit: n: numbers.count -> a stream of int, t: texts.texts(docs: a stream of Text)",
    ),
    "a stream that is only waited for": (
        lambda f: f.add(use=Numbers, on="square", id="a").add(use=Numbers, on="square", id="b", needs=("a", "n")),
        "node 'b': n gives a stream, which the node would only wait for",
    ),
    "each of a stream": (
        lambda f: f.add(use=Numbers, on="double", id="d", needs="n", each=True),
        "node 'd': n gives a stream: the node is called for each item without each=",
    ),
    "each of what streams": (
        lambda f: f.add(use=Numbers, on="count", id="m", needs="n", each=True),
        "node 'm': each= is for an endpoint with one request and one reply, and numbers.count streams",
    ),
    "optional": (
        lambda f: f.add(use=Numbers, on="plus", id="p", needs="n", optional=True),
        "node 'p': optional=True is for a node that gives one reply or none, and numbers.plus streams",
    ),
    "retry": (
        lambda f: f.add(use=Numbers, on="plus", id="p", needs="n", retry=1),
        "node 'p': retry= makes a call anew, and numbers.plus streams",
    ),
    "a condition on a stream": (
        lambda f: f.add(use=Numbers, on="plus", id="p", needs="n", when=lambda n: True),
        "node 'p': when= is asked once, and numbers.plus takes a stream",
    ),
    "a join for what takes a stream": (
        lambda f: f.add(use=Numbers, on="plus", id="p", needs="n", join=lambda n: n),
        "node 'p': join= makes one value of replies, and numbers.plus takes a stream as 'xs'",
    ),
    "a constant for a stream": (
        lambda f: f.add(use=Numbers, on="plus", id="p", needs="n", args={"xs": [1]}),
        "node 'p': args={'xs': ...}: that is a stream",
    ),
    "a parameter beside the stream": (
        lambda f: f.add(use=Numbers, on="until", id="u", needs="n"),
        "node 'u': nothing goes to 'last', which numbers.until needs beside its stream",
    ),
}


async def _texts(docs: AsyncIterator[Text]) -> AsyncIterator[Text]:
    async for doc in docs:
        yield doc


@pytest.mark.parametrize("mistake", REFUSED)
def test_a_graph_through_which_no_stream_can_go_is_refused(mistake: str) -> None:
    make, complaint = REFUSED[mistake]

    with pytest.raises(FlowError) as told:
        make(Flow().add(use=Numbers, on="count", id="n")).check()
    assert complaint in str(told.value)


def test_the_callers_stream_has_one_reader_and_a_name_of_its_own() -> None:
    f = Flow().add(use=Numbers, on="total", id="a").add(use=Numbers, on="total", id="b")
    with pytest.raises(
        FlowError, match="the Flow's input is one stream, which has one reader, and 'a', 'b' all take it"
    ):
        f.check()

    g = Flow().add(use=Numbers, on="total", id="a").add(use=lambda xs: xs, id="b")
    with pytest.raises(FlowError, match="the Flow's input 'xs' is a stream to 'a', and one value to another node"):
        g.check()


FAILING: dict[str, tuple[Callable[[Flow, dict[str, Any]], Flow], str]] = {
    "the first": (lambda f, there: f.add(**there, on="plus", id="p", needs="n"), "n"),
    "one in the middle": (
        lambda f, there: f.add(**there, on="until", id="u", needs="n", args={"last": 3}).add(
            **there, on="plus", id="p", needs="u"
        ),
        "u",
    ),
    "one that is called for each item": (
        lambda f, there: f.add(**there, on="not_three", id="x", needs="n").add(**there, on="plus", id="p", needs="x"),
        "x",
    ),
    "the last": (
        lambda f, there: f.add(**there, on="plus", id="p", needs="n", args={"by": 0}).add(
            **there, on="until", id="u", needs="p", args={"last": 3}
        ),
        "u",
    ),
}


@pytest.mark.parametrize("which", FAILING)
def test_what_came_before_an_error_is_given_and_then_the_error_that_names_the_node(put: Put, which: str) -> None:
    def three_and_no_more() -> Iterator[int]:
        yield from range(3)
        if which == "the first":
            raise NotFound("no 3")
        yield from range(3, 1000)

    add, id = FAILING[which]
    given: list[int] = []
    with add(Flow().add(use=three_and_no_more, id="n"), put(Numbers())) as f:
        with pytest.raises(NotFound, match=rf"^node '{id}' .* failed: no 3 \(request \S+\)$") as told:
            given.extend(f.stream())

        assert [x % 3 for x in given] in ([0, 1, 2], [1, 2, 0])
        assert told.value.details["node"] == id
        assert told.value.id


@pytest.mark.parametrize("on", ["hang", "hold"])
def test_a_failure_does_not_wait_for_what_others_are_at(put: Put, on: str) -> None:
    """Items 4 and on hang in the node behind the one that fails; a call for each item, and a stream."""
    steps = Steps()

    def failing() -> Iterator[int]:
        yield from range(1, 6)
        assert steps.hanging.acquire(timeout=PATIENCE)
        raise NotFound("no 6")

    given: list[int] = []
    with Flow().add(use=failing, id="n").add(**put(steps), on=on, needs="n") as f:
        f.check()
        with pytest.raises(NotFound, match="^node 'n' .* failed: no 6"):
            given.extend(f.stream(timeout=PATIENCE))
        assert given == [1, 2, 3]
        assert steps.ended.acquire(timeout=PATIENCE)


def test_a_node_that_ends_a_stream_fails_by_the_error_of_who_gives_it(put: Put) -> None:
    there = put(Numbers())
    f = Flow().add(**there, on="count", id="n").add(**there, on="until", id="u", needs="n", args={"last": 3})

    with f.add(**there, on="total", id="t", needs="u"), pytest.raises(NotFound, match="^node 'u' .* failed: no 3"):
        f.post(n=9)


def test_a_node_that_takes_the_end_of_a_stream_cut_off_for_its_end_does_not_hide_it() -> None:
    async def all_of(xs: AsyncIterator[int]) -> AsyncIterator[int]:
        try:
            async for x in xs:
                yield x
        except BaseException:  # noqa: BLE001 - a bad handler
            yield -1

    f = Flow().add(use=Numbers, on="until", id="u", args={"last": 2}).add(use=all_of, needs="u")
    with f, pytest.raises(NotFound, match="^node 'u'"):
        list(f.stream(xs=range(9)))


@pytest.mark.parametrize("on", ["double", "plus", "total"])
def test_what_a_node_gives_and_the_next_does_not_take_is_no_mistake_of_the_caller(put: Put, on: str) -> None:
    def mixed() -> Iterator[Any]:
        yield 1
        yield "two"

    given: list[int] = []
    with Flow().add(use=mixed, id="m").add(**put(Numbers()), on=on, id="n", needs="m") as f:
        with pytest.raises(Internal, match=r"^node 'n' .* failed: it does not take what it was given of 'm'"):
            given.extend(f.stream() if on != "total" else [f.post()])
        assert len(given) == (0 if on == "total" else 1)


def test_a_broken_node_is_told_by_an_id_alone() -> None:
    async def broken(xs: AsyncIterator[int]) -> AsyncIterator[int]:
        async for x in xs:
            yield 1 // (x - 1)

    f = Flow().add(use=Numbers, on="count", id="n").add(use=broken, id="b", needs="n")
    with f.add(use=Numbers, on="plus", id="p", needs="b"):
        with pytest.raises(Internal, match="^node 'b' .*the server's log tells more") as told:
            list(f.stream(n=9))
        assert "division" not in str(told.value)


class Steps(Executor):
    """Tells what runs."""

    def __init__(self) -> None:
        self.given = 0
        self.ended, self.hanging = threading.Semaphore(0), threading.Semaphore(0)

    @stream
    async def large(self) -> AsyncIterator[Text]:
        while True:
            self.given += 1
            yield Text(value="x" * 100_000)

    @stream
    async def texts(self, docs: AsyncIterator[Text]) -> AsyncIterator[Text]:
        async for doc in docs:
            yield doc

    @stream
    async def endless(self) -> AsyncIterator[int]:
        try:
            while True:
                self.given += 1
                yield self.given
        finally:
            self.ended.release()

    @stream
    async def on(self, xs: AsyncIterator[int]) -> AsyncIterator[int]:
        try:
            async for x in xs:
                yield x
        finally:
            self.ended.release()

    @stream
    async def hold(self, xs: AsyncIterator[int]) -> AsyncIterator[int]:
        async for x in xs:
            yield await self.hang(x)

    @post
    async def hang(self, x: int) -> int:
        if x > 3:
            try:
                self.hanging.release()
                await asyncio.sleep(60)
            finally:
                self.ended.release()
        return x


def test_leaving_early_ends_every_node(put: Put) -> None:
    steps = Steps()
    there = put(steps)
    f = Flow().add(**there, on="endless", id="e").add(**there, on="on", id="a", needs="e")
    f.add(**there, on="hang", id="h", needs="a").add(**there, on="on", id="b", needs="h")

    async def leave() -> None:
        items = f.astream()
        assert [await anext(items) for _ in range(3)] == [1, 2, 3]
        await asyncio.to_thread(steps.hanging.acquire, timeout=PATIENCE)
        await items.aclose()

    with f:
        asyncio.run(asyncio.wait_for(leave(), PATIENCE))
        for _ in range(4):  # endless, on, on, and one of those that hang at least
            assert steps.ended.acquire(timeout=PATIENCE)


def test_a_caller_that_takes_nothing_holds_the_first_node_back(put: Put) -> None:
    steps = Steps()
    there = put(steps)
    f = Flow().add(**there, on="large", id="e").add(**there, on="texts", id="a", needs="e")
    f.add(use=lambda x: x, id="h", needs="a").add(**there, on="texts", id="b", needs="h")

    async def take_one() -> int:
        items = f.astream()
        await anext(items)
        before = -1
        while before < steps.given:  # until it stands
            before = steps.given
            await asyncio.sleep(0.2)
        await items.aclose()
        return before

    with f:
        held = asyncio.run(asyncio.wait_for(take_one(), PATIENCE))
    # 1 MiB or 16 items each way a hop within a process; over a transport what its windows and the kernel's sockets take.
    assert held <= (150 if there["use"] is steps else 1500)


def test_an_item_is_given_before_the_next_one_is_made(put: Put) -> None:
    there = put(Numbers())
    f = Flow().add(**there, on="plus", id="a").add(**there, on="double", id="b", needs="a")
    f.add(**there, on="plus", id="c", needs="b")

    async def in_turn() -> list[int]:
        found: list[int] = []
        asked = asyncio.Semaphore(1)

        async def given() -> AsyncIterator[int]:
            for x in range(4):
                await asked.acquire()
                yield x

        async for item in f.astream(xs=given()):
            found.append(item)
            asked.release()
        return found

    with f:
        assert asyncio.run(asyncio.wait_for(in_turn(), PATIENCE)) == [3, 5, 7, 9]


def given_in(seconds: float, steps: Steps, there: dict[str, Any]) -> list[int]:
    """What a chain gives whose last item hangs, in that time for the whole of it, which ends each of its nodes."""
    f = Flow().add(**there, on="endless", id="e").add(**there, on="hang", id="h", needs="e")
    given: list[int] = []
    with f.add(**there, on="on", id="on", needs="h"):
        f.check()
        with pytest.raises(DeadlineExceeded):
            given.extend(f.stream(timeout=seconds))
        for _ in range(3 if len(given) == 3 else 0):
            assert steps.ended.acquire(timeout=PATIENCE)
    return given


def test_the_time_for_the_whole_ends_every_node(put: Put) -> None:
    given: list[int] = []
    seconds = 0.5
    while given != [1, 2, 3] and seconds < PATIENCE:  # a machine with much else to do needs more
        steps = Steps()
        given = given_in(seconds, steps, put(steps))
        assert given == [1, 2, 3][: len(given)]
        seconds *= 3
    assert given == [1, 2, 3]


def test_a_node_may_have_less_time_for_its_stream(put: Put) -> None:
    with Flow().add(**put(Steps()), on="endless", id="e", timeout=0.2) as f:
        f.check()
        with pytest.raises(DeadlineExceeded, match=r"^node 'e' .* failed: "):
            for _ in f.stream(timeout=PATIENCE):
                pass


def test_an_explanation_says_what_streams(put: Put) -> None:
    there = put(Numbers())
    f = Flow().add(**there, on="plus", id="p").add(**there, on="double", id="d", needs="p")
    with f.add(**there, on="total", id="t", needs="d"):
        explained = f.explain()

    assert explained.startswith("flow(xs: a stream of int, by: int = 1) -> int\n")
    for line in (
        "the stream xs from input",
        "called for each item of p",
        "gives a stream of int",
        "the stream xs from d",
    ):
        assert line in explained


def test_the_ref_of_a_peer_is_opened_by_no_node_of_a_chain(
    put: Put, serve: Callable[[Any], str], tmp_path: Any
) -> None:
    class Texts(Executor):
        @stream
        async def echo(self, docs: AsyncIterator[Text]) -> AsyncIterator[Text]:
            async for doc in docs:
                yield doc

        @post
        def same(self, doc: Text) -> Text:
            return doc

    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    there = put(Texts())
    echo = Flow(name="echo").add(**there, on="echo", id="a").add(**there, on="same", id="b", needs="a")
    echo.add(**there, on="echo", id="c", needs="b")
    reads = Flow(name="reads").add(use=echo, id="a").add(use=_read, id="b", needs="a")
    loose = (
        Flow(name="loose").add(use=echo, id="a").add(use=lambda docs: docs, id="l", needs="a").add(use=_read, needs="l")
    )

    dicts = Flow(name="dicts").add(use=echo, id="a").add(use=_dicts, id="d", needs="a").add(use=_read, needs="d")
    on = Flow(name="on").add(use=_dicts, id="d").add(**there, on="echo", id="a", needs="d").add(use=_dicts, needs="a")
    with Executor(serve(echo)) as client:
        (doc,) = client.stream(docs=[_forged(secret.as_uri())])
        assert doc.ref == secret.as_uri()
    with Executor(serve(on)) as client:
        (given,) = client.stream(docs=[{"kind": "text", "ref": secret.as_uri()}])
        assert given == {"kind": "text", "ref": secret.as_uri(), "media_type": "text/plain"}
    for f in (reads, loose, dicts):
        with Executor(serve(f)) as client, pytest.raises(PermissionDenied):
            list(client.stream(docs=[_forged(secret.as_uri())]))


def _read(doc: Text) -> str:
    return doc.read()


async def _dicts(docs: AsyncIterator[dict[str, Any]]) -> AsyncIterator[Any]:
    async for doc in docs:
        yield doc


def _forged(ref: str) -> Text:
    """A document with a local ref that goes out as it is, which no client of ours would send."""
    doc = Text(ref=ref)
    mark_wire(doc)
    return doc


KINDS: dict[str, tuple[dict[str, Any], Callable[[list[int]], list[int]]]] = {
    "plus": ({"on": "plus"}, lambda xs: [x + 1 for x in xs]),
    "pairs": ({"on": "pairs"}, lambda xs: [x for x in xs for _ in range(2)]),
    "double": ({"on": "double"}, lambda xs: [2 * x for x in xs]),
    "even": ({"on": "remainder", "when": lambda x: x % 2 == 0}, lambda xs: [x % 100 for x in xs if x % 2 == 0]),
    "again": ({"again": True}, lambda xs: list(range(sum(xs) % 50))),
}
"""Kinds of nodes, and what each makes of the items of a stream."""


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(xs=st.lists(st.integers(-1000, 1000), max_size=60), kinds=st.lists(st.sampled_from(sorted(KINDS)), max_size=5))
def test_a_chain_gives_what_its_nodes_would_give_by_hand(xs: list[int], kinds: list[str]) -> None:
    numbers = Numbers()
    f = Flow().add(use=numbers, on="plus", id="0", args={"by": 0})
    expected = xs
    for place, kind in enumerate(kinds):
        options, model = KINDS[kind]
        expected = model(expected)
        if "again" in options:
            f.add(use=numbers, on="total", id=f"{place} total", needs=str(place))
            f.add(use=lambda total: total % 50, id=f"{place} n", needs=f"{place} total")
            f.add(use=numbers, on="count", id=str(place + 1), needs=f"{place} n")
        else:
            f.add(use=numbers, id=str(place + 1), needs=str(place), **options)

    with numbers, f:
        assert list(f.stream(xs=xs)) == expected
