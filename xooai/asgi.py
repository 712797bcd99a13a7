"""A site as an ASGI 3 application: its calls, its health, its description and the page that shows it.

For what is not on the HTTP driver's fast path, for HTTP/3, and for a user's own Starlette or FastAPI application, in
which it may be mounted. Specification: https://asgi.readthedocs.io/en/latest/specs/www.html
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from xooai.driver import MESSAGE_LIMIT, Head, Outcome, Site
from xooai.errors import Code, Internal, InvalidArgument, NotFound, Unavailable, Unimplemented, XooaiError, too_large
from xooai.guard import check_request
from xooai.http import problem, refusal, request_head, response_headers, status_of
from xooai.pages import DOCS_HEADERS, asset, docs_page

__all__ = ["Application", "is_page"]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_PAGES = ("/livez", "/readyz", "/openapi.json", "/docs")
_OK = Outcome()
_SHOWN = 200  # characters of a client's text in an error


def is_page(path: str) -> bool:
    """Whether a path is answered by the application itself, and never by the site."""
    return path in _PAGES or path.startswith("/docs/")


class Application:
    """`Application(site)` can be given to an ASGI server or mounted; it needs no lifespan events."""

    def __init__(self, site: Site, *, message_limit: int = MESSAGE_LIMIT) -> None:
        self._site = site
        self._limit = message_limit
        self._described: tuple[bytes, frozenset[str]] = (b"", frozenset())

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http":
            if scope["method"] == "HEAD":
                send = _without_body(send)
            try:
                await self._answer(scope, receive, send)
            except _Left:
                return
            except XooaiError as error:
                await _refuse(send, error)
        elif scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1003, "reason": "this server answers POST requests"})
        else:
            raise Unimplemented(f"no ASGI scope {scope['type']!r} is understood; http and lifespan are")

    async def _answer(self, scope: Message, receive: Receive, send: Send) -> None:
        path, method = _path(scope), scope["method"]
        if not is_page(path):
            if method == "POST":
                if (names := _names(scope.get("query_string", b""))) and path in self._endpoints():
                    raise InvalidArgument(
                        f"the URL has a query ({names[:_SHOWN]}), which is not read; parameters go into the body: "
                        "as JSON, or as a form (with curl: -F doc=@file -F name=value)"
                    )
                await self._call(path, scope, receive, send)
            elif path in self._endpoints():
                await _wrong_method(send, method, path, "POST")
            else:
                raise NotFound(f"nothing is at {path!r}; see /openapi.json")
        elif method in ("GET", "HEAD"):
            await _respond(send, *self._page(path))
        else:
            await _wrong_method(send, method, path, "GET, HEAD")

    def _endpoints(self) -> frozenset[str]:
        described, paths = self._described
        current = self._site.describe("openapi")
        if current != described:
            paths = frozenset(msgspec.json.decode(current).get("paths", ()))
            self._described = (current, paths)
        return paths

    def _page(self, path: str) -> tuple[int, Iterable[tuple[str, str]], bytes]:
        if path == "/docs/":
            return 308, [("location", "../docs")], b""
        if path == "/livez":
            return 200, _PLAIN, b"live\n"
        if path == "/readyz":
            if not self._site.ready():
                raise Unavailable("this server is not ready for calls")
            return 200, _PLAIN, b"ready\n"
        if path == "/openapi.json":
            return 200, _JSON, self._site.describe("openapi")
        media_type, content = docs_page() if path == "/docs" else asset(path.removeprefix("/docs/"))
        return 200, [("content-type", media_type), *DOCS_HEADERS], content

    async def _call(self, path: str, scope: Message, receive: Receive, send: Send) -> None:
        headers: list[tuple[bytes, bytes]] = [(bytes(name).lower(), bytes(value)) for name, value in scope["headers"]]
        table = dict(headers)
        check_request(table, self._limit)
        client = scope.get("client")
        head = request_head(path, headers, table, "{}:{}".format(*client) if client else "")
        channel = _Channel(head, await _body(receive, self._limit), send)
        call = asyncio.ensure_future(self._site.accept(channel))
        left = asyncio.ensure_future(_leaving(receive))
        try:
            await asyncio.wait((call, left), return_when=asyncio.FIRST_COMPLETED)
        finally:
            left.cancel()
            call.cancel()  # nothing happens where it is done
            await asyncio.wait((call, left))
        if not call.cancelled() and (error := call.exception()):
            raise RuntimeError("the site failed to answer a call") from error


class _Left(Exception):
    """The client has gone."""


class _Channel:
    """The server's end of one unary call: a Channel."""

    def __init__(self, head: Head, body: bytes, send: Send) -> None:
        self.head = head
        self._body: bytes | None = body
        self._send = send
        self._is_open = True

    @property
    def outcome(self) -> Outcome | None:
        """None: this is the server's end."""
        return None

    async def receive(self) -> bytes | None:
        body, self._body = self._body, None
        return body

    async def send(self, frame: bytes) -> None:
        raise Internal("a unary call has one reply: end it with the frame")

    async def end(self, frame: bytes | None = None, outcome: Outcome = _OK) -> None:
        if not self._is_open:
            raise Internal("this call has ended")
        headers = list(response_headers(outcome))
        body = frame or b"" if outcome.code == Code.OK else problem(outcome)
        self._is_open = False
        await _respond(self._send, status_of(outcome), headers, body)

    def abort(self) -> None:
        """The server closes the connection when the application returns without a response."""
        self._is_open = False


_PLAIN = (
    ("content-type", "text/plain; charset=utf-8"),
    ("x-content-type-options", "nosniff"),
    ("cache-control", "no-store"),
)
_JSON = (("content-type", "application/json"), ("x-content-type-options", "nosniff"), ("cache-control", "no-cache"))


def _names(query: bytes) -> str:
    """The names in a query; never their values, which may be secret."""
    return ", ".join(dict.fromkeys(name for name, _ in parse_qsl(query.decode("latin-1"), keep_blank_values=True)))


def _path(scope: Message) -> str:
    # The ASGI way to mount: root_path is the start of path. Servers and frameworks before 2024 left it out.
    path: str = scope["path"]
    root: str = scope.get("root_path", "").rstrip("/")
    return path.removeprefix(root) if root and path.startswith(root + "/") else path


async def _body(receive: Receive, limit: int) -> bytes:
    parts: list[bytes] = []
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _Left
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        more = message.get("more_body", False)
        if size > limit:
            raise too_large(None, limit, "the request")
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def _leaving(receive: Receive) -> None:
    with suppress(Exception):  # some middleware raises instead of telling
        while (await receive())["type"] != "http.disconnect":
            pass


def _without_body(send: Send) -> Send:
    async def only_head(message: Message) -> None:
        await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

    return only_head


async def _respond(send: Send, status: int, headers: Iterable[tuple[str, str]], body: bytes) -> None:
    raw = [(name.encode("ascii"), value.encode("ascii")) for name, value in headers]
    raw.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


async def _refuse(send: Send, error: XooaiError, status: int | None = None, *more: tuple[str, str]) -> None:
    status, headers, body = refusal(error, status)
    await _respond(send, status, [*headers, *more], body)


async def _wrong_method(send: Send, method: str, path: str, allowed: str) -> None:
    given = ascii(method[:20])
    await _refuse(send, Unimplemented(f"{path} takes {allowed}, not {given}"), 405, ("allow", allowed))


async def _live(receive: Receive, send: Send) -> None:
    for event in ("lifespan.startup", "lifespan.shutdown"):
        while (await receive())["type"] != event:
            pass
        await send({"type": f"{event}.complete"})
