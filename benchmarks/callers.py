"""Clients of one echo server: each opens for a number of callers and yields what each caller awaits, or calls."""

import asyncio
import contextlib
import http.client
import importlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import cast

from exchanges import COMBO, Exchange

Call = Callable[[], Awaitable[object]]
HEAD_END, LENGTH = b"\r\n\r\n", b"content-length: "


class Bare(asyncio.Protocol):
    """The least that a client must do: write ready bytes, find the end of the answer, wake the caller."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._loop = asyncio.get_running_loop()
        self._answer: asyncio.Future[bytes] | None = None
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def connection_lost(self, error: Exception | None) -> None:
        if self._answer and not self._answer.done():
            self._answer.set_exception(error or ConnectionError("the server closed the connection"))

    async def call(self) -> bytes:
        """Send the request and return the body of its answer."""
        self._answer = self._loop.create_future()
        self.transport.write(self._request)
        return await self._answer

    def data_received(self, data: bytes) -> None:
        data = self._data = self._data + data
        end = data.find(HEAD_END)
        start = data.lower().find(LENGTH, 0, end) + len(LENGTH)
        if end < 0 or len(data) < end + 4 + int(data[start : data.index(b"\r", start)]):
            return
        self._data = b""
        if self._answer:
            self._answer.set_result(data[end + 4 :])


@contextlib.asynccontextmanager
async def bare(port: int, exchange: Exchange, callers: int) -> AsyncIterator[list[Call]]:
    """A connection a caller, on bare asyncio."""
    loop, request = asyncio.get_running_loop(), exchange.encode(port)
    made = [(await loop.create_connection(lambda: Bare(request), "127.0.0.1", port))[1] for _ in range(callers)]
    try:
        yield [one.call for one in made]
    finally:
        for one in made:
            one.transport.close()


@contextlib.asynccontextmanager
async def aiohttp(port: int, exchange: Exchange, callers: int) -> AsyncIterator[list[Call]]:
    """One session of aiohttp, given ready bytes; the answer is left as bytes."""
    url = f"http://127.0.0.1:{port}{exchange.path}"
    async with importlib.import_module("aiohttp").ClientSession() as session:

        async def call() -> bytes:
            async with session.post(url, data=exchange.body, headers=exchange.headers) as reply:
                return cast(bytes, await reply.read())

        yield [call] * callers


@contextlib.asynccontextmanager
async def httpx(port: int, exchange: Exchange, callers: int) -> AsyncIterator[list[Call]]:
    """One client of httpx, given ready bytes; the answer is left as bytes."""
    url = f"http://127.0.0.1:{port}{exchange.path}"
    async with importlib.import_module("httpx").AsyncClient(trust_env=False) as client:

        async def call() -> bytes:
            return cast(bytes, (await client.post(url, content=exchange.body, headers=exchange.headers)).content)

        yield [call] * callers


@contextlib.contextmanager
def blocking_httpx(port: int, exchange: Exchange) -> Iterator[Callable[[], object]]:
    """The blocking client of httpx."""
    url = f"http://127.0.0.1:{port}{exchange.path}"
    with importlib.import_module("httpx").Client(trust_env=False) as client:
        yield lambda: client.post(url, content=exchange.body, headers=exchange.headers).content


@contextlib.contextmanager
def http_client(port: int, exchange: Exchange) -> Iterator[Callable[[], object]]:
    """The standard library's blocking client."""
    connection = http.client.HTTPConnection("127.0.0.1", port)

    def call() -> bytes:
        connection.request("POST", exchange.path, exchange.body, exchange.headers)
        return connection.getresponse().read()

    try:
        yield call
    finally:
        connection.close()


class Xooai:
    """xooai's typed client, documents in and documents out, in one codec."""

    def __init__(self, codec: str) -> None:
        self._codec = codec
        self._served = importlib.import_module("servers.xooai_echo")

    @contextlib.asynccontextmanager
    async def apost(self, port: int, _exchange: Exchange, callers: int) -> AsyncIterator[list[Call]]:
        """`apost` of one client."""
        with self._served.Echo.at(f"http://127.0.0.1:{port}", codec=self._codec) as echo:
            doc = self._served.Document(**COMBO)
            yield [lambda: echo.apost(on="combo", doc=doc)] * callers

    @contextlib.contextmanager
    def post(self, port: int, _exchange: Exchange) -> Iterator[Callable[[], object]]:
        """Blocking `post`."""
        with self._served.Echo.at(f"http://127.0.0.1:{port}", codec=self._codec) as echo:
            doc = self._served.Document(**COMBO)
            yield lambda: echo.post(on="combo", doc=doc)
