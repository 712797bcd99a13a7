"""Servers that answer calls that stream as a test likes, right or wrong: frames in chunks, both ways."""

from __future__ import annotations

from asyncio import StreamReader, StreamWriter

from xooai.driver import Channel, Head, Shape
from xooai.wire import END, ITEM, FrameReader, frame
from xooai_http.pool import PoolLimits

MIB = 1024 * 1024
JSON = "application/json"
DOWN = Head("/a/b", JSON, shape=Shape.SERVER, timeout=20)
UP = Head("/a/b", JSON, shape=Shape.CLIENT, timeout=20)
BOTH = Head("/a/b", JSON, shape=Shape.BIDI, timeout=20)
ONE = PoolLimits(connections=1)

FRAMED = b"HTTP/1.1 200 OK\r\ncontent-type: application/vnd.xooai.frames+json\r\ntransfer-encoding: chunked\r\n\r\n"
LAST = b"0\r\n\r\n"


def chunk(content: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(content), content)


def items(*contents: bytes) -> bytes:
    """Each as a frame in a chunk of its own."""
    return b"".join(chunk(frame(ITEM, content)) for content in contents)


def ending(outcome: bytes = b'{"code":0}') -> bytes:
    """The last frame of a reply."""
    return chunk(frame(END, outcome))


class Incoming:
    """A request that streams, as it comes."""

    def __init__(self, reader: StreamReader) -> None:
        self._reader = reader
        self._frames = FrameReader(1024 * 1024 * 1024)
        self._found: list[tuple[int, bytes]] = []
        self.is_whole = False

    @classmethod
    async def of(cls, reader: StreamReader) -> tuple[bytes, Incoming]:
        """The head of the next request, and what follows."""
        return await reader.readuntil(b"\r\n\r\n"), cls(reader)

    async def frame(self) -> bytes | None:
        """The next frame, None once the request has ended with its last frame and its last chunk."""
        while not self._found:
            size = int(await self._reader.readuntil(b"\r\n"), 16)
            self._found = list(self._frames.feed(await self._reader.readexactly(size)))
            assert await self._reader.readexactly(2) == b"\r\n"
        kind, content = self._found.pop(0)
        if kind == ITEM:
            return content
        assert await self._reader.readexactly(len(LAST)) == LAST
        assert not content
        self.is_whole = True
        return None


async def frames_echo(reader: StreamReader, writer: StreamWriter) -> None:
    """Answer every request of a connection frame by frame, with the same."""
    while True:
        _, incoming = await Incoming.of(reader)
        writer.write(FRAMED)
        while (content := await incoming.frame()) is not None:
            writer.write(items(content))
            await writer.drain()
        writer.write(ending() + LAST)


async def received(channel: Channel) -> list[bytes]:
    """All frames of the reply."""
    found = []
    while (content := await channel.receive()) is not None:
        found.append(content)
    return found


async def endless(channel: Channel) -> None:
    """Send until that is an error."""
    while True:
        await channel.send(b"x" * MIB)
