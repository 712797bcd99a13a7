"""Calls that are answered together, with callers, items and handlers that get into each other's way."""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import threading
import weakref
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from noted_batches import PATIENCE, Noting, scene
from pydantic import BaseModel, Field, JsonValue, RootModel

from xooai import Executor, FailedPrecondition, Internal, InvalidArgument, NotFound, Text, post, stream
from xooai.metadata import Inquiry
from xooai.timing import read_timing


class Settings(BaseModel):
    token: str = Field(default="", exclude=True)


class Own(NotFound):
    """An error that is made in a way of its own."""

    def __init__(self, what: str, number: int) -> None:
        super().__init__(f"{what} {number}")


class Attacked(Executor):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.gate, self.started = threading.Event(), threading.Semaphore(0)
        self.sizes: list[int] = []
        self.aside = self.most = 0

    @post(batch_size=2, batch_wait=0)
    async def marking(self, x: list[int], marks: list[str]) -> list[list[str]]:
        marks.append("seen")
        await asyncio.to_thread(self.gate.wait, PATIENCE)
        return [marks for _ in x]

    @post(batch_size=8, batch_wait=0.05)
    async def hidden(self, x: list[int], settings: Settings) -> list[str]:
        return [settings.token for _ in x]

    @post(batch_size=10, batch_wait=0, weight=lambda x: x)
    async def weighed(self, x: list[float]) -> list[float]:
        return x

    @post(batch_size=4000)
    async def wide(self, x: list[int]) -> list[int]:
        self.sizes.append(len(x))
        return x

    @post(batch_size=100_000, weight=lambda x: 1)
    async def tokens(self, x: list[int]) -> list[int]:
        return x

    @post(batch_size=2, batch_wait=0)
    def alone(self, x: list[int]) -> list[int]:
        self.aside += 1
        self.most = max(self.most, self.aside)
        self.started.release()
        assert self.gate.wait(PATIENCE)
        self.aside -= 1
        return x

    @post(batch_size=4)
    async def own(self, x: list[int]) -> list[int | Exception]:
        return [Own("no", one) if one < 0 else one for one in x]

    @post(batch_size=4, weight=sys.exit)
    async def leaving(self, x: list[int]) -> list[int]:
        return x

    @post(batch_size=4)
    async def inner(self, x: list[int]) -> list[int]:
        if x[0] < 0:
            raise SystemExit(x[0])
        return await self.apost(on="inner", x=[-1])  # type: ignore[no-any-return]

    @post(batch_size=4)
    async def looked(self, x: list[int], doc: Text) -> list[str]:
        self.sizes.append(len(x))
        return [doc.read() for _ in x]

    @post(batch_size=10, weight=lambda text: len(text.read()))
    def lengths(self, doc: list[Text]) -> list[int]:
        self.sizes.append(len(doc))
        return [len(text.read()) for text in doc]

    @post(batch_size=2, batch_wait=0)
    async def turns(self, x: list[int], by: str = "") -> list[int]:
        self.sizes.append(x[0])
        await asyncio.sleep(0)
        return x

    @post(batch_size=4, batch_wait=0)
    async def onward(self, x: list[int], url: str) -> list[int]:
        return [await self.apost(on=f"{url}/attacked/own", x=one) for one in x]


@pytest.fixture
def attacked() -> Any:
    with Attacked() as executor:
        yield executor


# Who sees what of others


def test_what_a_handler_does_to_arguments_others_do_not_see(attacked: Attacked) -> None:
    async def play() -> None:
        calls = [asyncio.create_task(attacked.apost(on="marking", x=x, marks=["a"])) for x in range(7)]
        await asyncio.sleep(0.05)
        attacked.gate.set()
        assert await asyncio.gather(*calls) == [["a", "seen"]] * 7
        assert await attacked.apost(on="marking", x=[1, 2, 3, 4, 5], marks=["a"]) == [["a", "seen"]] * 5

    scene(play)


def test_arguments_that_are_alike_when_written_are_told_apart(attacked: Attacked) -> None:
    pytest.importorskip("uvicorn")
    (url,) = attacked.start("http://127.0.0.1:0")

    def call(x: int) -> str:
        body = json.dumps({"x": x, "settings": {"token": f"token {x}"}}).encode()
        with urlopen(Request(f"{url}/attacked/hidden", body, {"Content-Type": "application/json"})) as reply:
            return str(json.load(reply))

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(call, range(16))) == [f"token {x}" for x in range(16)]


def test_a_list_with_a_document_beside_is_in_one_batch(attacked: Attacked) -> None:
    assert attacked.post(on="looked", x=[1, 2, 3, 4], doc=Text(value="a")) == ["a"] * 4
    assert attacked.sizes == [4]


# Whose turn it is


def test_who_calls_seldom_does_not_wait_for_those_who_call_all_the_time(attacked: Attacked) -> None:
    async def play() -> None:
        is_over = False

        async def busy() -> None:
            while not is_over:
                await attacked.apost(on="turns", x=0)

        many = [asyncio.create_task(busy()) for _ in range(8)]
        await asyncio.sleep(0.05)
        try:
            assert await attacked.apost(on="turns", x=1, by="seldom", timeout=5) == 1
        finally:
            is_over = True
            await asyncio.gather(*many)

    scene(play)


def test_a_def_that_goes_on_without_callers_keeps_its_turn(attacked: Attacked) -> None:
    async def play() -> None:
        first = asyncio.create_task(attacked.apost(on="alone", x=1))
        await asyncio.to_thread(attacked.started.acquire)
        first.cancel()
        second = asyncio.create_task(attacked.apost(on="alone", x=2))
        assert not await asyncio.to_thread(attacked.started.acquire, timeout=0.2)
        attacked.gate.set()
        assert await second == 2

    scene(play)
    assert attacked.most == 1


def test_who_leaves_in_the_turn_in_which_a_batch_leaves_is_not_run(noting: Noting) -> None:
    async def play() -> None:
        first = asyncio.create_task(noting.apost(on="waiting", x=0))
        await asyncio.to_thread(noting.started.acquire)
        others = [asyncio.create_task(noting.apost(on="waiting", x=x)) for x in (1, 2, 3)]
        await asyncio.sleep(0.05)
        first.add_done_callback(lambda _: others[0].cancel())
        noting.gate.set()
        assert await first == 0
        assert await asyncio.gather(*others, return_exceptions=True)

    scene(play)
    assert noting.batches[-1] != "cancelled"


def test_batches_that_are_made_on_two_loops_at_once_both_run(noting: Noting) -> None:
    meeting = threading.Barrier(2)

    def factory(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        if "_run_batch" in getattr(coroutine, "__qualname__", ""):
            meeting.wait(PATIENCE)  # while a batch is sent on this loop, one is on the other
        return asyncio.Task(coroutine, loop=loop, **options)

    replies: list[int] = []

    async def play() -> None:
        asyncio.get_running_loop().set_task_factory(factory)
        replies.append(await noting.apost(on="picky", x=7, timeout=10))

    threads = [threading.Thread(target=scene, args=(play,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert replies == [7, 7]


def test_loops_are_let_go_of(noting: Noting) -> None:
    async def play() -> weakref.ref[asyncio.AbstractEventLoop]:
        assert await noting.apost(on="picky", x=1) == 1
        return weakref.ref(asyncio.get_running_loop())

    first = asyncio.run(play())
    asyncio.run(play())
    gc.collect()
    assert first() is None


def test_a_circle_of_servers_ends_that_goes_through_a_batch(attacked: Attacked) -> None:
    (url,) = attacked.start("memory://attacked")
    with Attacked.at(url) as client:
        assert client.post(on="onward", x=1, url=url, metadata={"xooai-hops": "15"}) == 1
        with pytest.raises(FailedPrecondition, match="came through 16 servers"):
            client.post(on="onward", x=1, url=url, metadata={"xooai-hops": "16"})


def test_who_asks_is_told_how_long_his_item_waited(attacked: Attacked) -> None:
    async def play() -> None:
        calls = [asyncio.create_task(attacked.apost(on="alone", x=1))]
        await asyncio.to_thread(attacked.started.acquire)
        inquiry = Inquiry({})
        calls.append(asyncio.create_task(attacked.apost(on="alone", x=2, metadata=inquiry)))
        await asyncio.sleep(0.2)
        attacked.gate.set()
        assert await asyncio.gather(*calls) == [1, 2]
        seconds = read_timing(inquiry.beside["server-timing"]).seconds
        assert seconds["queue"] > 0.15 > seconds["handle"]

    scene(play)


def test_a_document_that_is_elsewhere_is_read_to_be_weighed(attacked: Attacked, tmp_path: Path) -> None:
    (tmp_path / "six.txt").write_text("eleven")
    six = Text(ref=str(tmp_path / "six.txt"))

    assert attacked.post(on="lengths", doc=six) == 6
    assert attacked.post(on="lengths", doc=[six, Text(value="four"), six]) == [6, 4, 6]
    assert max(attacked.sizes) <= 2


# What items and handlers are


@pytest.mark.parametrize("weight", [float("inf"), 1e300, -1.0], ids=["infinite", "huge", "negative"])
def test_an_item_that_weighs_what_cannot_be_is_refused_and_spoils_nothing(attacked: Attacked, weight: float) -> None:
    with pytest.raises(InvalidArgument, match="an item weighs"):
        attacked.post(on="weighed", x=weight)
    assert attacked.post(on="weighed", x=[3.0, 99.0, 4.0]) == [3.0, 99.0, 4.0]


def test_a_list_of_any_length_is_taken_however_large_batches_are(attacked: Attacked) -> None:
    many = list(range(9000))
    assert attacked.post(on="wide", x=many) == many
    assert max(attacked.sizes) == 4000
    assert attacked.post(on="tokens", x=many) == many


def test_an_error_that_is_made_in_its_own_way_is_told(attacked: Attacked) -> None:
    with pytest.raises(NotFound, match=r"^no -1$"):
        attacked.post(on="own", x=-1)
    with pytest.raises(NotFound, match=r"^item 1 of 3: no -2$"):
        attacked.post(on="own", x=[1, -2, 3])


@pytest.mark.parametrize("name", ["leaving", "inner"])
def test_an_exit_ends_a_call_and_not_the_loop(attacked: Attacked, name: str) -> None:
    async def play() -> None:
        for given in (1, [1, 2]):
            with pytest.raises(Internal):
                await attacked.apost(on=name, x=given)
        assert await attacked.apost(on="own", x=[1, 2]) == [1, 2]

    scene(play)


class Numbers(RootModel[list[int]]):
    pass


@pytest.mark.parametrize("item", [Numbers, JsonValue, Iterable[int], Numbers | int], ids=range(4))
def test_what_travels_as_a_list_is_no_item(item: Any) -> None:
    def run(self: Any, x: Any) -> Any: ...

    run.__annotations__ = {"x": list[item], "return": list[int]}
    with pytest.raises(TypeError, match="may be a list itself"):
        type("Made", (Executor,), {"run": post(batch_size=2)(run)})


def test_what_streams_takes_no_batches() -> None:
    with pytest.raises(TypeError, match="an endpoint that streams takes no batches; use @post"):
        stream(batch_size=3)  # type: ignore[call-overload]


def test_items_in_a_tuple_are_many(attacked: Attacked) -> None:
    assert attacked.post(on="own", x=(1, 2)) == [1, 2]
    (url,) = attacked.start("memory://attacked")
    with Attacked.at(url) as client:
        assert client.post(on="own", x=(1, 2)) == [1, 2]


def test_a_loop_that_is_closed_with_a_batch_under_way_says_nothing(noting: Noting) -> None:
    loop = asyncio.new_event_loop()
    call = loop.create_task(noting.apost(on="waiting", x=1))
    while not noting.started.acquire(blocking=False):
        loop.run_until_complete(asyncio.sleep(0.01))
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.run_until_complete(asyncio.wait({call}))
    noting.gate.set()
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    assert call.cancelled()
