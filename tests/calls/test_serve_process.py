"""serve() in a process of its own: what it prints, and how it ends on a signal."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("uvicorn", reason="serving needs uvicorn; it comes with: pip install -e '.[http]'")

PATIENCE = 20  # seconds: what waits longer fails its test
PROGRAM = """
import asyncio, sys, time
from pathlib import Path
from xooai import Executor, Image, Text, post, serve

class MyExecutor(Executor):
    @post
    def echo(self, doc: Image) -> Image:
        return doc

    @post
    async def wait(self, marker: str, go: str) -> str:
        Path(marker).touch()
        while not Path(go).exists():
            await asyncio.sleep(0.01)
        return "done"

    @post
    def wait_in_thread(self, marker: str, go: str) -> str:
        Path(marker).touch()
        while not Path(go).exists():
            time.sleep(0.01)
        return "done"

    @post
    async def loaded(self) -> list[str]:
        return list(sys.modules)

class Second(MyExecutor):
    pass

class Slow(MyExecutor):
    async def setup(self):
        print("setting up", flush=True)
        await asyncio.sleep(60)

{run}
print("left", flush=True)
"""
EXAMPLE = """
with MyExecutor() as e:
    e.serve("http://127.0.0.1:0")
"""


class Server:
    """A program that serves, in a process of its own."""

    def __init__(self, program: Path, run: str) -> None:
        program.write_text(PROGRAM.format(run=run))
        self.process = subprocess.Popen(
            [sys.executable, str(program)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.folder = program.parent

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def urls(self) -> list[str]:
        return [word for word in self.line().split() if "://" in word]

    def call(self, url: str, path: str, **arguments: Any) -> Any:
        connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=PATIENCE)
        try:
            connection.request("POST", path, json.dumps(arguments), {"content-type": "application/json"})
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    def begin(self, url: str, endpoint: str) -> tuple[threading.Thread, list[Any]]:
        """Begin a call that waits until `let_go`; return when its handler runs."""
        marker, go = self.folder / "marker", self.folder / "go"
        found: list[Any] = []

        def run() -> None:
            try:
                found.append(self.call(url, f"/my_executor/{endpoint}", marker=str(marker), go=str(go)))
            except (OSError, http.client.HTTPException) as error:
                found.append(error)

        caller = threading.Thread(target=run)
        caller.start()
        until(marker.exists)
        return caller, found

    def let_go(self) -> None:
        (self.folder / "go").touch()

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def end(self) -> tuple[int, str, str]:
        """Exit code and what it printed since."""
        out, err = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, out, err


def until(condition: Any) -> None:
    limit = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.005)


def refuses(url: str) -> bool:
    host, _, port = url.removeprefix("http://").partition(":")
    try:
        socket.create_connection((host, int(port))).close()
    except OSError:
        return True
    return False


def asked(client: http.client.HTTPConnection) -> http.client.HTTPResponse:
    """The reply on a connection that is kept."""
    client.request("POST", "/my_executor/echo", '{"doc": {"ref": "a"}}', {"content-type": "application/json"})
    reply = client.getresponse()
    reply.read()
    return reply


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Any]:
    started: list[Server] = []

    def start(run: str = EXAMPLE) -> Server:
        started.append(Server(tmp_path / "program.py", run))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.communicate()


def test_the_first_example_prints_one_line_with_its_url_and_answers(server: Any) -> None:
    running = server()
    (url,) = running.urls()
    reply = running.call(url, "/my_executor/echo", doc={"ref": "233.jpg"})
    assert {name: value for name, value in reply.items() if name in ("kind", "ref")} == {
        "kind": "image",
        "ref": "233.jpg",
    }
    running.signal(signal.SIGTERM)
    assert running.end() == (0, "left\n", "")
    assert refuses(url)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("endpoint", ["wait", "wait_in_thread"])
def test_on_a_signal_calls_under_way_finish_and_it_exits_0(server: Any, number: int, endpoint: str) -> None:
    running = server()
    (url,) = running.urls()
    caller, found = running.begin(url, endpoint)
    running.signal(number)
    until(lambda: refuses(url))
    assert running.process.poll() is None
    running.let_go()
    caller.join(PATIENCE)
    assert found == ["done"]
    assert running.end() == (0, "left\n", "")


@pytest.mark.parametrize("endpoint", ["wait", "wait_in_thread"])
def test_a_second_signal_ends_the_grace(server: Any, endpoint: str) -> None:
    """Also when a handler does not return."""
    running = server()
    (url,) = running.urls()
    caller, found = running.begin(url, endpoint)
    running.signal(signal.SIGINT)
    until(lambda: refuses(url))
    running.signal(signal.SIGTERM)
    code, out, err = running.end()
    caller.join(PATIENCE)
    assert (code, out) == (1, "")  # who started it is told that a call was lost
    assert "1 call was cut off by a second signal" in err
    assert "Traceback" not in err
    assert found != ["done"]


def test_idle_connections_are_answered_once_more_after_a_signal(server: Any) -> None:
    """A client that has just sent a request, or is about to, loses nothing."""
    running = server()
    (url,) = running.urls()
    clients = [http.client.HTTPConnection(url.removeprefix("http://"), timeout=PATIENCE) for _ in range(20)]
    for client in clients:
        assert asked(client).status == 200
    running.signal(signal.SIGTERM)
    until(lambda: refuses(url))
    time.sleep(0.2)  # the clients' next requests come when they come
    replies = [asked(client) for client in clients]
    assert {(reply.status, reply.headers["connection"]) for reply in replies} == {(200, "close")}
    assert running.end() == (0, "left\n", "")


def test_a_second_signal_ends_the_wait_for_idle_connections(server: Any) -> None:
    running = server()
    (url,) = running.urls()
    client = http.client.HTTPConnection(url.removeprefix("http://"), timeout=PATIENCE)
    assert asked(client).status == 200
    running.signal(signal.SIGINT)
    until(lambda: refuses(url))
    told = time.monotonic()
    running.signal(signal.SIGINT)
    assert running.end() == (0, "left\n", "")
    assert time.monotonic() - told < 2
    client.close()


def test_several_executors_at_several_urls_are_one_server(server: Any) -> None:
    running = server('serve(MyExecutor(), Second(), at=("http://127.0.0.1:0", "http://127.0.0.1:0"))')
    urls = running.urls()
    assert len(set(urls)) == 2
    for url in urls:
        for name in ("my_executor", "second"):
            assert running.call(url, f"/{name}/echo", doc={"ref": name})["ref"] == name
    running.signal(signal.SIGTERM)
    assert running.end() == (0, "left\n", "")


def test_a_server_of_plain_calls_loads_nothing_that_only_others_need(server: Any) -> None:
    running = server()
    (url,) = running.urls()
    running.call(url, "/my_executor/echo", doc={"ref": "a.jpg"})
    running.call(url, "/my_executor/echo", doc={})  # an error loads none of it either
    others = {
        "difflib",
        "pluggy",
        "websockets",
        "xooai.asgi",
        "xooai.client",
        "xooai.native",
        "xooai.renewal",
        "xooai.streams",
        "xooai_http.client",
        "xooai_http.fallback",
        "xooai_http.websocket",
    }
    loaded = set(running.call(url, "/my_executor/loaded"))
    assert {"xooai_http.protocol", *others} & loaded == {"xooai_http.protocol"}


def test_a_signal_during_setup_ends_it_at_once(server: Any) -> None:
    """Setup is not waited for."""
    running = server('Slow().serve("http://127.0.0.1:0")')
    assert running.line() == "setting up"
    running.signal(signal.SIGINT)
    assert running.end() == (130, "", "SIGINT came before the server was ready; nothing was served\n")


def test_what_keeps_it_from_listening_is_raised(server: Any) -> None:
    """A port in use."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        running = server(f'MyExecutor().serve("http://127.0.0.1:{other.getsockname()[1]}")')
        code, out, err = running.end()
    assert (code, out) == (1, "")
    assert "in use" in err.splitlines()[-1]


def test_a_handler_that_ends_the_process_is_unavailable_to_its_caller(server: Any) -> None:
    """Bad input: a handler that is killed."""
    running = server(EXAMPLE)
    (url,) = running.urls()
    caller, found = running.begin(url, "wait")
    os.kill(running.process.pid, signal.SIGKILL)
    caller.join(PATIENCE)
    assert isinstance(found[0], OSError | http.client.HTTPException)
