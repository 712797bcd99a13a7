"""Who calls: clients of a class and without it, layers on both sides, handlers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any, assert_type

import pytest
from stream_places import Place, within
from talker import Talker

from xooai import Executor, FailedPrecondition, NotFound, Text, post, stream
from xooai.call import Call, Service
from xooai.doc import is_wire, mark_wire

PIPE = "pipe://127.0.0.1:0"


@pytest.fixture
def client() -> Iterator[Talker]:
    server = Talker()
    (url,) = server.start(PIPE)
    with server, Talker.at(url) as talker:
        yield talker


def test_a_typed_client_has_the_signatures_of_its_class(client: Talker) -> None:
    async def ask() -> None:
        counted = client.count(3)
        assert_type(counted, AsyncIterator[int])
        assert [item async for item in counted] == [0, 1, 2]
        assert [item async for item in await client.listed(n=3)] == [0, 1, 2]
        total = client.total(_each(1, 2), scale=3)
        assert_type(await asyncio.create_task(total), int)

    within(ask())
    steps = client.steps(3, start=1)
    assert_type(steps, Iterator[int])
    assert list(steps) == [1, 2, 3]
    assert_type(client.joined(iter([Text(value="a")])), Text)


async def _each(*items: Any) -> AsyncIterator[Any]:
    for item in items:
        yield item


def test_call_is_the_typed_async_form_of_every_shape(client: Talker) -> None:
    async def ask() -> None:
        steps = await client.call(Talker.steps, 3)
        assert_type(steps, AsyncIterator[int])
        assert [item async for item in steps] == [0, 1, 2]
        assert [item async for item in await client.call(Talker.count, n=2)] == [0, 1]
        assert await client.call(Talker.total, _each(1, 2)) == 3
        assert await client.call(Talker.joined, xs=iter([Text(value="a"), Text(value="b")])) == Text(value="a b")
        talk = await client.call(Talker.chat, xs=_each(Text(value="a")))
        assert [reply.read() async for reply in talk] == ["A"]

    within(ask())


def test_the_types_of_streams_come_with_the_description(place: Place) -> None:
    e = place.without_class(Talker())

    assert list(e.stream("count", n=3)) == [0, 1, 2]
    assert e.stream("total", xs=range(4)) == 6
    assert e.stream("joined", xs=[Text(value="a"), Text(value="b")], glue="-") == Text(value="a-b")
    assert [reply.read() for reply in e.stream("chat", xs=(Text(value=word) for word in "ab"))] == ["A", "B"]


def test_an_endpoint_elsewhere_is_streamed_by_its_url() -> None:
    server = Talker()
    (url,) = server.start(PIPE)
    with server, Talker() as e:
        assert list(e.stream(f"{url}/talker/count", n=3)) == [0, 1, 2]
        assert e.stream(f"{url}/talker/total", xs=[1, 2]) == 3


class Layers:
    """A layer that counts frames both ways, and one that fails when it is told to."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.error: Exception | None = None

    def counting(self, service: Service) -> Service:
        async def around(call: Call) -> None:
            self.calls.append(f"{call.endpoint.name} begins")
            if self.error is not None:
                raise self.error
            try:
                await service(call)
            finally:
                self.calls.append(f"{call.endpoint.name} ends")

        return around


@pytest.mark.parametrize("side", ["server", "client"])
def test_layers_stand_around_the_whole_stream(side: str) -> None:
    layers = Layers()
    around = [layers.counting]
    with Talker(layers=around if side == "server" else ()) as server:
        (url,) = server.start(PIPE)
        with Executor(f"{url}/talker", layers=around if side == "client" else ()) as e:
            assert list(e.stream("count", n=3)) == [0, 1, 2]
            assert e.stream("total", xs=range(100)) == 4950
            with pytest.raises(NotFound) as caught:
                list(e.stream("fail", n=1))
            assert caught.value.remote
            talk = e.stream("chat", xs=iter([Text(value="a")]))
            assert [reply.read() for reply in talk] == ["A"]

    names = ["count", "total", "fail", "chat"]
    told = [what for what in layers.calls if not what.startswith("describe")]
    assert told == [f"{name} {what}" for name in names for what in ("begins", "ends")]


def test_what_a_layer_of_the_client_raises_is_raised() -> None:
    layers = Layers()
    with Talker() as server:
        (url,) = server.start(PIPE)
        with Executor(f"{url}/talker", layers=[layers.counting]) as e:
            assert list(e.stream("count", n=1)) == [0]
            layers.error = LookupError("mine")
            for call in (lambda: list(e.stream("count", n=1)), lambda: e.stream("total", xs=[1])):
                with pytest.raises(LookupError, match="mine"):
                    call()


class Caller(Executor):
    """Calls from inside a handler."""

    @post
    async def blocking(self) -> list[int]:
        return list(self.stream("count", n=2))

    @post
    def in_thread(self) -> list[int]:
        return list(self.stream("count", n=2))

    @stream
    async def count(self, n: int) -> AsyncIterator[int]:
        for number in range(n):
            yield number


def test_a_blocking_stream_on_a_loop_that_serves_raises_and_names_the_async_one() -> None:
    with Caller() as e:
        (url,) = e.start(PIPE)
        with Caller.at(url) as client:
            assert client.in_thread() == [0, 1]
            with pytest.raises(FailedPrecondition, match=r"astream\("):
                client.post("blocking")


def test_refs_of_peers_stay_marked_through_streams_in_process() -> None:
    with Talker() as e:
        theirs, ours = Text(ref="/etc/hostname"), Text(ref="a.txt")
        mark_wire(theirs)

        assert is_wire(e.stream("first_text", xs=[theirs]))
        assert not is_wire(e.stream("first_text", xs=[ours]))
        assert [is_wire(doc) for doc in e.stream("echo", xs=[theirs, ours, theirs])] == [True, False, True]


def test_documents_that_a_peer_streams_are_marked(client: Talker) -> None:
    (doc,) = client.stream("echo", xs=[Text(ref="https://example.org/a.txt")])

    assert is_wire(doc)


def test_a_server_that_stops_ends_its_streams() -> None:
    server = Talker()
    (url,) = server.start(PIPE, grace=0)
    with Talker.at(url) as client:
        replies = client.steps(1_000_000)
        assert next(replies) == 0
        server.stop()

        with pytest.raises(ConnectionError):
            list(replies)
        assert server.closed.wait(20)
        server.close()
