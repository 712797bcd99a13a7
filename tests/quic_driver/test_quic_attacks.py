"""What a hostile client of QUIC may say, in one datagram or many: nothing of it stays, and others go on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from urllib.parse import urlsplit

import pytest

pytest.importorskip("aioquic", reason="needs the extra quic")

from quic_files import Files
from quic_site import SOON, Exchange, Run, Talker, call, linked, talking

from echoing import StreamSite
from quic_listening import listening
from xooai.driver import Channel, DialOptions, Outcome, Shape
from xooai.errors import Internal, ResourceExhausted, Unavailable
from xooai_quic.connection import MALFORMED
from xooai_quic.limits import ClientLimits, Limits
from xooai_quic.listener import QuicListener
from xooai_quic.server import ServerConnection

pytestmark = pytest.mark.usefixtures("library")

FULL = 200_000  # lines of two bytes, by which what the application takes in before a handler reads is full
LINES = [(b"content-type", b"application/x-ndjson")]


class Waiting(StreamSite):
    """A stream whose items nobody takes until the test says so."""

    def shape(self, path: str) -> Shape:
        return Shape.CLIENT

    async def deaf(self, channel: Channel, body: bytes | None) -> None:
        self.started.set()
        await self.released.wait()
        await self.count(channel, body)


def only_connection(listener: QuicListener) -> ServerConnection:
    (connection,) = listener._server.connections
    return connection


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(4 * SOON):
        while True:
            if is_so():
                return
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("pseudo", [{"authority": "evil.example"}, {"path": "*"}])
def test_bodies_behind_refused_heads_are_not_counted_as_held(run: Run, files: Files, pseudo: dict[str, str]) -> None:
    """Or they would fill the server for good: a body may come in the same datagram as its head."""

    async def scenario() -> None:
        async with (
            listening(files.options(), Limits(buffered=100_000)) as (listener, _),
            talking(listener.url, files) as talker,
        ):
            for _ in range(20):
                status, _ = await talker.say(body=bytes(15_000), pseudo=pseudo).answer()
                assert status in (400, 403)
            assert await talker.say(body=b"1" * 90_000).answer() == (200, b"1" * 90_000)
            assert only_connection(listener).held == 0

    run(scenario())


def test_a_message_too_large_in_many_frames_at_once_is_refused_alone(run: Run, files: Files) -> None:
    async def scenario() -> None:
        async with listening(files.options(message_limit=1000)) as (listener, site), talking(listener.url, files) as it:
            exchange = it.say(ended=False)
            for _ in range(100):
                exchange._write(b"x" * 100, False)
            assert (await exchange.answer())[0] == 413
            assert await it.say(body=b"1").answer() == (200, b"1")
            assert len(site.heads) == 1

    run(scenario())


@pytest.mark.parametrize("is_first", [True, False])
def test_a_head_without_the_body_that_it_announces_is_no_call(run: Run, files: Files, is_first: bool) -> None:
    """Also where the same head came before, with its body."""

    async def scenario() -> None:
        async with listening(files.options()) as (listener, site), talking(listener.url, files) as talker:
            if not is_first:
                assert (await talker.say([(b"content-length", b"10")], bytes(10)).answer())[0] == 200
            exchange = Exchange(talker.connection, talker.connection.quic.get_next_available_stream_id())
            talker.connection.streams[exchange.id] = exchange
            place = urlsplit(listener.url).netloc
            fields = {"method": "POST", "scheme": "https", "authority": place, "path": "/echo/say"}
            head = [(f":{name}".encode(), value.encode()) for name, value in fields.items()]
            exchange.write_head([*head, (b"content-length", b"10")], True)
            assert (await exchange.answer())[0] in (None, 400)
            assert len(site.heads) == (0 if is_first else 1)

    run(scenario())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"x-a", b"b\r\nx-forged: c"),
        (b"x-a", b"b\0"),
        (b"x a", b"b"),
        (b"x:a", b"b"),
        (b"transfer-encoding", b"chunked"),
        (b"connection", b"close"),
    ],
)
def test_headers_that_none_may_send_reach_nobody(run: Run, files: Files, name: bytes, value: bytes) -> None:
    async def scenario() -> None:
        async with listening(files.options()) as (listener, site), talking(listener.url, files) as talker:
            assert (await talker.say([(name, value)], b"1").answer())[0] in (None, 400)
            assert site.heads == []

    run(scenario())


def test_the_server_itself_takes_a_hundred_requests_at_once(run: Run, files: Files) -> None:
    async def scenario() -> None:
        async with listening(files.options()) as (listener, site), talking(listener.url, files) as talker:
            for _ in range(100):
                talker.say(body=b"1", pseudo={"path": "/echo/wait"})
            try:
                talker.say(body=b"1", pseudo={"path": "/echo/wait"})
            except ValueError:
                pass  # qh3 does not even send it
            await asyncio.wait_for(site.has_heads(100), SOON)
            await asyncio.sleep(0.2)
            assert len(site.heads) == 100

    run(scenario())


def test_of_streams_that_have_ended_nothing_stays(run: Run, files: Files) -> None:
    """Those in one direction that mean nothing, too."""

    async def scenario() -> None:
        async with listening(files.options()) as (listener, _), talking(listener.url, files) as talker:
            quic = talker.connection.quic
            for _ in range(10):
                for _ in range(20):
                    mute = quic.get_next_available_stream_id(is_unidirectional=True)
                    quic.send_stream_data(mute, b"\x40\x99nothing", True)
                for authority in ("127.0.0.1", "evil.example"):
                    talker.say(body=b"1")
                    await talker.say(body=b"1", pseudo={"authority": authority}).answer()
            connection = only_connection(listener)
            assert connection.streams == {}
            assert len(connection._grants._starts) <= 4
            assert len(getattr(connection.quic, "_read_by_stream", ())) <= 4

    run(scenario())


def test_a_body_in_tiny_frames_is_not_an_object_for_each(run: Run, files: Files) -> None:
    async def scenario() -> None:
        async with (
            listening(files.options(), site=Waiting()) as (listener, site),
            talking(listener.url, files) as talker,
        ):
            exchange = talker.say(LINES, b"1\n" * FULL, ended=False, pseudo={"path": "/echo/deaf"})
            await asyncio.wait_for(site.started.wait(), SOON)
            for _ in range(10_000):
                exchange._write(b"1\n", False)
            exchange._write(b"", True)
            connection = only_connection(listener)
            await until(lambda: all(stream.is_whole for stream in connection.streams.values()))
            (stream,) = connection.streams.values()
            assert stream.held > 20_000
            assert len(stream._parts) < 1000
            site.released.set()
            assert await exchange.answer() == (200, b"%d %d" % (FULL + 10_000, FULL + 10_000))

    run(scenario())


def test_the_connection_that_sends_most_of_what_nobody_reads_is_closed(run: Run, files: Files) -> None:
    """When all that is held is too much. The other, of which less is held, goes on."""

    async def scenario() -> None:
        limits = Limits(buffered=2_500_000, sweep=0.05)
        async with AsyncExitStack() as stack:
            listener, site = await stack.enter_async_context(listening(files.options(), limits, site=Waiting()))
            worst: Talker = await stack.enter_async_context(talking(listener.url, files))
            other: Talker = await stack.enter_async_context(talking(listener.url, files))
            small = other.say(LINES, b"1\n" * 100_000, ended=False, pseudo={"path": "/echo/deaf"})
            for _ in range(4):
                worst.say(LINES, b"1\n" * 500_000, ended=False, pseudo={"path": "/echo/deaf"})
            await until(lambda: worst.connection.is_lost and len(listener._server.connections) == 1)
            assert not other.connection.is_lost
            site.released.set()
            small._write(b"", True)
            assert await small.answer() == (200, b"100000 100000")

    run(scenario())


def test_the_connection_that_takes_least_of_what_it_is_answered_is_closed(run: Run, files: Files) -> None:
    async def scenario() -> None:
        limits = Limits(buffered=2_000_000, sweep=0.05)
        async with AsyncExitStack() as stack:
            listener, _ = await stack.enter_async_context(listening(files.options(), limits))
            narrow = ClientLimits(window=16_384)
            worst: Talker = await stack.enter_async_context(talking(listener.url, files, narrow))
            other: Talker = await stack.enter_async_context(talking(listener.url, files))
            for _ in range(10):
                worst.say(body=b"300000", pseudo={"path": "/echo/large"})
            await until(lambda: worst.connection.is_lost and len(listener._server.connections) <= 1)
            assert not other.connection.is_lost
            assert await other.say(body=b"1").answer() == (200, b"1")

    run(scenario())


@pytest.mark.parametrize("size", [100_000, 2_000_000], ids=["written whole", "waiting for room"])
def test_a_reply_that_is_not_taken_is_given_up(run: Run, files: Files, size: int) -> None:
    """Also where all of it was written: what the library keeps is memory, and a client may ask for much of it."""

    async def scenario() -> None:
        limits = Limits(stall=0.3, sweep=0.05)
        narrow = ClientLimits(window=16_384)
        async with (
            listening(files.options(), limits) as (listener, _),
            talking(listener.url, files, narrow) as talker,
        ):
            exchange = talker.say(body=b"%d" % size, pseudo={"path": "/echo/large"})
            await until(lambda: exchange.head is not None)
            connection = only_connection(listener)
            await until(lambda: exchange.left is not None or not connection.quic.unsent(exchange.id))
            await until(lambda: not connection.streams)
            assert not connection.quic.unsent(exchange.id)
            assert await talker.say(body=b"1").answer() == (200, b"1")

    run(scenario())


def test_a_reply_that_is_taken_slowly_arrives(run: Run, files: Files) -> None:
    async def scenario() -> None:
        limits = Limits(stall=2.0, sweep=0.05)
        async with (
            listening(files.options(), limits) as (listener, _),
            talking(listener.url, files, ClientLimits(window=16_384)) as talker,
        ):
            exchange = talker.say(body=b"100000", pseudo={"path": "/echo/large"})
            size = 0
            async with asyncio.timeout(4 * SOON):
                while not (exchange.is_whole and not exchange.held):
                    size += len(exchange.take(4096))
                    await asyncio.sleep(0.05)
            assert size == 100_000

    run(scenario())


def test_connections_that_end_and_clients_that_refuse_write_nothing_into_the_log(
    run: Run, files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever connects a thousand times would fill it, and with words of his own."""

    async def scenario() -> None:
        async with listening(files.options()) as (listener, _):
            async with talking(listener.url, files) as talker:
                assert await talker.say(body=b"1").answer() == (200, b"1")
            await until(lambda: not listener._server.connections)
            async with linked(listener.url, DialOptions()) as link:
                with pytest.raises(Unavailable):
                    await call(link)
            async with talking(listener.url, files) as talker:
                talker.connection.quic.send_stream_data(0, b"\x04\0")  # settings, where a request should be
                talker.connection.flush_soon()
                await until(lambda: talker.connection.is_lost)

    run(scenario())
    assert [record.message for record in caplog.records if not record.name.startswith("asyncio")] == []


def test_a_request_behind_what_ends_its_connection_is_not_begun(run: Run, files: Files) -> None:
    """All in one datagram, so that the library has told of both before the connection is closed."""

    async def scenario() -> None:
        async with (
            listening(files.options(), Limits(buffer=15_100)) as (listener, site),
            talking(listener.url, files) as talker,
        ):
            quic = talker.connection.quic
            broken = quic.get_next_available_stream_id()
            quic.send_stream_data(broken, b"\1\x80\1\0\0" + bytes(15_000))  # a head of 65,536 bytes
            await asyncio.sleep(0.1)
            assert site.heads == []
            quic.send_stream_data(broken, bytes(200))
            talker.say(body=b"1")
            talker.say(body=b"1", ended=False)
            await until(lambda: talker.connection.is_lost)
            assert site.heads == []
            assert listener._server._buffered == 0

    run(scenario())


class Talkative(StreamSite):
    """Answers with so much metadata."""

    async def meta(self, channel: Channel, body: bytes) -> None:
        await channel.end(b"ok", Outcome(codec="text/plain", metadata={"x-long": "a" * int(body)}))


@pytest.mark.parametrize("size", [9_000, 40_000])
def test_metadata_that_a_library_cannot_send_ends_its_call_alone(
    run: Run, files: Files, library: str, size: int
) -> None:
    """qh3 has headers of 4 KiB at most."""

    async def scenario() -> None:
        async with (
            listening(files.options(), site=Talkative()) as (listener, _),
            linked(listener.url, DialOptions(trust=f"sha256:{files.fingerprint}")) as link,
        ):
            async with asyncio.timeout(SOON):
                if library == "qh3":
                    with pytest.raises(Internal):
                        await call(link, "meta", b"%d" % size)
                else:
                    assert (await call(link, "meta", b"%d" % size))[0] == b"ok"
                with pytest.raises(ResourceExhausted):
                    await call(link, metadata={"x-long": "a" * size})
                assert (await call(link, body=b"1"))[0] == b"1"

    run(scenario())


@pytest.mark.parametrize(
    "headers",
    [[(b"x-a", b"b\r\nc")], [(b":path", b"/echo/say")], [(b"X-Upper", b"a")], [(b":unknown", b"a")]],
    ids=["a break in a value", "a path twice", "an upper case name", "an unknown pseudo-header"],
)
def test_a_malformed_request_ends_its_stream_and_no_other(
    run: Run, files: Files, headers: list[tuple[bytes, bytes]]
) -> None:
    async def scenario() -> None:
        async with listening(files.options()) as (listener, site), talking(listener.url, files) as talker:
            waiting = talker.say(body=b"1", pseudo={"path": "/echo/wait"})
            await asyncio.wait_for(site.has_heads(1), SOON)
            malformed = talker.say(headers, b"1")
            status, _ = await malformed.answer()
            assert status == 400 or (status, malformed.left) == (None, MALFORMED)
            site.released.set()
            assert await waiting.answer() == (200, b"1")
            assert len(site.heads) == 1
            assert len(listener._server.connections) == 1

    run(scenario())


def test_trailers_that_are_malformed_end_their_call_alone(run: Run, files: Files) -> None:
    """Behind a body that has begun to be taken in."""

    async def scenario() -> None:
        async with listening(files.options()) as (listener, site), talking(listener.url, files) as talker:
            exchange = talker.say(body=b"1", ended=False)
            exchange.write_head([(b":path", b"/echo/say")], True)
            status, _ = await exchange.answer()
            assert status == 400 or (status, exchange.left) == (None, MALFORMED)
            assert await talker.say(body=b"1").answer() == (200, b"1")
            assert only_connection(listener).held == 0
            assert listener._server._buffered == 0
            assert len(site.heads) == 1

    run(scenario())


@pytest.mark.parametrize(("asked", "kept"), [(4096, 4096), (2**30, 0)])
def test_a_client_cannot_ask_for_a_large_table_of_headers(run: Run, files: Files, asked: int, kept: int) -> None:
    async def scenario() -> None:
        async with (
            listening(files.options()) as (listener, _),
            talking(listener.url, files, settings={1: asked, 7: 1000}),
        ):
            http = only_connection(listener).http
            assert http is not None
            await until(lambda: http.received_settings is not None)
            settings = http.received_settings or {}
            assert (settings[1], settings[7]) == (kept, 16)

    run(scenario())


def test_a_library_that_fails_to_send_ends_its_connection_and_no_other(
    run: Run, files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(now: float) -> list[tuple[bytes, object]]:
        raise RuntimeError("the packet is full")

    async def scenario() -> None:
        async with listening(files.options()) as (listener, site), talking(listener.url, files) as talker:
            talker.say(body=b"1", pseudo={"path": "/echo/wait"})
            await asyncio.wait_for(site.has_heads(1), SOON)
            broken = only_connection(listener)
            broken.quic.datagrams_to_send = fail  # type: ignore[method-assign]
            async with talking(listener.url, files) as other:
                broken.flush_soon()
                await until(lambda: broken.is_lost)
                await asyncio.wait_for(site.cancelled.wait(), SOON)
                assert await other.say(body=b"1").answer() == (200, b"1")
                assert broken not in listener._server.connections
                assert broken not in listener._ports[0][1].routing._protocols.values()

    run(scenario())
    assert "the packet is full" in caplog.text
