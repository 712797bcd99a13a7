"""Clients of WebSockets: one as everybody has, and one that writes frames as it likes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec
from aiohttp import ClientWebSocketResponse, WSMsgType
from echo_site import RawClient, connected
from websockets.frames import Close, Frame, Opcode

SOON = 5  # seconds: far more than anything here takes
END = ""
JSON = "xooai.json"
MSGPACK = "xooai.msgpack"


class Talk:
    """One call over a WebSocket."""

    def __init__(self, socket: ClientWebSocketResponse) -> None:
        self.socket = socket

    async def say(self, *items: Any) -> None:
        for item in items:
            if self.socket.protocol == MSGPACK:
                await self.socket.send_bytes(msgspec.msgpack.encode(item))
            else:
                await self.socket.send_str(json.dumps(item))

    async def end(self) -> None:
        await self.socket.send_str(END)

    async def hear(self) -> Any:
        """The next item."""
        message = await self.socket.receive(SOON)
        if self.socket.protocol == MSGPACK:
            assert message.type is WSMsgType.BINARY, message
            return msgspec.msgpack.decode(message.data)
        assert message.type is WSMsgType.TEXT, message
        return json.loads(message.data)

    async def rest(self) -> tuple[list[Any], int | None]:
        """The items that still come, and the code of the close, which is of no error."""
        items, problem, code = await self.outcome()
        assert problem is None
        return items, code

    async def outcome(self) -> tuple[list[Any], Any, int | None]:
        """Items, the problem behind them where there is one, and the code of the close."""
        items, problem, is_over = list[Any](), None, False
        async for message in self.socket:
            if not message.data:
                is_over = True
            elif is_over:
                problem = json.loads(message.data)
            else:
                is_text = message.type is WSMsgType.TEXT
                assert is_text is (self.socket.protocol != MSGPACK)
                items.append((json.loads if is_text else msgspec.msgpack.decode)(message.data))
        return items, problem, self.socket.close_code


@asynccontextmanager
async def talk(url: str, endpoint: str, protocol: str | None = None, **more: Any) -> AsyncIterator[Talk]:
    """Open a WebSocket to an endpoint of the talker. Raises aiohttp.WSServerHandshakeError where it is refused."""
    protocols = [protocol] if protocol else []
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{url}/talker/{endpoint}", protocols=protocols, **more) as socket,
    ):
        yield Talk(socket)


HANDSHAKE = (
    "GET {} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
)
"""Its key and the answer to it are those of RFC 6455 1.3."""
SWITCHED = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def handshake(target: str, *headers: str) -> bytes:
    return (HANDSHAKE.format(target) + "".join(f"{header}\r\n" for header in headers) + "\r\n").encode()


def framed(opcode: Opcode, data: bytes = b"", fin: bool = True) -> bytes:
    return Frame(opcode, data, fin).serialize(mask=True)


def text(item: Any) -> bytes:
    return framed(Opcode.TEXT, json.dumps(item).encode())


class RawSocket:
    """A WebSocket that answers nothing by itself."""

    def __init__(self, client: RawClient) -> None:
        self.client = client

    def write(self, *frames: bytes) -> None:
        self.client.write(b"".join(frames))

    async def frame(self) -> tuple[Opcode, bytes]:
        head = await asyncio.wait_for(self.client.reader.readexactly(2), SOON)
        length = head[1]
        if length > 125:
            more = await self.client.reader.readexactly(2 if length == 126 else 8)
            length = int.from_bytes(more)
        return Opcode(head[0] & 15), await self.client.reader.readexactly(length)

    async def close(self) -> Close:
        """What the server closes with; other frames before it are passed over."""
        while True:
            opcode, data = await self.frame()
            if opcode is Opcode.CLOSE:
                return Close.parse(data)


@asynccontextmanager
async def raw(url: str, endpoint: str, *headers: str, **more: Any) -> AsyncIterator[RawSocket]:
    async with connected(url, **more) as client:
        client.write(handshake(f"/talker/{endpoint}", *headers))
        response = await client.response()
        assert (response.status, response.headers["Sec-WebSocket-Accept"]) == (101, SWITCHED)
        yield RawSocket(client)
