"""Reading HTTP/1.1 responses from bytes, one after another and within limits: no input or output."""

from __future__ import annotations

from io import BytesIO

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from xooai.driver import Outcome
from xooai.errors import Internal, ResourceExhausted, XooaiError, too_large
from xooai.http import outcome_of
from xooai_http.repeated import Repeated

__all__ = ["FIELDS_LIMIT", "FIELD_LIMIT", "HEAD_LIMIT", "Response", "ResponseReader"]

# What a server may send beside content: the limits that our own server puts on requests.
HEAD_LIMIT = 32 * 1024  # bytes without one of content among them: heads, trailers, chunk extensions
FIELD_LIMIT = 8 * 1024  # bytes of one header, its name and value
FIELDS_LIMIT = 100  # headers: a proxy adds a dozen to the handful that a server sends

_WHOLE = 64 * 1024  # bytes that are copied out of the shared buffer at once
_ENCODINGS = frozenset((b"transfer-encoding", b"content-encoding"))

Response = tuple[int, list[tuple[bytes, bytes]], bytes]
"""Status, headers (names in lower case) and content."""


class ResponseReader:
    """Reads responses to requests that are not HEAD or CONNECT, of up to `limit` bytes of content.

    With `until_close` a response may end with its connection (RFC 9112, 6.3); such a one cannot be told from a shorter
    one that somebody cut off.
    """

    __slots__ = (
        "_announced", "_body", "_buffer", "_fault", "_headers", "_in_content", "_limit", "_parser", "_quiet", "_repeated",
        "_size", "_status", "_until_close", "_whole", "has_begun", "keep_alive", "known",
    )  # fmt: skip

    has_begun: bool
    """Whether any of the response that is awaited has come in."""
    known: Outcome | None
    """What the last response means, where its head was read before."""
    keep_alive: bool
    """Whether another response may follow the last one on this connection."""

    def __init__(self, limit: int, *, until_close: bool = True) -> None:
        self._limit = limit
        self._until_close = until_close
        self._headers: list[tuple[bytes, bytes]] = []
        self._body = b""
        self._fault: XooaiError | None = None
        self._quiet = 0
        self._whole = self._in_content = self.has_begun = False
        self.keep_alive = True
        self.known = None
        self._repeated: Repeated[tuple[list[tuple[bytes, bytes]], Outcome]] | None = None
        self._parser = HttpResponseParser(self)

    def feed(self, data: bytes | memoryview) -> Response | None:
        """Take what came in and return the response once it is whole. To be called only while a response is awaited.

        Raises ResourceExhausted for what is beyond a limit and Internal for what is not HTTP/1.1; nothing can be read
        after that, nor when `keep_alive` is False.
        """
        if not self.has_begun:
            self.known = None
            if len(data) < _WHOLE:  # as nearly always
                data = bytes(data)
                if self._repeated is not None:
                    body = self._repeated.body_of(data)
                    if body is not None and len(body) <= self._limit:
                        headers, self.known = self._repeated.meaning
                        return 200, headers, body
                return self._parse(data, data)
        return self._parse(data, None)

    def _parse(self, data: bytes | memoryview, first: bytes | None) -> Response | None:
        """Take what came in; `first` is that where it is the beginning of a response and may be all of it."""
        self.has_begun = True
        self._quiet += len(data)
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            if not self._whole:
                raise self._fault or Internal(f"what the server sent is not an HTTP/1.1 response: {error}") from None
            self.keep_alive = False  # what stands behind the response was not asked for
        if not self._whole:
            if self._quiet > HEAD_LIMIT:
                raise too_large(None, HEAD_LIMIT, "what the reply holds beside its content")
            return None
        if first is not None and self._status == 200 and self.keep_alive and self._announced not in (None, b"chunked"):
            self._repeated = Repeated.of(first, (self._headers, outcome_of(200, self._headers, b"")))
        return self._take()

    def end(self) -> Response | None:
        """The server has closed its side: return the response if that is what ends it, None if one is cut off."""
        if not self._in_content or self._announced is not None:
            return None
        self._finish_content()
        return self._take()

    def _take(self) -> Response:
        response = self._status, self._headers, self._body
        self._whole = self._in_content = self.has_begun = False
        self._body, self._headers, self._quiet = b"", [], 0  # an idle connection holds on to nothing
        return response

    def _refuse(self, error: XooaiError) -> XooaiError:
        self._fault = error  # the parser raises an error of its own in its place
        return error

    # What the parser calls.

    def on_message_begin(self) -> None:
        if self._whole:
            raise self._refuse(Internal("the server sent a second response to one request"))
        self._headers = []
        self._buffer: BytesIO | None = None
        self._size = 0
        self._announced: bytes | None = None  # how the end is announced: a length or chunks; None is by closing

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_content:
            return  # a trailer: says nothing that a call needs
        name = name.lower()
        self._headers.append((name, value))
        if name == b"content-length":
            self._announced = value
        elif name in _ENCODINGS:
            self._check_encoding(name, value.strip().lower())

    def _check_encoding(self, name: bytes, value: bytes) -> None:
        """Nothing but chunks was asked for, so nothing else is undone here."""
        if name == b"transfer-encoding" and value == b"chunked":
            self._announced = value
        elif value != b"identity" or name == b"transfer-encoding":
            raise self._refuse(Internal(f"the reply has a {name.decode()} that was not asked for"))

    def on_headers_complete(self) -> None:
        status = self._status = self._parser.get_status_code()
        self.keep_alive = self._parser.should_keep_alive()
        if self._quiet > FIELD_LIMIT or len(self._headers) > FIELDS_LIMIT:  # what came in bounds each part of the head
            self._check_size()
        if status < 200:
            if status < 100 or status == 101:
                raise self._refuse(Internal(f"the server answered with status {status}, which was not asked for"))
            return
        if self._announced is None:
            if not self._until_close and status not in (204, 304):
                raise self._refuse(Internal("the reply announces no length, so that a short one would go unseen"))
        elif self._announced != b"chunked" and int(self._announced) > self._limit:  # the parser let only digits pass
            raise self._refuse(too_large(int(self._announced), self._limit, "the reply"))
        self._in_content = True

    def _check_size(self) -> None:
        if len(self._headers) > FIELDS_LIMIT:
            raise self._refuse(ResourceExhausted(f"the reply has more than {FIELDS_LIMIT} headers", reason="size"))
        sizes = [len(name) + len(value) for name, value in self._headers]
        if max(sizes, default=0) > FIELD_LIMIT:
            raise self._refuse(too_large(max(sizes), FIELD_LIMIT, "a header of the reply"))
        if sum(sizes) > HEAD_LIMIT:
            raise self._refuse(too_large(sum(sizes), HEAD_LIMIT, "the head of the reply"))

    def on_body(self, piece: bytes) -> None:
        self._quiet = 0
        size = self._size = self._size + len(piece)
        if size > self._limit:
            raise self._refuse(too_large(None, self._limit, "the reply"))
        if self._buffer is not None:
            self._buffer.write(piece)
        elif size == len(piece):
            self._body = piece
        else:  # one growing buffer, not a list: a million chunks of a byte must not weigh sixty times their content
            self._buffer = BytesIO()
            self._buffer.write(self._body)
            self._buffer.write(piece)

    def on_message_complete(self) -> None:
        if self._status >= 200:  # others are interim answers, such as 100 Continue
            self._finish_content()

    def _finish_content(self) -> None:
        self._whole = True
        if self._buffer is not None:
            self._body = self._buffer.getvalue()
            self._buffer = None
