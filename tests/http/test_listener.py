"""Listening, answering, being left by clients and ending in good order, over real sockets."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import resource
import shutil
import socket
import ssl
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from echo_site import JSON, EchoSite, Run, ask, connected, get, listening, post

from xooai.driver import ListenOptions
from xooai.errors import Code, InvalidArgument, PermissionDenied, Unavailable
from xooai_http.driver import HttpDriver
from xooai_http.limits import Limits

SOON = 5  # seconds: far more than anything here takes, so that only what never comes runs into it


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A certificate for localhost and its key, another key, and a key with a password."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl command")
    folder = tmp_path_factory.mktemp("pem")
    names = {name: str(folder / name) for name in ("certificate", "key", "other", "locked")}
    new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    name = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    files = ["-keyout", names["key"], "-out", names["certificate"]]
    subprocess.run([*new, *name, *files], check=True, capture_output=True)
    ec = ["openssl", "ecparam", "-genkey", "-name", "prime256v1", "-out", names["other"]]
    subprocess.run(ec, check=True, capture_output=True)
    lock = ["openssl", "ec", "-in", names["key"], "-aes128", "-passout", "pass:secret", "-out", names["locked"]]
    subprocess.run(lock, check=True, capture_output=True)
    return names


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def listen(url: str, **options: Any) -> None:
    listener = await HttpDriver().listen(url, EchoSite(), ListenOptions(**options))
    await listener.aclose()


# -- where to listen


def test_port_0_takes_a_free_one_and_says_which(run: Run) -> None:
    async def scene() -> None:
        async with listening() as (listener, _):
            assert listener.url.startswith("http://127.0.0.1:")
            assert (await ask(listener.url, post(body=b"[1]"))).body == b"[1]"

    run(scene())


def test_localhost_answers_at_both_loopback_addresses(run: Run) -> None:
    async def scene() -> None:
        async with listening("http://localhost:0") as (listener, _):
            port = listener.url.rpartition(":")[2]
            assert (await ask(f"http://127.0.0.1:{port}", post())).status == 200
            if socket.has_ipv6:
                assert (await ask(f"http://[::1]:{port}", post())).status == 200

    run(scene())


def test_an_ipv6_address_is_written_in_brackets(run: Run) -> None:
    async def scene() -> None:
        async with listening("http://[::1]:0") as (listener, _):
            assert listener.url.startswith("http://[::1]:")
            data = f"POST /echo/say HTTP/1.1\r\nHost: {listener.url[7:]}\r\nContent-Length: 0\r\n\r\n"
            assert (await ask(listener.url, data.encode())).status == 200

    run(scene())


def test_a_port_in_use_is_named_with_a_way_out(run: Run) -> None:
    async def scene() -> None:
        async with listening() as (listener, _):
            with pytest.raises(Unavailable) as caught:
                await listen(listener.url)
            assert caught.value.message == (
                f"cannot listen at {listener.url}: the address is in use; take another port (0 means any free one)"
            )

    run(scene())


def test_a_port_is_free_again_as_soon_as_its_listener_has_closed(run: Run) -> None:
    async def scene() -> None:
        url = f"http://127.0.0.1:{free_port()}"
        for _ in range(20):
            async with listening(url):
                assert (await ask(url, post())).status == 200

    run(scene())


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://127.0.0.1:0/echo", "without a path"),
        ("http://me@127.0.0.1:0", "nothing beside"),
        ("http://127.0.0.1:0?a=b", "nothing beside"),
        ("http://127.0.0.1:99999", "Port out of range"),
        ("http://:0", "http(s)://host:port"),
        ("ftp://127.0.0.1:0", "http(s)://host:port"),
        ("http://no.such.host.invalid:0", "'no.such.host.invalid' is not known here"),
    ],
)
def test_a_url_that_is_no_place_to_listen_is_refused(run: Run, url: str, said: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        run(listen(url))
    assert said in caught.value.message
    assert url in caught.value.message


def test_a_host_is_looked_up_where_it_is_a_name(run: Run) -> None:
    name = socket.gethostname()
    try:
        found = {str(address[4][0]) for address in socket.getaddrinfo(name, 0, type=socket.SOCK_STREAM)}
    except OSError:
        pytest.skip("this machine does not know its own name")
    if all(address.startswith("127.") or address == "::1" for address in found):
        run(listen(f"http://{name}:0"))
    else:
        with pytest.raises(PermissionDenied, match="others could reach it"):
            run(listen(f"http://{name}:0"))


def test_an_address_of_another_machine_is_refused(run: Run) -> None:
    with pytest.raises(InvalidArgument, match=r"'192\.0\.2\.1' is no address of this machine"):
        run(listen("http://192.0.2.1:0", insecure=True))


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "192.0.2.1"])
def test_an_address_beyond_loopback_takes_a_decision(run: Run, host: str) -> None:
    with pytest.raises(PermissionDenied, match="insecure=True"):
        run(listen(f"http://{host}:0"))


def test_a_host_that_is_none_is_no_name_of_the_server(run: Run) -> None:
    with pytest.raises(InvalidArgument, match="'a b' is not a host name"):
        run(listen("http://127.0.0.1:0", hosts=("a b",)))


# -- TLS


def test_https_answers_by_its_certificate(run: Run, pem: dict[str, str]) -> None:
    options = ListenOptions(certificate=pem["certificate"], key=pem["key"])
    trusting = ssl.create_default_context(cafile=pem["certificate"])

    async def scene() -> None:
        async with listening("https://localhost:0", options) as (listener, site):
            assert listener.url.startswith("https://localhost:")
            async with connected(listener.url, ssl=trusting, server_hostname="localhost") as client:
                for body in (b"[1]", bytes(300_000)):
                    assert (await client.ask(post(body=body))).body == body
                client.write(post("wait"))
                await site.started.wait()
            await asyncio.wait_for(site.cancelled.wait(), SOON)

    run(scene())


def test_tls_before_1_2_and_plain_http_get_no_further(run: Run, pem: dict[str, str]) -> None:
    options = ListenOptions(certificate=pem["certificate"], key=pem["key"])
    old = ssl.create_default_context(cafile=pem["certificate"])

    async def scene() -> None:
        async with listening("https://localhost:0", options) as (listener, _):
            with pytest.warns(DeprecationWarning, match="TLSv1_1"):
                old.maximum_version = ssl.TLSVersion.TLSv1_1
            with pytest.raises((ssl.SSLError, ConnectionError)):
                async with connected(listener.url, ssl=old):
                    pass
            async with connected(listener.url) as client:
                client.write(post())
                assert b"HTTP" not in await client.reader.read()

    run(scene())


@pytest.mark.parametrize(
    ("certificate", "key", "named"),
    [
        ("missing", "key", "missing"),
        ("certificate", "missing", "missing"),
        ("certificate", "other", "other"),
        ("certificate", "locked", "locked"),
        ("key", "key", "key"),
        ("certificate", None, "certificate"),
    ],
)
def test_a_bad_certificate_or_key_is_named(
    run: Run, pem: dict[str, str], certificate: str, key: str | None, named: str
) -> None:
    files = {**pem, "missing": "no/such/file.pem"}
    with pytest.raises(InvalidArgument) as caught:
        run(listen("https://127.0.0.1:0", certificate=files[certificate], key=key and files[key]))
    assert repr(files[named]) in caught.value.message


def test_https_without_a_certificate_says_what_it_takes(run: Run) -> None:
    with pytest.raises(InvalidArgument, match="needs certificate= and key="):
        run(listen("https://127.0.0.1:0"))


# -- calls


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


# -- clients that leave


def reset(writer: asyncio.StreamWriter) -> None:
    # A linger time of zero makes close() send a reset (socket(7)).
    used = writer.get_extra_info("socket")
    used.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


WAYS_TO_LEAVE: dict[str, Callable[[asyncio.StreamWriter], None]] = {
    "closes": asyncio.StreamWriter.close,
    "resets": reset,
    "stops writing": asyncio.StreamWriter.write_eof,
}


@pytest.mark.parametrize("way", WAYS_TO_LEAVE)
@pytest.mark.parametrize("target", ["wait", "wait?by=asgi"])
def test_a_client_that_leaves_cancels_its_call(
    run: Run, way: str, target: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def scene() -> None:
        async with listening() as (listener, site):
            async with connected(listener.url) as client:
                client.write(post(target))
                await site.started.wait()
                WAYS_TO_LEAVE[way](client.writer)
                await asyncio.wait_for(site.cancelled.wait(), 0.5)
            assert (await ask(listener.url, post())).status == 200

    run(scene())
    assert not caplog.records


def test_a_client_that_leaves_takes_its_waiting_requests_along(run: Run) -> None:
    async def scene() -> None:
        async with listening() as (listener, site):
            async with connected(listener.url) as client:
                client.write(post("wait") + post() + post("say?by=asgi"))
                await site.started.wait()
            await asyncio.wait_for(site.cancelled.wait(), 0.5)
            await ask(listener.url, post())
            assert [head.path for head in site.heads] == ["/echo/wait", "/echo/say"]

    run(scene())


def test_a_client_that_leaves_in_the_middle_of_a_request_leaves_nothing(run: Run) -> None:
    async def scene() -> None:
        async with listening() as (listener, site):
            for data in (b"", b"PO", post()[:40], post(body=bytes(9))[:-1], post(body=bytes(300_000))[:-1]):
                async with connected(listener.url) as client:
                    client.write(data)
                    await client.writer.drain()
            assert (await ask(listener.url, post())).status == 200
            assert len(site.heads) == 1

    run(scene())


# -- requests sent ahead


def test_requests_sent_ahead_are_answered_in_order(run: Run) -> None:
    async def scene() -> None:
        async with listening() as (listener, site), connected(listener.url) as client:
            client.write(
                post("wait", b"0") + post("say", b"1") + get("/livez") + post("say", b"3") + post("say?", b"4")
            )
            await site.started.wait()
            site.released.set()
            bodies = [(await client.response()).body for _ in range(5)]
            assert bodies == [b"0", b"1", b"live\n", b"3", b"4"]
            assert (await client.ask(post("say", b"5"))).body == b"5"

    run(scene())


def test_a_bad_request_sent_ahead_is_refused_in_its_turn(run: Run) -> None:
    async def scene() -> None:
        async with listening() as (listener, site), connected(listener.url) as client:
            client.write(post("wait", b"0") + b"NONSENSE\r\n\r\n" + post("say", b"2"))
            await site.started.wait()
            site.released.set()
            assert (await client.response()).body == b"0"
            assert (await client.response()).status == 400
            assert await client.is_closed()

    run(scene())


def test_more_requests_than_the_limit_are_not_taken(run: Run) -> None:
    async def scene() -> None:
        async with listening(pipeline=3) as (listener, site), connected(listener.url) as client:
            client.write(b"".join(post("wait" if number == 0 else "say", b"%d" % number) for number in range(9)))
            await site.started.wait()
            site.released.set()
            responses = [await client.response() for _ in range(4)]
            assert [response.body for response in responses] == [b"0", b"1", b"2", b"3"]
            assert [response.headers.get("connection") for response in responses] == [None, None, None, "close"]
            assert await client.is_closed()
            assert len(site.heads) == 4

    run(scene())


def test_more_bytes_than_the_limit_are_not_kept_while_a_call_runs(run: Run) -> None:
    async def scene() -> None:
        async with listening(pipeline_size=1000) as (listener, site), connected(listener.url) as client:
            client.write(post("wait"))
            await site.started.wait()
            client.write(post("say", bytes(5000))[:1500])
            assert (await ask(listener.url, post())).status == 200  # by now the other bytes have been read
            client.write(post("say", bytes(5000))[1500:])
            site.released.set()
            response = await client.response()
            assert (response.status, response.headers["connection"]) == (200, "close")
            assert await client.is_closed()
            assert [head.path for head in site.heads] == ["/echo/wait", "/echo/say"]

    run(scene())


def test_a_request_may_begin_while_another_call_runs(run: Run) -> None:
    async def scene() -> None:
        async with listening() as (listener, site), connected(listener.url) as client:
            ahead, behind = post("say", bytes(100_000))[:120], post("say", bytes(100_000))[120:]
            client.write(post("wait") + ahead)
            await site.started.wait()
            site.released.set()
            assert (await client.response()).status == 200
            client.write(behind)
            assert (await client.response()).body == bytes(100_000)
            assert (await client.ask(post())).status == 200

    run(scene())


def test_a_call_inherits_nothing_from_the_one_before(run: Run) -> None:
    async def scene() -> None:
        async with listening() as (listener, _), connected(listener.url) as client:
            client.write(post("context") * 3)
            assert [(await client.response()).body for _ in range(3)] == [b""] * 3
            assert (await client.ask(post("context"))).body == b""

    run(scene())


# -- the end


def test_a_drained_listener_finishes_its_calls_and_takes_no_new_ones(run: Run) -> None:
    async def scene() -> None:
        async with listening() as (listener, site):
            busy = [RawCall(listener.url) for _ in range(5)]
            async with connected(listener.url) as idle, connected(listener.url) as silent:
                assert (await idle.ask(post())).status == 200
                calls = [asyncio.create_task(call.run()) for call in busy]
                await site.has_heads(6)
                closing = asyncio.create_task(listener.aclose(grace=SOON))
                assert await idle.is_closed()
                assert await silent.is_closed()
                with pytest.raises(ConnectionRefusedError):
                    await ask(listener.url, post())
                assert not closing.done()
                site.released.set()
                responses = await asyncio.gather(*calls)
                await closing
            assert [(response.status, response.headers["connection"]) for response in responses] == [(200, "close")] * 5

    run(scene())


class RawCall:
    """A call that waits, and must be followed by the end of its connection."""

    def __init__(self, url: str, target: str = "wait") -> None:
        self.url = url
        self.target = target

    async def run(self) -> Any:
        async with connected(self.url) as client:
            response = await client.ask(post(self.target))
            assert await client.is_closed()
            return response


def test_a_request_that_was_sent_before_the_end_is_answered_while_draining(run: Run) -> None:
    async def scene() -> None:
        async with listening() as (listener, _), connected(listener.url) as client:
            for number in range(3):
                assert (await client.ask(post(body=b"%d" % number))).body == b"%d" % number
            closing = asyncio.create_task(listener.aclose(grace=SOON))
            await asyncio.sleep(0)
            response = await client.ask(post(body=b"3"))
            assert (response.body, response.headers.get("connection")) == (b"3", "close")
            assert await client.is_closed()
            await closing

    run(scene())


def test_a_request_that_is_coming_in_is_answered_while_draining(run: Run) -> None:
    async def scene() -> None:
        async with listening() as (listener, _), connected(listener.url) as body, connected(listener.url) as head:
            body.write(post("say", b"abc")[:-1])
            head.write(post("say", b"abc")[:30])
            await body.writer.drain()
            await head.writer.drain()
            assert (await ask(listener.url, post())).status == 200  # by now both have been read
            closing = asyncio.create_task(listener.aclose(grace=SOON))
            await asyncio.sleep(0)
            body.write(b"c")
            head.write(post("say", b"abc")[30:])
            for client in (body, head):
                response = await client.response()
                assert (response.body, response.headers["connection"]) == (b"abc", "close")
                assert await client.is_closed()
            await closing

    run(scene())


@pytest.mark.parametrize("target", ["wait", "wait?by=asgi"])
def test_calls_that_outlast_the_grace_are_cancelled_and_told(
    run: Run, target: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def scene() -> None:
        async with listening() as (listener, site), connected(listener.url) as client:
            client.write(post(target))
            await site.started.wait()
            await listener.aclose(grace=0.1)
            assert site.cancelled.is_set()
            if target == "wait":
                assert (await client.response()).problem["detail"] == "the server stopped before the call was done"
            assert await client.is_closed()

    run(scene())
    assert not caplog.records


def test_a_second_aclose_may_give_less_grace(run: Run) -> None:
    async def scene() -> None:
        async with listening() as (listener, site), connected(listener.url) as client:
            client.write(post("wait"))
            await site.started.wait()
            patient = asyncio.create_task(listener.aclose(grace=600))
            await asyncio.sleep(0)
            await listener.aclose()
            await asyncio.wait_for(patient, SOON)
            assert site.cancelled.is_set()

    run(scene())


def test_a_call_that_ignores_its_cancellation_holds_nothing_up_for_ever(
    run: Run, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xooai_http.listener._STOP", 0.1)

    async def scene() -> None:
        async with listening() as (listener, site):
            async with connected(listener.url) as client:
                client.write(post("wait_on"))
                await site.started.wait()
                await asyncio.wait_for(listener.aclose(), SOON)
            assert "1 calls have ignored their cancellation" in caplog.text
            site.released.set()

    run(scene())


@pytest.mark.parametrize("target", ["wait", "wait?by=asgi"])
def test_a_listener_may_end_at_any_moment_of_a_call(run: Run, target: str) -> None:
    async def scene() -> None:
        for moment in range(12):
            async with listening() as (listener, _), connected(listener.url) as client:
                client.write(post(target))
                for _ in range(moment):
                    await asyncio.sleep(0)
                await asyncio.wait_for(listener.aclose(), 2)

    run(scene())


def test_a_listener_that_starts_and_stops_leaves_nothing(run: Run) -> None:
    async def scene() -> None:
        for _ in range(50):
            async with listening() as (listener, _), connected(listener.url) as client:
                assert (await client.ask(post())).status == 200

    run(scene())


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
