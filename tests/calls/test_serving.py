"""Serving: where executors listen, how they start and stop, and what they leave behind."""

from __future__ import annotations

import asyncio
import http.client
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from places import HERE, PATIENCE

import xooai
from xooai import (
    Executor,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    PluginError,
    Text,
    Unavailable,
    XooaiError,
    post,
)


class Echo(Executor):
    closed = 0

    @post
    def echo(self, doc: Text) -> Text:
        return doc

    def close(self) -> None:
        self.closed += 1


class Waiting(Executor):
    """Answers when it is let go."""

    def __init__(self) -> None:
        self.started, self.release = threading.Event(), threading.Event()

    @post
    def in_thread(self) -> str:
        self.started.set()
        self.release.wait(PATIENCE)
        return "done"

    @post
    async def on_loop(self) -> str:
        self.started.set()
        while not self.release.is_set():  # noqa: ASYNC110 - a thread's event, which the test sets
            await asyncio.sleep(0.005)
        return "done"


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


def is_free(port: int) -> bool:
    with socket.socket() as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def get(url: str, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=PATIENCE)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


# Start and stop


def test_start_returns_the_urls_with_their_ports() -> None:
    with Echo() as echo:
        urls = echo.start(HERE, HERE)
        assert len(set(urls)) == 2
        for url in urls:
            assert port_of(url) > 0
            with Echo.at(url) as client:
                assert client.echo(doc=Text(value="x")).value == "x"


def test_the_first_url_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xooai.served.DEFAULT_URL", HERE)
    with Echo() as echo:
        assert echo.start()[0].startswith("http://127.0.0.1:")


def test_after_stop_the_port_is_free_and_the_server_gone() -> None:
    echo = Echo()
    url = echo.start(HERE)[0]
    with Echo.at(url) as client:
        client.echo(doc=Text(value="x"))
        echo.stop()
        assert is_free(port_of(url))
        with pytest.raises(Unavailable):
            client.echo(doc=Text(value="x"))
    assert not [thread for thread in threading.enumerate() if thread.name == "xooai-server"]


def test_an_executor_may_start_again_after_it_stopped() -> None:
    """As often as one likes, on the same port too."""
    with Echo() as echo:
        bound = echo.start(HERE)[0]
        echo.stop()
        for _ in range(20):
            assert echo.start(bound) == [bound]
            with Echo.at(bound) as client:
                assert client.echo(doc=Text(value="x")).value == "x"
            echo.stop()


def test_starting_twice_says_what_to_do() -> None:
    with Echo() as echo:
        url = echo.start(HERE)[0]
        with pytest.raises(FailedPrecondition, match=r"serves already; stop\(\) it first"):
            echo.start(HERE)
        with Echo.at(url) as client:
            assert client.echo(doc=Text(value="x")).value == "x"


def test_stopping_twice_or_without_a_start_does_no_harm() -> None:
    echo = Echo()
    echo.stop()
    echo.start(HERE)
    echo.stop()
    echo.stop()


def test_a_with_block_stops_the_server_and_runs_the_close_hook() -> None:
    with Echo() as echo:
        url = echo.start(HERE)[0]
        assert echo.closed == 0
    assert echo.closed == 1
    assert is_free(port_of(url))


def test_an_async_with_block_does_the_same() -> None:
    async def main() -> tuple[Echo, str]:
        async with Echo() as echo:
            url = (await asyncio.to_thread(echo.start, HERE))[0]
            async with Echo.at(url) as client:
                assert (await client.apost(on="echo", doc=Text(value="x"))).value == "x"
        return echo, url

    echo, url = asyncio.run(main())
    assert echo.closed == 1
    assert is_free(port_of(url))


def test_the_close_hook_runs_also_when_the_block_raised() -> None:
    echo = Echo()
    url = echo.start(HERE)[0]
    with pytest.raises(LookupError), echo:
        raise LookupError
    assert echo.closed == 1
    assert is_free(port_of(url))


def test_threads_end_with_the_block() -> None:
    before = set(threading.enumerate())
    with Echo() as echo:
        url = echo.start(HERE)[0]
        with Echo.at(url) as client:
            assert client.echo(doc=Text(value="x")).value == "x"

        async def main() -> None:
            await echo.apost(on="echo", doc=Text(value="x"))

        asyncio.run(main())
        mine = [thread for thread in threading.enumerate() if thread not in before and thread.name == "xooai-worker"]
        assert mine
    for thread in mine:
        thread.join(2)  # below the time after which an idle thread ends by itself
    assert not [thread for thread in mine if thread.is_alive()]


@pytest.mark.parametrize("endpoint", ["in_thread", "on_loop"])
def test_calls_under_way_finish_before_the_server_stops(endpoint: str) -> None:
    waiting = Waiting()
    url = waiting.start(HERE)[0]
    found: list[str] = []
    with Waiting.at(url) as client:
        caller = threading.Thread(target=lambda: found.append(client.post(on=endpoint)))
        caller.start()
        assert waiting.started.wait(PATIENCE)
        stopper = threading.Thread(target=waiting.stop)
        stopper.start()
        while not is_free(port_of(url)):  # no new connections are taken
            pass
        assert stopper.is_alive()
        waiting.release.set()
        stopper.join(PATIENCE)
        caller.join(PATIENCE)
    assert found == ["done"]


def test_the_grace_ends_what_does_not_finish() -> None:
    waiting = Waiting()
    url = waiting.start(HERE, grace=0.1)[0]
    errors: list[XooaiError] = []

    def call() -> None:
        try:
            client.post(on="on_loop")
        except XooaiError as error:
            errors.append(error)

    with Waiting.at(url) as client:
        caller = threading.Thread(target=call)
        caller.start()
        assert waiting.started.wait(PATIENCE)
        waiting.stop()
        caller.join(PATIENCE)
    waiting.release.set()
    assert [type(error) for error in errors] == [Unavailable]


def test_readiness_tells_when_calls_are_welcome() -> None:
    with Echo() as echo:
        url = echo.start(HERE)[0]
        assert get(url, "/livez")[0] == 200
        assert get(url, "/readyz")[0] == 200


def test_it_serves_on_asyncios_own_loop_where_uvloop_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)

    class Telling(Executor):
        @post
        async def loop(self) -> str:
            return type(asyncio.get_running_loop()).__module__

    with Telling() as telling, Telling.at(telling.start(HERE)[0]) as client:
        assert client.post() == "asyncio.unix_events"


# Where it listens


def test_a_port_in_use_is_one_clear_error() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with Echo() as echo:
            with pytest.raises(Unavailable, match=f"127.0.0.1:{port}.*in use.*another port"):
                echo.start(f"http://127.0.0.1:{port}")
            assert echo.start(HERE)  # it is not spoilt


class Loading(Echo):
    """Is set up when it is let go; fails then if `model` says so."""

    def __init__(self, model: str = "good") -> None:
        self.model = model
        self.began, self.release = threading.Event(), threading.Event()

    async def setup(self) -> None:
        self.began.set()
        while not self.release.is_set():  # noqa: ASYNC110 - a thread's event, which the test sets
            await asyncio.sleep(0.005)
        if self.model == "broken":
            raise ValueError("the model is broken")


def test_a_port_in_use_is_told_before_setup() -> None:
    """Nobody waits for a model to be told so."""
    with socket.socket() as other, Loading() as executor:
        other.bind(("127.0.0.1", 0))
        other.listen()
        executor.release.set()
        with pytest.raises(Unavailable, match="in use"):
            executor.start(f"http://127.0.0.1:{other.getsockname()[1]}")
        assert not executor.began.is_set()


NEEDS_HTTP = pytest.mark.skipif(
    find_spec("uvicorn") is None, reason="serving needs uvicorn; it comes with: pip install -e '.[http]'"
)


@NEEDS_HTTP
def test_while_it_sets_up_a_server_lives_and_takes_no_calls() -> None:
    url = f"http://127.0.0.1:{a_free_port()}"
    with Loading() as executor:
        starting = threading.Thread(target=executor.start, args=(url,))
        starting.start()
        assert executor.began.wait(PATIENCE)
        assert (status(url, "GET", "/livez"), status(url, "GET", "/readyz")) == (200, 503)
        with Executor(f"{url}/loading") as client:
            for name in ("loading/echo", "xooai/describe"):
                with pytest.raises(Unavailable, match="sets up") as refused:
                    client.post(f"{url}/{name}")
                assert refused.value.remote
            executor.release.set()
            starting.join(PATIENCE)
            assert status(url, "GET", "/readyz") == 200
            assert client.post("echo", doc=Text(value="a")).value == "a"


@NEEDS_HTTP
def test_a_setup_that_fails_ends_the_server_at_once() -> None:
    """Also while somebody is connected."""
    port = a_free_port()
    with Loading("broken") as executor:
        errors: list[ValueError] = []

        def start() -> None:
            try:
                executor.start(f"http://127.0.0.1:{port}")
            except ValueError as error:
                errors.append(error)

        starting = threading.Thread(target=start)
        starting.start()
        assert executor.began.wait(PATIENCE)
        with socket.create_connection(("127.0.0.1", port)):
            told = time.monotonic()
            executor.release.set()
            starting.join(PATIENCE)
            assert time.monotonic() - told < 2
        assert [str(error) for error in errors] == ["the model is broken"]
        assert is_free(port)


def a_free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def status(url: str, method: str, path: str) -> int:
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=PATIENCE)
    try:
        connection.request(method, path)
        return connection.getresponse().status
    finally:
        connection.close()


def test_one_port_in_use_frees_the_others() -> None:
    with socket.socket() as other, socket.socket() as free:
        other.bind(("127.0.0.1", 0))
        other.listen()
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        with Echo() as echo, pytest.raises(Unavailable):
            echo.start(f"http://127.0.0.1:{port}", f"http://127.0.0.1:{other.getsockname()[1]}")
        assert is_free(port)


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]"])
def test_beyond_loopback_it_refuses_unless_told(host: str) -> None:
    """Nothing asks callers who they are."""
    with Echo() as echo, pytest.raises(PermissionDenied, match="insecure=True"):
        echo.start(f"http://{host}:0")


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("", InvalidArgument),
        ("127.0.0.1:0", XooaiError),
        ("http://", InvalidArgument),
        ("http://127.0.0.1:99999", InvalidArgument),
        ("http://127.0.0.1:0/path", InvalidArgument),
        ("https://127.0.0.1:0", InvalidArgument),
        ("gopher://127.0.0.1:0", PluginError),
    ],
)
def test_a_url_that_nothing_can_listen_at_is_one_clear_error(url: str, error: type[XooaiError]) -> None:
    with Echo() as echo, pytest.raises(error) as caught:
        echo.start(url)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("wrong", ["missing.pem", "empty.pem"])
def test_a_bad_certificate_is_one_clear_error(tmp_path: Path, wrong: str) -> None:
    (tmp_path / "empty.pem").touch()
    with Echo() as echo, pytest.raises(InvalidArgument, match=wrong):
        echo.start("https://127.0.0.1:0", certificate=str(tmp_path / wrong), key=str(tmp_path / wrong))


# Several executors


def test_several_executors_share_a_server(serve_together: Callable[..., str]) -> None:
    """Also two of one class, under names of their own."""
    url = serve_together(Echo(), Echo(name="second"), Waiting())
    for name in ("echo", "second"):
        with Executor(f"{url}/{name}") as client:
            assert client.post(on="echo", doc=Text(value=name)).value == name
    status, body = get(url, "/openapi.json")
    assert status == 200
    assert body.count(b'"/second/echo"') == body.count(b'"/echo/echo"') == 1


def test_two_executors_of_one_name_are_refused(serve_together: Callable[..., str]) -> None:
    with pytest.raises(ValueError, match=r"two executors are called 'echo'.*name="):
        serve_together(Echo(), Echo())


@pytest.mark.parametrize(
    ("at", "said"),
    [
        (3, "at=3 is no URL; it takes one, as http://127.0.0.1:8000, or several in a list"),
        ([3], "'3' is not a URL to listen at"),
        ([], "at least one URL"),
    ],
)
@pytest.mark.parametrize("certificate", [None, "certificate.pem"])
def test_serve_takes_urls(at: Any, said: str, certificate: str | None) -> None:
    with pytest.raises(InvalidArgument, match=re.escape(said)):
        xooai.serve(Echo, at=at, certificate=certificate)


@pytest.mark.parametrize("url", [3, b"http://127.0.0.1:1"])
def test_a_client_takes_a_url(url: Any) -> None:
    with pytest.raises(InvalidArgument, match="is not a URL; it is a str, written scheme://"):
        Echo.at(url)


def test_serve_takes_at_least_one_executor() -> None:
    with pytest.raises(InvalidArgument, match="at least one"):
        xooai.serve()


def test_signals_are_for_whom_they_were_before_once_serving_has_failed() -> None:
    class Failing(Executor):
        async def setup(self) -> None:
            raise NotFound("no model")

        @post
        def one(self) -> int:
            return 1

    for handler in (signal.default_int_handler, signal.SIG_IGN, lambda *_: None):
        signal.signal(signal.SIGINT, handler)
        try:
            with pytest.raises(NotFound):
                Failing().serve("memory://failing")
            assert signal.getsignal(signal.SIGINT) is handler
        finally:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def test_serve_is_for_the_main_thread(serve: Callable[[Executor], str]) -> None:
    caught: list[BaseException] = []

    def run() -> None:
        try:
            Echo().serve(HERE)
        except FailedPrecondition as error:
            caught.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(PATIENCE)
    assert "start() and stop()" in str(caught[0])


def test_serve_is_not_for_a_running_loop() -> None:
    async def main() -> None:
        with pytest.raises(FailedPrecondition, match=r"start\(\) and stop\(\)"):
            Echo().serve(HERE)

    asyncio.run(main())


# Bad input leaves the server as it was


def test_a_server_goes_on_after_every_kind_of_nonsense(serve: Callable[[Executor], str]) -> None:
    url = serve(Echo())
    host, _, port = url.split("/")[2].partition(":")
    for data in (
        b"\0" * 100,
        b"GET / HTTP/1.1\r\n\r\n",
        b"POST /echo/echo HTTP/1.1\r\nContent-Length: 5\r\n\r\n",
        b"\x16\x03\x01",
    ):
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(data)
    with Echo.at(url) as client:
        assert client.echo(doc=Text(value="x")).value == "x"


@pytest.mark.parametrize("path", ["/echo/ecko", "/ecko/echo", "/echo", "/", "/echo/echo/more"])
def test_an_unknown_path_is_404_and_lists_the_known_ones(serve: Callable[[Executor], str], path: str) -> None:
    url = serve(Echo())
    connection = http.client.HTTPConnection(url.split("/")[2])
    connection.request("POST", path, b"{}", {"content-type": "application/json"})
    response = connection.getresponse()
    body: Any = response.read()
    connection.close()
    assert response.status == 404
    assert b"echo/echo" in body
