"""The client's side of the HTTP driver: what it sends, which connections it keeps, and how it ends."""

from __future__ import annotations

import asyncio
import select
import socket
import ssl
import struct
import sys
import threading
from asyncio import StreamReader, StreamWriter
from math import inf
from pathlib import Path
from typing import Any

import pytest
from scripted_server import HEAD, PLAIN, Answer, Run, call, echo, linked, reply, request, reset, serving
from scripted_streams import UP

from xooai.driver import Channel, DialOptions, Head, Link
from xooai.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    ResourceExhausted,
    Unavailable,
)
from xooai_http.client import HttpLink
from xooai_http.connection import KEEP_ALIVE, Connection
from xooai_http.pool import Pool, PoolLimits
from xooai_http.target import Target

MIB = 1024 * 1024

# What is sent.


def sent(run: Run, head: Head, body: bytes = b"{}", host: str = "127.0.0.1") -> bytes:
    """The head of the request that a call makes."""
    heads: list[bytes] = []

    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        got, content = await request(reader)
        assert content == body
        heads.append(got)
        writer.write(reply(b""))

    async def scenario() -> str:
        async with serving(answer) as url, linked(url.replace("127.0.0.1", host)) as link:
            await call(link, body, head)
            return url.rpartition(":")[2]

    port = run(scenario())
    return heads[0].replace(port.encode(), b"PORT")


def test_a_plain_call_has_no_more_lines_than_it_needs(run: Run) -> None:
    assert sent(run, Head("/reader/read", "application/json")).split(b"\r\n") == [
        b"POST /reader/read HTTP/1.1",
        b"host: 127.0.0.1:PORT",
        b"content-type: application/json",
        b"content-length: 2",
        b"",
        b"",
    ]


def test_what_a_head_says_is_in_the_request(run: Run) -> None:
    head = Head("/a/b", "image/png", accept="application/json", timeout=1.2345, metadata={"X-Tenant": "blue"})

    lines = sent(run, head).split(b"\r\n")

    assert b"content-type: image/png" in lines
    assert b"accept: application/json" in lines
    assert b"xooai-timeout: 1235" in lines
    assert b"x-tenant: blue" in lines


def test_metadata_goes_without_a_timeout_too(run: Run) -> None:
    lines = sent(run, Head("/a/b", metadata={"x-a": "1"})).split(b"\r\n")

    assert b"x-a: 1" in lines
    assert not any(line.startswith(b"xooai-timeout") for line in lines)


def test_a_timeout_alone_is_a_header_in_milliseconds(run: Run) -> None:
    assert b"\r\nxooai-timeout: 60000\r\n" in sent(run, Head("/a/b", timeout=60))


def test_an_empty_request_has_a_length(run: Run) -> None:
    assert b"\r\ncontent-length: 0\r\n" in sent(run, HEAD, b"")


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/straße/lesen", b"/stra%C3%9Fe/lesen"),
        ("/a b/c?d#e%", b"/a%20b/c%3Fd%23e%25"),
        ("/a\r\nx: 1/b", b"/a%0D%0Ax:%201/b"),
    ],
)
def test_a_path_is_quoted(run: Run, path: str, target: bytes) -> None:
    first, second, *_ = sent(run, Head(path, "application/json")).split(b"\r\n")

    assert first == b"POST " + target + b" HTTP/1.1"
    assert second == b"host: 127.0.0.1:PORT"


def test_a_name_is_resolved_and_sent_as_the_host(run: Run) -> None:
    assert b"\r\nhost: localhost:PORT\r\n" in sent(run, HEAD, host="localhost")


@pytest.mark.parametrize(
    "head",
    [
        Head("reader/read"),
        Head("/a/b", codec="text/plain\r\nx: 1"),
        Head("/a/b", accept="text/plain\nx: 1"),
        Head("/a/b", metadata={"x-a": "1\r\nx: 1"}),
        Head("/a/b", metadata={"x a": "1"}),
        Head("/a/b", metadata={"Content-Length": "1"}),
        Head("/a/b", metadata={"x-a": "ä"}),
    ],
    ids=repr,
)
def test_what_would_break_the_request_is_refused_before_anything_is_sent(run: Run, head: Head) -> None:
    connections = 0

    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        nonlocal connections
        connections += 1

    async def scenario() -> None:
        async with serving(answer) as url, linked(url) as link:
            with pytest.raises(InvalidArgument):
                await link.open(head, b"")

    run(scenario())
    assert connections == 0


def test_more_paths_than_are_kept_ready_all_work(run: Run) -> None:
    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        while True:
            head, _ = await request(reader)
            writer.write(reply(head.split()[1]))

    async def scenario() -> None:
        async with serving(answer) as url, linked(url) as link:
            for path in [f"/a/{n}" for n in range(1100)] + ["/a/0"]:
                assert await call(link, b"", Head(path)) == path.encode()

    run(scenario())


def test_link_and_channel_are_what_the_core_expects(run: Run) -> None:
    async def scenario() -> None:
        async with serving(echo) as url, linked(url) as link:
            expected: Link = link
            channel = await expected.open(HEAD, b"1")
            assert isinstance(channel, Channel)
            assert channel.head is HEAD
            await channel.end()
            for more in (channel.send(b"2"), channel.end(b"2")):
                with pytest.raises(FailedPrecondition, match="no second frame"):
                    await more
            assert await channel.receive() == b"1"

    run(scenario())


# Where to.


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("ftp://host:1", "the scheme of the URL is 'ftp'"),
        ("host:80", "the scheme of the URL is 'host'"),
        ("http://", "no host"),
        ("http://:80", "no host"),
        ("http://a b:80", "no host"),
        ("http://a\0b:80", "no host"),
        ("http://" + "a" * 300, "no host"),
        ("http://[::1", "cannot be read"),
        ("http://[abc]:80", "cannot be read"),
        ("http://host:port", "cannot be read"),
        ("http://host:99999", "cannot be read"),
        ("http://host:0", "port 0"),
        ("http://host:80/reader", "more than scheme"),
        ("http://host:80?key=secret", "more than scheme"),
        ("http://host:80#secret", "more than scheme"),
        ("http://user:secret@host:80", "user name or password"),
        ("http://secret@host:80", "user name or password"),
        ("http://user:secret@host:port", "cannot be read"),
        ("http://user:se'cret@host:port", "cannot be read"),
    ],
)
def test_a_url_that_names_no_server_is_refused_without_its_secrets(url: str, complaint: str) -> None:
    with pytest.raises(InvalidArgument, match=complaint) as raised:
        HttpLink(url, PLAIN)

    assert "cret" not in str(raised.value)
    assert raised.value.__cause__ is None


@pytest.mark.parametrize(
    "url", ["http://host", "https://host/", "http://[::1]:80", "HTTP://Host:80", "http://bücher.example"]
)
def test_a_link_opens_no_connection_by_itself(run: Run, url: str) -> None:
    async def scenario() -> None:
        await HttpLink(url, PLAIN).aclose()

    run(scenario())


@pytest.mark.skipif(not socket.has_ipv6, reason="there is no IPv6 here")
def test_an_ipv6_address_is_bracketed_in_the_host(run: Run) -> None:
    heads: list[bytes] = []

    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        head, _ = await request(reader)
        heads.append(head)
        writer.write(reply(b""))
        await writer.drain()
        writer.close()

    async def scenario() -> int:
        try:
            server = await asyncio.start_server(answer, "::1", 0)
        except OSError:
            pytest.skip("there is no ::1 here")
        port: int = server.sockets[0].getsockname()[1]
        async with server, linked(f"http://[::1]:{port}") as link:
            await call(link)
        return port

    port = run(scenario())
    assert b"\r\nhost: [::1]:%d\r\n" % port in heads[0]


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_a_server_that_is_not_there_is_unavailable_before_the_call_begins(run: Run) -> None:
    port = unused_port()

    async def scenario() -> None:
        async with linked(f"http://127.0.0.1:{port}", limits=PoolLimits(connections=1)) as link:
            for _ in range(3):  # a failure gives its place back
                with pytest.raises(Unavailable, match=f"cannot connect to 127.0.0.1:{port}: .*refused"):
                    await link.open(HEAD, b"")

    run(scenario())


def test_a_host_without_an_address_is_unavailable(run: Run) -> None:
    async def scenario() -> None:
        async with linked("http://no-such-host.invalid:80") as link:
            with pytest.raises(Unavailable, match=r"cannot connect to no-such-host\.invalid:80"):
                await link.open(HEAD, b"")

    run(scenario())


# Which connection.


def counting(numbers: list[int]) -> Answer:
    """Answer each request with the number of its connection."""

    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        number = len(numbers)
        numbers.append(number)
        while True:
            await request(reader)
            writer.write(reply(b"%d" % number))

    return answer


def test_calls_one_after_another_share_a_connection(run: Run) -> None:
    async def scenario() -> None:
        async with serving(counting([])) as url, linked(url) as link:
            assert [await call(link) for _ in range(5)] == [b"0"] * 5

    run(scenario())


def test_calls_at_once_have_a_connection_each_and_the_last_one_used_is_used_next(run: Run) -> None:
    arrived = asyncio.Barrier(3)
    numbers: list[StreamWriter] = []

    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        number = b"%d" % len(numbers)
        numbers.append(writer)
        while True:
            _, content = await request(reader)
            if content == b"together":
                await arrived.wait()
            if content == number:
                await last.wait()
            writer.write(reply(number))

    async def scenario() -> None:
        async with serving(answer) as url, linked(url) as link:
            assert set(await asyncio.gather(*(call(link, b"together") for _ in range(3)))) == {b"0", b"1", b"2"}
            used = await call(link)
            assert [await call(link) for _ in range(5)] == [used] * 5

    last = asyncio.Event()
    run(scenario())


def test_a_connection_that_the_server_closed_is_not_used_again(run: Run) -> None:
    closed = asyncio.Event()

    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        await request(reader)
        writer.write(reply(b"1"))
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        closed.set()

    async def scenario() -> None:
        async with serving(answer) as url, linked(url) as link:
            for _ in range(20):
                closed.clear()
                assert await call(link) == b"1"
                await closed.wait()

    run(scenario())


@pytest.mark.parametrize("closing", [b"connection: close\r\n", b"Connection: Close\r\n"])
def test_a_connection_that_the_server_is_about_to_close_is_not_used_again(run: Run, closing: bytes) -> None:
    count = 0

    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        nonlocal count
        count += 1
        await request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n" + closing + b"content-length: 0\r\n\r\n")
        await reader.read()

    async def scenario() -> None:
        async with serving(answer) as url, linked(url) as link:
            await call(link)
            await call(link)

    run(scenario())
    assert count == 2


def test_a_connection_idle_for_too_long_is_closed(run: Run) -> None:
    left = asyncio.Event()

    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        await request(reader)
        writer.write(reply(b""))
        assert await reader.read() == b""
        left.set()

    async def scenario() -> None:
        async with serving(answer) as url, linked(url, limits=PoolLimits(idle=0.05)) as link:
            await call(link)
            await left.wait()

    run(scenario())


def test_a_connection_idle_for_too_long_is_not_used_again_even_before_it_is_closed(run: Run) -> None:
    numbers: list[int] = []

    async def scenario() -> None:
        async with serving(counting(numbers)) as url, linked(url, limits=PoolLimits(idle=0)) as link:
            assert [await call(link) for _ in range(3)] == [b"0", b"1", b"2"]

    run(scenario())


def test_a_request_that_met_a_closing_connection_is_not_sent_twice(run: Run) -> None:
    """It may have run: the server read it, and closed before it answered."""
    requests = 0

    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        nonlocal requests
        await request(reader)
        requests += 1
        writer.write(reply(b""))
        await request(reader)
        requests += 1
        reset(writer)

    async def scenario() -> None:
        async with serving(answer) as url, linked(url) as link:
            await call(link)
            with pytest.raises(Unavailable, match="before it answered; the call may have run"):
                await call(link)

    run(scenario())
    assert requests == 2


def test_connections_are_bounded_and_calls_wait_in_order(run: Run) -> None:
    order: list[bytes] = []
    connections = 0

    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while True:
            _, content = await request(reader)
            order.append(content)
            if content == b"0":
                began.set()
                await released.wait()
            writer.write(reply(content))

    async def scenario() -> None:
        async with serving(answer) as url, linked(url, limits=PoolLimits(connections=1)) as link:
            calls = [asyncio.create_task(call(link, b"%d" % n)) for n in range(10)]
            await began.wait()
            released.set()
            assert await asyncio.gather(*calls) == [b"%d" % n for n in range(10)]

    began, released = asyncio.Event(), asyncio.Event()
    run(scenario())
    assert order == [b"%d" % n for n in range(10)]
    assert connections == 1


def test_a_hundred_connections_serve_a_thousand_calls(run: Run) -> None:
    connections = 0

    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await echo(reader, writer)

    async def scenario() -> None:
        async with serving(answer) as url, linked(url) as link:
            bodies = [b"%d" % n for n in range(1000)]
            assert await asyncio.gather(*(call(link, body) for body in bodies)) == bodies

    run(scenario())
    assert connections <= 100


async def silent(reader: StreamReader, writer: StreamWriter) -> None:
    """Take requests and answer none."""
    await reader.read()


def test_the_line_of_those_who_wait_is_bounded(run: Run) -> None:
    async def scenario() -> None:
        async with serving(silent) as url, linked(url, limits=PoolLimits(connections=1, waiting=2)) as link:
            channel = await link.open(HEAD, b"")
            waiting = [asyncio.create_task(call(link)) for _ in range(2)]
            await asyncio.sleep(0)

            with pytest.raises(ResourceExhausted, match="2 calls wait for one of the 1 connections") as raised:
                await call(link)
            assert raised.value.reason == "load"

            channel.abort()
            await link.aclose()
            for task in waiting:
                with pytest.raises(Unavailable):
                    await task

    run(scenario())


def test_a_call_that_waits_for_a_connection_ends_with_its_timeout(run: Run) -> None:
    async def scenario() -> None:
        async with serving(silent) as url, linked(url, limits=PoolLimits(connections=1)) as link:
            await link.open(HEAD, b"")

            with pytest.raises(DeadlineExceeded, match="was free in the time allowed"):
                await call(link, head=Head("/a/b", timeout=0.05))

    run(scenario())


def test_a_caller_that_stops_waiting_does_not_keep_the_connection(run: Run) -> None:
    async def scenario() -> None:
        async with serving(echo) as url, linked(url, limits=PoolLimits(connections=1)) as link:
            channel = await link.open(HEAD, b"1")
            impatient = asyncio.create_task(call(link, b"2"))
            patient = asyncio.create_task(call(link, b"3"))
            await asyncio.sleep(0)
            impatient.cancel()

            assert await channel.receive() == b"1"
            assert await patient == b"3"
            with pytest.raises(asyncio.CancelledError):
                await impatient

    run(scenario())


@pytest.mark.parametrize("end", [Pool.release, Connection.abort], ids=["a connection", "a place"])
def test_a_caller_cancelled_as_its_turn_comes_passes_it_on(run: Run, end: object) -> None:
    async def scenario() -> None:
        async with serving(echo) as url:
            pool = Pool(Target.at(url, PLAIN), PoolLimits(connections=1), 1000)
            connection = await pool.acquire(inf)
            first = asyncio.create_task(pool.acquire(inf))
            second = asyncio.create_task(pool.acquire(inf))
            await asyncio.sleep(0)

            if end is Pool.release:
                pool.release(connection)
            else:
                connection.abort()
                await asyncio.sleep(0)  # on asyncio's loop the place is free now
            first.cancel()

            assert ((await second) is connection) == (end is Pool.release)
            await asyncio.wait([first])
            assert first.cancelled()
            await pool.aclose()

    run(scenario())


def test_a_connection_that_breaks_as_it_is_passed_on_is_not_used(run: Run) -> None:
    async def scenario() -> None:
        async with serving(echo) as url:
            pool = Pool(Target.at(url, PLAIN), PoolLimits(connections=1), 1000)
            connection = await pool.acquire(inf)
            waiting = asyncio.create_task(pool.acquire(inf))
            await asyncio.sleep(0)

            pool.release(connection)
            connection.abort()

            assert await waiting is not connection
            await pool.aclose()

    run(scenario())


def test_a_connection_notices_a_peer_that_has_vanished() -> None:
    """The system does; that it is asked to is all that can be seen without a broken network."""

    class Loop(asyncio.SelectorEventLoop):
        async def create_connection(self, *args: Any, **options: Any) -> Any:
            transport, protocol = await super().create_connection(*args, **options)
            connected = transport.get_extra_info("socket")
            options_set.append(connected.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))
            names = [name for name in KEEP_ALIVE if hasattr(socket, name)]
            options_set.extend(connected.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in names)
            return transport, protocol

    async def scenario() -> None:
        async with serving(echo) as url, linked(url) as link:
            await call(link)

    options_set: list[int] = []
    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(scenario())
    if sys.platform == "linux":
        assert options_set == [1, 30, 5, 2, 40_000]
    else:
        assert options_set[0]


class ResettingServer(threading.Thread):
    """Resets its first connections when it is told to, and answers one request on the next."""

    def __init__(self, count: int) -> None:
        super().__init__(daemon=True)
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listening.getsockname()[1]}"
        self.left = count
        self.now = threading.Semaphore(0)

    def run(self) -> None:
        with self.listening:
            for _ in range(self.left):
                accepted, _ = self.listening.accept()
                self.now.acquire()
                accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                accepted.close()
            accepted, _ = self.listening.accept()
            with accepted, accepted.makefile("rb") as request:
                lines = list(iter(request.readline, b"\r\n"))
                lengths = [line.partition(b":")[2] for line in lines if line.lower().startswith(b"content-length:")]
                request.read(sum(map(int, lengths)))  # all of it: to close with something unread resets the connection
                accepted.sendall(reply(b"once"))


def resetting_loop(server: ResettingServer) -> asyncio.AbstractEventLoop:
    """A loop on which the reset comes in the instant between connecting and the first write."""

    class Loop(asyncio.SelectorEventLoop):
        async def create_connection(self, *args: Any, **options: Any) -> Any:
            transport, protocol = await super().create_connection(*args, **options)
            if server.left:
                server.left -= 1
                server.now.release()
                select.select([transport.get_extra_info("socket")], [], [])
            return transport, protocol

    return Loop()


@pytest.mark.parametrize("body", [b"{}", b"x" * MIB], ids=["small", "large"])
@pytest.mark.parametrize("count", [1, 2])
def test_a_call_of_which_nothing_was_sent_is_tried_once_more(count: int, body: bytes) -> None:
    """On asyncio's loop, which alone says at once that a write has failed."""

    async def scenario() -> None:
        async with linked(server.url) as link:
            if count == 2:
                with pytest.raises(Unavailable, match="closes each connection as soon as it is open"):
                    await link.open(HEAD, body)
            assert await call(link, b"{}" if count == 2 else body) == b"once"

    server = ResettingServer(count)
    server.start()
    with asyncio.Runner(loop_factory=lambda: resetting_loop(server)) as runner:
        runner.run(scenario())
    server.join()


@pytest.mark.parametrize("count", [1, 2])
def test_a_call_that_streams_of_which_nothing_was_sent_is_tried_once_more(count: int) -> None:
    async def scenario() -> None:
        async with linked(server.url) as link:
            if count == 2:
                with pytest.raises(Unavailable, match="closes each connection as soon as it is open"):
                    await link.open(UP)
            channel = await link.open(UP)
            assert await channel.receive() == b"once"

    server = ResettingServer(count)
    server.start()
    with asyncio.Runner(loop_factory=lambda: resetting_loop(server)) as runner:
        runner.run(scenario())
    server.join()


# How it ends.


def test_closing_ends_calls_under_way_and_those_that_wait(run: Run) -> None:
    async def scenario() -> None:
        async with serving(silent) as url, linked(url, limits=PoolLimits(connections=2)) as link:
            opened = await link.open(HEAD, b"")
            calls = [asyncio.create_task(call(link)) for _ in range(5)]
            await asyncio.sleep(0)

            await link.aclose()

            for task in calls:
                with pytest.raises(Unavailable, match="has been closed"):
                    await task
            with pytest.raises(Unavailable, match="has been closed"):
                await opened.receive()
            with pytest.raises(Unavailable, match="has been closed"):
                await link.open(HEAD, b"")
            await link.aclose()

    run(scenario())


def test_closing_ends_a_call_that_is_still_connecting(run: Run) -> None:
    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        accepted.set()
        await reader.read()

    async def scenario() -> None:
        async with serving(answer) as url, linked(url.replace("http:", "https:")) as link:
            task = asyncio.create_task(call(link))
            await accepted.wait()

            await link.aclose()

            with pytest.raises(Unavailable, match="has been closed"):
                await task

    accepted = asyncio.Event()
    run(scenario())


def test_closing_ends_a_call_whenever_it_happens(run: Run) -> None:
    """Also between the moment when its connection is open and the one when it would be used."""

    async def scenario() -> None:
        async with serving(silent) as url:
            for turns in range(30):
                async with linked(url) as link:
                    task = asyncio.create_task(call(link))
                    for _ in range(turns):
                        await asyncio.sleep(0)

                    await link.aclose()

                    with pytest.raises(Unavailable, match="has been closed"):
                        await asyncio.wait_for(task, 5)

    run(scenario())


def test_a_link_that_was_never_used_can_be_closed_and_is_closed_then(run: Run) -> None:
    async def scenario() -> None:
        link = HttpLink("http://127.0.0.1:9", PLAIN)
        await link.aclose()
        with pytest.raises(Unavailable, match="has been closed"):
            await link.open(HEAD, b"")

    run(scenario())


def test_a_link_stays_on_the_loop_of_its_first_call() -> None:
    link = HttpLink(f"http://127.0.0.1:{unused_port()}", PLAIN)

    async def use() -> None:
        await link.open(HEAD, b"")

    with pytest.raises(Unavailable):
        asyncio.run(use())
    with pytest.raises(FailedPrecondition, match="another event loop"):
        asyncio.run(use())
    asyncio.run(link.aclose())


def test_a_timeout_that_is_over_sends_nothing(run: Run) -> None:
    async def scenario() -> None:
        async with linked("http://127.0.0.1:9") as link:
            for timeout in (0, -1):
                with pytest.raises(DeadlineExceeded, match="no time is left"):
                    await link.open(Head("/a/b", timeout=timeout), b"")

    run(scenario())


# TLS.


def test_a_call_over_tls_trusts_the_authorities_that_it_is_given(
    run: Run, tls: ssl.SSLContext, certificate: Path
) -> None:
    async def scenario() -> None:
        async with serving(echo, tls) as url, linked(url, options=DialOptions(trust=str(certificate))) as link:
            for size in (10, 100_000, 3_000_000):
                assert await call(link, b"x" * size) == b"x" * size

    run(scenario())


def test_calls_over_tls_one_after_another_share_a_connection(run: Run, tls: ssl.SSLContext, certificate: Path) -> None:
    async def scenario() -> None:
        options = DialOptions(trust=str(certificate))
        async with serving(counting([]), tls) as url, linked(url, options=options) as link:
            assert [await call(link) for _ in range(5)] == [b"0"] * 5

    run(scenario())


def test_a_server_whose_certificate_nobody_signed_is_not_called(run: Run, tls: ssl.SSLContext) -> None:
    async def scenario() -> None:
        async with serving(echo, tls) as url, linked(url) as link:
            with pytest.raises(Unavailable, match="certificate verify failed"):
                await link.open(HEAD, b"{}")

    run(scenario())


def test_a_certificate_for_another_name_is_refused(run: Run, tls: ssl.SSLContext, certificate: Path) -> None:
    async def scenario() -> None:
        options = DialOptions(trust=str(certificate))
        async with serving(echo, tls) as url, linked(url.replace("127.0.0.1", "localhost"), options=options) as link:
            with pytest.raises(Unavailable, match="certificate verify failed: Hostname mismatch"):
                await link.open(HEAD, b"{}")

    run(scenario())


def test_tls_before_1_2_is_refused(run: Run, tls: ssl.SSLContext, certificate: Path) -> None:
    tls.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        tls.maximum_version = ssl.TLSVersion.TLSv1_1
    tls.set_ciphers("ALL:@SECLEVEL=0")

    async def scenario() -> None:
        async with serving(echo, tls) as url, linked(url, options=DialOptions(trust=str(certificate))) as link:
            with pytest.raises(Unavailable, match=r"protocol|closes the connection"):
                await link.open(HEAD, b"{}")

    run(scenario())


def test_an_answer_over_tls_that_is_cut_off_is_unavailable(run: Run, tls: ssl.SSLContext, certificate: Path) -> None:
    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        await request(reader)
        writer.write(reply(b"abc")[:-1])
        await writer.drain()
        writer.transport.abort()

    async def scenario() -> None:
        async with serving(answer, tls) as url, linked(url, options=DialOptions(trust=str(certificate))) as link:
            with pytest.raises(Unavailable, match="in the middle of its answer"):
                await call(link)

    run(scenario())


def test_an_answer_over_tls_without_a_length_is_refused(run: Run, tls: ssl.SSLContext, certificate: Path) -> None:
    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        await request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nabc")

    async def scenario() -> None:
        async with serving(answer, tls) as url, linked(url, options=DialOptions(trust=str(certificate))) as link:
            with pytest.raises(Internal, match="announces no length"):
                await call(link)

    run(scenario())


@pytest.mark.parametrize("timeout", [None, 0.05])
def test_a_handshake_that_hangs_ends(run: Run, timeout: float | None) -> None:
    async def scenario() -> None:
        limits = PoolLimits(connections=1, connect_timeout=0.05 if timeout is None else 20)
        async with serving(silent) as url, linked(url.replace("http:", "https:"), limits=limits) as link:
            for _ in range(2):
                with pytest.raises(Unavailable if timeout is None else DeadlineExceeded, match="connect"):
                    await link.open(Head("/a/b", timeout=timeout), b"{}")

    run(scenario())


def test_cancelling_a_call_that_is_connecting_leaves_nothing(run: Run) -> None:
    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        accepted.set()
        await reader.read()

    async def scenario() -> None:
        async with serving(answer) as url, linked(url.replace("http:", "https:")) as link:
            task = asyncio.create_task(call(link))
            await accepted.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    accepted = asyncio.Event()
    run(scenario())


def test_plain_http_to_a_server_of_https_is_an_error(run: Run, tls: ssl.SSLContext) -> None:
    async def scenario() -> None:
        async with serving(echo, tls) as url, linked(url.replace("https:", "http:")) as link:
            with pytest.raises((Internal, Unavailable)):
                await call(link)

    run(scenario())


def test_https_to_a_server_of_plain_http_is_unavailable(run: Run) -> None:
    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()

    async def scenario() -> None:
        async with serving(answer) as url, linked(url.replace("http:", "https:")) as link:
            with pytest.raises(Unavailable, match=r"SSL|closes the connection"):
                await link.open(HEAD, b"{}")

    run(scenario())


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_authorities_that_cannot_be_read_are_refused_by_name(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "authorities.pem"
    if content is not None:
        file.write_bytes(content)

    with pytest.raises(InvalidArgument, match=r"authorities\.pem"):
        HttpLink("https://127.0.0.1:1", DialOptions(trust=str(file)))


def test_authorities_without_tls_are_refused(certificate: Path) -> None:
    with pytest.raises(InvalidArgument, match="is for https"):
        HttpLink("http://127.0.0.1:1", DialOptions(trust=str(certificate)))
