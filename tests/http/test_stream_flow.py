"""Calls that stream, on the client's side: who waits for whom, who leaves when, and which connection is used again."""

from __future__ import annotations

import asyncio
import socket
import ssl
from asyncio import StreamReader, StreamWriter
from collections.abc import Awaitable
from math import inf
from pathlib import Path

import pytest
from msgspec.structs import replace
from scripted_server import Answer, Run, call, linked, reply, request, serving, until_gone
from scripted_streams import (
    BOTH,
    DOWN,
    FRAMED,
    JSON,
    LAST,
    MIB,
    ONE,
    UP,
    Incoming,
    ending,
    endless,
    frames_echo,
    items,
    received,
)

from xooai.driver import Channel, DialOptions, Head, Shape
from xooai.errors import (
    DeadlineExceeded,
    Unavailable,
)
from xooai_http.pool import PoolLimits
from xooai_http.stream_channel import FRAMES

# Nobody is given more than there is room for.


def test_a_slow_receiver_stops_the_server(run: Run) -> None:
    count, item = 1000, b"x" * 16 * 1024
    sent = 0

    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        nonlocal sent
        await request(reader)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)
        writer.write(FRAMED)
        for _ in range(count):
            writer.write(items(item))
            if not sent:
                began.set()
            sent += 1
            await writer.drain()
        writer.write(ending() + LAST)

    async def scenario() -> None:
        async with serving(answer) as url, linked(url) as link:
            channel = await link.open(DOWN, b"{}")
            await began.wait()
            before = -1
            while before != sent:  # until every buffer on the way is full
                before = sent
                await asyncio.sleep(0.1)
            assert sent < count / 2
            assert await received(channel) == [item] * count

    began = asyncio.Event()
    run(scenario())


def test_the_end_behind_as_many_items_as_are_held_is_known_though_nobody_has_taken_one(run: Run) -> None:
    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        await request(reader)
        writer.write(FRAMED + items(*several))
        await asyncio.sleep(0.1)  # by then they have been read
        writer.write(ending() + LAST)
        await until_gone(reader)

    async def scenario() -> None:
        async with serving(answer) as url, linked(url) as link:
            channel = await link.open(replace(DOWN, timeout=2), b"{}")
            await asyncio.sleep(3)
            assert await received(channel) == several

    several = [b"x"] * FRAMES
    run(scenario())


def test_a_slow_server_makes_the_sender_wait(run: Run) -> None:
    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        _, incoming = await Incoming.of(reader)
        await waiting.wait()
        size = 0
        while (content := await incoming.frame()) is not None:
            size += len(content)
        writer.write(reply(b"%d" % size))

    async def scenario() -> None:
        async with serving(answer) as url, linked(url) as link:
            channel = await link.open(UP)
            sent = 0
            for _ in range(2000):
                try:
                    await asyncio.wait_for(channel.send(b"x" * 16 * 1024), 0.2)
                except TimeoutError:
                    break
                sent += 16 * 1024
            assert sent < 2000 * 16 * 1024
            waiting.set()
            await channel.send(b"y")  # that it was cancelled while it waited has not hurt the call
            await channel.end()
            assert await channel.receive() == b"%d" % (sent + 1)

    waiting = asyncio.Event()
    run(scenario())


def test_cancelling_in_the_middle_of_a_large_frame_ends_the_call(run: Run) -> None:
    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        began.set()
        await cancelled.wait()
        await until_gone(reader)
        left.set()

    async def scenario() -> None:
        async with serving(answer) as url, linked(url) as link:
            for head in (BOTH, DOWN):
                for event in (began, cancelled, left):
                    event.clear()
                opening = link.open(head) if head is BOTH else link.open(head, b"x" * (32 * MIB))
                task = asyncio.create_task(sending(opening))
                await began.wait()
                await asyncio.sleep(0.05)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                cancelled.set()
                await left.wait()

    async def sending(opening: Awaitable[Channel]) -> None:
        channel = await opening
        await channel.send(b"x" * (32 * MIB))

    began, cancelled, left = asyncio.Event(), asyncio.Event(), asyncio.Event()
    run(scenario())


def test_a_receiver_that_was_cancelled_may_come_again(run: Run) -> None:
    async def scenario() -> None:
        async with serving(frames_echo) as url, linked(url) as link:
            channel = await link.open(BOTH)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(channel.receive(), 0.01)
            await channel.send(b"1")
            assert await channel.receive() == b"1"
            await channel.end()
            assert await channel.receive() is None

    run(scenario())


# Leaving.


async def silent(reader: StreamReader, writer: StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    await until_gone(reader)


@pytest.mark.parametrize("head", [DOWN, UP, BOTH], ids=str)
@pytest.mark.parametrize("items_before", [0, 2])
def test_a_call_ends_with_its_timeout_and_its_connection(run: Run, head: Head, items_before: int) -> None:
    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        if head is not UP and items_before:
            writer.write(FRAMED + items(*[b"1"] * items_before))
        await silent(reader, writer)
        left.set()

    async def scenario() -> None:
        async with serving(answer) as url, linked(url) as link:
            timed = Head("/a/b", JSON, shape=head.shape, timeout=0.1)
            channel = await link.open(timed) if head is not DOWN else await link.open(timed, b"{}")
            with pytest.raises(DeadlineExceeded, match=r"no answer from 127.0.0.1:\d+ within 0.1 s"):
                await received(channel)
            await left.wait()
            if head is not DOWN:
                for more in (channel.send(b""), channel.end()):
                    with pytest.raises(DeadlineExceeded):
                        await more

    left = asyncio.Event()
    run(scenario())


def test_a_sender_that_waits_ends_with_the_timeout(run: Run) -> None:
    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await done.wait()

    async def scenario() -> None:
        async with serving(answer) as url, linked(url) as link:
            channel = await link.open(Head("/a/b", JSON, shape=Shape.BIDI, timeout=0.3))
            with pytest.raises(DeadlineExceeded):
                await endless(channel)
            done.set()

    done = asyncio.Event()
    run(scenario())


def test_no_time_left_is_told_before_anything_is_sent(run: Run) -> None:
    async def scenario() -> None:
        async with linked("http://127.0.0.1:9") as link:
            with pytest.raises(DeadlineExceeded, match="no time is left"):
                await link.open(Head("/a/b", JSON, shape=Shape.BIDI, timeout=0))

    run(scenario())


@pytest.mark.parametrize("head", [DOWN, UP, BOTH], ids=str)
def test_aborting_closes_the_connection_and_wakes_who_waits(run: Run, head: Head) -> None:
    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        began.set()
        await until_gone(reader)
        left.set()

    async def scenario() -> None:
        async with serving(answer) as url, linked(url) as link:
            channel = await link.open(head) if head is not DOWN else await link.open(head, b"{}")
            task = asyncio.create_task(channel.receive())
            await began.wait()

            channel.abort()
            channel.abort()

            with pytest.raises(Unavailable, match="given up"):
                await task
            await left.wait()
            if head is not DOWN:
                with pytest.raises(Unavailable, match="given up"):
                    await channel.send(b"")

    began, left = asyncio.Event(), asyncio.Event()
    run(scenario())


def test_aborting_drops_what_was_not_received(run: Run) -> None:
    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        await request(reader)
        writer.write(FRAMED + items(b"1", b"2") + ending() + LAST)

    async def scenario() -> None:
        async with serving(answer) as url, linked(url) as link:
            channel = await link.open(DOWN, b"{}")
            assert await channel.receive() == b"1"
            channel.abort()
            for _ in range(2):
                with pytest.raises(Unavailable, match="given up"):
                    await channel.receive()
            assert channel.outcome is None

    run(scenario())


def test_aborting_after_the_end_changes_nothing(run: Run) -> None:
    async def scenario() -> None:
        async with serving(frames_echo) as url, linked(url, limits=ONE) as link:
            channel = await link.open(BOTH, b"1")
            assert await received(channel) == [b"1"]
            channel.abort()
            assert await channel.receive() is None
            assert await received(await link.open(BOTH, b"2")) == [b"2"]

    run(scenario())


def test_closing_the_link_ends_its_streams(run: Run) -> None:
    async def scenario() -> None:
        async with serving(silent) as url, linked(url) as link:
            channels = [await link.open(DOWN, b"{}"), await link.open(UP), await link.open(BOTH)]
            waiting = [asyncio.create_task(channel.receive()) for channel in channels]
            await asyncio.sleep(0)
            await link.aclose()
            for task in waiting:
                with pytest.raises(Unavailable, match="has been closed"):
                    await task
            with pytest.raises(Unavailable, match="has been closed"):
                await link.open(BOTH)

    run(scenario())


# Connections.


def counting(connections: list[StreamWriter]) -> Answer:
    """A server for calls of every shape."""

    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        connections.append(writer)
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            if b"transfer-encoding" not in head:
                length = next(line for line in head.split(b"\r\n") if line.startswith(b"content-length: "))
                content = [await reader.readexactly(int(length.partition(b": ")[2]))]
            else:
                incoming, content = Incoming(reader), []
                while (part := await incoming.frame()) is not None:
                    content.append(part)
            if b"accept: application/vnd.xooai.frames" in head:
                writer.write(FRAMED + items(*content))
                writer.write(ending())
                await asyncio.sleep(0.001)  # the last chunk in a packet of its own
                writer.write(LAST)
            else:
                writer.write(reply(b"".join(content)))

    return answer


def test_calls_of_all_shapes_share_a_connection(run: Run) -> None:
    async def scenario() -> None:
        async with serving(counting(connections)) as url, linked(url, limits=ONE) as link:
            for _ in range(2):
                assert await received(await link.open(DOWN, b"1")) == [b"1"]
                assert await call(link, b"2") == b"2"
                assert await received(await link.open(UP, b"3")) == [b"3"]
                assert await received(await link.open(BOTH, b"4")) == [b"4"]
                assert await call(link, b"5" * MIB) == b"5" * MIB
        assert len(connections) == 1

    connections: list[StreamWriter] = []
    run(scenario())


def test_a_stream_takes_one_of_the_connections_of_the_link(run: Run) -> None:
    async def scenario() -> None:
        async with serving(frames_echo) as url, linked(url, limits=ONE) as link:
            channel = await link.open(BOTH)
            with pytest.raises(DeadlineExceeded, match="was free in the time allowed"):
                await link.open(Head("/a/b", JSON, shape=Shape.BIDI, timeout=0.05))
            other = asyncio.create_task(link.open(BOTH, b"2"))
            await channel.end(b"1")
            assert await received(channel) == [b"1"]
            assert await received(await other) == [b"2"]

    run(scenario())


def test_a_connection_whose_last_chunk_does_not_come_is_closed(run: Run) -> None:
    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        await request(reader)
        writer.write(FRAMED + items(b"1") + ending())
        assert await until_gone(reader) == b""
        left.set()

    async def scenario() -> None:
        async with serving(answer) as url, linked(url) as link:
            assert await received(await link.open(DOWN, b"{}")) == [b"1"]
            await left.wait()

    left = asyncio.Event()
    run(scenario())


def test_a_connection_that_its_server_is_to_close_is_not_used_again(run: Run) -> None:
    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        connections.append(writer)
        await request(reader)
        writer.write(FRAMED[:-2] + b"connection: close\r\n\r\n" + items(b"1") + ending() + LAST)
        assert await reader.read() == b""

    async def scenario() -> None:
        async with serving(answer) as url, linked(url, limits=ONE) as link:
            for _ in range(2):
                assert await received(await link.open(DOWN, b"{}")) == [b"1"]
        assert len(connections) == 2

    connections: list[StreamWriter] = []
    run(scenario())


def test_garbage_behind_the_end_closes_the_connection(run: Run) -> None:
    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        await request(reader)
        writer.write(FRAMED + items(b"1") + ending() + LAST + b"garbage")
        assert await reader.read() == b""
        left.set()

    async def scenario() -> None:
        async with serving(answer) as url, linked(url) as link:
            assert await received(await link.open(DOWN, b"{}")) == [b"1"]
            await left.wait()

    left = asyncio.Event()
    run(scenario())


def test_a_connection_that_its_server_has_closed_is_not_used_for_a_stream(run: Run) -> None:
    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        await request(reader)
        writer.write(FRAMED + items(b"1") + ending() + LAST)
        writer.close()
        await writer.wait_closed()
        closed.set()

    async def scenario() -> None:
        async with serving(answer) as url, linked(url) as link:
            for _ in range(3):
                assert await received(await link.open(DOWN, b"{}")) == [b"1"]
                await closed.wait()
                closed.clear()

    closed = asyncio.Event()
    run(scenario())


def test_an_idle_stream_does_not_end(run: Run) -> None:
    async def scenario() -> None:
        async with serving(frames_echo) as url, linked(url, limits=PoolLimits(idle=0.01)) as link:
            channel = await link.open(Head("/a/b", JSON, shape=Shape.BIDI))
            assert link._pool is not None
            pooled = next(iter(link._pool._connections))
            assert (pooled.deadline, pooled.idle_since) == (inf, inf)
            await asyncio.sleep(0.05)
            await channel.end(b"1")
            assert await received(channel) == [b"1"]

    run(scenario())


def test_many_streams_run_side_by_side(run: Run) -> None:
    async def one(channel: Channel, number: int) -> None:
        for step in range(20):
            await channel.send(b"%d.%d" % (number, step))
            assert await channel.receive() == b"%d.%d" % (number, step)
        await channel.end()
        assert await channel.receive() is None

    async def scenario() -> None:
        async with serving(frames_echo) as url, linked(url) as link:
            channels = [await link.open(BOTH) for _ in range(50)]
            await asyncio.gather(*(one(channel, number) for number, channel in enumerate(channels)))

    run(scenario())


# TLS.


def test_calls_of_all_shapes_share_a_connection_over_tls(run: Run, tls: ssl.SSLContext, certificate: Path) -> None:
    async def scenario() -> None:
        options = DialOptions(trust=str(certificate))
        async with serving(counting(connections), tls) as url, linked(url, options=options, limits=ONE) as link:
            for _ in range(2):
                assert await received(await link.open(DOWN, b"1")) == [b"1"]
                assert await call(link, b"2") == b"2"
                assert await received(await link.open(UP, b"3")) == [b"3"]
                assert await received(await link.open(BOTH, b"4" * MIB)) == [b"4" * MIB]
        assert len(connections) == 1

    connections: list[StreamWriter] = []
    run(scenario())


def test_both_sides_stream_at_once_over_tls(run: Run, tls: ssl.SSLContext, certificate: Path) -> None:
    sizes = [1, 100_000, 0, MIB, 17] * 10

    async def feed(channel: Channel) -> None:
        for size in sizes:
            await channel.send(b"x" * size)
        await channel.end()

    async def scenario() -> None:
        options = DialOptions(trust=str(certificate))
        async with serving(frames_echo, tls) as url, linked(url, options=options) as link:
            channel = await link.open(BOTH)
            feeding = asyncio.create_task(feed(channel))
            for size in sizes:
                assert await channel.receive() == b"x" * size
                await asyncio.sleep(0.001)  # so that what comes has to wait
            assert await channel.receive() is None
            await feeding

    run(scenario())


def test_a_stream_over_tls_that_is_cut_off_is_unavailable(run: Run, tls: ssl.SSLContext, certificate: Path) -> None:
    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        await request(reader)
        writer.write(FRAMED + items(b"1"))
        await writer.drain()
        writer.transport.abort()

    async def scenario() -> None:
        async with serving(answer, tls) as url, linked(url, options=DialOptions(trust=str(certificate))) as link:
            channel = await link.open(DOWN, b"{}")
            assert await channel.receive() == b"1"
            with pytest.raises(Unavailable, match="in the middle of its answer"):
                await channel.receive()

    run(scenario())


def test_aborting_closes_a_connection_over_tls(run: Run, tls: ssl.SSLContext, certificate: Path) -> None:
    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        try:
            await silent(reader, writer)
        finally:  # it may see a reset connection
            left.set()

    async def scenario() -> None:
        async with serving(answer, tls) as url, linked(url, options=DialOptions(trust=str(certificate))) as link:
            channel = await link.open(BOTH)
            await channel.send(b"1")
            channel.abort()
            await left.wait()

    left = asyncio.Event()
    run(scenario())
