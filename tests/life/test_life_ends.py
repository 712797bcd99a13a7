"""How a served program ends: not ready first, with its calls, and by an exit code that tells whether any was lost."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest
from lively import Lively
from server_process import HERE, PATIENCE, Process, served, until

from authority import HERE as NAMES
from authority import Authority
from xooai import Executor, InvalidArgument, Unavailable, XooaiError, serve

for module in ("uvicorn", "click", "grpc", "aioquic"):
    pytest.importorskip(module)

TOGETHER = ("http", "grpc", "quic")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


Start = Callable[..., "Running"]


class Running(NamedTuple):
    """A server that has told its URLs, one of each driver."""

    process: Process
    trust: str

    @property
    def http(self) -> str:
        return self.process.urls[0]

    def url(self, scheme: str) -> str:
        return next(url for url in self.process.urls if url.startswith(f"{scheme}:"))

    def at(self, scheme: str, **options: Any) -> Executor:
        return Executor.at(f"{self.url(scheme)}/lively", trust=self.trust if scheme == "quic" else None, **options)


@pytest.fixture
def start(authority: Authority) -> Iterator[Start]:
    """Serve over all drivers at once until the test ends."""
    stack: list[Any] = []

    def begin(*args: object) -> Running:
        pair = authority.signs("server", NAMES)
        urls = [part for scheme in TOGETHER for part in ("--url", f"{scheme}://127.0.0.1:0")]
        files = ("--certificate", pair.certificate, "--key", pair.key)
        stack.append(served(f"{HERE}/lively.py:Lively", *urls, *files, *args))
        process = stack[-1].__enter__()
        process.banner()
        return Running(process, str(authority.trust))

    yield begin
    for one in stack:
        one.__exit__(None, None, None)


class Load(NamedTuple):
    """What is under way when a server is told to end."""

    waits: Sequence[float]
    streams: int
    idle: int
    silent: int


SMALL = Load([0.1, 0.3], streams=1, idle=3, silent=1)
FULL = Load([0.1 + 2.9 * number / 49 for number in range(50)], streams=3, idle=20, silent=5)


class Under(NamedTuple):
    """Calls under way over one driver."""

    waits: list[asyncio.Task[Any]]
    streams: list[asyncio.Task[list[int]]]


@asynccontextmanager
async def loaded(
    running: Running, schemes: Sequence[str], load: Load, go: Path | None = None
) -> AsyncIterator[dict[str, Under]]:
    """Bring a server under load, over each driver, and wait until all handlers run; one waits for the file `go`, first of all."""
    async with AsyncExitStack() as stack:
        found: dict[str, Under] = {}
        for scheme in schemes:
            for _ in range(load.idle):
                client = await stack.enter_async_context(running.at(scheme))
                await client.apost(on="under_way")
            if scheme != "quic":  # which has no connection before it says something
                place = urlsplit(running.url(scheme))
                for _ in range(load.silent):
                    _, writer = await asyncio.open_connection(place.hostname, place.port)
                    stack.callback(writer.close)
            client = await stack.enter_async_context(running.at(scheme))
            held = [client.apost(on="wait_for", file=str(go))] if go is not None else []
            found[scheme] = Under(
                [asyncio.create_task(one) for one in held]
                + [asyncio.create_task(client.apost(on="wait", seconds=seconds)) for seconds in load.waits],
                [asyncio.create_task(_counted(client)) for _ in range(load.streams)],
            )
        asking = await stack.enter_async_context(running.at("http"))
        under_way = len(schemes) * (len(load.waits) + load.streams + (go is not None))
        tasks = [task for one in found.values() for task in (*one.waits, *one.streams)]
        await _begun(asking, lambda: under_way - sum(task.done() for task in tasks))
        yield found


async def _begun(asking: Executor, wanted: Callable[[], int]) -> None:
    """Wait until so many calls are under way: the server is asked how many."""
    while await asking.apost(on="under_way") < wanted():  # noqa: ASYNC110 - it happens in another process
        await asyncio.sleep(0.005)


async def _counted(client: Executor) -> list[int]:
    return [number async for number in client.astream(on="count", to=10, pause=0.1)]


async def drained(running: Running, schemes: Sequence[str], load: Load, go: Path) -> float:
    """One call over each driver is not done before all new ones are turned away. When it was told to end."""
    async with loaded(running, schemes, load, go) as under_way:
        told = time.monotonic()
        running.process.signal()
        for scheme in schemes:
            await _turned_away(running, scheme)
        go.touch()
        for scheme in schemes:
            waits, streams = under_way[scheme]
            assert await asyncio.gather(*waits) == [True, *load.waits]
            assert await asyncio.gather(*streams) == [list(range(10))] * load.streams
    return told


async def _turned_away(running: Running, scheme: str) -> None:
    """Call by connections of one's own until a call is refused: those that came before the signal may still be answered."""
    while True:
        async with running.at(scheme, retry=0) as late:
            try:
                await late.apost(on="under_way", timeout=PATIENCE)
            except Unavailable:
                return


def _refused(url: str) -> bool:
    place = urlsplit(url)
    try:
        socket.create_connection((place.hostname, place.port), timeout=PATIENCE).close()
    except ConnectionRefusedError:
        return True
    return False


def test_what_is_under_way_over_each_driver_is_done_before_it_ends(start: Start, tmp_path: Path) -> None:
    running = start()
    asyncio.run(drained(running, TOGETHER, SMALL, tmp_path / "go"))

    assert running.process.end().code == 0


@pytest.mark.slow
@pytest.mark.parametrize("scheme", TOGETHER)
def test_fifty_calls_and_three_streams_are_done_before_it_ends(start: Start, scheme: str, tmp_path: Path) -> None:
    """Beside 20 idle connections, and 5 that never said a word."""
    running = start()
    told = asyncio.run(drained(running, (scheme,), FULL, tmp_path / "go"))

    assert running.process.end().code == 0
    assert time.monotonic() - told < 30


def test_what_is_not_done_in_its_grace_is_cut_off_and_told(start: Start) -> None:
    running = start("--grace", "0.2")

    async def cut_off() -> list[Any]:
        async with loaded(running, TOGETHER, Load([3600.0], 0, 0, 0)) as under_way:
            running.process.signal()
            calls = [one.waits[0] for one in under_way.values()]
            return list(await asyncio.gather(*calls, return_exceptions=True))

    errors = asyncio.run(cut_off())
    ended = running.process.end()

    assert {type(error) for error in errors} == {Unavailable}
    assert ended.code == 1
    assert ended.err.count("\n") == 1
    assert "ERROR xooai: 3 calls were cut off at the end of the grace of 0.2 seconds" in ended.err


@pytest.mark.slow  # by HTTP it is tested with every run
@pytest.mark.parametrize("scheme", ["grpc", "quic"])
def test_a_second_signal_cuts_off_what_is_under_way(start: Start, scheme: str) -> None:
    running = start()

    async def cut_off() -> BaseException | None:
        async with loaded(running, (scheme,), Load([3600.0], 0, 0, 0)) as under_way:
            running.process.signal()
            await asyncio.to_thread(until, lambda: _refused(running.http), "a refusal")
            running.process.signal()
            (call,) = under_way[scheme].waits
            await asyncio.wait((call,))
            return call.exception()

    assert isinstance(asyncio.run(cut_off()), XooaiError)
    ended = running.process.end()
    assert ended.code == 1
    assert "1 call was cut off by a second signal" in ended.err


def test_it_says_that_it_is_not_ready_before_it_refuses(start: Start) -> None:
    """Balancers that look every second find out in time."""
    running = start("--drain-delay", "3600")

    async def seen() -> tuple[list[float], bool]:
        async with running.at("http") as client, running.at("grpc") as other, running.at("quic") as third:
            running.process.signal()
            await asyncio.to_thread(until, lambda: _status(f"{running.http}/readyz") == 503, "a 503")
            answers = [await one.apost(on="wait", seconds=0.01) for one in (client, other, third)]
            return answers, _refused(running.http)

    assert asyncio.run(seen()) == ([0.01, 0.01, 0.01], False)
    running.process.signal()  # the second ends the wait
    assert running.process.end().code == 0


def _status(url: str) -> int:
    try:
        with urlopen(url, timeout=PATIENCE) as answer:
            return int(answer.status)
    except OSError as error:
        return int(getattr(error, "code", 0))


@pytest.mark.parametrize("on", [pytest.param("deaf", marks=pytest.mark.slow), "blocked"])
def test_a_handler_that_does_not_end_does_not_keep_the_process(start: Start, on: str) -> None:
    """Neither one that ignores its cancellation, for which 5 seconds are waited, nor one whose thread goes on."""
    running = start("--grace", "0.1")

    async def told() -> None:
        async with running.at("http") as client, running.at("http") as asking:
            call = asyncio.create_task(client.apost(on=on))
            await _begun(asking, lambda: 1)
            running.process.signal()
            with pytest.raises(XooaiError):
                await call

    asyncio.run(told())
    ended = running.process.end()
    assert ended.code == 1
    assert "1 call was cut off" in ended.err


@pytest.mark.parametrize("workers", [None, 2])
@pytest.mark.parametrize("name", ["grace", "drain_delay"])
@pytest.mark.parametrize("given", [-1, float("nan"), "20", None, True])
def test_what_is_no_number_of_seconds_is_refused_before_anything_is_served(
    name: str, given: Any, workers: int | None
) -> None:
    with pytest.raises(InvalidArgument, match=f"{name}=.* is no number of seconds; it takes one from 0 on"):
        serve(Lively, at=["http://127.0.0.1:0"], workers=workers, **{name: given})
