"""Calls of a node over kept-alive raw sockets: the least that a gateway must do to ask another server."""

import asyncio
import re
from collections.abc import Callable
from typing import cast

HEAD_END = b"\r\n\r\n"
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


def whole(data: bytes) -> bytes | None:
    """Return the body of a request or an answer, once all of it came; both have a Content-Length."""
    end = data.find(HEAD_END)
    if end < 0:
        return None
    found = LENGTH.search(data, 0, end)
    if found is None:
        raise ValueError(f"no Content-Length in {data[:200]!r}")
    return data[end + 4 :] if len(data) == end + 4 + int(found[1]) else None


class _Connection(asyncio.Protocol):
    """One connection to a node, with one call at a time."""

    def __init__(self, node: "Node", body: bytes, done: Callable[[bytes], None]) -> None:
        self._node, self._body, self._done, self._data = node, body, done, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.ask(self._body, self._done)

    def connection_lost(self, error: Exception | None) -> None:
        if self in self._node.free:  # it was idle for too long
            self._node.free.remove(self)

    def ask(self, body: bytes, done: Callable[[bytes], None]) -> None:
        self._done = done
        self._transport.write(b"%b%d\r\n\r\n%b" % (self._node.head, len(body), body))

    def data_received(self, data: bytes) -> None:
        if self._data:
            data = self._data + data
        body = whole(data)
        if body is None:
            self._data = data
            return
        if not data.startswith(b"HTTP/1.1 200 "):
            raise ValueError(f"a node answered {data[:200]!r}")
        self._data = b""
        self._node.free.append(self)
        self._done(body)


class Node:
    """One server and path; as many connections as there are calls at once, each kept."""

    def __init__(self, port: int, path: str) -> None:
        self._port, self.free = port, list[_Connection]()
        self.head = (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\nContent-Length: "
        ).encode()
        self._opening = set[asyncio.Task[object]]()

    def ask(self, body: bytes, done: Callable[[bytes], None]) -> None:
        """Call the node with this body; `done` gets the body of the answer."""
        if self.free:
            self.free.pop().ask(body, done)
            return
        loop = asyncio.get_running_loop()
        made = loop.create_connection(lambda: _Connection(self, body, done), "127.0.0.1", self._port)
        task: asyncio.Task[object] = loop.create_task(made)
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def call(self, body: bytes) -> bytes:
        """The same for who awaits."""
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.ask(body, answer.set_result)
        return await answer
