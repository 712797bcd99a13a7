"""What one connection of the client makes of servers that misbehave."""

from __future__ import annotations

import asyncio
from asyncio import StreamReader, StreamWriter

import pytest
from scripted_server import (
    HEAD,
    OK,
    Run,
    call,
    echo,
    linked,
    reply,
    request,
    reset,
    saying,
    serving,
    single_bytes,
)

from xooai.driver import DialOptions, Head
from xooai.errors import (
    Code,
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    ResourceExhausted,
    Unavailable,
    XooaiError,
)
from xooai.http import PROBLEM
from xooai_http.client import HttpLink
from xooai_http.pool import PoolLimits

MIB = 1024 * 1024

ANSWERS = {
    "a length": (reply(b"abc"), b"abc"),
    "no content": (reply(b""), b""),
    "204": (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    "chunks with trailers": (
        OK + b"transfer-encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\nx-sum: 1\r\n\r\n",
        b"abc",
    ),
    "100 Continue before": (b"HTTP/1.1 100 Continue\r\n\r\n" + reply(b"abc"), b"abc"),
    "closing ends it": (OK + b"\r\nabc", b"abc"),
    "HTTP/1.0": (b"HTTP/1.0 200 OK\r\n\r\nabc", b"abc"),
    "another one behind it": (reply(b"abc") + reply(b"xyz"), b"abc"),
    "garbage behind it": (reply(b"abc") + b"\0garbage", b"abc"),
}
BROKEN: dict[str, tuple[bytes, type[XooaiError], str]] = {
    "nothing": (b"", Unavailable, "before it answered; the call may have run"),
    "half a status": (b"HTTP/1.1 2", Unavailable, "in the middle of its answer"),
    "half a head": (OK, Unavailable, "in the middle of its answer"),
    "no content": (OK + b"content-length: 3\r\n\r\n", Unavailable, "in the middle of its answer"),
    "half the content": (OK + b"content-length: 3\r\n\r\nab", Unavailable, "in the middle of its answer"),
    "no last chunk": (OK + b"transfer-encoding: chunked\r\n\r\n1\r\na\r\n", Unavailable, "in the middle"),
    "only an interim answer": (b"HTTP/1.1 100 Continue\r\n\r\n", Unavailable, "in the middle"),
    "garbage": (b"220 mail.example ESMTP\r\n", Internal, "is not an HTTP/1.1 response"),
    "a giant header": (OK + b"x-a: " + b"v" * 100_000 + b"\r\n\r\n", ResourceExhausted, "the limit is"),
    "too many headers": (OK + b"x-a: 1\r\n" * 101 + b"\r\n", ResourceExhausted, "more than 100 headers"),
    "a giant announced": (OK + b"content-length: 1001\r\n\r\n", ResourceExhausted, "1,001 bytes, the limit is 1,000"),
    "a giant in chunks": (
        OK + b"transfer-encoding: chunked\r\n\r\n" + b"a\r\n0123456789\r\n" * 101,
        ResourceExhausted,
        "the limit is 1,000",
    ),
    "compressed": (OK + b"content-encoding: gzip\r\ncontent-length: 1\r\n\r\na", Internal, "not asked for"),
}


@pytest.mark.parametrize("pieces", [lambda raw: (raw,), single_bytes], ids=["whole", "byte by byte"])
@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_is_received(run: Run, name: str, pieces: object) -> None:
    raw, content = ANSWERS[name]
    assert callable(pieces)

    async def scenario() -> None:
        async with serving(saying(*pieces(raw))) as url, linked(url) as link:
            channel = await link.open(HEAD, b"{}")

            assert channel.outcome is None
            assert await channel.receive() == content
            assert channel.outcome is not None
            assert channel.outcome.code == Code.OK
            assert await channel.receive() is None

    run(scenario())


@pytest.mark.parametrize("pieces", [lambda raw: (raw,), single_bytes], ids=["whole", "byte by byte"])
@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_answer_is_an_error(run: Run, name: str, pieces: object) -> None:
    raw, error, complaint = BROKEN[name]
    assert callable(pieces)

    async def scenario() -> None:
        async with serving(saying(*pieces(raw))) as url, linked(url, options=DialOptions(message_limit=1000)) as link:
            channel = await link.open(HEAD, b"{}")

            for _ in range(2):  # the second time too
                with pytest.raises(error, match=complaint) as raised:
                    await channel.receive()
            assert not raised.value.remote
            assert channel.outcome is None

    run(scenario())


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 2", OK + b"content-length: 3\r\n\r\nab", OK + b"\r\nab"])
def test_a_reset_connection_is_unavailable_and_never_a_short_answer(run: Run, said: bytes) -> None:
    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        await request(reader)
        writer.write(said)
        await writer.drain()
        reset(writer)

    async def scenario() -> None:
        async with serving(answer) as url, linked(url) as link:
            with pytest.raises(Unavailable, match="closed the connection"):
                await call(link)

    run(scenario())


def test_a_reply_of_eight_mebibytes_arrives_whole(run: Run) -> None:
    content = bytes(range(256)) * (8 * MIB // 256)

    async def scenario() -> None:
        async with serving(saying(reply(content))) as url, linked(url) as link:
            assert await call(link) == content

    run(scenario())


def test_a_request_of_eight_mebibytes_arrives_whole_though_the_server_is_slow_to_read(run: Run) -> None:
    content = bytes(range(256)) * (8 * MIB // 256)

    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        size, right = 0, True
        while size < len(content):
            piece = await reader.read(10_000)
            right = right and piece == content[size : size + len(piece)]
            size += len(piece)
        writer.write(reply(b"right" if right else b"wrong"))

    async def scenario() -> None:
        async with serving(answer) as url, linked(url) as link:
            assert await call(link, content) == b"right"

    run(scenario())


@pytest.mark.parametrize("size", [64 * 1024 - 1, 64 * 1024, 64 * 1024 + 1, 256 * 1024, 256 * 1024 + 1, 512 * 1024])
def test_requests_of_any_size_are_echoed_one_after_another(run: Run, size: int) -> None:
    content = b"x" * size

    async def scenario() -> None:
        async with serving(echo) as url, linked(url) as link:
            assert [await call(link, content) for _ in range(3)] == [content] * 3

    run(scenario())


def too_large_by_limit() -> bytes:
    content = b'{"title":"RESOURCE_EXHAUSTED","status":413,"detail":"too large","code":8,"details":{"reason":"size"}}'
    head = b"HTTP/1.1 413 Content Too Large\r\nconnection: close\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n"
    return head % (PROBLEM.encode(), len(content)) + content


@pytest.mark.parametrize("leave", [StreamWriter.close, StreamWriter.drain, reset], ids=["closes", "lingers", "resets"])
def test_an_early_refusal_is_received_while_the_body_is_sent(run: Run, leave: object) -> None:
    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(too_large_by_limit())
        await writer.drain()
        if leave is StreamWriter.drain:
            await ended.wait()
        if leave is reset:
            reset(writer)

    async def scenario() -> None:
        async with serving(answer) as url, linked(url) as link:
            with pytest.raises(ResourceExhausted, match="too large") as raised:
                await call(link, b"x" * (8 * MIB))
            ended.set()

            assert raised.value.remote
            assert raised.value.reason == "size"

    ended = asyncio.Event()
    run(scenario())


def test_a_connection_whose_request_was_answered_early_is_not_used_again(run: Run) -> None:
    heads: list[bytes] = []

    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(reply(b"enough"))
        await ended.wait()

    async def scenario() -> None:
        async with serving(answer) as url, linked(url) as link:
            assert await call(link, b"x" * (8 * MIB)) == b"enough"
            assert await call(link, b"{}") == b"enough"
            ended.set()
        assert len(heads) == 2

    ended = asyncio.Event()
    run(scenario())


def test_what_comes_in_while_nobody_waits_closes_the_connection(run: Run) -> None:
    """It would be taken for the answer of the next call."""
    connections: list[StreamWriter] = []

    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        connections.append(writer)
        await request(reader)
        writer.write(reply(b"first"))
        await released.wait()
        writer.write(reply(b"false"))
        assert await reader.read() == b""  # the client closed
        noticed.set()

    async def scenario() -> None:
        async with serving(answer) as url, linked(url) as link:
            assert await call(link) == b"first"
            released.set()
            await noticed.wait()
            assert len(connections) == 1

    released, noticed = asyncio.Event(), asyncio.Event()
    run(scenario())


def test_a_connection_with_something_unread_is_not_used_again(run: Run) -> None:
    count = 0

    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        nonlocal count
        count += 1
        await request(reader)
        writer.write(reply(b"%d" % count))
        await asked.wait()
        writer.write(reply(b"false"))
        await asyncio.sleep(0)
        sent.set()
        await reader.read()

    async def scenario() -> None:
        async with serving(answer) as url, linked(url) as link:
            assert await call(link) == b"1"
            asked.set()
            await sent.wait()
            assert await call(link) == b"2"

    asked, sent = asyncio.Event(), asyncio.Event()
    run(scenario())


def test_cancelling_a_call_closes_its_connection(run: Run) -> None:
    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        await request(reader)
        began.set()
        assert await reader.read() == b""
        left.set()

    async def scenario() -> None:
        async with serving(answer) as url, linked(url) as link:
            task = asyncio.create_task(call(link))
            await began.wait()
            task.cancel()

            with pytest.raises(asyncio.CancelledError):
                await task
            await left.wait()

    began, left = asyncio.Event(), asyncio.Event()
    run(scenario())


def test_cancelling_a_call_in_the_middle_of_its_body_closes_its_connection(run: Run) -> None:
    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        began.set()
        await cancelled.wait()
        while await reader.read(MIB):
            pass
        left.set()

    async def scenario() -> None:
        async with serving(answer) as url, linked(url) as link:
            task = asyncio.create_task(call(link, b"x" * (32 * MIB)))
            await began.wait()
            task.cancel()

            with pytest.raises(asyncio.CancelledError):
                await task
            cancelled.set()
            await left.wait()

    began, cancelled, left = asyncio.Event(), asyncio.Event(), asyncio.Event()
    run(scenario())


def test_aborting_a_call_closes_its_connection_and_wakes_who_waits(run: Run) -> None:
    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        await request(reader)
        began.set()
        assert await reader.read() == b""
        left.set()

    async def scenario() -> None:
        async with serving(answer) as url, linked(url) as link:
            channel = await link.open(HEAD, b"{}")
            task = asyncio.create_task(channel.receive())
            await began.wait()

            channel.abort()
            channel.abort()

            with pytest.raises(Unavailable, match="given up"):
                await task
            await left.wait()

    began, left = asyncio.Event(), asyncio.Event()
    run(scenario())


def test_aborting_after_the_answer_changes_nothing(run: Run) -> None:
    async def scenario() -> None:
        async with serving(echo) as url, linked(url) as link:
            channel = await link.open(HEAD, b"1")
            assert await channel.receive() == b"1"
            channel.abort()
            assert channel.outcome is not None
            assert await call(link, b"2") == b"2"

    run(scenario())


def test_an_answer_that_nobody_receives_leaves_the_connection_for_the_next_call(run: Run) -> None:
    async def scenario() -> None:
        async with serving(echo) as url, linked(url, limits=PoolLimits(connections=1)) as link:
            await link.open(HEAD, b"1")
            assert await call(link, b"2") == b"2"

    run(scenario())


def test_a_call_ends_with_its_timeout_and_its_connection(run: Run) -> None:
    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        await request(reader)
        writer.write(OK)  # an answer that begins is no answer
        assert await reader.read() == b""
        left.set()

    async def scenario() -> None:
        async with serving(answer) as url, linked(url) as link:
            with pytest.raises(DeadlineExceeded, match=r"no answer from 127.0.0.1:\d+ within 0.05 s"):
                await call(link, head=Head("/a/b", timeout=0.05))
            await left.wait()

    left = asyncio.Event()
    run(scenario())


def test_a_trickling_answer_does_not_outlast_the_timeout(run: Run) -> None:
    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        await request(reader)
        writer.write(OK + b"transfer-encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"1\r\nx\r\n")
            await writer.drain()
            await asyncio.sleep(0.005)

    async def scenario() -> None:
        async with serving(answer) as url, linked(url) as link:
            with pytest.raises(DeadlineExceeded):
                await call(link, head=Head("/a/b", timeout=0.05))

    run(scenario())


def test_calls_with_different_timeouts_end_each_at_its_own(run: Run) -> None:
    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        await request(reader)
        assert await reader.read() == b""

    async def timed(link: HttpLink, timeout: float) -> None:
        with pytest.raises(DeadlineExceeded, match=f"within {timeout:g} s"):
            await call(link, head=Head("/a/b", timeout=timeout))
        order.append(timeout)

    async def scenario() -> None:
        async with serving(answer) as url, linked(url) as link:
            await asyncio.gather(*(timed(link, timeout) for timeout in (0.2, 0.05, 0.15, 0.1)))

    order: list[float] = []
    run(scenario())
    assert order == [0.05, 0.1, 0.15, 0.2]


def test_a_call_answered_in_time_is_not_ended_by_the_timer_of_another(run: Run) -> None:
    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        while True:
            _, content = await request(reader)
            if content == b"slow":
                await expired.wait()
            writer.write(reply(content))

    async def scenario() -> None:
        async with serving(answer) as url, linked(url) as link:
            assert await call(link, b"quick", Head("/a/b", timeout=0.05)) == b"quick"
            slow = asyncio.create_task(call(link, b"slow", Head("/a/b", timeout=20)))
            with pytest.raises(DeadlineExceeded):
                await call(link, b"slow", Head("/a/b", timeout=0.05))
            expired.set()
            assert await slow == b"slow"

    expired = asyncio.Event()
    run(scenario())


PROBLEMS: dict[str, tuple[int, bytes, type[XooaiError], str]] = {
    "of ours": (400, b'{"detail":"no","code":3,"id":"r1","details":{"errors":[]}}', InvalidArgument, "no"),
    "a status alone": (412, b"", FailedPrecondition, "status 412"),
    "a redirect": (307, b"", Internal, "redirects are not followed"),
    "no JSON": (500, b"<html>", Internal, "status 500"),
    "deep JSON": (500, b"[" * 900, Internal, "status 500"),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_an_error_answer_raises_its_error(run: Run, name: str) -> None:
    status, content, error, message = PROBLEMS[name]
    head = b"HTTP/1.1 %d X\r\ncontent-type: %b\r\nx-request-id: r1\r\nlocation: http://127.0.0.1:1/\r\n"
    raw = head % (status, PROBLEM.encode()) + b"content-length: %d\r\n\r\n" % len(content) + content

    async def scenario() -> None:
        async with serving(saying(raw)) as url, linked(url) as link:
            channel = await link.open(HEAD, b"{}")

            for _ in range(2):
                with pytest.raises(error, match=message) as raised:
                    await channel.receive()
            assert raised.value.remote
            assert raised.value.id == "r1"
            assert channel.outcome is not None
            assert channel.outcome.code == error.code

    run(scenario())


@pytest.mark.parametrize("values", [b"9" * 5000, b"soon", b"-1", b"7"])
def test_a_time_to_come_back_is_told_when_it_makes_sense(run: Run, values: bytes) -> None:
    raw = b"HTTP/1.1 503 Busy\r\nretry-after: " + values + b"\r\ncontent-length: 0\r\n\r\n"

    async def scenario() -> None:
        async with serving(saying(raw)) as url, linked(url) as link:
            with pytest.raises(XooaiError) as raised:
                await call(link)
            assert raised.value.details.get("retry_after") == (7 if values == b"7" else None)

    run(scenario())
