"""Served Flows with nodes at other servers: the caller's time and the caller's leaving reach all of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from typing import Any

import pytest
from chaos_calls import Clock, keeping_time
from chaos_program import PATIENCE
from chaos_served import Served
from waiting_program import Waiting

from tcp_proxy import TcpProxy
from xooai import Executor, Flow, current, post
from xooai.errors import DeadlineExceeded, Unavailable

Run = Callable[[Coroutine[Any, Any, Any]], Any]

WORK = 0.3  # seconds of each node
TIME = 0.5  # seconds for the whole: the first node does its work, the second not to its end
OVER = 0.15  # seconds after which the caller has its error
PAUSES = (
    5  # times that a machine may stand still while the first node works, so that there is no time left for the second
)
SOON = 0.5  # seconds in which all handlers have to see that the client has left
SCHEMES = ["http", "grpc", "quic"]


class Stage(Executor):
    """Works for a while, and tells with how much time left it began, and when it ended."""

    def __init__(self, name: str) -> None:
        super().__init__(name=name)
        self.left: list[float | None] = []
        self.ended: list[float] = []
        self.work_of = 0.0  # seconds

    @post
    async def work(self, x: int) -> int:
        self.left.append(current().remaining)
        try:
            await asyncio.sleep(self.work_of)
        finally:
            self.ended.append(time.monotonic())
        return x


CHAINS = [("http", "grpc", "quic", "http"), ("grpc", "quic", "http", "grpc"), ("quic", "http", "grpc", "quic")]
"""The drivers of the Flow itself, and of its three nodes."""


def test_the_callers_time_goes_through_a_served_flow_and_ends_what_it_has_called(run: Run, pem: dict[str, str]) -> None:
    """Each node is called through a client, which is an executor here; the third is never begun."""

    async def scene() -> None:
        with ExitStack() as stack:
            served = Served(stack, pem)
            stages, clients = [], []
            for index, (outer, *inner) in enumerate(CHAINS):
                three = [Stage(f"{name}{index}") for name in "abc"]
                nodes = [served.client(served.url(*there), Stage) for there in zip(inner, three, strict=True)]
                f = (
                    Flow(name=f"f{index}")
                    .add(use=nodes[0], on="work", id="a")
                    .add(use=nodes[1], on="work", needs="a", id="b")
                )
                f.add(use=nodes[2], on="work", id="c", needs="b")
                stages.append(three)
                clients.append(served.client(served.url(outer, f)))

            async def late(client: Executor, three: list[Stage], clock: Clock) -> None:
                a, b, c = three
                for _ in range(PAUSES):
                    for stage in three:
                        stage.left, stage.ended, stage.work_of = [], [], WORK
                    clock.late = 0.0
                    began, own = time.monotonic(), clock.now()
                    with pytest.raises(DeadlineExceeded):
                        await client.apost(x=1, timeout=TIME)
                    assert time.monotonic() - began + 0.001 >= TIME
                    assert clock.now() - own < TIME + OVER
                    await asyncio.sleep(WORK)
                    assert c.left == []
                    assert len(a.left) <= 1
                    if b.left:
                        break
                (left,) = b.left
                assert left is not None
                assert TIME - WORK - 0.05 - clock.late < left <= TIME - WORK + 0.01
                assert b.ended[0] - began < TIME + 0.1 + clock.late

            for client in clients:  # connections, and what the nodes take
                assert await client.apost(x=1) == 1
            for client, three in zip(clients, stages, strict=True):
                async with keeping_time() as clock:
                    await late(client, three, clock)
            for client, (a, *_) in zip(clients, stages, strict=True):
                with pytest.raises(DeadlineExceeded):
                    await client.apost(x=1, timeout=-1)
                assert len(a.left) == 1
            for client in clients:
                await client.__aexit__()

    run(scene())


Nodes = dict[str, Waiting]


def fan(nodes: Nodes) -> Flow:
    """Eight nodes at three servers."""
    f = Flow(name="fan")
    for place in range(8):
        scheme = SCHEMES[place % len(SCHEMES)]
        f.add(use=nodes[scheme], on="wait", id=f"{place} over {scheme}")
    return f


def chain(nodes: Nodes) -> Flow:
    """A stream through three servers, of which the first gives one item, and then waits."""
    f = (
        Flow(name="chain")
        .add(use=nodes["grpc"], on="silent", id="s")
        .add(use=nodes["quic"], on="each", id="e", needs="s")
    )
    return f.add(use=nodes["http"], on="each_in_thread", id="t", needs="e")


def total(nodes: Nodes) -> Flow:
    """What a thread gives goes to a server that waits for its end."""
    f = Flow(name="total").add(use=nodes["http"], on="ticking_in_thread", id="t")
    return f.add(use=nodes["grpc"], on="all_of", id="a", needs="t")


FLOWS: dict[str, tuple[Callable[[Nodes], Flow], int]] = {
    "a fan of eight": (fan, 8),
    "a chain that streams": (chain, 3),
    "a stream that ends in one reply": (total, 2),
}
"""Flows, and how many handlers run in one."""

WAYS: dict[str, Callable[[TcpProxy, asyncio.Task[None]], object]] = {
    "reset": lambda proxy, call: proxy.reset(),
    "closed": lambda proxy, call: proxy.close(),
    "half-closed": lambda proxy, call: proxy.shut(),
    "cancelled": lambda proxy, call: call.cancel(),
}

LEAVINGS = [
    *((scheme, way) for scheme in ("http", "grpc") for way in WAYS),
    ("quic", "cancelled"),  # by STOP_SENDING and a reset of the stream; UDP has no connection that a proxy could end
]


async def taken(client: Executor, is_stream: bool) -> None:
    if not is_stream:
        await client.apost()
        return
    async for _ in client.astream():
        pass


@pytest.mark.parametrize("name", FLOWS)
def test_a_client_that_leaves_a_served_flow_ends_the_handlers_of_all_its_nodes(
    run: Run, pem: dict[str, str], name: str
) -> None:
    make, handlers = FLOWS[name]
    waiting = [Waiting() for _ in SCHEMES]

    async def until(running: int) -> None:
        while sum(one.running for one in waiting) != running:  # noqa: ASYNC110  # threads have no event for this
            await asyncio.sleep(0.005)

    async def left(client: Executor, proxy: TcpProxy, way: str) -> None:
        call = asyncio.create_task(taken(client, make is chain))
        async with asyncio.timeout(PATIENCE), keeping_time() as clock:
            await until(handlers)
            began = clock.now()
            WAYS[way](proxy, call)
            await until(0)
            assert clock.now() - began < SOON, way
        with pytest.raises((Unavailable, asyncio.CancelledError)):
            await call

    async def scene() -> None:
        with ExitStack() as stack:
            served = Served(stack, pem)
            nodes = {
                scheme: served.client(served.url(scheme, one), Waiting)
                for scheme, one in zip(SCHEMES, waiting, strict=True)
            }
            urls = {scheme: served.url(scheme, make(nodes)) for scheme in SCHEMES}
            for scheme, way in LEAVINGS:
                async with TcpProxy(urls[scheme]) as proxy:
                    client = served.client(urls[scheme] if scheme == "quic" else proxy.url)
                    await left(client, proxy, way)
                    await client.__aexit__()

    run(scene())
