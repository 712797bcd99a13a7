"""The end of a call's time: what reads ahead then ends with the call, and holds none that was dropped."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

import pytest

pytest.importorskip("grpc", reason="needs the extra grpc")

from grpc_site import SOON, Run, head, linked, listening, serving

from xooai.driver import Shape
from xooai.errors import Unavailable
from xooai_grpc.ahead import BYTES, EARLY, Ahead

NEVER = 3600  # seconds: a timeout that no test reaches


@pytest.mark.parametrize("shape", [Shape.SERVER, Shape.BIDI])
def test_a_call_that_is_dropped_cancels_its_handler_before_its_time_is_over(run: Run, shape: Shape) -> None:
    async def scenario() -> None:
        async with serving() as (link, site):
            request = None if shape & Shape.CLIENT else b""
            channel = await link.open(head("begin", shape, timeout=NEVER), request)
            if request is None:
                await channel.send(b"")
            assert await channel.receive() == b"hello"
            await asyncio.wait_for(site.started.wait(), SOON)
            dropped = weakref.ref(channel)
            del channel
            gc.collect()
            await asyncio.wait_for(site.cancelled.wait(), SOON)
            assert dropped() is None

    run(scenario())


def test_nothing_is_read_ahead_on_a_link_that_is_closed(run: Run) -> None:
    async def scenario() -> None:
        async with listening() as (listener, site):
            async with linked(listener.url) as link:
                channel = await link.open(head("wait", Shape.SERVER, timeout=2 * EARLY), b"")
                await asyncio.wait_for(site.started.wait(), SOON)
            await asyncio.wait_for(asyncio.sleep(1.5 * EARLY), SOON)
            assert not any("Ahead" in repr(task) for task in asyncio.all_tasks())
            assert channel._ahead is None  # type: ignore[union-attr]  # whether one has begun
            with pytest.raises(Unavailable, match="has been closed"):
                await channel.receive()

    run(scenario())


def test_any_error_of_reading_reaches_who_reads(run: Run) -> None:
    async def read() -> Any:
        raise RuntimeError("anything else")

    async def scenario() -> None:
        ahead = Ahead(read, None)
        for _ in range(2):
            with pytest.raises(RuntimeError, match="anything else"):
                await asyncio.wait_for(ahead.end(), SOON)

    run(scenario())


def test_who_waits_is_told_that_reading_was_stopped_before_it_began(run: Run) -> None:
    async def scenario() -> None:
        ahead = Ahead(asyncio.Event().wait, None)
        ahead.stop()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(ahead.end(), SOON)

    run(scenario())


def test_reading_that_waits_for_room_ends_with_the_time_of_a_call_that_was_dropped(run: Run) -> None:
    began, over = asyncio.Event(), asyncio.Event()

    async def read() -> Any:
        if not began.is_set():
            began.set()
            return bytes(BYTES + 1)
        over.set()
        raise RuntimeError("the time is over")

    async def scenario() -> None:
        ahead = Ahead(read, None)
        await began.wait()
        del ahead
        gc.collect()
        await asyncio.wait_for(over.wait(), SOON)

    run(scenario())


@pytest.mark.parametrize("shape", [Shape.SERVER, Shape.BIDI])
def test_a_stream_that_nobody_reads_ends_with_its_link(run: Run, shape: Shape) -> None:
    async def scenario() -> None:
        async with listening() as (listener, site):
            async with linked(listener.url) as link:
                request = None if shape & Shape.CLIENT else b""
                channel = await link.open(head("begin", shape, timeout=NEVER), request)
                if request is None:
                    await channel.send(b"")
                assert await channel.receive() == b"hello"
                await asyncio.wait_for(site.started.wait(), SOON)
            await asyncio.wait_for(site.cancelled.wait(), SOON)
            with pytest.raises(Unavailable, match="has been closed"):
                await asyncio.wait_for(channel.receive(), SOON)

    run(scenario())
