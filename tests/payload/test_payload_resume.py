"""Contents on networks that break: sending goes on from where it was, and what is broken off leaves nothing."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from payload_kit import Place, Works, counted_bytes, made, signed, within
from payload_peer import CHUNK, Peer

from impairment import Stream as Weather
from tcp_proxy import TcpProxy
from xooai import DataLoss, DeadlineExceeded, Executor, File, Unavailable, elsewhere, post
from xooai.embedded import keeper

MIB = 1024 * 1024


@pytest.fixture(params=["http", pytest.param("grpc", marks=pytest.mark.slow)])
def over_tcp(request: pytest.FixtureRequest, place_over: Callable[[str], Place]) -> Place:
    return place_over(str(request.param))


@asynccontextmanager
async def through(url: str, **weather: Any) -> AsyncIterator[tuple[TcpProxy, Any]]:
    """A client behind a proxy that stands before a server."""
    async with TcpProxy(url, **weather) as proxy, Works.at(proxy.url) as client:
        yield proxy, client


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between attempts."""
    monkeypatch.setattr(elsewhere, "PAUSE", 0.05)


async def until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110 - there is no event for files of a server
        await asyncio.sleep(0.005)


@pytest.mark.parametrize(("ending", "size", "cut"), [("close", 12 * MIB, 5 * MIB), ("reset", 24 * MIB, 18 * MIB)])
def test_sending_goes_on_from_where_it_was(over_tcp: Place, tmp_path: Path, ending: Any, size: int, cut: int) -> None:
    """No connection lasts for all of it. What is on its way is lost where one is reset: some MiB, as the system has buffers."""
    path = made(tmp_path / "content", size)
    url = over_tcp.serve(Works())

    async def scene() -> None:
        async with through(url, up=Weather(cut=cut, ending=ending)) as (proxy, client):
            with counted_bytes() as sent:
                found = await client.apost("facts", doc=File(ref=str(path)))
            assert (found.digest, found.is_inline) == (signed(path.read_bytes()), False)
            assert proxy.connections > 1
            assert proxy.passed[0] < size + cut
            assert sum(size for _, size in sent) < 3 * size

    within(scene())


def test_a_network_that_breaks_often_is_gone_on_with_as_long_as_something_comes_through(
    over_tcp: Place, tmp_path: Path
) -> None:
    """More breaks than there are attempts without any progress."""
    path = made(tmp_path / "content", 12 * MIB)
    url = over_tcp.serve(Works())

    async def scene() -> None:
        async with through(url, up=Weather(cut=2 * MIB)) as (proxy, client):
            found = await client.apost("facts", doc=File(ref=str(path)), timeout=None)
            assert found.digest == signed(path.read_bytes())
            assert proxy.connections > 5

    within(scene())


def test_a_network_that_lets_nothing_through_is_unavailable_in_the_end(over_tcp: Place, tmp_path: Path) -> None:
    path = made(tmp_path / "content", 3 * MIB)
    url = over_tcp.serve(works := Works())

    async def scene() -> None:
        async with through(url, up=Weather(cut=100 * 1024, ending="reset")) as (_, client):
            with pytest.raises(Unavailable):
                await client.apost("facts", doc=File(ref=str(path)))

    within(scene())
    assert works.calls == 0


def test_a_call_that_is_cancelled_while_it_sends_leaves_nothing_after_a_while(
    everywhere: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "PATIENCE", 0.05)
    url = everywhere.serve(works := Works())

    async def scene() -> None:
        async with Works.at(url, **everywhere.options) as client:
            way = Peer(client).way()
            calling = asyncio.ensure_future(way.put([Slow(3 * CHUNK)]))
            await until(everywhere.kept)
            calling.cancel()
            with suppress(asyncio.CancelledError):
                await calling
            await until(lambda: not everywhere.kept())

    within(scene())
    assert works.calls == 0


class Slow:
    """A content whose end never comes."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.signature = signed(os.urandom(10))

    async def read(self, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        yield bytes(CHUNK)
        yield bytes(CHUNK)
        await asyncio.Event().wait()


def test_the_time_of_a_call_holds_while_it_sends(over_tcp: Place, tmp_path: Path) -> None:
    path = made(tmp_path / "content", 8 * MIB)
    url = over_tcp.serve(works := Works())

    async def scene() -> None:
        async with through(url, up=Weather(rate=1 * MIB)) as (_, client):
            began = asyncio.get_running_loop().time()
            with pytest.raises(DeadlineExceeded):
                await client.apost("facts", doc=File(ref=str(path)), timeout=0.5)
            assert asyncio.get_running_loop().time() - began < 4

    within(scene())
    assert works.calls == 0


def test_a_file_that_changes_while_it_is_sent_is_data_loss(everywhere: Place, tmp_path: Path) -> None:
    url = everywhere.serve(works := Works())

    async def scene() -> None:
        async with Works.at(url, **everywhere.options) as client:
            way = Peer(client).way()
            for size in (CHUNK, 3 * CHUNK):
                with pytest.raises(DataLoss):
                    await way.put([Changed(2 * CHUNK, size)])
            with pytest.raises(DataLoss, match="which was announced|it should be|does not match"):
                await way.put([Changed(2 * CHUNK, 2 * CHUNK)])
            await until(lambda: not [path for path in everywhere.kept() if ".xooai-incoming" not in str(path)])

    within(scene())
    assert works.calls == 0


class Changed:
    """A content that is another than was announced."""

    def __init__(self, said: int, size: int) -> None:
        self.size, self._size = said, size
        self.signature = signed(os.urandom(10))

    async def read(self, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        for _ in range(start, self._size, CHUNK):
            yield bytes(CHUNK)


def test_reading_a_reply_goes_on_from_where_it_was(over_tcp: Place, tmp_path: Path) -> None:
    path = made(tmp_path / "content", 12 * MIB)
    works = Works()
    works.files["it"] = str(path)
    url = over_tcp.serve(works)

    async def scene() -> None:
        async with through(url, down=Weather(cut=3 * MIB, ending="reset")) as (proxy, client):
            reply = await client.apost("give", name="it")
            assert await reply.aread() == path.read_bytes()
            assert proxy.connections > 3

    within(scene())


class Asks(Executor):
    """Reads what another server has answered."""

    @post
    def through(self, url: str) -> int:
        return len(self.post(on=f"{url}/give", name="it").read())

    @post
    async def through_async(self, url: str) -> int:
        return len(await (await self.apost(on=f"{url}/give", name="it")).aread())


@pytest.mark.parametrize("endpoint", ["through", "through_async"])
def test_the_time_of_a_call_holds_while_its_handler_reads_from_another_server(
    over_tcp: Place, tmp_path: Path, endpoint: str
) -> None:
    works = Works()
    works.files["it"] = str(made(tmp_path / "content", 6 * MIB))
    url = over_tcp.serve(works)

    async def scene() -> None:
        async with TcpProxy(url, down=Weather(cut=3 * MIB, ending="hang")) as proxy:
            began = asyncio.get_running_loop().time()
            with Asks() as asks, pytest.raises(DeadlineExceeded):
                await asyncio.to_thread(
                    Executor(asks.start(over_tcp.at, grace=0.2)[0] + "/asks").post, endpoint, url=proxy.url, timeout=1.0
                )
            assert asyncio.get_running_loop().time() - began < 5

    within(scene())


def test_a_server_that_says_nothing_more_does_not_hold_a_reader_for_ever(over_tcp: Place, tmp_path: Path) -> None:
    path = made(tmp_path / "content", 6 * MIB)
    works = Works()
    works.files["it"] = str(path)
    url = over_tcp.serve(works)

    async def scene() -> None:
        async with (
            TcpProxy(url, down=Weather(cut=3 * MIB, ending="hang")) as proxy,
            Works.at(proxy.url, timeout=1.0) as client,
        ):
            reply = await client.apost("give", name="it")
            with pytest.raises((DeadlineExceeded, Unavailable)):
                await reply.aread()

    within(scene())
