"""What one client may use of a QUIC listener, and what garbage does to the others: nothing."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

import pytest

pytest.importorskip("aioquic", reason="needs the extra quic")

from quic_files import Files
from quic_site import SOON, Exchange, Run, call, head, linked, serving, talking

from echoing import StreamSite
from first_datagrams import initial
from quic_listening import listening
from relay import Relay
from xooai.driver import Channel, DialOptions, Shape
from xooai.errors import DeadlineExceeded, ResourceExhausted, Unavailable
from xooai_quic.limits import ClientLimits, Limits
from xooai_quic.listener import QuicListener

pytestmark = pytest.mark.usefixtures("library")

QUICK = Limits(handshake_time=0.5, head_time=0.3, window_time=0.3, sweep=0.05)


def trusted(files: Files) -> DialOptions:
    return DialOptions(trust=f"sha256:{files.fingerprint}")


def test_a_client_has_a_hundred_calls_at_once_and_the_others_wait(run: Run, files: Files) -> None:
    async def scenario() -> None:
        async with serving(files) as (link, site):
            calls = [asyncio.ensure_future(call(link, "wait", b"%d" % number)) for number in range(110)]
            await asyncio.wait_for(site.has_heads(100), SOON)
            await asyncio.sleep(0.1)
            assert len(site.heads) == 100
            site.released.set()
            assert [reply for reply, _ in await asyncio.gather(*calls)] == [b"%d" % number for number in range(110)]

    run(scenario())


def test_calls_that_wait_are_bounded_and_have_their_time_limit(run: Run, files: Files) -> None:
    limits = ClientLimits(streams=1, waiting=1)

    async def scenario() -> None:
        async with serving(files, client_limits=limits) as (link, site):
            running = asyncio.ensure_future(call(link, "wait"))
            await site.started.wait()
            waiting = asyncio.ensure_future(call(link, timeout=0.2))
            await asyncio.sleep(0)
            with pytest.raises(ResourceExhausted, match="wait for a stream"):
                await call(link)
            with pytest.raises(DeadlineExceeded):
                await waiting
            with pytest.raises(DeadlineExceeded):  # whose place in the line is free again
                await call(link, timeout=0.2)
            site.released.set()
            await running
            assert (await call(link, body=b"1"))[0] == b"1"

    run(scenario())


def test_connections_beyond_the_limit_are_refused_until_one_ends(run: Run, files: Files) -> None:
    async def scenario() -> None:
        async with listening(files.options(), Limits(connections=1)) as (listener, _):
            async with linked(listener.url, trusted(files)) as first:
                await call(first)
                async with linked(listener.url, trusted(files)) as second:
                    with pytest.raises(Unavailable, match="no further connections"):
                        await call(second)
                assert (await call(first, body=b"1"))[0] == b"1"
            async with linked(listener.url, trusted(files)) as third:
                assert (await _until_taken(third)) == b"1"

    run(scenario())


def test_a_connection_is_refused_before_its_handshake(run: Run, files: Files) -> None:
    """By one datagram, for which nothing is signed and of which nothing is kept."""

    async def scenario() -> None:
        async with (
            listening(files.options(), Limits(connections=1)) as (listener, _),
            linked(listener.url, trusted(files)) as first,
        ):
            await call(first)
            with begun_handshake(listener.url) as answers:
                assert 0 < await answers() < 200
            assert len(listener._ports[0][1].routing._protocols) <= known_of(listener)

    run(scenario())


def known_of(listener: QuicListener) -> int:
    """Numbers by which the connections of a listener may be addressed: at most eight each, and those of the handshake."""
    return 10 * len(listener._server.connections)


def elsewhere(host: str) -> bool:
    """Take this machine for another one."""
    return False


def test_connections_of_one_address_are_limited(run: Run, files: Files) -> None:
    async def scenario() -> None:
        limits = Limits(connections_per_client=2, is_here=elsewhere)
        async with listening(files.options(), limits) as (listener, _):
            async with linked(listener.url, trusted(files)) as first, linked(listener.url, trusted(files)) as second:
                await asyncio.gather(call(first), call(second))
                async with linked(listener.url, trusted(files)) as third:
                    with pytest.raises(Unavailable, match="no further connections"):
                        await call(third)
            async with linked(listener.url, trusted(files)) as fourth:
                assert await _until_taken(fourth) == b"1"

    run(scenario())


def test_handshakes_of_one_address_are_limited(run: Run, files: Files) -> None:
    async def scenario() -> None:
        limits = Limits(handshakes_per_client=1, handshake_time=0.5, sweep=0.05, is_here=elsewhere)
        async with listening(files.options(), limits) as (listener, _), linked(listener.url, trusted(files)) as link:
            with begun_handshake(listener.url) as answers:
                assert await answers() > 0
                with pytest.raises(Unavailable, match="no further connections"):
                    await call(link)
                assert await _until_taken(link) == b"1"

    run(scenario())


async def _until_taken(link: object) -> bytes | None:
    """The reply to a call, as soon as the server has room for its connection."""
    async with asyncio.timeout(SOON):
        while True:
            try:
                return (await call(link, body=b"1"))[0]  # type: ignore[arg-type]
            except Unavailable:
                await asyncio.sleep(0.05)


def test_a_handshake_that_is_not_finished_is_ended(run: Run, files: Files) -> None:
    """It holds the only place until then."""

    async def scenario() -> None:
        limits = Limits(connections=1, handshake_time=2, sweep=0.05)
        async with listening(files.options(), limits) as (listener, _):
            with begun_handshake(listener.url) as answers:
                async with linked(listener.url, trusted(files)) as link:
                    assert await answers() > 0
                    with pytest.raises(Unavailable):
                        await call(link)
                    assert await _until_taken(link) == b"1"

    run(scenario())


class begun_handshake:  # noqa: N801 - reads as a phrase
    """A client of aioquic that goes silent once its server has answered."""

    def __init__(self, url: str) -> None:
        from aioquic.quic.configuration import QuicConfiguration
        from aioquic.quic.connection import QuicConnection

        self._quic = QuicConnection(configuration=QuicConfiguration(alpn_protocols=["h3"]))
        self._address = ("127.0.0.1", urlsplit(url).port)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.connect(self._address)

    def __enter__(self) -> Callable[[], Awaitable[int]]:
        return self._begin

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    async def _begin(self) -> int:
        """Show the token of the Retry; the bytes of the server's first flight."""
        loop = asyncio.get_running_loop()
        self._quic.connect(self._address, loop.time())
        for _ in range(2):
            for data, _ in self._quic.datagrams_to_send(loop.time()):
                self._socket.send(data)
            data = await asyncio.wait_for(loop.sock_recv(self._socket, 65536), SOON)
            self._quic.receive_datagram(data, self._address, loop.time())
        return len(data)


@pytest.mark.parametrize("size", [1, 20, 1200, 1472])
def test_garbage_on_the_port_hurts_no_call(run: Run, files: Files, size: int) -> None:
    async def scenario() -> None:
        async with listening(files.options()) as (listener, _), linked(listener.url, trusted(files)) as link:
            await call(link)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                for _ in range(200):
                    sender.sendto(os.urandom(size), ("127.0.0.1", urlsplit(listener.url).port or 0))
                    await asyncio.sleep(0)
            assert (await call(link, body=b"1"))[0] == b"1"

    run(scenario())


@pytest.mark.parametrize("token", [b"", b"made up"], ids=["plain", "with a token"])
def test_many_initials_make_no_connection(run: Run, files: Files, token: bytes) -> None:
    """Each is answered by no more than it was, and nothing is kept of it: the only place stays free."""

    async def scenario() -> None:
        async with listening(files.options(), Limits(connections=1)) as (listener, site):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                for _ in range(1000):
                    sender.sendto(initial(token=token), ("127.0.0.1", urlsplit(listener.url).port or 0))
                    await asyncio.sleep(0)
            async with linked(listener.url, trusted(files)) as link:
                assert await _until_taken(link) == b"1"
            assert len(site.heads) == 1

    run(scenario())


@pytest.mark.parametrize(
    ("data", "is_answered"),
    [
        (initial(version=0x1A2A3A4A), True),
        (initial(1199, version=0x1A2A3A4A), False),
        (initial(40, version=0x1A2A3A4A), False),
        (initial(version=0), False),
        (initial(1199), False),
        (b"", False),
        (b"\xc3", False),
    ],
    ids=["whole", "shorter", "short", "an answer", "short and known", "empty", "one byte"],
)
def test_a_stranger_is_told_of_versions_where_he_has_sent_more(
    run: Run, files: Files, data: bytes, is_answered: bool
) -> None:
    """RFC 9000 5.2.2 and 6.1: else who gives an address that is not his has that sent more than he sent."""

    async def scenario() -> None:
        async with listening(files.options()) as (listener, _):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                sender.setblocking(False)
                sender.connect(("127.0.0.1", urlsplit(listener.url).port or 0))
                sender.send(data)
                sender.send(whole := initial())  # which is answered in any case, behind it
                answer = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(sender, 65536), SOON)
        assert (answer[1:5] == bytes(4)) is is_answered
        assert len(answer) < len(whole)

    run(scenario())


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({"x-long": "a" * 9000}, "a header is longer|the head of the call"),
        ({f"x-{number}": "a" for number in range(100)}, "more than 100 headers"),
        ({f"x-{number}": "a" * 3500 for number in range(10)}, "the headers are longer"),
    ],
    ids=["long", "many", "large"],
)
def test_heads_are_bounded(run: Run, files: Files, metadata: dict[str, str], said: str) -> None:
    async def scenario() -> None:
        async with serving(files) as (link, site):
            with pytest.raises(ResourceExhausted, match=said) as refused:
                await call(link, metadata=metadata)
            assert refused.value.reason == "size"
            assert site.heads == []
            assert (await call(link, body=b"1"))[0] == b"1"

    run(scenario())


def test_a_head_without_end_ends_its_connection_alone(run: Run, files: Files) -> None:
    async def scenario() -> None:
        async with (
            listening(files.options()) as (listener, site),
            talking(listener.url, files) as talker,
            linked(listener.url, trusted(files)) as link,
        ):
            exchange = talker.say([(b"x-%d" % number, b"a" * 900) for number in range(300)])
            status, _ = await exchange.answer()
            assert status in (None, 431)
            assert site.heads == []
            assert (await call(link, body=b"1"))[0] == b"1"

    run(scenario())


@pytest.mark.parametrize(
    ("pseudo", "headers", "status"),
    [
        ({"authority": "evil.example"}, [], 403),
        ({}, [(b"host", b"evil.example")], 400),
        ({}, [(b"origin", b"https://evil.example")], 403),
        ({"path": "*"}, [], 400),
        ({"path": "/echo/say?doc=1"}, [], 400),
        ({"method": "GET"}, [], 405),
        ({"path": "/nothing/here"}, [], 404),
        ({}, [(b"content-length", b"99999999999")], 413),
        ({}, [(b"content-encoding", b"gzip")], 415),
        ({}, [(b"xooai-timeout", b"soon")], 400),
    ],
)
def test_requests_that_are_not_for_this_server_are_refused(
    run: Run, files: Files, pseudo: dict[str, str], headers: list[tuple[bytes, bytes]], status: int
) -> None:
    async def scenario() -> None:
        async with listening(files.options()) as (listener, _), talking(listener.url, files) as talker:
            exchange = talker.say(headers, ended=b"content-length" not in dict(headers), pseudo=pseudo)
            assert (await exchange.answer())[0] == status
            assert await talker.say(body=b"1").answer() == (200, b"1")

    run(scenario())


def test_a_body_that_does_not_come_is_given_up(run: Run, files: Files) -> None:
    async def scenario() -> None:
        async with listening(files.options(), QUICK) as (listener, site), talking(listener.url, files) as talker:
            exchange = talker.say([(b"content-length", b"1000")], b"1", ended=False)
            status, body = await exchange.answer()
            assert (status, b"slower than" in body) == (504, True)
            assert site.heads == []
            assert await talker.say(body=b"1").answer() == (200, b"1")

    run(scenario())


def test_a_body_that_is_not_as_long_as_announced_is_no_call(run: Run, files: Files) -> None:
    async def scenario() -> None:
        async with listening(files.options()) as (listener, site), talking(listener.url, files) as talker:
            status, _ = await talker.say([(b"content-length", b"10")], b"1").answer()
            assert status != 200
            assert site.heads == []

    run(scenario())


def test_what_is_sent_to_all_calls_together_is_bounded(run: Run, files: Files) -> None:
    async def scenario() -> None:
        limits = Limits(buffered=100_000)
        async with listening(files.options(), limits) as (listener, _), talking(listener.url, files) as talker:
            waiting = talker.say([(b"content-length", b"90000")], bytes(80_000), ended=False)
            await asyncio.sleep(0.1)
            status, body = await talker.say(body=bytes(50_000)).answer()
            assert (status, b"too much is being sent" in body) == (503, True)
            waiting._write(bytes(10_000), True)
            assert (await waiting.answer())[0] == 200
            assert await talker.say(body=b"1").answer() == (200, b"1")

    run(scenario())


def test_a_silent_call_is_kept_alive(run: Run, files: Files) -> None:
    """For longer than a connection lives on which nothing moves."""
    limits = ClientLimits(idle=1.0, keep_alive=0.2)

    async def scenario() -> None:
        async with serving(files, Limits(idle=1.0), limits) as (link, site):
            waiting = asyncio.ensure_future(call(link, "wait", b"1"))
            await site.started.wait()
            await asyncio.sleep(2.0)
            site.released.set()
            assert (await waiting)[0] == b"1"

    run(scenario())


def test_a_client_that_never_says_that_it_is_there_is_asked(run: Run, files: Files) -> None:
    """Those of others do not, while they wait for an answer."""

    async def scenario() -> None:
        limits = Limits(idle=1.0, keep_alive=0.2, sweep=0.05)
        silent = ClientLimits(idle=1.0, keep_alive=30.0, silence=30.0)
        async with serving(files, limits, silent) as (link, site):
            waiting = asyncio.ensure_future(call(link, "wait", b"1"))
            await site.started.wait()
            await asyncio.sleep(2.0)
            site.released.set()
            assert (await waiting)[0] == b"1"

    run(scenario())


def test_a_connection_without_calls_is_closed_and_made_anew(run: Run, files: Files) -> None:
    limits = ClientLimits(unused=0.1, keep_alive=0.05)

    async def scenario() -> None:
        async with serving(files, client_limits=limits) as (link, site):
            await call(link)
            await asyncio.sleep(0.5)
            await call(link)
            assert len({head.peer for head in site.heads}) == 2

    run(scenario())


def test_a_server_that_is_silent_is_missed(run: Run, files: Files) -> None:
    """And the server misses its client."""
    limits = ClientLimits(idle=1.0, keep_alive=0.2)

    async def scenario() -> None:
        async with listening(files.options(), Limits(idle=1.0)) as (listener, site):
            relay = Relay(urlsplit(listener.url).port or 0)
            port = await relay.start()
            async with linked(f"quic://127.0.0.1:{port}", trusted(files), limits) as link:
                waiting = asyncio.ensure_future(call(link, "wait"))
                await site.started.wait()
                relay.is_silent = True
                async with asyncio.timeout(SOON):
                    with pytest.raises(Unavailable):
                        await waiting
                    await site.cancelled.wait()
            await relay.aclose()

    run(scenario())


def test_a_client_whose_address_changes_goes_on(run: Run, files: Files, library: str) -> None:
    """One call, executed once."""
    if library == "qh3":
        pytest.skip(
            "qh3 may hear nothing of a client whose address changes early, on a busy machine; nor does its bare server"
        )

    async def scenario() -> None:
        async with listening(files.options()) as (listener, site):
            relay = Relay(urlsplit(listener.url).port or 0)
            port = await relay.start()
            async with linked(f"quic://127.0.0.1:{port}", trusted(files)) as link:
                channel = await link.open(head("say", Shape.UNARY), b"1")
                assert await channel.receive() == b"1"
                large = os.urandom(4 * 1024 * 1024)
                waiting = asyncio.ensure_future(call(link, body=large))
                await asyncio.sleep(0.02)
                await relay.rebind()
                async with asyncio.timeout(4 * SOON):
                    assert (await waiting)[0] == large
                assert len(site.heads) == 2
            await relay.aclose()

    run(scenario())


class Deaf(StreamSite):
    """Takes one item of a stream, and then none until the test says so."""

    def shape(self, path: str) -> Shape:
        return Shape.CLIENT

    async def deaf(self, channel: Channel, body: bytes | None) -> None:
        self.started.set()
        await self.released.wait()
        await self.count(channel, body)


def test_a_stream_that_is_not_read_holds_its_client_back_or_is_given_up(run: Run, files: Files, library: str) -> None:
    """What comes beyond the window is not kept, whatever its client knows of windows; another call goes on."""
    line = b"1" * 999 + b"\n"

    async def scenario() -> None:
        site = Deaf()
        async with listening(files.options(), site=site) as (listener, _), talking(listener.url, files) as talker:
            kind = [(b"content-type", b"application/x-ndjson")]
            exchange = talker.say(kind, line * 20_000, ended=False, pseudo={"path": "/echo/deaf"})
            await asyncio.wait_for(site.started.wait(), SOON)
            other = talker.say(kind, line, pseudo={"path": "/echo/count"})
            assert await other.answer() == (200, b"1 999")
            if library == "aioquic":
                assert talker.connection.quic.unsent(exchange.id) > 10_000_000
                site.released.set()
                exchange._write(b"", True)
                assert await exchange.answer() == (200, b"20000 19980000")
            else:
                status, body = await exchange.answer()
                assert (status, b"faster than they were read" in body) == (503, True)

    run(scenario())


def test_streams_that_begin_without_a_head_are_given_up(run: Run, files: Files) -> None:
    async def scenario() -> None:
        async with listening(files.options(), QUICK) as (listener, _), talking(listener.url, files) as talker:
            quic = talker.connection.quic
            exchange = Exchange(talker.connection, quic.get_next_available_stream_id())
            talker.connection.streams[exchange.id] = exchange
            quic.send_stream_data(exchange.id, b"\1\x40\xff")  # a frame of headers of 255 bytes, of which none come
            talker.connection.flush_soon()
            assert await exchange.answer() == (None, b"")
            assert exchange.left is not None
            assert await talker.say(body=b"1").answer() == (200, b"1")

    run(scenario())
