"""A site as an ASGI 3 application: its calls, its health, its description and the page that shows it.

For what is not on the HTTP driver's fast path, for HTTP/3, and for a user's own Starlette or FastAPI application, in
which it may be mounted. Specification: https://asgi.readthedocs.io/en/latest/specs/www.html
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

import msgspec

from xooai.asgi_incoming import StreamLimits
from xooai.asgi_messages import IDENTITY, Left, Message, Receive, Send, body_of, caller_of, leaving, refuse, respond
from xooai.asgi_stream import BODY, CutOff, answer_stream
from xooai.driver import MESSAGE_LIMIT, METRICS, Guarding, Head, Measuring, Outcome, Shape, Site
from xooai.errors import Code, Internal, InvalidArgument, NotFound, Unavailable, Unimplemented, XooaiError
from xooai.guard import check_request, check_site
from xooai.http import is_page, problem, request_head, response_headers, status_of
from xooai.http_stream import is_for_events
from xooai.lazy import lazy
from xooai.media_ranges import media_ranges
from xooai.pages import DOCS_HEADERS, asset, docs_page

if TYPE_CHECKING:
    from xooai import asgi_websocket, status
else:
    asgi_websocket = lazy("xooai.asgi_websocket")
    status = lazy("xooai.status")

__all__ = ["BODY", "IDENTITY", "Application", "CutOff", "StreamLimits", "is_page"]

_OK = Outcome()
_FOR_ALL = frozenset({"/livez", "/readyz"})  # whoever starts and restarts servers asks, and learns nothing else
_PAGES = "/xooai/pages"  # as which a page is asked for: every key may see them
_MEASURED = frozenset(("/metrics", "/status.json"))
_OPENMETRICS, _TEXT = "application/openmetrics-text", "text/plain"  # who can read the first names it
_OPENMETRICS_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"
_TEXT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SHOWN = 200  # characters of a client's text in an error


class Application:
    """`Application(site)` can be given to an ASGI server or mounted; it needs no lifespan events."""

    def __init__(self, site: Site, *, message_limit: int = MESSAGE_LIMIT, streams: StreamLimits | None = None) -> None:
        self._site = site
        self._admit = site.admit if isinstance(site, Guarding) else None
        self._limit = message_limit
        self._streams = streams or StreamLimits(message_limit)
        self._described: tuple[bytes, frozenset[str]] = (b"", frozenset())

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http":
            if scope["method"] == "HEAD":
                send = _without_body(send)
            try:
                await self._answer(scope, receive, send)
            except Left:
                return
            except XooaiError as error:
                await refuse(send, error)
        elif scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] == "websocket":
            await asgi_websocket.answer_websocket(self._site, _path(scope), scope, receive, send, self._streams)
        else:
            raise Unimplemented(f"no ASGI scope {scope['type']!r} is understood; http, websocket and lifespan are")

    async def _answer(self, scope: Message, receive: Receive, send: Send) -> None:
        path, method = _path(scope), scope["method"]
        if self._admit is not None and path not in _FOR_ALL:  # who calls is asked again with the call
            headers = [(bytes(name).lower(), bytes(value)) for name, value in scope["headers"]]
            self._admit(request_head(_asked(path), headers, dict(headers), *caller_of(scope)))
        if not is_page(path):
            if method == "POST":
                if (names := _names(scope.get("query_string", b""))) and path in self._endpoints():
                    raise InvalidArgument(
                        f"the URL has a query ({names[:_SHOWN]}), which is not read; parameters go into the body: "
                        "as JSON, or as a form (with curl: -F doc=@file -F name=value)"
                    )
                await self._call(path, scope, receive, send)
            elif method == "GET" and self._is_for_page(path, scope):
                await self._call_of_page(path, scope, receive, send)
            elif path in self._endpoints():
                await _wrong_method(send, method, path, "POST")
            else:
                raise NotFound(f"nothing is at {path!r}; see /openapi.json")
        elif method in ("GET", "HEAD"):
            measured = path in _MEASURED
            await respond(send, *(await self._measured(path, scope) if measured else self._page(path)))
        else:
            await _wrong_method(send, method, path, "GET, HEAD")

    def _is_for_page(self, path: str, scope: Message) -> bool:
        """Whether a page asks for events by EventSource, which can only GET."""
        accept = dict(scope["headers"]).get(b"accept", b"")
        return self._site.shape(path) is Shape.SERVER and is_for_events(accept.decode("latin-1"))

    async def _call_of_page(self, path: str, scope: Message, receive: Receive, send: Send) -> None:
        table = dict(scope["headers"])
        check_site(table)
        if table.get(b"last-event-id"):  # its stream has ended, and is not made anew: 204 stops the EventSource
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body", "body": b""})
        else:
            await self._call(path, scope, receive, send)

    def _endpoints(self) -> frozenset[str]:
        described, paths = self._described
        current = self._site.describe("openapi")
        if current != described:
            paths = frozenset(msgspec.json.decode(current).get("paths", ()))
            self._described = (current, paths)
        return paths

    async def _measured(self, path: str, scope: Message) -> tuple[int, Iterable[tuple[str, str]], bytes]:
        """What was counted, in the form that is asked for."""
        if not isinstance(self._site, Measuring):
            raise NotFound(f"nothing is at {path!r}; this site counts nothing")
        if path == "/status.json":
            return 200, [("content-type", "application/json"), *_COUNTED], await self._site.measured("json")
        if _reads_openmetrics(dict(scope["headers"]).get(b"accept", b"").decode("latin-1")):
            return 200, [("content-type", _OPENMETRICS_TYPE), *_COUNTED], await self._site.measured("openmetrics")
        return 200, [("content-type", _TEXT_TYPE), *_COUNTED], await self._site.measured("text")

    def _page(self, path: str) -> tuple[int, Iterable[tuple[str, str]], bytes]:
        if path in ("/docs/", "/status/"):
            return 308, [("location", f"..{path[:-1]}")], b""
        if path == "/livez":
            return 200, _PLAIN, b"live\n"
        if path == "/readyz":
            if not self._site.ready():
                raise Unavailable("this server is not ready for calls")
            return 200, _PLAIN, b"ready\n"
        if path == "/openapi.json":
            return 200, _JSON, self._site.describe("openapi")
        if path.startswith("/status"):
            name = path.removeprefix("/status")
            media_type, content = status.status_page() if not name else status.status_asset(name[1:])
            return 200, [("content-type", media_type), *status.STATUS_HEADERS], content
        media_type, content = docs_page() if path == "/docs" else asset(path.removeprefix("/docs/"))
        return 200, [("content-type", media_type), *DOCS_HEADERS], content

    async def _call(self, path: str, scope: Message, receive: Receive, send: Send) -> None:
        headers: list[tuple[bytes, bytes]] = [(bytes(name).lower(), bytes(value)) for name, value in scope["headers"]]
        table = dict(headers)
        shape = self._site.shape(path) or Shape.UNARY
        largest = sys.maxsize if shape & Shape.CLIENT else self._limit  # a stream has any size, its items not
        check_request(table, largest)
        head = request_head(path, headers, table, *caller_of(scope))
        if shape:
            head.shape = shape
            await answer_stream(self._site, head, scope, receive, send, self._streams)
            return
        channel = _Channel(head, await body_of(receive, self._limit), send)
        call = asyncio.ensure_future(self._site.accept(channel))
        left = asyncio.ensure_future(leaving(receive))
        try:
            await asyncio.wait((call, left), return_when=asyncio.FIRST_COMPLETED)
        finally:
            left.cancel()
            call.cancel()  # nothing happens where it is done
            await asyncio.wait((call, left))
        if not call.cancelled() and (error := call.exception()):
            raise RuntimeError("the site failed to answer a call") from error


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

    @property
    def held(self) -> int:
        """See `xooai.driver.Holding`."""
        return 0 if self._body is None else len(self._body)

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
        await respond(self._send, status_of(outcome), headers, body)

    def abort(self) -> None:
        """The server closes the connection when the application returns without a response."""
        self._is_open = False


_FRESH = (("x-content-type-options", "nosniff"), ("cache-control", "no-store"))
_COUNTED = (*_FRESH, ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"))  # no page, nor for one
_PLAIN = (("content-type", "text/plain; charset=utf-8"), *_FRESH)
_JSON = (("content-type", "application/json"), ("x-content-type-options", "nosniff"), ("cache-control", "no-cache"))


def _reads_openmetrics(accept: str) -> bool:
    """Whether it is asked for, and not less than the older text."""
    wanted = dict.fromkeys((_OPENMETRICS, _TEXT), 0.0)
    for media_type, quality in media_ranges(accept):
        if media_type in wanted:
            wanted[media_type] = max(wanted[media_type], quality)
    return 0 < wanted[_OPENMETRICS] >= wanted[_TEXT]


def _names(query: bytes) -> str:
    """The names in a query; never their values, which may be secret."""
    return ", ".join(dict.fromkeys(name for name, _ in parse_qsl(query.decode("latin-1"), keep_blank_values=True)))


def _asked(path: str) -> str:
    """As what a path is asked for, where callers have to say who they are."""
    if not is_page(path):
        return path
    return METRICS if path in _MEASURED or path.startswith("/status") else _PAGES


def _path(scope: Message) -> str:
    # The ASGI way to mount: root_path is the start of path. Servers and frameworks before 2024 left it out.
    path: str = scope["path"]
    root: str = scope.get("root_path", "").rstrip("/")
    return path.removeprefix(root) if root and path.startswith(root + "/") else path


def _without_body(send: Send) -> Send:
    async def only_head(message: Message) -> None:
        await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

    return only_head


async def _wrong_method(send: Send, method: str, path: str, allowed: str) -> None:
    given = ascii(method[:20])
    await refuse(send, Unimplemented(f"{path} takes {allowed}, not {given}"), 405, ("allow", allowed))


async def _live(receive: Receive, send: Send) -> None:
    for event in ("lifespan.startup", "lifespan.shutdown"):
        while (await receive())["type"] != event:
            pass
        await send({"type": f"{event}.complete"})
