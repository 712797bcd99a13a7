"""A peer that calls the endpoints of a server's own store by itself, as it likes: for what our client never does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from payload_kit import signed

from xooai.client import Remote
from xooai.codec import MSGPACK
from xooai.elsewhere import ToServer
from xooai.embedded import endpoints
from xooai.embedded.endpoints import Given, Offered
from xooai.remote_stream import open_stream
from xooai.streams import Stream

__all__ = ["CHUNK", "Peer"]

CHUNK = 1024 * 1024


class Peer:
    """Speaks to the server of a client."""

    def __init__(self, client: Any) -> None:
        """Of a client, or of what a client holds."""
        self.remote: Remote = client if isinstance(client, Remote) else client._xooai_remote

    async def offer(self, *contents: bytes | tuple[str, int]) -> Sequence[Given]:
        told = [(signed(one), len(one)) if isinstance(one, bytes) else one for one in contents]
        offered = [Offered.model_construct(signature=signature, size=size) for signature, size in told]
        found: Sequence[Given] = await self.remote.call(
            "xooai", endpoints.offer(), {"contents": offered}, None, "msgpack", None
        )
        return found

    async def begin(self, signature: str, size: int, place: int = 0) -> Stream:
        arguments = {"signature": signature, "size": size, "place": place}
        return await open_stream(self.remote, "xooai", endpoints.upload(), arguments, None, "msgpack", None)

    async def upload(self, signature: str, size: int, chunks: Iterable[bytes], place: int = 0) -> Given:
        stream = await self.begin(signature, size, place)
        try:
            for chunk in chunks:
                await stream.send(chunk)
            await stream.end()
            found: Given = await stream.receive()
            return found
        finally:
            stream.close()

    async def send(self, data: bytes) -> str:
        """The ref of a content, sent in chunks as large as they may be."""
        chunks = (data[place : place + CHUNK] for place in range(0, len(data), CHUNK))
        given = await self.upload(signed(data), len(data), chunks)
        assert given.ref is not None
        return given.ref

    async def download(self, ref: str, start: int = 0, end: int | None = None) -> bytes:
        arguments = {"ref": ref, "start": start, "end": end}
        stream = await open_stream(self.remote, "xooai", endpoints.download(), arguments, None, "msgpack", None)
        try:
            return b"".join([chunk async for chunk in stream])
        finally:
            stream.close()

    def way(self) -> ToServer:
        return ToServer(self.remote, None, MSGPACK)
