"""Gateways by hand, before three bare servers: the first two are asked side by side, and the third gets both answers.

python -m servers.flow_limit asgi|aiohttp|raw PORT

`asgi` is the limit: a bare application on uvicorn that validates with pydantic what came, and asks the nodes over raw
sockets; `aiohttp` is the same with aiohttp for the hops. `raw` is no framework's work, but what is possible: asyncio
protocols on both sides, which find where a body begins and ends, and look into none.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import Any, cast

import uvicorn
import uvloop
from pydantic import TypeAdapter

from servers.beside import IDS, started
from servers.hops import Node, whole
from servers.limit import Document, DocumentArguments, Message, Receive, Send, read

PATHS = {"left": "/combo", "right": "/combo", "join": "/join"}
JSON = {"Content-Type": "application/json"}
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
Ask = Callable[[str, bytes], Awaitable[bytes]]


def both(left: bytes, right: bytes) -> bytes:
    """The body of the third call."""
    return b'{"left":%b,"right":%b}' % (left, right)


class Raw(asyncio.Protocol):
    """A caller's connection, one request at a time: three callbacks, no task and no future."""

    def __init__(self, nodes: dict[str, Node]) -> None:
        self._left, self._right, self._join = (nodes[name] for name in IDS)
        self._data, self._replies = b"", dict[str, bytes]()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._data += data
        body = whole(self._data)
        if body is not None:
            self._data = b""
            self._left.ask(body, self._left_came)
            self._right.ask(body, self._right_came)

    def _left_came(self, reply: bytes) -> None:
        self._replies["left"] = reply
        self._came()

    def _right_came(self, reply: bytes) -> None:
        self._replies["right"] = reply
        self._came()

    def _came(self) -> None:
        if len(self._replies) == 2:
            self._join.ask(both(**self._replies), self._answer)
            self._replies = {}

    def _answer(self, reply: bytes) -> None:
        self._transport.write(HEAD % (len(reply), reply))


class Application:
    """The gateway as an ASGI application, with its hops by `ask`."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._validate = TypeAdapter(DocumentArguments).validate_json
        self._dump, self._dump_reply = TypeAdapter(DocumentArguments).dump_json, TypeAdapter(Document).dump_json
        self._reply = TypeAdapter(Document).validate_json

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        body = self._dump(self._validate(await read(receive)))
        left, right = await asyncio.gather(self._ask("left", body), self._ask("right", body))
        joined = both(self._checked(left), self._checked(right))
        reply = self._checked(await self._ask("join", joined))
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(reply))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": reply})

    def _checked(self, reply: bytes) -> bytes:
        return self._dump_reply(self._reply(reply))


async def serve_raw(port: int, nodes: dict[str, Node]) -> None:
    """Serve for ever on raw sockets."""
    server = await asyncio.get_running_loop().create_server(lambda: Raw(nodes), "127.0.0.1", port)
    await server.serve_forever()


async def serve_asgi(port: int, application: Any) -> None:
    """Serve for ever on uvicorn."""
    config = uvicorn.Config(
        application,
        host="127.0.0.1",
        port=port,
        http="httptools",
        lifespan="off",
        access_log=False,
        log_level="warning",
    )
    await uvicorn.Server(config).serve()


async def serve_aiohttp(port: int, urls: dict[str, str]) -> None:
    """Serve for ever on uvicorn, with hops by aiohttp."""
    aiohttp = import_module("aiohttp")
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def ask(name: str, body: bytes) -> bytes:
            async with session.post(urls[name], data=body, headers=JSON) as reply:
                return cast(bytes, await reply.read())

        await serve_asgi(port, Application(ask))


def main(way: str, port: int) -> None:
    """Start the nodes and serve the gateway."""
    ports = started("limit")
    nodes = {name: Node(ports[name], PATHS[name]) for name in IDS}
    if way == "raw":
        uvloop.run(serve_raw(port, nodes))
    elif way == "asgi":
        uvloop.run(serve_asgi(port, Application(lambda name, body: nodes[name].call(body))))
    else:
        uvloop.run(serve_aiohttp(port, {name: f"http://127.0.0.1:{ports[name]}{PATHS[name]}" for name in IDS}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
