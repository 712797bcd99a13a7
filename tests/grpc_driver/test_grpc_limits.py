"""How much of a gRPC server one client may use: sizes, numbers and times, and what it says beyond them."""

from __future__ import annotations

import asyncio
import gc
import json
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import grpc.aio
import pytest
from grpc_site import JSON, MSGPACK, SOON, Run, call, foreign, head, linked, listening, serving

from xooai.driver import DialOptions, ListenOptions, Shape
from xooai.errors import Internal, ResourceExhausted, Unavailable
from xooai_grpc.limits import ClientLimits, Limits
from xooai_grpc.metadata import ENTRY, METADATA_SIZE

LIMIT = 1_000_000
SHAPES = [Shape.UNARY, Shape.CLIENT, Shape.BIDI]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_request_may_have_the_limit_and_not_a_byte_more(run: Run, shape: Shape) -> None:
    async def scene() -> None:
        options = ListenOptions(message_limit=LIMIT)
        async with listening(options=options) as (listener, site), linked(listener.url) as link:
            for size in (LIMIT, LIMIT + 1, 10 * LIMIT):
                endpoint = "each" if shape is Shape.BIDI else "early"
                channel = await link.open(head(endpoint, shape), None if shape else bytes(size))
                try:
                    if shape:
                        await channel.send(bytes(size))
                        await channel.end()
                    reply = await channel.receive()
                except ResourceExhausted as error:
                    assert size > LIMIT
                    assert error.reason == "size"
                    assert error.message == f"the request has {size:,} bytes, the limit is {LIMIT:,} bytes"
                else:
                    assert reply == bytes(size)
                    assert size == LIMIT
            assert (await call(link))[0] == b"{}"  # others are not affected
            assert site.frames <= 1

    run(scene())


@pytest.mark.parametrize("shape", [Shape.UNARY, Shape.SERVER])
def test_a_reply_may_have_the_limit_and_not_a_byte_more(run: Run, shape: Shape) -> None:
    async def scene() -> None:
        async with listening() as (listener, _), linked(listener.url, DialOptions(message_limit=LIMIT)) as link:
            for size in (LIMIT, LIMIT + 1):
                body = b"1 %d" % (size - 1) if shape else b"%d" % size
                channel = await link.open(head("tell" if shape else "large", shape), body)
                if size == LIMIT:
                    assert len(await channel.receive() or b"") == LIMIT
                    continue
                with pytest.raises(ResourceExhausted) as raised:
                    await channel.receive()
                assert raised.value.message == f"the reply has {size:,} bytes, the limit is {LIMIT:,} bytes"
                assert raised.value.reason == "size"

    run(scene())


def test_a_call_beyond_those_that_run_at_once_is_refused(run: Run) -> None:
    async def scene() -> None:
        async with listening(limits=Limits(calls=2)) as (listener, site), linked(listener.url) as link:
            waiting = [asyncio.create_task(call(link, "wait")) for _ in range(2)]
            await site.has_heads(2)
            with pytest.raises(ResourceExhausted, match="2 calls are running") as raised:
                await call(link)
            assert (raised.value.reason, raised.value.retry_after) == ("load", 1)
            site.released.set()
            await asyncio.gather(*waiting)
            assert (await call(link))[0] == b"{}"

    run(scene())


def test_calls_beyond_those_of_a_connection_wait(run: Run) -> None:

    async def scene() -> None:
        async with listening(limits=Limits(streams=3)) as (listener, site), linked(listener.url) as link:
            waiting = [asyncio.create_task(call(link, "wait")) for _ in range(5)]
            await site.has_heads(3)
            await asyncio.sleep(0.1)
            assert len(site.heads) == 3
            site.released.set()
            assert [reply for reply, _ in await asyncio.gather(*waiting)] == [b"{}"] * 5

    run(scene())


def test_connections_beyond_the_limit_are_refused(run: Run) -> None:
    async def scene() -> None:
        async with listening(limits=Limits(connections=2)) as (listener, _), linked(listener.url) as link:
            await call(link)
            async with foreign(listener.url, options=[("grpc.use_local_subchannel_pool", 1)]) as second:
                await second.unary_unary("/echo/say")(b"{}")
                async with foreign(listener.url, options=[("grpc.use_local_subchannel_pool", 1)]) as third:
                    with pytest.raises(grpc.aio.AioRpcError) as raised:
                        await third.unary_unary("/echo/say")(b"{}", timeout=SOON)
                    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
            assert (await call(link))[0] == b"{}"

    run(scene())


def test_metadata_beyond_the_limit_is_refused(run: Run) -> None:
    async def scene() -> None:
        async with listening() as (listener, site), foreign(listener.url) as channel:
            calling = channel.unary_unary("/echo/say")
            await calling(b"{}", metadata=(("x-a", "y" * 20_000),))
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await calling(b"{}", metadata=(("x-a", "y" * 40_000),), timeout=SOON)
            assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert len(site.heads) == 1
            assert await calling(b"{}") == b"{}"

    run(scene())


ONE = {"x-a": "y" * (METADATA_SIZE - ENTRY - 3)}
MANY = {f"x-{number:04}": "yz" for number in range(METADATA_SIZE // (ENTRY + 8))}


@pytest.mark.parametrize("metadata", [ONE, MANY], ids=["one", "many"])
def test_the_metadata_that_a_client_may_send_is_what_a_server_takes(run: Run, metadata: dict[str, str]) -> None:
    """Beside a stream too, of which the driver itself says most."""

    async def scene() -> None:
        async with listening() as (listener, site), linked(listener.url) as link:
            more = {"metadata": metadata, "codec": MSGPACK, "accept": JSON, "timeout": 30}
            channel = await link.open(head("each", Shape.BIDI, **more))
            await channel.end(b"one")

            assert await channel.receive() == b"one"
            assert {**site.heads[0].metadata}.items() >= metadata.items()

    run(scene())


def test_a_reply_may_have_as_much_metadata_as_a_call(run: Run) -> None:
    async def scene() -> None:
        async with listening() as (listener, _), linked(listener.url) as link:
            body = json.dumps({"metadata": {"x-a": "y" * 30_000}}).encode()
            assert (await call(link, "succeed", body))[1].metadata["x-a"] == "y" * 30_000
            body = json.dumps({"metadata": {"x-a": "y" * 31_000}}).encode()
            with pytest.raises(Internal):
                await call(link, "succeed", body)

    run(scene())


def test_a_connection_that_is_old_is_replaced_without_a_call_noticing(run: Run) -> None:
    async def scene() -> None:
        limits = Limits(connection_age=0.2, connection_age_grace=SOON)
        async with listening(limits=limits) as (listener, site), linked(listener.url) as link:
            waiting = asyncio.create_task(call(link, "wait"))
            await site.started.wait()
            while len({found.peer for found in site.heads}) < 3:
                assert (await call(link))[0] == b"{}"
                await asyncio.sleep(0.01)
            site.released.set()
            assert (await waiting)[0] == b"{}"

    run(scene())


# Bytes that no gRPC client sends.


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        yield reader, writer
    finally:
        writer.close()


def frame(kind: int, flags: int, stream: int, content: bytes) -> bytes:
    """A frame of HTTP/2 (RFC 9113 4.1)."""
    return struct.pack(">I", len(content))[1:] + struct.pack(">BBI", kind, flags, stream) + content


START = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"")


def opening(stream: int, path: bytes) -> bytes:
    """A HEADERS frame that opens a call, written without compression (RFC 7541 6.2.2)."""
    fields = {b":method": b"POST", b":scheme": b"http", b":path": path, b":authority": b"x"}
    fields |= {b"te": b"trailers", b"content-type": b"application/grpc"}
    written = [b"\0%c%b%c%b" % (len(name), name, len(value), value) for name, value in fields.items()]
    return frame(1, 4, stream, b"".join(written))


def test_a_path_that_is_no_text_ends_nobody_elses_calls(run: Run) -> None:
    """grpcio from 1.84 on ends the whole server: it must not come in by an update before that is repaired."""

    async def scene() -> None:
        async with listening() as (listener, _), connected(listener.url) as (reader, writer):
            writer.write(START + opening(1, b"/a\xff\xfe/b") + frame(0, 1, 1, b"\0\0\0\0\2{}"))
            seen = b""
            while b"grpc-status" not in seen:
                piece = await asyncio.wait_for(reader.read(4096), SOON)
                assert piece
                seen += piece
            async with linked(listener.url) as link:
                assert (await call(link, timeout=SOON))[0] == b"{}"

    run(scene())


@pytest.mark.parametrize("bytes_", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\0" * 10_000, START + b"\xff" * 10_000])
def test_garbage_closes_its_own_connection_only(run: Run, bytes_: bytes) -> None:
    async def scene() -> None:
        async with listening() as (listener, site), linked(listener.url) as link:
            async with connected(listener.url) as (reader, writer):
                writer.write(bytes_)
                try:
                    await asyncio.wait_for(reader.read(), SOON)
                except ConnectionError:
                    pass
            assert (await call(link))[0] == b"{}"
            assert len(site.heads) == 1

    run(scene())


def test_calls_that_are_opened_and_reset_at_once_do_no_harm(run: Run) -> None:
    """The attack called HTTP/2 rapid reset."""

    async def scene() -> None:
        async with listening() as (listener, site), linked(listener.url) as link:
            async with connected(listener.url) as (_, writer):
                writer.write(START)
                try:
                    for stream in range(1, 4001, 2):
                        writer.write(opening(stream, b"/echo/wait") + frame(3, 0, stream, b"\0\0\0\x08"))
                        if stream % 200 == 1:
                            await writer.drain()
                    assert (await call(link, timeout=SOON))[0] == b"{}"
                except ConnectionError:
                    pass  # it has seen enough
            assert (await call(link, timeout=SOON))[0] == b"{}"
            waiting = len(site.heads)
            assert waiting <= 2002

    run(scene())


def test_pings_beyond_the_limit_close_the_connection(run: Run) -> None:

    async def scene() -> None:
        async with listening() as (listener, _), connected(listener.url) as (reader, writer):
            writer.write(START)
            seen = b""
            try:
                for number in range(100):
                    writer.write(frame(6, 0, 0, struct.pack(">Q", number)))
                    await writer.drain()
                while piece := await asyncio.wait_for(reader.read(4096), SOON):
                    seen += piece
            except ConnectionError:
                return
            assert b"too_many_pings" in seen

    run(scene())


def test_a_client_that_says_nothing_is_left_by_the_server(run: Run) -> None:
    async def scene() -> None:
        async with (
            listening(limits=Limits(handshake_time=0.3)) as (listener, _),
            connected(listener.url) as (reader, _),
        ):
            while await asyncio.wait_for(reader.read(4096), SOON):
                pass

    run(scene())


SHORT = Limits(keepalive=0.4, keepalive_timeout=0.4)


def test_a_client_that_has_vanished_ends_its_handler(run: Run) -> None:
    """Its connection stands, and nothing comes by it, not even the answer to a ping."""

    async def scene() -> None:
        async with listening(limits=SHORT) as (listener, site), connected(listener.url) as (_, writer):
            writer.write(START + opening(1, b"/echo/wait") + frame(0, 1, 1, b"\0\0\0\0\2{}"))
            await asyncio.wait_for(site.started.wait(), SOON)
            await asyncio.wait_for(site.cancelled.wait(), SOON)

    run(scene())


def test_a_server_that_has_vanished_is_missed(run: Run) -> None:
    """It is connected, and nothing comes from it, not even the answer to a ping."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(frame(4, 0, 0, b"") + frame(4, 1, 0, b""))
        while await reader.read(4096):
            pass
        writer.close()

    async def scene() -> None:
        server = await asyncio.start_server(silent, "127.0.0.1", 0)
        url = f"grpc://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with server, linked(url, limits=ClientLimits(keepalive=0.4, keepalive_timeout=0.4)) as link:
            with pytest.raises(Unavailable):
                await asyncio.wait_for(call(link), SOON)

    run(scene())


def test_a_client_that_waits_for_long_is_asked_and_answered(run: Run) -> None:
    async def scene() -> None:
        async with serving(limits=SHORT) as (link, site):
            waiting = asyncio.create_task(call(link, "wait"))
            await asyncio.wait_for(site.started.wait(), SOON)
            await asyncio.wait((waiting,), timeout=5 * SHORT.keepalive)
            site.released.set()
            assert (await waiting)[1].code == 0

    run(scene())


def test_many_links_leave_no_socket(run: Run) -> None:
    async def scene() -> None:
        async with listening() as (listener, _):
            for _ in range(20):
                async with linked(listener.url) as link:
                    await call(link)
            gc.collect()
            with socket.create_connection(("127.0.0.1", urlsplit(listener.url).port or 0), SOON):
                pass

    run(scene())
