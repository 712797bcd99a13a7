"""How much one post sets going: so many calls at once, of which none is refused by our own doing, and so many in all."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from xooai import Executor, Flow, ResourceExhausted, Text, post
from xooai.flow.budget import AT_ONCE, CALLS
from xooai.flow.flow import FUNCTIONS
from xooai.threads import QUEUE_LIMIT

Put = Callable[[Executor], dict[str, Any]]
PATIENCE = 20  # seconds: what waits longer fails its test
DOC = Text(value="x")


class Counts(Executor):
    """Tells how many calls ran at once, and ends none before there were as many as may be."""

    now = most = calls = 0

    def __init__(self) -> None:
        self.full = asyncio.Event()

    @post
    async def count(self, doc: Text) -> Text:
        self.calls += 1
        self.now += 1
        self.most = max(self.most, self.now)
        if self.now == AT_ONCE:
            self.full.set()
        await asyncio.wait_for(self.full.wait(), PATIENCE)
        await asyncio.sleep(0.01)  # one more, were there one, would begin now
        self.now -= 1
        return doc


def test_of_many_nodes_that_are_ready_so_many_are_called_at_once(put: Put) -> None:
    counts = Counts()
    there = put(counts)
    f = Flow()
    for number in range(AT_ONCE + 30):
        f.add(**there, on="count", id=str(number))

    with f:
        assert len(f.post(doc=DOC)) == counts.calls == AT_ONCE + 30

    assert counts.most == AT_ONCE


def test_the_items_of_several_lists_share_what_may_be_called_at_once() -> None:
    counts = Counts()

    def fifty(doc: Text) -> list[Text]:
        return [doc] * 50

    f = Flow().add(use=fifty, id="list")
    for number in range(10):
        f.add(use=counts, on="count", id=str(number), needs="list", each=True)

    with counts, f:
        f.post(doc=DOC)

    assert counts.calls == 500
    assert counts.most == AT_ONCE


def test_more_calls_than_may_wait_for_a_thread_are_all_made() -> None:
    class Plain(Executor):
        @post
        def one(self, doc: Text) -> int:
            return 1

    with Plain() as plain, Flow() as f:
        for number in range(QUEUE_LIMIT + 50):
            f.add(use=plain, id=str(number), when=lambda doc: True)
        assert sum(f.post(doc=DOC).values()) == QUEUE_LIMIT + 50


def test_the_functions_of_a_flow_share_threads() -> None:
    before = threading.active_count()
    most: list[int] = []

    def size(doc: Text) -> int:
        most.append(threading.active_count() - before)
        return 1

    with Flow() as f:
        for number in range(3 * FUNCTIONS):
            f.add(use=size, id=str(number))
        f.post(doc=DOC)

    assert max(most) <= FUNCTIONS + 1  # and the loop of blocking calls


def test_a_list_with_more_items_than_a_post_may_make_calls_is_refused(serve: Callable[[Any], str]) -> None:
    called: list[int] = []

    def note(doc: int) -> int:
        called.append(doc)
        return doc

    def many(doc: Text) -> list[int]:
        return list(range(CALLS))

    f = Flow(name="f").add(use=many, id="list")
    f.add(use=note, id="each", needs="list", each=True)

    def refused(post: Callable[..., Any]) -> None:
        with pytest.raises(ResourceExhausted, match="node 'each' .* may make 100,000 calls, .* 1 more") as told:
            post(doc=DOC)
        assert told.value.reason == "size"
        assert called == []

    with Executor(serve(f)) as client:
        refused(f.post)
        refused(client.post)


def test_flows_inside_of_a_flow_share_its_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xooai.flow.budget.CALLS", 100)

    def ten(doc: int) -> list[int]:
        return list(range(10))

    def one(doc: int) -> int:
        return doc

    inner = Flow(name="inner").add(use=ten).add(use=one, needs="ten", each=True)
    f = Flow().add(use=ten).add(use=inner, id="inner", needs="ten", each=True)
    within = Flow().add(use=lambda doc: [1, 2, 3]).add(use=inner, id="inner", needs="lambda", each=True)
    with inner, within, f:
        assert within.post(doc=1) == [list(range(10))] * 3  # 1 + 3 * (1 + 1 + 10)
        assert within.post(doc=1) == within.post(doc=1)  # each post has its own
        with pytest.raises(ResourceExhausted, match="node 'inner' .* failed: node 'one' .* may make 100 calls"):
            f.post(doc=1)


def test_a_task_that_outlives_its_post_is_not_held_to_what_that_may_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xooai.flow.budget.CALLS", 5)
    inner = Flow(name="inner").add(use=lambda doc: doc, id="echo")
    tasks: list[asyncio.Task[list[Any]]] = []
    go = asyncio.Event()

    async def later() -> list[Any]:
        await go.wait()
        return [await inner.apost(doc=number) for number in range(10)]

    async def begin(doc: int) -> int:
        tasks.append(asyncio.create_task(later()))
        return doc

    async def main() -> None:
        assert await Flow().add(use=begin).apost(doc=1) == 1
        go.set()
        assert await tasks[0] == list(range(10))

    with inner:
        asyncio.run(main())
