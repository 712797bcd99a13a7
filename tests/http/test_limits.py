"""What a listener takes from its clients and what it refuses: each refusal beside the legal request next to it."""

from __future__ import annotations

import asyncio
import socket

import pytest
from echo_site import RawClient, Response, Run, ask, connected, get, listening, post

from xooai.driver import ListenOptions
from xooai.errors import Code

SOON = 5  # seconds: far more than anything here takes
KIB = 1024
CALL = b"POST /echo/say HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
BODY = b"Content-Length: 2\r\n\r\n{}"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"

LEGAL = {
    "a plain call": CALL + BODY,
    "an empty line before it": b"\r\n" + CALL + BODY,
    "a host in capitals with a port": CALL.replace(b"localhost", b"LocalHost:80") + BODY,
    "a loopback address as host": CALL.replace(b"localhost", b"127.0.0.1:9") + BODY,
    "an IPv6 loopback address as host": CALL.replace(b"localhost", b"[::1]:9") + BODY,
    "HTTP/1.0 without a host": b"POST /echo/say HTTP/1.0\r\n" + BODY,
    "a URL of the same host": CALL.replace(b"/echo", b"http://localhost/echo") + BODY,
    "an escape in the path": CALL.replace(b"/say", b"/%73ay") + BODY,
    "an empty query": CALL.replace(b"/say", b"/say?") + BODY,
    "an Upgrade that is ignored": CALL + b"Connection: Upgrade\r\nUpgrade: h2c\r\n" + BODY,
    "an Upgrade without a Connection": CALL + b"Upgrade: h2c\r\n" + BODY,
    "chunks": CALL + CHUNKED + b"1\r\n{\r\n1\r\n}\r\n0\r\n\r\n",
    "chunks in capitals": CALL + CHUNKED.replace(b"chunked", b"Chunked") + b"2\r\n{}\r\n0\r\n\r\n",
    "an extension of a chunk": CALL + CHUNKED + b"2;a=b\r\n{}\r\n0\r\n\r\n",
    "a trailer": CALL + CHUNKED + b"2\r\n{}\r\n0\r\nX-Sum: 1\r\n\r\n",
    "an encoding that is none": CALL + b"Content-Encoding: identity\r\n" + BODY,
    "an origin of the same host": CALL + b"Origin: http://localhost\r\n" + BODY,
    "an expectation": CALL + b"Expect: 100-Continue\r\n" + BODY,
    "100 headers": CALL + b"X: y\r\n" * 97 + BODY,
    "a long header": CALL + b"X: " + b"y" * (8 * KIB - 1) + b"\r\n" + BODY,
    "long headers": CALL + (b"X: " + b"y" * 8000 + b"\r\n") * 4 + BODY,
    "a long URL": CALL.replace(b"say", b"say?" + b"&" * (8 * KIB - 10)) + BODY,
    "letters beyond ASCII in a header": CALL + b"X: \xc3\xa9\r\n" + BODY,
}

ILLEGAL = {
    "a length beside chunks": (CALL + b"Content-Length: 2\r\n" + CHUNKED + b"2\r\n{}\r\n0\r\n\r\n", 400),
    "chunks beside a length": (CALL + CHUNKED[:-2] + b"Content-Length: 2\r\n\r\n{}", 400),
    "two lengths": (CALL + b"Content-Length: 2\r\n" + BODY, 400),
    "a list of lengths": (CALL + b"Content-Length: 2, 2\r\n\r\n{}", 400),
    "a length with a sign": (CALL + b"Content-Length: +2\r\n\r\n{}", 400),
    "a length in hexadecimal": (CALL + b"Content-Length: 0x2\r\n\r\n{}", 400),
    "a length beyond counting": (CALL + b"Content-Length: " + b"9" * 30 + b"\r\n\r\n", 400),
    "two hosts": (CALL + b"Host: localhost\r\n" + BODY, 400),
    "no host": (CALL.replace(b"Host: localhost\r\n", b"") + BODY, 400),
    "chunks in HTTP/1.0": (CALL.replace(b"1.1", b"1.0") + CHUNKED + b"2\r\n{}\r\n0\r\n\r\n", 400),
    "chunks that are not the last coding": (CALL + b"Transfer-Encoding: chunked, gzip\r\n\r\n", 400),
    "another coding": (CALL + b"Transfer-Encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", 501),
    "a coding that looks like chunks": (CALL + b"Transfer-Encoding: xchunked\r\n\r\n", 501),
    "chunks twice": (CALL + CHUNKED[:-2] + CHUNKED + b"2\r\n{}\r\n0\r\n\r\n", 400),
    "an Upgrade with chunks": (CALL + b"Connection: Upgrade\r\nUpgrade: h2c\r\n" + CHUNKED, 400),
    "a folded header": (CALL + b"X: y\r\n z\r\n" + BODY, 400),
    "a space before the first header": (CALL[:25] + b" X: y\r\n" + CALL[25:] + BODY, 400),
    "a bare line feed": (CALL + b"X: y\nZ: 1\r\n" + BODY, 400),
    "a bare carriage return": (CALL + b"X: y\rZ: 1\r\n" + BODY, 400),
    "nothing but line feeds": ((CALL + BODY).replace(b"\r\n", b"\n"), 400),
    "a NUL in a header": (CALL + b"X: \0\r\n" + BODY, 400),
    "a control character in a header": (CALL + b"X: \x01\r\n" + BODY, 400),
    "a NUL in a name": (CALL + b"X\0: y\r\n" + BODY, 400),
    "a space before the colon": (CALL + b"Content-Length : 2\r\n\r\n{}", 400),
    "no name": (CALL + b": y\r\n" + BODY, 400),
    "a size of a chunk that is none": (CALL + CHUNKED + b"zz\r\n{}\r\n0\r\n\r\n", 400),
    "a chunk that is longer than it says": (CALL + CHUNKED + b"2\r\n{}}\r\n0\r\n\r\n", 400),
    "a chunk with a bare line feed": (CALL + CHUNKED + b"2\n{}\r\n0\r\n\r\n", 400),
    "a chunk beyond counting": (CALL + CHUNKED + b"f" * 20 + b"\r\n", 400),
    "a URL of another host": (CALL.replace(b"/echo", b"http://example.com/echo") + BODY, 400),
    "no path": (CALL.replace(b"/echo/say", b"*") + BODY, 400),
    "a fragment": (CALL.replace(b"say", b"say#a") + BODY, 400),
    "a timeout that is no number": (CALL + b"Xooai-Timeout: soon\r\n" + BODY, 400),
    "no HTTP": (b"\x16\x03\x01\x02\x00\x01\x00", 400),
    "a method in small letters": (b"post" + CALL[4:] + BODY, 400),
    "HTTP/2 without asking": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "HTTP/2.0 in a request": (CALL.replace(b"1.1", b"2.0") + BODY, 505),
    "HTTP/0.9": (CALL.replace(b"1.1", b"0.9") + BODY, 505),
    "a request to a proxy": (b"CONNECT example.com:443 HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
    "another expectation": (CALL + b"Expect: a-miracle\r\n" + BODY, 417),
    "another host": (CALL.replace(b"localhost", b"example.com") + BODY, 403),
    "a host that begins alike": (CALL.replace(b"localhost", b"localhost.example.com") + BODY, 403),
    "a host that is none": (CALL.replace(b"localhost", b"localhost@example.com") + BODY, 403),
    "an empty host": (CALL.replace(b"localhost", b"") + BODY, 403),
    "another origin": (CALL + b"Origin: http://example.com\r\n" + BODY, 403),
    "another port in the origin": (CALL + b"Origin: http://localhost:3000\r\n" + BODY, 403),
    "an origin that is none": (CALL + b"Origin: null\r\n" + BODY, 403),
    "an encoded body": (CALL + b"Content-Encoding: gzip\r\n" + BODY, 415),
    "101 headers": (CALL + b"X: y\r\n" * 98 + BODY, 431),
    "a header that is too long": (CALL + b"X: " + b"y" * (8 * KIB) + b"\r\n" + BODY, 431),
    "headers that are too long together": (CALL + (b"X: " + b"y" * 8000 + b"\r\n") * 5 + BODY, 431),
    "a URL that is too long": (CALL.replace(b"say", b"say?" + b"y" * (8 * KIB)) + BODY, 414),
    "a body that is announced too large": (CALL + b"Content-Length: 1000001\r\n\r\n", 413),
    "a body that becomes too large": (CALL + CHUNKED + (b"30000\r\n" + bytes(0x30000) + b"\r\n") * 6, 413),
}
SMALL = ListenOptions(message_limit=1_000_000)


async def say(client: RawClient, data: bytes, step: int) -> Response:
    """The answer to what is sent in pieces of `step` bytes; the server may answer before the last."""
    client.writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    answer = asyncio.create_task(client.response())
    for at in range(0, len(data), step):
        if answer.done():
            break
        client.write(data[at : at + step])
        await asyncio.sleep(0)
    return await asyncio.wait_for(answer, SOON)


@pytest.mark.parametrize("data", LEGAL.values(), ids=LEGAL)
def test_what_is_legal_is_answered(run: Run, data: bytes) -> None:
    async def scene(step: int) -> None:
        async with listening(options=SMALL) as (listener, site), connected(listener.url) as client:
            if b"Expect" in data:
                client.write(data[:-2])
                assert (await client.response()).status == 100
                response = await client.ask(data[-2:])
            else:
                response = await say(client, data, step)
            assert (response.status, response.body) == (200, b"{}")
            assert "x-sum" not in site.heads[0].metadata
            if b"1.0\r\n" not in data:
                assert (await client.ask(post())).status == 200

    for step in (len(data), 7):
        run(scene(step))


@pytest.mark.parametrize(("data", "status"), ILLEGAL.values(), ids=ILLEGAL)
def test_what_is_illegal_is_refused_and_the_connection_closed(run: Run, data: bytes, status: int) -> None:
    async def scene(step: int) -> None:
        async with listening(options=SMALL) as (listener, site), connected(listener.url) as client:
            response = await say(client, data, step)
            assert response.status == status
            assert response.headers["connection"] == "close"
            assert response.problem["detail"]
            assert await client.is_closed()
            assert not site.heads
            assert (await ask(listener.url, post())).status == 200

    for step in (len(data), 7 if len(data) < 50_000 else 50_000):
        run(scene(step))


@pytest.mark.parametrize("data", [CALL + b"X: ", CALL.replace(b" HTTP", b"?"), CALL[:-2] + b"y"])
def test_a_head_that_never_ends_is_refused_while_it_comes(run: Run, data: bytes) -> None:
    async def scene() -> None:
        async with listening() as (listener, _), connected(listener.url) as client:
            client.write(data[: data.index(b"?") + 1] if b"?" in data else data)
            response = await say(client, b"y" * 200 * KIB, 1000)
            assert response.status == (414 if b"?" in data else 431)
            assert await client.is_closed()

    run(scene())


def test_an_upgrade_among_requests_sent_ahead_keeps_their_order(run: Run) -> None:
    upgrade = "Connection: Upgrade", "Upgrade: h2c"

    async def scene() -> None:
        async with listening(pipeline=2) as (listener, site), connected(listener.url) as client:
            client.write(post("wait", b"0") + post("say", b"1", *upgrade)[:-1])
            await site.started.wait()
            client.write(b"1" + post("say", b"2", *upgrade) + post("say", b"3", *upgrade) + post("say", b"4"))
            assert (await ask(listener.url, post())).status == 200  # by now the other bytes have been read
            site.released.set()
            responses = [await client.response() for _ in range(3)]
            assert [response.body for response in responses] == [b"0", b"1", b"2"]
            assert await client.is_closed()

    run(scene())


# -- bodies


def test_a_body_that_is_too_large_is_refused_before_it_is_sent(run: Run) -> None:
    async def scene() -> None:
        async with listening() as (listener, _), connected(listener.url) as client:
            response = await client.ask(CALL + b"Expect: 100-continue\r\nContent-Length: 99999999999\r\n\r\n")
            assert response.status == 413
            assert response.problem["code"] == Code.RESOURCE_EXHAUSTED
            assert response.problem["details"] == {"reason": "size"}
            assert response.problem["detail"] == "the request has 99,999,999,999 bytes, the limit is 67,108,864 bytes"

    run(scene())


def test_a_refused_client_that_goes_on_sending_can_read_why(run: Run) -> None:
    async def scene() -> None:
        async with listening(options=SMALL) as (listener, _), connected(listener.url) as client:
            client.write(CALL + b"Content-Length: 1500000\r\n\r\n")
            for _ in range(9):
                client.write(bytes(100_000))
                await client.writer.drain()
            assert (await client.response()).status == 413

    run(scene())


def test_a_refused_client_that_never_stops_sending_is_cut_off(run: Run) -> None:
    async def scene() -> None:
        async with listening(options=SMALL) as (listener, _), connected(listener.url) as client:
            client.write(CALL + b"Content-Length: 99999999\r\n\r\n")
            with pytest.raises(ConnectionError):
                await send_on(client, bytes(100_000))

    run(scene())


def test_a_refused_client_that_stays_is_cut_off(run: Run) -> None:
    async def scene() -> None:
        async with listening(linger=0.05, sweep=0.02) as (listener, _), connected(listener.url) as client:
            assert (await client.ask(CALL + b"Content-Length: 99999999\r\n\r\n")).status == 413
            with pytest.raises(ConnectionError):
                await send_on(client, b"y")

    run(scene())


async def send_on(client: RawClient, data: bytes) -> None:
    for _ in range(1000):
        client.write(data)
        await client.writer.drain()
        await asyncio.sleep(0.005)


def test_expectations_wait_for_the_calls_before(run: Run) -> None:
    async def scene() -> None:
        async with listening() as (listener, site), connected(listener.url) as client:
            client.write(post("wait") + post("say", b"{}", "Expect: 100-continue")[:-2])
            await site.started.wait()
            site.released.set()
            assert [(await client.response()).status for _ in range(2)] == [200, 100]
            assert (await client.ask(b"{}")).body == b"{}"

    run(scene())


@pytest.mark.parametrize(
    ("chunk", "count", "status"),
    [
        (b"1\r\ny\r\n", 10_000, 200),  # 50 KiB beyond the content
        (b"1\r\ny\r\n", 100_000, 400),
        (b"40\r\n" + b"y" * 64 + b"\r\n", 15_000, 200),
        (b"1;" + b"e" * 60_000 + b"\r\ny\r\n", 1, 200),
        (b"1;" + b"e" * 400_000 + b"\r\ny\r\n", 1, 400),
    ],
    ids=["some small chunks", "many small chunks", "many chunks", "an extension", "a long extension"],
)
def test_chunks_that_cost_more_than_they_carry_are_refused(run: Run, chunk: bytes, count: int, status: int) -> None:
    async def scene() -> None:
        async with listening() as (listener, _), connected(listener.url) as client:
            data = CALL + CHUNKED + chunk * count + b"0\r\n\r\n"
            assert (await say(client, data, 50_000)).status == status

    run(scene())


def test_trailers_without_end_are_refused(run: Run) -> None:
    async def scene() -> None:
        async with listening() as (listener, _), connected(listener.url) as client:
            data = CALL + CHUNKED + b"2\r\n{}\r\n0\r\n" + b"X: y\r\n" * 30_000
            assert (await say(client, data, 50_000)).status == 400

    run(scene())


def test_bodies_that_come_at_once_are_bounded_together(run: Run) -> None:
    async def scene() -> None:
        async with listening(buffered=1_000_000) as (listener, _):
            async with connected(listener.url) as first, connected(listener.url) as second:
                for client in (first, second):
                    client.write(CALL + b"Content-Length: 900000\r\n\r\n" + bytes(900_000))
                responses = [await client.response() for client in (first, second)]
                taken, refused = sorted(responses, key=lambda response: response.status)
                assert (taken.status, len(taken.body)) == (200, 900_000)
                assert (refused.status, refused.headers["retry-after"]) == (503, "1")
            for _ in range(3):
                assert len((await ask(listener.url, post(body=bytes(900_000)))).body) == 900_000

    run(scene())


def test_a_body_that_is_too_large_is_refused_after_any_number_of_small_ones(run: Run) -> None:
    async def scene() -> None:
        small = ListenOptions(message_limit=1000)
        async with listening(options=small) as (listener, _), connected(listener.url) as client:
            for size in (1, 999, 1000):
                assert (await client.ask(post(body=bytes(size)))).status == 200
            assert (await client.ask(post(body=bytes(1001)))).status == 413

    run(scene())


# -- names


@pytest.mark.parametrize("host", ["api.example.com", "API.example.com:443", "localhost", "127.0.0.1"])
def test_a_server_answers_to_the_names_it_was_given(run: Run, host: str) -> None:
    async def scene() -> None:
        async with listening(options=ListenOptions(hosts=("api.example.com:8443",))) as (listener, _):
            assert (await ask(listener.url, CALL.replace(b"localhost", host.encode()) + BODY)).status == 200
            other = await ask(listener.url, CALL.replace(b"localhost", b"example.com") + BODY)
            assert other.problem["detail"] == (
                "this server is not called 'example.com'; a request, also through a proxy, names it in Host as one of: "
                "localhost, 127.0.0.1, [::1], api.example.com"
            )

    run(scene())


def test_a_page_is_refused_to_another_host_too(run: Run) -> None:
    async def scene() -> None:
        async with listening() as (listener, _):
            rebound = get("/openapi.json").replace(b"localhost", b"example.com")
            assert (await ask(listener.url, rebound)).status == 403

    run(scene())


def test_many_spellings_of_a_host_are_all_right(run: Run) -> None:
    async def scene() -> None:
        async with listening() as (listener, _), connected(listener.url) as client:
            for port in range(1, 400):
                assert (await client.ask(CALL.replace(b"localhost", b"localhost:%d" % port) + BODY)).status == 200

    run(scene())


def test_many_paths_are_all_answered(run: Run) -> None:
    async def scene() -> None:
        async with listening() as (listener, _), connected(listener.url) as client:
            for number in range(1100):
                assert (await client.ask(CALL.replace(b"/say", b"/no%d" % number) + BODY)).status == 404
            assert (await client.ask(post())).status == 200

    run(scene())
