"""Who tries to be let in without a key, or to stay with one that is over; and files of keys as they should not be."""

from __future__ import annotations

import asyncio
import http.client
import json
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator
from logging.handlers import QueueHandler
from pathlib import Path
from queue import SimpleQueue
from typing import Any
from urllib.parse import urlsplit

import pytest

from authority import HERE, Authority
from grpc_poller import poller
from xooai import Executor, InvalidArgument, Text, Unauthenticated, current, plugins, post, stream
from xooai.keys import Keyring
from xooai.mount import application
from xooai.shared_stores import TENANTS, Stores, folder_of

pytest.importorskip("click")

from click.testing import CliRunner

from xooai.cli.keys import command

__all__ = ["poller"]

PATIENCE = 20.0  # seconds


class Locked(Executor):
    @post
    def who(self) -> str:
        return current().identity or "nobody"

    @post
    def any(self, x: dict[str, int]) -> int:
        return len(x)

    @stream
    def count(self, to: int) -> Iterator[int]:
        yield from range(to)

    @stream
    def total(self, x: Iterator[Text]) -> int:
        return sum(1 for _ in x)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


@pytest.fixture
def key(file: Path) -> str:
    return new(file)


def new(file: Path, tenant: str = "acme", scope: str = "*") -> str:
    done = CliRunner().invoke(command, ["new", "--file", str(file), "--tenant", tenant, "--scope", scope])
    assert done.exit_code == 0, done.output
    return str(done.stdout).strip()


def revoke(file: Path, key: str) -> None:
    assert CliRunner().invoke(command, ["revoke", key.split("_")[1], "--file", str(file)]).exit_code == 0


Serve = Callable[[str], str]


@pytest.fixture
def serve(file: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Serve]:
    """Serve Locked, which asks for the keys of the file."""
    with Locked() as locked:

        def start(scheme: str) -> str:
            plugins.driver(scheme)  # what is not installed skips the test
            certificate = None
            if scheme == "quic":
                authority = Authority(file.parent)
                certificate = str(authority.signs("server", HERE).both)
                monkeypatch.setenv("SSL_CERT_FILE", str(authority.trust))
            monkeypatch.setenv("XOOAI_KEYS", str(file))
            return locked.start(f"{scheme}://127.0.0.1:0", certificate=certificate)[0]

        yield start


def said(url: str, data: bytes) -> bytes:
    """What a server answers to these bytes, until it closes or has said all."""
    address = urlsplit(url)
    with socket.create_connection((str(address.hostname), address.port or 0), PATIENCE) as connection:
        connection.sendall(data)
        found = b""
        while b"\r\n\r\n" not in found and (part := connection.recv(65536)):
            found += part
        return found


# What is told to who has no key


def test_nothing_is_told_of_endpoints_without_a_key(serve: Serve, key: str) -> None:
    pytest.importorskip("uvicorn")
    url = serve("http")
    host = urlsplit(url).netloc.encode()
    upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    upgrade += b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    for path in (b"/locked/who", b"/locked/count", b"/locked/total", b"/nothing/here"):
        for line, more in (
            (b"POST %s?x=1", b"Content-Length: 2\r\n"),
            (b"POST %s", b"Content-Length: 2\r\n"),
            (b"POST %s", b"Content-Length: 2\r\nContent-Encoding: identity\r\n"),
            (b"GET %s?x=1", b"Accept: text/event-stream\r\n"),
            (b"GET %s", upgrade),
            (b"OPTIONS %s", b""),
            (b"HEAD %s", b""),
            (b"DELETE %s", b""),
        ):
            body = b"{}" if b"Content-Length" in more else b""
            found = said(url, line % path + b" HTTP/1.1\r\nHost: " + host + b"\r\n" + more + b"\r\n" + body)
            assert found.startswith(b"HTTP/1.1 401 "), (line % path, more, found)


def test_a_body_is_not_waited_for_from_who_has_no_key(serve: Serve, key: str) -> None:
    pytest.importorskip("uvicorn")
    url = serve("http")
    head = (
        b"POST %s HTTP/1.1\r\nHost: " + urlsplit(url).netloc.encode() + b"\r\nContent-Type: application/json\r\n%s\r\n"
    )

    for path in (b"/locked/any", b"/locked/total", b"/locked/%61ny"):
        for length in (b"Content-Length: 60000000\r\n", b"Transfer-Encoding: chunked\r\n"):
            assert said(url, head % (path, length)).startswith(b"HTTP/1.1 401 ")
            assert said(url, head % (path, length + b"Expect: 100-continue\r\n")).startswith(b"HTTP/1.1 401 ")
            known = length + b"Authorization: " + key.encode() + b"\r\nExpect: 100-continue\r\n"
            if path != b"/locked/total":
                assert said(url, head % (path, known)).startswith(b"HTTP/1.1 100 ")


def test_each_request_of_a_connection_is_looked_at(serve: Serve, file: Path, key: str) -> None:
    pytest.importorskip("uvicorn")
    connection = http.client.HTTPConnection(urlsplit(serve("http")).netloc, timeout=PATIENCE)

    def asked(**headers: str) -> int:
        connection.request("POST", "/locked/who", b"{}", {"Content-Type": "application/json", **headers})
        reply = connection.getresponse()
        reply.read()
        return reply.status

    assert [asked(Authorization=key), asked(), asked(Authorization=key)] == [200, 401, 200]
    revoke(file, key)
    until = threading.Event()
    for _ in range(40):
        if asked(Authorization=key) == 401:
            break
        until.wait(0.05)
    assert asked(Authorization=key) == 401
    connection.close()


def test_two_keys_in_one_request_are_none(serve: Serve, file: Path, key: str) -> None:
    pytest.importorskip("uvicorn")
    url, other = serve("http"), new(file, "other")
    head = f"POST /locked/who HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\nContent-Length: 2\r\n"
    for first, second in ((key, other), (key, "Bearer x"), ("Bearer x", key), ("", key)):
        data = f"{head}Authorization: {first}\r\nauthorization: {second}\r\n\r\n{{}}".encode()
        assert said(url, data).startswith(b"HTTP/1.1 401 "), (first, second)


def test_grpc_tells_nothing_of_endpoints_without_a_key(serve: Serve, file: Path, key: str) -> None:
    grpc = pytest.importorskip("grpc")
    with grpc.insecure_channel(urlsplit(serve("grpc")).netloc) as channel:
        for path in (
            "/locked/untold",
            "/locked/any",
            "/locked/who",
            "/locked/none",
            "/xooai.locked.Locked/Who",
            "/xooai.Endpoints/Post",
        ):
            for body in (b"\x0a\x01x", b"\x0a\x0alocked/who", b"\x0a\x0clocked/count"):
                with pytest.raises(grpc.RpcError) as error:
                    channel.unary_unary(path)(body, timeout=PATIENCE)
                assert error.value.code() is grpc.StatusCode.UNAUTHENTICATED, (path, body, error.value.details())
        twice = (("authorization", key), ("authorization", new(file, "other")))
        with pytest.raises(grpc.RpcError) as error:
            channel.unary_unary("/locked/who")(b"{}", timeout=PATIENCE, metadata=twice)
        assert error.value.code() is grpc.StatusCode.UNAUTHENTICATED


@pytest.fixture
def calls() -> Iterator[SimpleQueue[logging.LogRecord]]:
    """The records of the log of calls."""
    records: SimpleQueue[logging.LogRecord] = SimpleQueue()
    handler = QueueHandler(records)
    logging.getLogger("xooai.calls").addHandler(handler)
    yield records
    logging.getLogger("xooai.calls").removeHandler(handler)


@pytest.mark.parametrize("scheme", ["http", "grpc", "quic"])
def test_the_log_tells_from_where_a_wrong_key_came(
    serve: Serve, key: str, scheme: str, caplog: pytest.LogCaptureFixture, calls: SimpleQueue[logging.LogRecord]
) -> None:
    caplog.set_level(logging.INFO, "xooai.calls")
    with Locked.at(serve(scheme)) as client, pytest.raises(Unauthenticated):
        client.post(on="who", metadata={"authorization": key[:-4] + "nope"})

    (warning,) = [record.getMessage() for record in caplog.records if record.name == "xooai.keys"]
    assert warning.endswith("the last one from 127.0.0.1")
    call = calls.get(timeout=PATIENCE).getMessage()  # made when the reply has gone out
    assert call.startswith("locked/who UNAUTHENTICATED")
    assert "127.0.0.1:" in call


def test_grpc_reflection_tells_from_where_a_wrong_key_came(
    serve: Serve, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    grpc = pytest.importorskip("grpc")
    caplog.set_level(logging.WARNING, "xooai")
    wrong = (("authorization", key[:-4] + "nope"),)
    with grpc.insecure_channel(urlsplit(serve("grpc")).netloc) as channel, pytest.raises(grpc.RpcError) as error:
        list(
            channel.unary_stream("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")(
                b"", timeout=PATIENCE, metadata=wrong
            )
        )

    assert error.value.code() is grpc.StatusCode.UNAUTHENTICATED
    (warning,) = [record.getMessage() for record in caplog.records if record.name == "xooai.keys"]
    assert warning.endswith("the last one from 127.0.0.1")


def test_a_message_is_not_waited_for_from_who_has_no_key(serve: Serve, key: str) -> None:
    grpc = pytest.importorskip("grpc")
    is_over = threading.Event()

    def nothing() -> Iterator[bytes]:
        is_over.wait(PATIENCE)
        yield from ()

    with grpc.insecure_channel(urlsplit(serve("grpc")).netloc) as channel:
        for path in ("/locked/who", "/locked/total", "/locked/none", "/xooai.locked.Locked/Who"):
            with pytest.raises(grpc.RpcError) as error:
                channel.stream_unary(path)(nothing(), timeout=5)
            assert error.value.code() is grpc.StatusCode.UNAUTHENTICATED, path
        is_over.set()


def test_a_mounted_application_asks_for_keys(file: Path, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XOOAI_KEYS", str(file))

    async def asked(app: Any, *headers: tuple[bytes, bytes]) -> int:
        sent: list[Any] = []
        body = [{"type": "http.request", "body": b"{}", "more_body": False}]

        async def receive() -> Any:
            return body.pop() if body else await asyncio.Event().wait()

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": "/locked/who", "query_string": b"", "headers": list(headers)}
        await app(scope, receive, send)
        return int(sent[0]["status"])

    async def play() -> None:
        with Locked() as locked:
            app = application(locked)
            assert await asked(app) == 401
            assert await asked(app, (b"content-type", b"application/json"), (b"authorization", key.encode())) == 200

    asyncio.run(asyncio.wait_for(play(), PATIENCE))


# Files


@pytest.mark.parametrize(
    "changed",
    [
        {"tenant": ""},
        {"tenant": "../other"},
        {"expires": "2020-01-01T00:00:00"},
        {"hash": "é" * 64},
        {"hash": ""},
        {"scopes": ["locked"]},
    ],
    ids=["no tenant", "tenant", "zone", "hash", "neither", "scope"],
)
def test_an_entry_that_cannot_be_is_told(file: Path, key: str, changed: dict[str, Any]) -> None:
    content = json.loads(file.read_text())
    content["keys"][0].update(changed)
    file.write_text(json.dumps(content))

    with pytest.raises(InvalidArgument, match=r"keys\.json"):
        Keyring(file)


def test_an_id_stands_for_one_entry(file: Path, key: str) -> None:
    content = json.loads(file.read_text())
    content["keys"] *= 2
    file.write_text(json.dumps(content))

    with pytest.raises(InvalidArgument, match="twice"):
        Keyring(file)


def test_a_file_is_changed_behind_a_link(file: Path, key: str, tmp_path: Path) -> None:
    link = tmp_path / "elsewhere" / "linked.json"
    link.parent.mkdir()
    link.symlink_to(file)
    revoke(link, key)

    assert link.is_symlink()
    with pytest.raises(Unauthenticated):
        Keyring(file).admit("/locked/who", {"authorization": key})


def test_who_may_read_a_file_may_read_it_when_it_has_changed(file: Path, key: str) -> None:
    file.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(file, -1, 12345)
    before = file.stat()
    revoke(file, key)

    assert (file.stat().st_mode, file.stat().st_gid) == (before.st_mode, before.st_gid)
    assert file.stat().st_ino != before.st_ino


def test_a_time_that_no_calendar_has_is_told(file: Path) -> None:
    for given in ("99999999999d", "999999999d"):
        options = ["new", "--file", str(file), "--tenant", "a", "--scope", "*", "--expires", given]
        done = CliRunner().invoke(command, options)
        assert done.exit_code == 2, done.output
        assert given in done.stderr


def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "keys.json", 0o600)

    with pytest.raises(InvalidArgument, match="no file"):
        Keyring(tmp_path / "keys.json")


def test_a_file_that_could_not_be_read_is_tried_again(file: Path, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xooai.keys.keyring.LOOK", -1.0)
    keyring = Keyring(file)
    assert keyring.admit("/locked/who", {"authorization": key}) == "acme"
    revoke(file, key)
    file.chmod(0o666)  # while others may write it, it is not believed
    assert keyring.admit("/locked/who", {"authorization": key}) == "acme"
    file.chmod(0o600)  # its time and size stay

    with pytest.raises(Unauthenticated):
        keyring.admit("/locked/who", {"authorization": key})


def test_a_key_that_is_revoked_while_many_call_stays_revoked(
    file: Path, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xooai.keys.keyring.LOOK", -1.0)
    with_key = file.read_bytes()
    revoke(file, key)
    without = file.read_bytes()
    is_over = threading.Event()
    unexpected: list[BaseException] = []
    keyring = Keyring(file)

    def calling() -> None:
        while not is_over.is_set():
            try:
                keyring.admit("/locked/who", {"authorization": key})
            except Unauthenticated:
                pass
            except BaseException as error:  # noqa: BLE001
                unexpected.append(error)

    threads = [threading.Thread(target=calling) for _ in range(4)]
    for thread in threads:
        thread.start()
    for turn in range(40):
        other = file.with_name(f"other{turn}")
        other.touch(0o600)
        other.write_bytes(without if turn % 2 else with_key)
        other.replace(file)
        is_over.wait(0.005)
    is_over.set()
    for thread in threads:
        thread.join()

    assert not unexpected
    with pytest.raises(Unauthenticated):
        keyring.admit("/locked/who", {"authorization": key})


# Whose contents


def test_tenants_whose_names_differ_by_capitals_have_folders_that_differ_by_more() -> None:
    names = ["acme", "Acme", "ACME", "acme.", "a/b", "a b", "sha256-x"]
    assert len({folder_of(name).lower().rstrip(".") for name in names}) == len(names)
    assert folder_of("acme") == "acme"


def test_stores_of_many_tenants_are_had_from_many_threads(tmp_path: Path) -> None:
    stores = Stores({"media": str(tmp_path)})
    failed: list[BaseException] = []

    def having(start: int) -> None:
        try:
            for number in range(3000):
                name = f"t{(number * 7 + start) % (TENANTS + 2)}"
                assert stores.of(name).given == {"media": f"{tmp_path}/{name}"}
        except BaseException as error:  # noqa: BLE001
            failed.append(error)

    threads = [threading.Thread(target=having, args=(start,)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
