"""Calls that stream, in terms of ASGI: run beside what the client sends, their replies sent while they are made."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Protocol

from xooai.asgi_incoming import Incoming, Source, StreamLimits, Whole
from xooai.asgi_messages import Message, Receive, Send, body_of, raw_headers, refuse, respond
from xooai.driver import Channel, Head, Outcome, Shape, Site
from xooai.errors import Code, Internal, Unimplemented, XooaiError
from xooai.http import problem, response_headers, status_of
from xooai.http_stream import (
    PAGE_EVENTS,
    ReplyForm,
    accepted_form,
    item_reader,
    plain_accept,
    query_arguments,
    reply_form,
)

__all__ = ["BODY", "TURN", "Body", "CutOff", "Served", "answer_stream", "run_call"]

TURN = 0.001  # seconds of sending before others get their turn, and the loop writes: a generator may await nothing
_OK = Outcome()
_HEADERS = (
    ("cache-control", "no-store"),
    ("x-accel-buffering", "no"),  # or nginx keeps items back until it has many
    ("x-content-type-options", "nosniff"),
)


BODY = "xooai.body"
"""The name, among a scope's extensions, of a `Body`."""


class Body(Protocol):
    """The body of a response that has begun, in a server that takes parts of it without a message for each."""

    def put(self, part: bytes) -> bool:
        """Take a part, to be written in this turn of the loop or behind the parts of this turn; False where it has to be sent."""

    def flush(self) -> None:
        """Write the parts that are taken."""


class CutOff(Exception):
    """A response was ended without being whole, for a reason that its client knows or is to see.

    Raised out of the application, which is the way to tell an ASGI server; it closes the connection then.
    """


async def answer_stream(
    site: Site, head: Head, scope: Message, receive: Receive, send: Send, limits: StreamLimits
) -> None:
    """Answer one call to an endpoint that streams; `head` has its shape. Raises CutOff, and Left when the client has gone."""
    is_http1 = scope.get("http_version", "1.1").startswith("1")  # the others have no Connection header
    closing = (("connection", "close"),) if is_http1 and head.shape & Shape.CLIENT else ()
    try:
        _check_version(scope, head)
        is_page = scope["method"] == "GET"
        form = PAGE_EVENTS if is_page else reply_form(head.accept)
        source: Source
        if head.shape & Shape.CLIENT:
            source = Incoming(receive, item_reader(head.codec, limits.message), limits)
            head.codec = accepted_form(head.codec)
        elif is_page:
            head.codec = form.codec
            source = Whole(receive, query_arguments(scope["query_string"]))
        else:
            source = Whole(receive, await body_of(receive, limits.message))
        head.accept = form.codec if head.shape & Shape.SERVER else plain_accept(head.accept)
    except XooaiError as error:
        await refuse(send, error, None, *closing)
        return
    channel = _StreamChannel(head, source, form, send, closing)
    channel.body = scope.get("extensions", {}).get(BODY)
    await run_call(site, channel, source)
    if channel.is_cut:
        raise CutOff("the call ended with an error after its reply had begun, or was aborted")


def _check_version(scope: Message, head: Head) -> None:
    if scope.get("http_version") == "1.0" and head.shape & Shape.SERVER:
        raise Unimplemented("a stream of replies needs HTTP/1.1 or later; the request is HTTP/1.0")


class Served(Channel, Protocol):
    """A channel of a call that `run_call` runs; its `abort` calls `on_abort`."""

    on_abort: Callable[[], object]


async def run_call(site: Site, channel: Served, source: Source) -> None:
    """Answer a call while its client is heard; cancel it when that leaves."""
    call = asyncio.ensure_future(site.accept(channel))
    left = asyncio.ensure_future(source.run())
    channel.on_abort = left.cancel
    try:
        await asyncio.wait((call, left), return_when=asyncio.FIRST_COMPLETED)
    finally:
        left.cancel()
        call.cancel()  # nothing happens where it is done
        await asyncio.wait((call, left))
        source.close()
    if not call.cancelled() and (error := call.exception()):
        raise RuntimeError("the site failed to answer a call") from error


class _StreamChannel:
    """The server's end of one call that streams: a Channel."""

    def __init__(
        self, head: Head, source: Source, form: ReplyForm, send: Send, closing: tuple[tuple[str, str], ...]
    ) -> None:
        self.head = head
        self.is_cut = False
        self.body: Body | None = None
        self.on_abort: Callable[[], object] = lambda: None
        self._source = source
        self._form = form
        self._send = send
        self._closing = closing
        self._gives_stream = bool(head.shape & Shape.SERVER)
        self._has_begun = False
        self._is_open = True
        self._turned = 0.0

    @property
    def outcome(self) -> Outcome | None:
        """None: this is the server's end."""
        return None

    async def receive(self) -> bytes | None:
        return await self._source.next()

    def offer(self, frame: bytes) -> bool:
        body = self.body
        return (
            body is not None
            and self._has_begun
            and self._is_open
            and monotonic() - self._turned <= TURN
            and body.put(self._form.item(frame))
        )

    async def send(self, frame: bytes) -> None:
        if not self._is_open:
            raise Internal("this call has ended")
        if not self._gives_stream:
            raise Internal("this call has one reply: end it with the frame")
        await self._write(self._form.item(frame), True)
        if monotonic() - self._turned > TURN:
            await self._rest()

    async def _rest(self) -> None:
        """Let others have their turn, and the loop write."""
        if self.body is not None:
            self.body.flush()
        await asyncio.sleep(0)
        self._turned = monotonic()

    async def _write(self, data: bytes, more: bool) -> None:
        if not self._has_begun:
            self._has_begun = True
            headers = raw_headers([("content-type", self._form.media_type), *_HEADERS])
            await self._send({"type": "http.response.start", "status": 200, "headers": headers})
            data = self._form.start + data
        await self._send({"type": "http.response.body", "body": data, "more_body": more})

    async def end(self, frame: bytes | None = None, outcome: Outcome = _OK) -> None:
        if not self._is_open:
            raise Internal("this call has ended")
        is_well = outcome.code == Code.OK
        if not self._gives_stream or not (is_well or self._has_begun):
            await self._end_whole(frame, outcome)
            return
        last = self._form.end(outcome)  # first: where it raises, the call is still open for another outcome
        if frame is not None:
            await self.send(frame)
        self._is_open = False
        self.is_cut = not (is_well or self._form.is_whole)
        if last or not self.is_cut:
            await self._write(last, self.is_cut)

    async def _end_whole(self, frame: bytes | None, outcome: Outcome) -> None:
        headers = list(response_headers(outcome))
        body = frame or b"" if outcome.code == Code.OK else problem(outcome)
        self._is_open = False
        closing = () if self._source.is_whole else self._closing  # the rest of the request is for nobody
        await respond(self._send, status_of(outcome), [*headers, *closing], body)

    def abort(self) -> None:
        if self._is_open:
            self._is_open = False
            self.is_cut = True
            self.on_abort()
