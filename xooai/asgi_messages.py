"""What an ASGI application hears and says, as its parts share it: whole bodies, whole responses, refusals.

Specification: https://asgi.readthedocs.io/en/latest/specs/www.html
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from contextlib import suppress
from typing import Any

from xooai.errors import XooaiError, too_large
from xooai.http import refusal

__all__ = [
    "IDENTITY",
    "Left",
    "Message",
    "Receive",
    "Send",
    "body_of",
    "caller_of",
    "leaving",
    "raw_headers",
    "refuse",
    "respond",
]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

IDENTITY = "xooai.identity"
"""The name, among a scope's extensions, of who calls, as `Head.identity` has it."""


class Left(Exception):
    """The client has gone."""


def caller_of(scope: Message) -> tuple[str, str]:
    """Where a request came from and who sent it, as `peer` and `identity` of a head."""
    client, extensions = scope.get("client"), scope.get("extensions")
    return "{}:{}".format(*client) if client else "", str(extensions.get(IDENTITY, "")) if extensions else ""


async def body_of(receive: Receive, limit: int) -> bytes:
    """The whole body of a request. Raises ResourceExhausted and Left."""
    parts: list[bytes] = []
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Left
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        more = message.get("more_body", False)
        if size > limit:
            raise too_large(None, limit, "the request")
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def leaving(receive: Receive) -> None:
    """Wait until the client has gone."""
    with suppress(Exception):  # some middleware raises instead of telling
        while (await receive())["type"] != "http.disconnect":
            pass


def raw_headers(headers: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("ascii"), value.encode("ascii")) for name, value in headers]


async def respond(send: Send, status: int, headers: Iterable[tuple[str, str]], body: bytes) -> None:
    """Send a whole response."""
    raw = raw_headers(headers)
    raw.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


async def refuse(send: Send, error: XooaiError, status: int | None = None, *more: tuple[str, str]) -> None:
    """Answer with an error, `more` being further headers."""
    status, headers, body = refusal(error, status)
    await respond(send, status, [*headers, *more], body)
