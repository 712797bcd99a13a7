"""pipe://: every shape of call over plain sockets, one connection a call: what streams need of a driver, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from urllib.parse import urlsplit

import msgspec

from xooai.driver import DialOptions, Head, ListenOptions, Outcome, Shape, Site
from xooai.errors import DeadlineExceeded, Unavailable, XooaiError, error_from
from xooai.plugins import hookimpl
from xooai.wire import END, ITEM, FrameReader, frame

WINDOW = 16  # frames read ahead: as many as every driver holds


_pumps: set[asyncio.Task[None]] = set()  # loops hold their tasks weakly


class PipeChannel:
    """One call, from either end."""

    def __init__(self, head: Head, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limit: int) -> None:
        self.head = head
        self.outcome: Outcome | None = None
        self._frames = FrameReader(limit)
        self._reader, self._writer = reader, writer
        self._came: asyncio.Queue[bytes | XooaiError | None] = asyncio.Queue(WINDOW)
        self._error: XooaiError | None = None
        self._deadline = None if head.timeout is None else asyncio.get_running_loop().time() + head.timeout
        self._pump: asyncio.Task[None] | None = None
        self._is_discarding = False

    def start(self, *, is_client: bool, left: Callable[[], object] | None = None) -> None:
        """Read from the connection, until it ends."""
        self._pump = asyncio.ensure_future(self._pumped(is_client, left))
        _pumps.add(self._pump)
        self._pump.add_done_callback(_pumps.discard)

    async def _pumped(self, is_client: bool, left: Callable[[], object] | None) -> None:
        try:
            while not self._frames.is_over and (data := await self._reader.read(65536)):
                for kind, content in self._frames.feed(data):
                    if self._is_discarding:
                        continue
                    await (self._ended(content, is_client) if kind == END else self._came.put(content))
            if not self._frames.is_over:
                raise ConnectionError("the connection ended in the middle of a stream")
            while not is_client and await self._reader.read(65536):
                pass
        except XooaiError as error:
            self._error = error
        except ConnectionError:
            self._error = Unavailable("the peer has left")
        if is_client:
            self._writer.close()
        if left is not None:
            left()
        if self._error is not None and not self._is_discarding:
            await self._came.put(self._error)

    async def _ended(self, content: bytes, is_client: bool) -> None:
        if not is_client:
            await self._came.put(None)
            return
        self.outcome = found = msgspec.json.decode(content, type=Outcome)
        self._writer.close()
        if found.code:
            self._error = error_from(found.code, found.message, found.details, found.id)
        await self._came.put(self._error)

    async def receive(self) -> bytes | None:
        found = await self._next()
        if found is not None and self.outcome is None and not self.head.shape & Shape.SERVER and self._is_client:
            await self._next()  # the end, that the outcome is known
        return found

    @property
    def _is_client(self) -> bool:
        return not self.head.peer

    async def _next(self) -> bytes | None:
        try:
            async with asyncio.timeout_at(self._deadline if self._is_client else None):
                found = await self._came.get()
        except TimeoutError:
            self.abort()
            raise DeadlineExceeded("the time allowed for the call has passed") from None
        if isinstance(found, XooaiError):
            self._came.put_nowait(found)
            raise found
        if found is None:
            self._came.put_nowait(None)
        return found

    async def send(self, content: bytes) -> None:
        await self._write(frame(ITEM, content))

    async def end(self, content: bytes | None = None, outcome: Outcome | None = None) -> None:
        last = b"" if outcome is None else msgspec.json.encode(_plain(outcome))
        await self._write((b"" if content is None else frame(ITEM, content)) + frame(END, last))

    async def _write(self, data: bytes) -> None:
        try:
            self._writer.write(data)
            await self._writer.drain()
        except (ConnectionError, RuntimeError) as error:  # uvloop's, once the connection is closed
            raise self._error or Unavailable("the peer has left") from error
        if self._error is not None:
            raise self._error

    def discard(self) -> None:
        """What still comes is for nobody."""
        self._is_discarding = True
        while not self._came.empty():
            self._came.get_nowait()

    def abort(self) -> None:
        self._writer.transport.abort()
        self._error = self._error or Unavailable("the call was ended early")
        while self._came.full():
            self._came.get_nowait()
        self._came.put_nowait(self._error)
        if self._pump is not None:
            self._pump.cancel()


def _plain(outcome: Outcome) -> Outcome:
    return msgspec.structs.replace(outcome, metadata=dict(outcome.metadata), details=dict(outcome.details))


class PipeLink:
    def __init__(self, url: str, options: DialOptions) -> None:
        self._url, self._limit = urlsplit(url), options.message_limit

    async def open(self, head: Head, request: bytes | None = None) -> PipeChannel:
        try:
            reader, writer = await asyncio.open_connection(self._url.hostname, self._url.port)
        except OSError as error:
            raise Unavailable(f"nobody answers at {self._url.geturl()}") from error
        channel = PipeChannel(head, reader, writer, self._limit)
        channel.start(is_client=True)
        own = msgspec.structs.replace(head, metadata=dict(head.metadata), peer="client")
        await channel.send(msgspec.json.encode(own))
        if request is not None:
            await channel.end(request)
        return channel

    async def aclose(self) -> None:
        """There is nothing between two calls."""


class PipeListener:
    def __init__(self, site: Site, limit: int) -> None:
        self.url = ""
        self._site, self._limit = site, limit
        self._calls: set[asyncio.Task[None]] = set()

    async def start(self, host: str, port: int) -> None:
        self._server = await asyncio.start_server(self._serve, host, port)
        self.url = f"pipe://{host}:{self._server.sockets[0].getsockname()[1]}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = FrameReader(self._limit)
            _, size = (await reader.readexactly(1))[0], await reader.readexactly(4)
            content = frame(ITEM, await reader.readexactly(int.from_bytes(size)))
            ((_, said),) = head.feed(content)
            channel = PipeChannel(msgspec.json.decode(said, type=Head), reader, writer, self._limit)
            call = asyncio.ensure_future(self._site.accept(channel))
            self._calls.add(call)
            call.add_done_callback(self._calls.discard)
            channel.start(is_client=False, left=call.cancel)
            await asyncio.wait({call})
            assert channel._pump is not None
            if not call.cancelled():
                call.result()
                channel.discard()
                await asyncio.wait({channel._pump})
            channel.abort()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def aclose(self, grace: float = 0) -> None:
        self._server.close()
        if self._calls:
            _, left = await asyncio.wait(self._calls, timeout=grace)
            for call in left:
                call.cancel()


class PipeDriver:
    async def dial(self, url: str, options: DialOptions) -> PipeLink:
        return PipeLink(url, options)

    async def listen(self, url: str, site: Site, options: ListenOptions) -> PipeListener:
        place = urlsplit(url)
        listener = PipeListener(site, options.message_limit)
        await listener.start(place.hostname or "", place.port or 0)
        return listener


@hookimpl
def xooai_driver(scheme: str) -> PipeDriver | None:
    return PipeDriver() if scheme == "pipe" else None
