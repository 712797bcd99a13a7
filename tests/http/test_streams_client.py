"""Calls that stream, on the client's side: what it makes of servers of every kind."""

from __future__ import annotations

import asyncio
import json
from asyncio import StreamReader, StreamWriter

import pytest
from scripted_server import OK, Run, linked, reply, request, reset, saying, serving, single_bytes, until_gone
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
    chunk,
    ending,
    endless,
    frames_echo,
    items,
    received,
)

from xooai.driver import Channel, DialOptions, Head, Shape
from xooai.errors import (
    Code,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Unavailable,
    XooaiError,
)
from xooai.http import PROBLEM
from xooai.wire import END, ITEM, frame

# What is sent.


def test_a_request_of_one_frame_asks_for_frames(run: Run) -> None:
    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        head, content = await request(reader)
        heads.append(head.replace(ports[0].encode(), b"PORT"))
        assert content == b"{}"
        writer.write(FRAMED + ending() + LAST)

    async def scenario() -> None:
        async with serving(answer) as url, linked(url) as link:
            ports.append(url.rpartition(":")[2])
            assert await received(await link.open(DOWN, b"{}")) == []

    ports, heads = list[str](), list[bytes]()
    run(scenario())
    assert heads[0].split(b"\r\n") == [
        b"POST /a/b HTTP/1.1",
        b"host: 127.0.0.1:PORT",
        b"content-type: application/json",
        b"accept: application/vnd.xooai.frames+json",
        b"xooai-timeout: 20000",
        b"content-length: 2",
        b"",
        b"",
    ]


@pytest.mark.parametrize(
    ("head", "accepted"),
    [
        (UP, b"application/json"),
        (Head("/a/b", JSON, "application/msgpack", Shape.CLIENT), b"application/msgpack"),
        (BOTH, b"application/vnd.xooai.frames+json"),
        (Head("/a/b", JSON, "application/msgpack", Shape.BIDI), b"application/vnd.xooai.frames+msgpack"),
        (
            Head("/a/b", JSON, "text/plain, application/msgpack;q=1, application/json;q=0.5", Shape.BIDI),
            b"application/vnd.xooai.frames+msgpack;q=1, application/vnd.xooai.frames+json;q=0.5",
        ),
    ],
    ids=str,
)
def test_a_request_that_streams_goes_in_chunks(run: Run, head: Head, accepted: bytes) -> None:
    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        raw, incoming = await Incoming.of(reader)
        lines = raw.split(b"\r\n")
        assert b"content-type: application/vnd.xooai.frames+json" in lines
        assert b"accept: " + accepted in lines
        assert b"transfer-encoding: chunked" in lines
        assert b"content-length" not in raw
        assert [await incoming.frame(), await incoming.frame(), await incoming.frame()] == [b"1", b"", None]
        done.set()

    async def scenario() -> None:
        async with serving(answer) as url, linked(url) as link:
            channel = await link.open(head)
            await channel.send(b"1")
            await channel.end(b"")
            await done.wait()
            channel.abort()

    done = asyncio.Event()
    run(scenario())


def test_a_codec_that_has_no_frames_is_refused_before_anything_is_sent(run: Run) -> None:
    async def scenario() -> None:
        async with linked("http://127.0.0.1:9") as link:
            for shape in (Shape.CLIENT, Shape.SERVER, Shape.BIDI):
                with pytest.raises(InvalidArgument, match="is 'image/png'; over HTTP it takes application/json or"):
                    await link.open(Head("/a/b", "image/png", shape=shape), b"")

    run(scenario())


def test_a_request_of_one_frame_comes_with_its_head(run: Run) -> None:
    async def scenario() -> None:
        async with linked("http://127.0.0.1:9") as link:
            for shape in (Shape.UNARY, Shape.SERVER):
                with pytest.raises(FailedPrecondition, match=r"open\(head, request\)"):
                    await link.open(Head("/a/b", JSON, shape=shape))

    run(scenario())


def test_nothing_is_sent_after_the_end(run: Run) -> None:
    async def scenario() -> None:
        async with serving(frames_echo) as url, linked(url) as link:
            for channel in (await link.open(BOTH), await link.open(UP), await link.open(DOWN, b"{}")):
                await channel.end()
                await channel.end()
                for more in (channel.send(b""), channel.end(b"")):
                    with pytest.raises(FailedPrecondition, match="after the end"):
                        await more
                channel.abort()

    run(scenario())


@pytest.mark.parametrize("size", [0, 64 * 1024 - 6, 64 * 1024, 64 * 1024 + 1, 256 * 1024, 8 * MIB])
def test_frames_of_any_size_are_echoed(run: Run, size: int) -> None:
    content = b"x" * size

    async def scenario() -> None:
        async with serving(frames_echo) as url, linked(url) as link:
            channel = await link.open(BOTH)
            for _ in range(2):
                await channel.send(content)
                assert await channel.receive() == content
            await channel.end(content)
            assert await received(channel) == [content]

    run(scenario())


@pytest.mark.parametrize("size", [0, 64 * 1024, 64 * 1024 + 1, 8 * MIB])
def test_a_request_of_one_frame_may_be_large(run: Run, size: int) -> None:
    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        while True:
            _, content = await request(reader)
            writer.write(FRAMED + items(b"%d" % len(content)) + ending() + LAST)

    async def scenario() -> None:
        async with serving(answer) as url, linked(url, limits=ONE) as link:
            for _ in range(2):
                assert await received(await link.open(DOWN, b"x" * size)) == [b"%d" % size]

    run(scenario())


# What comes.


def test_the_first_item_comes_before_the_second_exists(run: Run) -> None:
    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        await request(reader)
        writer.write(FRAMED + items(b"1"))
        await first.wait()
        writer.write(items(b"2") + ending() + LAST)

    async def scenario() -> None:
        async with serving(answer) as url, linked(url) as link:
            channel = await link.open(DOWN, b"{}")
            assert await channel.receive() == b"1"
            assert channel.outcome is None
            first.set()
            assert await channel.receive() == b"2"
            assert channel.outcome is None
            assert await channel.receive() is None
            assert channel.outcome is not None
            assert (channel.outcome.code, channel.outcome.codec) == (Code.OK, JSON)
            assert await channel.receive() is None

    first = asyncio.Event()
    run(scenario())


def test_both_sides_go_in_step(run: Run) -> None:
    async def scenario() -> None:
        async with serving(frames_echo) as url, linked(url) as link:
            channel = await link.open(BOTH)
            for number in range(100):
                await channel.send(b"%d" % number)
                assert await channel.receive() == b"%d" % number
            await channel.end()
            assert await channel.receive() is None

    run(scenario())


def test_a_server_may_speak_first(run: Run) -> None:
    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        _, incoming = await Incoming.of(reader)
        writer.write(FRAMED + items(b"hello"))
        assert await incoming.frame() == b"you too"
        assert await incoming.frame() is None
        writer.write(ending() + LAST)

    async def scenario() -> None:
        async with serving(answer) as url, linked(url) as link:
            channel = await link.open(BOTH)
            assert await channel.receive() == b"hello"
            await channel.end(b"you too")
            assert await channel.receive() is None

    run(scenario())


def test_ten_thousand_small_items_come_in_order_both_ways(run: Run) -> None:
    async def feed(channel: Channel) -> None:
        for number in range(10_000):
            await channel.send(b"%d" % number)
        await channel.end()

    async def scenario() -> None:
        async with serving(frames_echo) as url, linked(url) as link:
            channel = await link.open(BOTH)
            feeding = asyncio.create_task(feed(channel))
            assert await received(channel) == [b"%d" % number for number in range(10_000)]
            await feeding

    run(scenario())


def test_the_one_reply_to_a_stream_is_that_of_any_call(run: Run) -> None:
    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        while True:
            _, incoming = await Incoming.of(reader)
            total = 0
            while (content := await incoming.frame()) is not None:
                total += int(content)
            writer.write(reply(b"%d" % total))

    async def scenario() -> None:
        async with serving(answer) as url, linked(url, limits=ONE) as link:
            for _ in range(2):
                channel = await link.open(UP)
                for number in range(10):
                    await channel.send(b"%d" % number)
                await channel.end()
                assert channel.outcome is None
                assert await channel.receive() == b"45"
                assert channel.outcome is not None
                assert (channel.outcome.code, channel.outcome.codec) == (Code.OK, JSON)
                assert await channel.receive() is None
            assert await received(await link.open(UP, b"7")) == [b"7"]

    run(scenario())


WHOLE = FRAMED + items(b"1", b"", b"3") + ending() + LAST
SAME: dict[str, bytes] = {
    "in chunks of their own": WHOLE,
    "in one chunk": FRAMED + chunk(frame(ITEM, b"1") + frame(ITEM, b"") + frame(ITEM, b"3")) + ending() + LAST,
    "1xx before": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nlink: x\r\n\r\n" + WHOLE,
    "trailers": WHOLE[:-2] + b"x-sum: 1\r\n\r\n",
    "parameters": WHOLE.replace(b"+json\r\n", b"+JSON ; v=1\r\n"),
    "until the connection closes": b"HTTP/1.0 200 OK\r\ncontent-type: application/vnd.xooai.frames+json\r\n\r\n"
    + b"".join(frame(ITEM, content) for content in (b"1", b"", b"3"))
    + frame(END, b'{"code":0}'),
    "a length": b"HTTP/1.1 200 OK\r\ncontent-type: application/vnd.xooai.frames+json\r\ncontent-length: 32\r\n\r\n"
    + b"".join(frame(ITEM, content) for content in (b"1", b"", b"3"))
    + frame(END, b'{"code":0}'),
}


@pytest.mark.parametrize("pieces", [lambda raw: (raw,), single_bytes], ids=["whole", "byte by byte"])
@pytest.mark.parametrize("name", SAME)
def test_items_come_however_they_are_cut(run: Run, name: str, pieces: object) -> None:
    assert callable(pieces)

    async def scenario() -> None:
        async with serving(saying(*pieces(SAME[name]))) as url, linked(url) as link:
            assert await received(await link.open(DOWN, b"{}")) == [b"1", b"", b"3"]

    run(scenario())


def test_metadata_comes_with_the_head_and_with_the_end(run: Run) -> None:
    raw = FRAMED.replace(b"\r\n\r\n", b"\r\nx-a: 1\r\nx-b: 1\r\nx-request-id: r7\r\n\r\n")
    raw += ending(b'{"code":0,"metadata":{"x-b":"2","x-c":"3"}}') + LAST

    async def scenario() -> None:
        async with serving(saying(raw)) as url, linked(url) as link:
            channel = await link.open(DOWN, b"{}")
            assert await channel.receive() is None
            assert channel.outcome is not None
            assert channel.outcome.metadata == {"x-a": "1", "x-b": "2", "x-c": "3", "x-request-id": "r7"}
            assert channel.outcome.id == "r7"

    run(scenario())


# How it ends.


def test_an_error_after_items_is_that_error(run: Run) -> None:
    end = {"code": 5, "detail": "gone", "id": "r1", "details": {"what": "page 2"}, "title": "NOT_FOUND", "status": 404}
    raw = FRAMED + items(b"1", b"2") + ending(json.dumps(end).encode()) + LAST

    async def scenario() -> None:
        async with serving(saying(raw)) as url, linked(url) as link:
            channel = await link.open(DOWN, b"{}")
            assert [await channel.receive(), await channel.receive()] == [b"1", b"2"]
            for _ in range(2):
                with pytest.raises(NotFound, match="gone") as raised:
                    await channel.receive()
            assert raised.value.remote
            assert (raised.value.id, raised.value.details) == ("r1", {"what": "page 2"})
            assert channel.outcome is not None
            assert channel.outcome.code == Code.NOT_FOUND

    run(scenario())


@pytest.mark.parametrize("head", [DOWN, UP, BOTH], ids=str)
def test_a_problem_before_the_first_item_is_its_error(run: Run, head: Head) -> None:
    content = b'{"detail":"no","code":3,"id":"r1","details":{"errors":[]}}'
    raw = b"HTTP/1.1 400 No\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n" % (PROBLEM.encode(), len(content))

    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(raw + content)

    async def scenario() -> None:
        async with serving(answer) as url, linked(url) as link:
            channel = await link.open(head, b"{}")
            for _ in range(2):
                with pytest.raises(InvalidArgument, match="no") as raised:
                    await channel.receive()
            assert raised.value.remote
            assert channel.outcome is not None
            assert channel.outcome.code == Code.INVALID_ARGUMENT

    run(scenario())


CUT: dict[str, bytes] = {
    "before an answer": b"",
    "in the status": b"HTTP/1.1 2",
    "after the head": FRAMED,
    "after an item": FRAMED + items(b"1"),
    "within a chunk": FRAMED + items(b"1")[:-3],
    "within a frame": FRAMED + chunk(frame(ITEM, b"123")[:-1]),
    "within a frame, at the last chunk": FRAMED + chunk(frame(ITEM, b"123")[:-1]) + LAST,
    "at the last chunk, without an end": FRAMED + items(b"1") + LAST,
    "without an end, where closing ends it": b"HTTP/1.0 200 OK\r\ncontent-type: application/vnd.xooai.frames+json\r\n\r\n"
    + frame(ITEM, b"1"),
    "no content": b"HTTP/1.1 200 OK\r\ncontent-type: application/vnd.xooai.frames+json\r\ncontent-length: 0\r\n\r\n",
}


@pytest.mark.parametrize("leave", [StreamWriter.close, reset], ids=["closes", "resets"])
@pytest.mark.parametrize("name", CUT)
def test_a_stream_that_is_cut_off_is_unavailable(run: Run, name: str, leave: object) -> None:
    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        await request(reader)
        writer.write(CUT[name])
        await writer.drain()
        assert callable(leave)
        leave(writer)

    async def scenario() -> None:
        async with serving(answer) as url, linked(url) as link:
            channel = await link.open(DOWN, b"{}")
            for _ in range(2):
                with pytest.raises(Unavailable) as raised:
                    await received(channel)
            assert not raised.value.remote
            assert channel.outcome is None

    run(scenario())


BROKEN: dict[str, tuple[bytes, type[XooaiError], str]] = {
    "no HTTP": (b"220 mail.example ESMTP\r\n", Internal, "is not an HTTP/1.1 response"),
    "no chunks": (FRAMED + b"garbage\r\n", Internal, "is not an HTTP/1.1 response"),
    "no frames": (FRAMED + chunk(b"garbage, garbage"), Internal, "not a stream of frames: a frame .* begins with 103"),
    "an end without a code": (FRAMED + ending(b"{}"), Internal, "does not say how the call ended"),
    "an end that is no JSON": (FRAMED + ending(b"\xff"), Internal, "does not say how the call ended"),
    "an end below zero": (FRAMED + ending(b'{"code":-1}'), Internal, "does not say how the call ended"),
    "an end that is large": (FRAMED + ending(b" " * 100_000), ResourceExhausted, "the limit is"),
    "a unary reply": (reply(b"[]"), Internal, "answered with application/json; a stream was asked for"),
    "no media type": (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", Internal, "answered with no media type"),
    "nothing": (b"HTTP/1.1 204 No Content\r\n\r\n", Internal, "a stream was asked for"),
    "another codec": (WHOLE.replace(b"+json", b"+msgpack"), Internal, r"frames\+msgpack; a stream was asked for"),
    "events": (OK.replace(b"application/json", b"text/event-stream") + b"\r\n", Internal, "text/event-stream"),
    "a redirect": (b"HTTP/1.1 307 X\r\nlocation: /x\r\ncontent-length: 0\r\n\r\n", Internal, "redirects are not foll"),
    "compressed": (FRAMED[:-2] + b"content-encoding: gzip\r\n\r\n", Internal, "not asked for"),
    "too many headers": (FRAMED[:-2] + b"x-a: 1\r\n" * 101 + b"\r\n", ResourceExhausted, "more than 100 headers"),
    "too large a frame": (FRAMED + chunk(frame(ITEM, b"x" * 1001)[:5]), ResourceExhausted, "1,001 bytes, the limit"),
}


@pytest.mark.parametrize("pieces", [lambda raw: (raw,), single_bytes], ids=["whole", "byte by byte"])
@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_reply_is_an_error(run: Run, name: str, pieces: object) -> None:
    raw, error, complaint = BROKEN[name]
    assert callable(pieces)

    async def scenario() -> None:
        async with serving(saying(*pieces(raw))) as url, linked(url, options=DialOptions(message_limit=1000)) as link:
            channel = await link.open(DOWN, b"{}")
            for _ in range(2):
                with pytest.raises(error, match=complaint):
                    await received(channel)

    run(scenario())


def test_a_frame_that_is_too_large_is_refused_when_it_is_announced(run: Run) -> None:
    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        await request(reader)
        writer.write(FRAMED + items(b"x" * 1000) + chunk(frame(ITEM, b"x" * 1001)[:5]))
        assert await until_gone(reader) == b""  # not a byte of it was needed
        left.set()

    async def scenario() -> None:
        async with serving(answer) as url, linked(url, options=DialOptions(message_limit=1000)) as link:
            channel = await link.open(DOWN, b"{}")
            with pytest.raises(ResourceExhausted, match="has 1,001 bytes, the limit is 1,000") as raised:
                await received(channel)
            assert raised.value.reason == "size"
            await left.wait()

    left = asyncio.Event()
    run(scenario())


def test_a_stream_may_have_more_than_a_message_in_all(run: Run) -> None:
    raw = FRAMED + items(*[b"x" * 1000] * 50) + ending() + LAST

    async def scenario() -> None:
        async with serving(saying(raw)) as url, linked(url, options=DialOptions(message_limit=1000)) as link:
            assert await received(await link.open(DOWN, b"{}")) == [b"x" * 1000] * 50

    run(scenario())


def test_a_server_that_ends_early_with_an_error_tells_the_sender(run: Run) -> None:
    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        _, incoming = await Incoming.of(reader)
        assert await incoming.frame() == b"1"
        writer.write(FRAMED + items(b"a") + ending(b'{"code":5,"detail":"gone"}') + LAST)
        assert await reader.read() == b""
        left.set()

    async def scenario() -> None:
        async with serving(answer) as url, linked(url) as link:
            channel = await link.open(BOTH)
            await channel.send(b"1")
            await left.wait()  # the client has closed, for what it had left to send is for nobody
            for more in (channel.send(b"2"), channel.end()):
                with pytest.raises(NotFound, match="gone") as raised:
                    await more
            assert raised.value.remote
            assert await channel.receive() == b"a"
            with pytest.raises(NotFound, match="gone"):
                await channel.receive()

    left = asyncio.Event()
    run(scenario())


@pytest.mark.parametrize("head", [UP, BOTH], ids=str)
def test_a_server_may_answer_before_all_is_sent(run: Run, head: Head) -> None:
    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        connections.append(writer)
        _, incoming = await Incoming.of(reader)
        assert await incoming.frame() == b"1"
        writer.write(reply(b"enough") if head is UP else FRAMED + items(b"enough") + ending() + LAST)
        await writer.drain()
        assert await reader.read() == b""

    async def scenario() -> None:
        async with serving(answer) as url, linked(url, limits=ONE) as link:
            for _ in range(2):
                channel = await link.open(head)
                await channel.send(b"1")
                assert await channel.receive() == b"enough"
                assert await channel.receive() is None
                await channel.send(b"2")  # for nobody, and no error
                await channel.end()
                assert channel.outcome is not None
            assert len(connections) == 2

    connections: list[StreamWriter] = []
    run(scenario())


def test_who_sends_without_end_leaves_others_their_turn(run: Run) -> None:
    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(reply(b"enough"))
        assert await reader.read() is not None

    async def feed(channel: Channel) -> None:
        for _ in range(2_000_000):  # awaits nothing of its own; far more than are sent before it is cancelled
            await channel.send(b"x")

    async def scenario() -> None:
        async with serving(answer) as url, linked(url) as link:
            channel = await link.open(UP)
            feeding = asyncio.create_task(feed(channel))
            assert await channel.receive() == b"enough"
            await asyncio.sleep(0.01)  # what is sent now is for nobody
            assert not feeding.done()
            feeding.cancel()
            with pytest.raises(asyncio.CancelledError):
                await feeding

    run(scenario())


@pytest.mark.parametrize("leave", [StreamWriter.close, StreamWriter.drain, reset], ids=["closes", "lingers", "resets"])
@pytest.mark.parametrize("head", [DOWN, UP, BOTH], ids=str)
def test_an_early_refusal_is_received_while_much_is_sent(run: Run, head: Head, leave: object) -> None:
    content = b'{"title":"RESOURCE_EXHAUSTED","status":413,"detail":"too large","code":8,"details":{"reason":"size"}}'
    raw = b"HTTP/1.1 413 Content Too Large\r\nconnection: close\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n"

    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(raw % (PROBLEM.encode(), len(content)) + content)
        await writer.drain()
        if leave is StreamWriter.drain:
            await ended.wait()
        if leave is reset:
            reset(writer)

    async def scenario() -> None:
        async with serving(answer) as url, linked(url) as link:
            if head is DOWN:
                channel = await link.open(head, b"x" * (8 * MIB))
            else:
                channel = await link.open(head)
                with pytest.raises(ResourceExhausted, match="too large"):
                    await endless(channel)
            with pytest.raises(ResourceExhausted, match="too large") as raised:
                await channel.receive()
            ended.set()
            assert raised.value.remote

    ended = asyncio.Event()
    run(scenario())
