"""A site that echoes, the listener that it is behind, and a client that writes bytes as they are."""

from __future__ import annotations

import asyncio
import json
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from echoing import EchoSite
from xooai.driver import ListenOptions
from xooai_http.driver import HttpDriver
from xooai_http.limits import Limits
from xooai_http.listener import HttpListener

Run = Callable[[Coroutine[Any, Any, Any]], Any]

JSON = "application/json"


@asynccontextmanager
async def listening(
    url: str = "http://127.0.0.1:0", options: ListenOptions | None = None, **limits: Any
) -> AsyncIterator[tuple[HttpListener, EchoSite]]:
    site = EchoSite()
    listener = await HttpDriver(Limits(**limits)).listen(url, site, options or ListenOptions())
    try:
        yield listener, site
    finally:
        await listener.aclose()


@dataclass
class Response:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def problem(self) -> dict[str, Any]:
        assert self.headers["content-type"] == "application/problem+json"
        found: dict[str, Any] = json.loads(self.body)
        assert found["status"] == self.status
        return found


class RawClient:
    """One connection."""

    def __init__(self, reader: StreamReader, writer: StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def write(self, data: bytes) -> None:
        self.writer.write(data)

    async def response(self, method: str = "POST") -> Response:
        head = await self.reader.readuntil(b"\r\n\r\n")
        start, *lines = head.decode("ascii").split("\r\n")[:-2]
        headers = dict(line.split(": ", 1) for line in lines)
        length = int(headers.get("content-length", "0")) if method != "HEAD" else 0
        return Response(int(start.split()[1]), headers, await self.reader.readexactly(length))

    async def ask(self, data: bytes, method: str = "POST") -> Response:
        self.write(data)
        return await self.response(method)

    async def is_closed(self) -> bool:
        """Wait until the server closes; whether it did so without another byte."""
        try:
            return await self.reader.read() == b""
        except ConnectionError:
            return True

    async def close(self) -> None:
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except OSError:
            pass  # reset by a server that has seen enough


@asynccontextmanager
async def connected(url: str, **more: Any) -> AsyncIterator[RawClient]:
    parts = urlsplit(url)
    client = RawClient(*await asyncio.open_connection(parts.hostname, parts.port, **more))
    try:
        yield client
    finally:
        await client.close()


async def ask(url: str, data: bytes, method: str = "POST") -> Response:
    """The answer to `data`, on a connection of its own."""
    async with connected(url) as client:
        return await client.ask(data, method)


def post(endpoint: str = "say", body: bytes = b"{}", *headers: str, start: str = "HTTP/1.1") -> bytes:
    """A well-formed call, with further headers."""
    lines = [f"POST /echo/{endpoint} {start}", "Host: localhost", f"Content-Length: {len(body)}"]
    if not any(header.lower().startswith("content-type:") for header in headers):
        lines.append(f"Content-Type: {JSON}")
    return "\r\n".join([*lines, *headers, "", ""]).encode("latin-1") + body


def get(target: str, *headers: str, method: str = "GET") -> bytes:
    return "\r\n".join([f"{method} {target} HTTP/1.1", "Host: localhost", *headers, "", ""]).encode("latin-1")
