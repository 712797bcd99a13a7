"""Calls over real sockets: what a site is given, what goes back, the access log, and room for connections."""

from __future__ import annotations

import asyncio
import encodings.idna  # noqa: F401 - a name is encoded by it where no file can be opened any more
import json
import logging
import os
import resource
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from echo_site import JSON, Run, ask, connected, get, listening, post

from xooai.errors import Code
from xooai_http.limits import Limits

SOON = 5  # seconds: far more than anything here takes, so that only what never comes runs into it


def test_a_call_has_what_its_request_said(run: Run) -> None:
    async def scene() -> None:
        async with listening() as (listener, site), connected(listener.url) as client:
            more = ("Accept: application/msgpack", "Xooai-Timeout: 1500", "X-Tenant: a", "x-tenant: b")
            response = await client.ask(post("say", b'{"a": 1}', *more))
            assert (response.status, response.body) == (200, b'{"a": 1}')
            assert response.headers == {"content-type": JSON, "content-length": "8"}
            (head,) = site.heads
            host, port = client.writer.get_extra_info("sockname")
            assert (head.path, head.codec, head.accept) == ("/echo/say", JSON, "application/msgpack")
            assert (head.timeout, head.peer) == (1.5, f"{host}:{port}")
            assert dict(head.metadata) == {"x-tenant": "b"}

    run(scene())


def test_one_connection_carries_many_calls(run: Run) -> None:
    async def scene() -> None:
        async with listening() as (listener, site), connected(listener.url) as client:
            for number in range(50):
                assert (await client.ask(post(body=b"%d" % number))).body == b"%d" % number
            assert len({head.peer for head in site.heads}) == 1

    run(scene())


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, 8 * 1024 * 1024])
def test_bodies_of_any_size_come_back_as_they_were(run: Run, size: int) -> None:
    body = bytes(range(256)) * (size // 256 + 1)

    async def scene() -> None:
        async with listening() as (listener, _), connected(listener.url) as client:
            for _ in range(2):
                assert (await client.ask(post("say", body[:size]))).body == body[:size]

    run(scene())


def test_a_request_may_come_byte_by_byte(run: Run) -> None:
    async def scene() -> None:
        async with listening() as (listener, _), connected(listener.url) as client:
            client.writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for byte in post(body=b"abc"):
                client.write(bytes((byte,)))
                await client.writer.drain()
                await asyncio.sleep(0)
            assert (await client.response()).body == b"abc"

    run(scene())


@pytest.mark.parametrize(
    ("data", "keeps"),
    [
        (post(), True),
        (post("say", b"", "Connection: keep-alive"), True),
        (post("say", b"", "Connection: close"), False),
        (post("say", b"", start="HTTP/1.0"), False),
        (post("say", b"", "Connection: keep-alive", start="HTTP/1.0"), False),
        (b"POST /echo/say HTTP/1.0\r\n\r\n", False),
        (get("/livez"), True),
        (get("/livez", "Connection: close"), False),
    ],
)
def test_a_connection_is_kept_where_both_sides_can(run: Run, data: bytes, keeps: bool) -> None:
    async def scene() -> None:
        async with listening() as (listener, _), connected(listener.url) as client:
            response = await client.ask(data)
            assert response.status == 200
            assert response.headers.get("connection") == (None if keeps else "close")
            if keeps:
                assert (await client.ask(post())).status == 200
            else:
                assert await client.is_closed()

    run(scene())


def test_what_comes_after_a_last_request_is_not_answered(run: Run) -> None:
    async def scene() -> None:
        async with listening() as (listener, site), connected(listener.url) as client:
            response = await client.ask(post("say", b"1", "Connection: close") + post("say", b"2"))
            assert response.body == b"1"
            assert await client.is_closed()
            assert len(site.heads) == 1

    run(scene())


@pytest.mark.parametrize(
    ("outcome", "status", "headers"),
    [
        ({"code": Code.NOT_FOUND, "message": "no 'x'"}, 404, {}),
        ({"code": Code.INVALID_ARGUMENT, "details": {"errors": [{"loc": ["a"]}]}}, 422, {}),
        ({"code": Code.RESOURCE_EXHAUSTED, "details": {"retry_after": 1.2}}, 503, {"retry-after": "2"}),
        ({"code": Code.UNAUTHENTICATED, "message": "who?"}, 401, {"www-authenticate": "Bearer"}),
        ({"code": Code.INTERNAL, "id": "a-1", "metadata": {"x-a": "b"}}, 500, {"x-request-id": "a-1", "x-a": "b"}),
    ],
)
def test_a_call_that_fails_is_answered_by_a_problem_document(
    run: Run, outcome: dict[str, Any], status: int, headers: dict[str, str]
) -> None:
    async def scene() -> None:
        async with listening() as (listener, _), connected(listener.url) as client:
            response = await client.ask(post("fail", json.dumps(outcome).encode()))
            assert response.status == status
            assert {**response.headers, **headers} == response.headers
            assert response.problem["code"] == outcome["code"]
            assert response.problem["detail"] == outcome.get("message", "")
            assert (await client.ask(post())).status == 200

    run(scene())


def test_metadata_goes_with_a_reply(run: Run) -> None:
    async def scene() -> None:
        async with listening() as (listener, _):
            outcome = json.dumps({"codec": "text/plain", "id": "i-1", "metadata": {"X-Cost": "3"}}).encode()
            response = await ask(listener.url, post("succeed", outcome))
            assert (response.status, response.body) == (200, b"ok")
            assert response.headers == {
                "content-type": "text/plain",
                "content-length": "2",
                "x-request-id": "i-1",
                "x-cost": "3",
            }

    run(scene())


@pytest.mark.parametrize("outcome", [{"codec": "a/b\r\nx: y"}, {"codec": "a/b", "metadata": {"x": "y\r\nz: 1"}}])
def test_no_header_is_written_by_what_is_in_another(
    run: Run, outcome: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    async def scene() -> None:
        async with listening() as (listener, _), connected(listener.url) as client:
            client.write(post("succeed", json.dumps(outcome).encode()))
            assert await client.is_closed()

    run(scene())
    assert "not printable ASCII text" in caplog.text


@pytest.mark.parametrize(("endpoint", "logged"), [("abort", ""), ("forget", "left without an answer")])
def test_a_call_that_ends_without_an_answer_closes_its_connection(
    run: Run, endpoint: str, logged: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def scene() -> None:
        async with listening() as (listener, _):
            async with connected(listener.url) as client:
                client.write(post(endpoint))
                assert await client.is_closed()
            assert (await ask(listener.url, post())).status == 200

    run(scene())
    assert (logged in caplog.text) if logged else not caplog.records


@pytest.mark.parametrize(("endpoint", "said"), [("twice", "this call has ended"), ("stream", "one reply")])
def test_a_site_that_misuses_a_channel_is_told(
    run: Run, endpoint: str, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def scene() -> None:
        async with listening() as (listener, _), connected(listener.url) as client:
            client.write(post(endpoint))
            await client.reader.read(1)

    run(scene())
    assert said in caplog.text


# -- the access log


def test_the_access_log_is_written_where_it_is_wanted(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="xooai.access")

    async def scene() -> None:
        async with listening() as (listener, _):
            for data in (post(), get("/livez"), get("/%0a%1b[2J"), post("say" * 100), b"NONSENSE\r\n\r\n"):
                await ask(listener.url, data)

    run(scene())
    lines = [record.getMessage().split(" ", 1)[1] for record in caplog.records if record.name == "xooai.access"]
    assert lines[0].startswith("'POST /echo/say' 200 ")
    assert lines[1] == "'GET /livez' 200 5"
    assert lines[2].startswith(r"'GET /%0a%1b[2J' 404 ")
    assert max(map(len, lines)) < 250
    assert lines[4].startswith("'-' 400 ")


def test_the_access_log_is_silent_otherwise(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def scene() -> None:
        async with listening() as (listener, _):
            await ask(listener.url, post())

    run(scene())
    assert not caplog.records


# -- room


def test_connections_beyond_the_limit_wait_until_one_leaves(run: Run) -> None:
    async def scene() -> None:
        async with listening(connections=2) as (listener, _), connected(listener.url) as first:
            async with connected(listener.url) as second:
                for client in (first, second):
                    assert (await client.ask(post())).status == 200
                waiting = asyncio.create_task(ask(listener.url, post(body=b"[3]")))
                done, _ = await asyncio.wait((waiting,), timeout=0.2)
                assert not done
            assert (await asyncio.wait_for(waiting, SOON)).body == b"[3]"
            assert (await first.ask(post())).status == 200

    run(scene())


@contextmanager
def no_more_files() -> Iterator[None]:
    """Every file that this process may open is open."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken: list[int] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))), limits[1]))
    try:
        with suppress(OSError):
            while True:
                taken.append(os.dup(0))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for number in taken:
            os.close(number)


def test_a_process_without_room_for_files_answers_once_it_has(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def scene() -> None:
        loop = asyncio.get_running_loop()
        async with listening() as (listener, _), connected(listener.url) as client:
            assert (await client.ask(post())).status == 200
            with socket.socket() as late:
                late.setblocking(False)
                with no_more_files():
                    host, _, port = listener.url[7:].partition(":")
                    await loop.sock_connect(late, (host, int(port)))
                    while not caplog.records:  # noqa: ASYNC110  # a log has no event
                        await asyncio.sleep(0.01)
                    assert (await client.ask(post())).status == 200
                await loop.sock_sendall(late, post(body=b"[1]"))
                assert (await asyncio.wait_for(loop.sock_recv(late, 1000), SOON)).endswith(b"[1]")

    run(scene())
    said = [record.getMessage() for record in caplog.records]
    assert said == ["no room for another connection: Too many open files"]


def test_a_crowd_without_room_is_told_of_once_however_they_come_and_go(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def scene() -> None:
        loop = asyncio.get_running_loop()
        async with listening() as (listener, _), AsyncExitStack() as clients:
            leaving = [await clients.enter_async_context(connected(listener.url)) for _ in range(5)]
            for client in leaving:
                assert (await client.ask(post())).status == 200
            late = [clients.enter_context(socket.socket()) for _ in range(30)]
            with no_more_files():
                host, _, port = listener.url[7:].partition(":")
                for one in late:
                    one.setblocking(False)
                    await loop.sock_connect(one, (host, int(port)))
                while not caplog.records:  # noqa: ASYNC110  # a log has no event
                    await asyncio.sleep(0.01)
                for client in leaving:  # each makes room, which is taken at once
                    await client.close()
                    await asyncio.sleep(0.02)

    run(scene())
    assert [record.getMessage() for record in caplog.records] == ["no room for another connection: Too many open files"]


BEYOND_LOOPBACK = """
import asyncio
from echo_site import connected, listening, post
from xooai.driver import ListenOptions

async def scene():
    options = ListenOptions(insecure=True)
    async with listening("http://192.0.2.1:0", options, connections_per_client=2) as (listener, _):
        async with connected(listener.url) as first, connected(listener.url) as second:
            for client, name in ((first, b"one.example"), (second, b"another.example")):
                assert (await client.ask(post().replace(b"localhost", name))).status == 200
            async with connected(listener.url) as third:
                third.write(post())
                assert await third.is_closed()
            assert (await first.ask(post())).status == 200
        async with connected(listener.url) as fourth:
            assert (await fourth.ask(post())).status == 200

asyncio.run(scene())
"""


@pytest.mark.system
def test_beyond_loopback_any_name_is_answered_and_one_client_has_a_share() -> None:
    command = 'ip link set lo up && ip addr add 192.0.2.1/32 dev lo && exec "$0" -c "$1"'
    ended = subprocess.run(
        ["unshare", "--net", "sh", "-c", command, sys.executable, BEYOND_LOOPBACK],
        cwd=Path(__file__).parent,
        env={
            **os.environ,
            "PYTHONPATH": str(Path(__file__).parents[1]),
        },  # where what tests of several folders share is
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert "192.0.2.1 has 2 connections; another one is refused" in ended.stderr


def test_limits_refuse_what_they_do_not_know() -> None:
    with pytest.raises(TypeError):
        Limits(conections=3)  # type: ignore[call-arg]


def test_a_target_that_is_a_whole_url_is_its_path(run: Run) -> None:
    """RFC 9112 3.2.2: a server must take it, whatever came before on the connection."""

    async def scene() -> None:
        async with listening() as (listener, site), connected(listener.url) as client:
            for _ in range(3):
                assert (await client.ask(post())).status == 200
                whole = post().replace(b" /", b" http://localhost/", 1)
                assert (await client.ask(whole)).status == 200
                assert (await client.ask(get("http://localhost/livez"), "GET")).status == 200
            assert {head.path for head in site.heads} == {"/echo/say"}
            assert (await client.ask(post().replace(b" /", b" http://elsewhere/", 1))).status == 400

    run(scene())
