"""A TCP proxy that treats connections badly, as its seed says: a tool for tests."""

from __future__ import annotations

import asyncio
import socket
import struct
from asyncio import StreamReader, StreamWriter
from contextlib import suppress
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from impairment import CLEAN, Ending, Pieces, Stream

__all__ = ["TcpProxy"]

READ = 64 * 1024  # bytes that are taken from one side before they have gone to the other: the proxy holds no more
_RESET = struct.pack("ii", 1, 0)  # a linger time of zero makes close() send a reset (socket(7))


class TcpProxy:
    """Stands before the server at a URL, while `async with` lasts. Give clients `proxy.url`.

    `up` is what happens to what clients send, `down` to what the server sends, on each connection. `slow_close` seconds pass
    before one side learns that the other has closed.
    """

    def __init__(
        self, url: str, up: Stream = CLEAN, down: Stream = CLEAN, *, seed: int = 0, slow_close: float = 0.0
    ) -> None:
        self._target = urlsplit(url)
        self._streams = up, down
        self._slow_close = slow_close
        self._seed = seed
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_over = False
        self._writers: list[StreamWriter] = []
        self._shut: set[StreamWriter] = set()
        self._pieces: list[tuple[Pieces, Pieces]] = []
        self.url = ""

    @property
    def passed(self) -> tuple[int, int]:
        """Bytes that have gone on to the server and to clients, over all connections."""
        return sum(up.passed for up, _ in self._pieces), sum(down.passed for _, down in self._pieces)

    @property
    def connections(self) -> int:
        """How many there were."""
        return len(self._pieces)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=READ)
        port = self._server.sockets[0].getsockname()[1]
        self.url = self._target._replace(netloc=f"127.0.0.1:{port}").geturl()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        self._is_over = True
        self.reset()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await asyncio.sleep(0)  # the transports close with the next turn

    @property
    def is_used(self) -> bool:
        """Whether a connection is open."""
        return bool(self._tasks)

    def reset(self) -> None:
        """Reset all connections, on both sides."""
        for writer in self._writers:
            _end(writer, "reset")

    def close(self) -> None:
        """Close all connections in order, on both sides."""
        for writer in self._writers:
            _end(writer, "close")

    def heal(self) -> None:
        """Reset all connections, and do no harm to those that come."""
        self._streams, self._slow_close = (CLEAN, CLEAN), 0.0
        self.reset()

    def shut(self) -> None:
        """Tell the server that no client sends any more, whatever these still send; what it sends still passes."""
        for writer in self._writers[1::2]:
            self._shut.add(writer)
            with suppress(OSError):
                writer.write_eof()

    def _accept(self, reader: StreamReader, writer: StreamWriter) -> None:
        if self._is_over:  # accepted before the server was closed, and told since
            _end(writer, "reset")
            return
        # A child task: start_server of 3.11 complains of a handler that was cancelled.
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)

        def ended(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            if not writer.is_closing():  # cancelled before it had a connection to the server, or had begun at all
                _end(writer, "reset")

        task.add_done_callback(ended)

    async def _serve(self, client: StreamReader, to_client: StreamWriter) -> None:
        up, down = (
            Pieces(stream, f"{self._seed} {self.connections} {way}") for way, stream in enumerate(self._streams)
        )
        self._pieces.append((up, down))
        try:
            server, to_server = await asyncio.open_connection(self._target.hostname, self._target.port, limit=READ)
        except OSError:
            _end(to_client, "reset")
            return
        self._writers += [to_client, to_server]
        ways = {
            asyncio.create_task(self._carry(client, to_server, up)),
            asyncio.create_task(self._carry(server, to_client, down)),
        }
        ending: Ending = "close"
        try:
            ending = await _first_end(ways)
            if ending == "hang":
                await asyncio.Event().wait()  # until the proxy ends
        finally:
            for way in ways:
                way.cancel()
            await asyncio.wait(ways)
            for writer in (to_client, to_server):
                _end(writer, ending)

    async def _carry(self, reader: StreamReader, writer: StreamWriter, pieces: Pieces) -> Ending | None:
        """Carry one direction. Returns how the connection ends, None where this direction only has come to its end."""
        try:
            while not pieces.is_cut and (data := await reader.read(READ)):
                for wait, piece in pieces.take(data):
                    await asyncio.sleep(wait)
                    if writer not in self._shut:
                        writer.write(piece)
                        await writer.drain()
            if pieces.is_cut:
                return pieces.ending
            await asyncio.sleep(self._slow_close)
            if writer not in self._shut:
                writer.write_eof()
        except OSError:  # one side has reset it: so does the other
            return "reset"
        return None


async def _first_end(ways: set[asyncio.Task[Ending | None]]) -> Ending:
    """Wait until a connection ends as a whole."""
    pending = ways
    while pending:
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        for way in done:
            if (ending := way.result()) is not None:
                return ending
    return "close"


def _end(writer: StreamWriter, ending: Ending) -> None:
    if ending != "reset":
        writer.close()
        return
    with suppress(OSError):  # closed already
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()
