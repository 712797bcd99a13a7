"""How a stream looks in the body of a request or a response of HTTP: pure functions and readers, no input or output.

Between xooai peers frames (`xooai.wire`); for everybody else a line or an event of JSON for each item
(https://github.com/ndjson/ndjson-spec, https://html.spec.whatwg.org/multipage/server-sent-events.html).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol
from urllib.parse import parse_qsl

import msgspec

from xooai.driver import Outcome
from xooai.errors import Code, InvalidArgument, Unavailable, Unimplemented, too_large
from xooai.http import EVENTS, FRAMES, LINES, problem
from xooai.media_ranges import media_ranges
from xooai.metadata import pairs
from xooai.wire import END, END_LIMIT, ITEM, FrameReader, frame

__all__ = [
    "PAGE_EVENTS",
    "ItemReader",
    "LineReader",
    "ReplyForm",
    "accepted_form",
    "is_for_events",
    "item_reader",
    "plain_accept",
    "query_arguments",
    "reply_form",
]

_JSON = "application/json"
_CODECS = {media_type: codec for codec, media_type in FRAMES.items()}
_LINES = (LINES, "application/ndjson", "application/jsonl", "application/json-lines")  # one format, four names in use
_SHOWN = 1000  # characters of the message of an outcome that is too long for its frame


class ReplyForm(msgspec.Struct, frozen=True):
    """One way to write replies. `codec` is the media type of the items that go into it; `is_whole` says that a reader
    sees by the end itself how the call went, so that the body is whole also where it went wrong. `start` stands before all.
    """

    media_type: str
    codec: str
    item: Callable[[bytes], bytes]
    end: Callable[[Outcome], bytes]
    is_whole: bool = False
    start: bytes = b""


def _framed(item: bytes) -> bytes:
    return frame(ITEM, item)


def _last_frame(outcome: Outcome) -> bytes:
    metadata = dict(pairs(outcome.metadata))
    found: dict[str, Any] = {"code": 0}
    if outcome.code != Code.OK:
        found = msgspec.json.decode(problem(outcome))
    content = msgspec.json.encode({**found, "metadata": metadata} if metadata else found)
    if len(content) > END_LIMIT and outcome.code != Code.OK:
        short = Outcome(outcome.code, outcome.message[:_SHOWN], id=outcome.id)
        content = problem(short)
    if len(content) > END_LIMIT:
        raise too_large(len(content), END_LIMIT, "the metadata of the reply")
    return frame(END, content)


def _line(item: bytes) -> bytes:
    return item + b"\n"


def _last_line(outcome: Outcome) -> bytes:
    return b"" if outcome.code == Code.OK else b'{"error":' + problem(outcome) + b"}\n"


def _event(item: bytes) -> bytes:
    return b"data: " + item + b"\n\n"  # our JSON has no line end


def _last_event(outcome: Outcome) -> bytes:
    return b"" if outcome.code == Code.OK else b"event: error\ndata: " + problem(outcome) + b"\n\n"


def _last_page_event(outcome: Outcome) -> bytes:
    return b"event: end\ndata: {}\n\n" if outcome.code == Code.OK else _last_event(outcome)


PAGE_EVENTS = ReplyForm(EVENTS, _JSON, _event, _last_page_event, start=b"id: 0\n\n")
"""For the EventSource of a page, which asks again when a response has ended, naming the last id: by that it is told to
stop. It does not see whether a body was whole, so an event says so.
"""
_AS_LINES = ReplyForm(LINES, _JSON, _line, _last_line)
_AS_EVENTS = ReplyForm(EVENTS, _JSON, _event, _last_event)
_FORMS = {EVENTS: _AS_EVENTS, "text/*": _AS_EVENTS} | {
    media_type: ReplyForm(media_type, codec, _framed, _last_frame, is_whole=True)
    for codec, media_type in FRAMES.items()
}
_FORMS |= dict.fromkeys((*_LINES, _JSON, "application/*", "*/*"), _AS_LINES)


def reply_form(accept: str) -> ReplyForm:
    """The form of a stream of replies by an Accept header. Never refuses: lines are for all."""
    for media_type, quality in sorted(media_ranges(accept), key=lambda pair: -pair[1]):
        if quality > 0 and media_type in _FORMS:
            return _FORMS[media_type]
    return _AS_LINES


def is_for_events(accept: str) -> bool:
    """Whether events are what is wanted most."""
    return reply_form(accept) is _AS_EVENTS


def query_arguments(query: bytes) -> bytes:
    """The opening in the query of a GET, where it is the parameter `arguments`. Raises InvalidArgument."""
    given = parse_qsl(query.decode("latin-1"), keep_blank_values=True, max_num_fields=100)
    others = [name for name, _ in given if name != "arguments"]
    if others or len(given) > 1:
        named = f"{others[0][:80]!r}" if others else "'arguments' twice"
        raise InvalidArgument(
            f"the query has {named}; it takes arguments=..., once: an object of all arguments as JSON, percent-encoded"
        )
    return given[0][1].encode() if given else b"{}"


def plain_accept(accept: str) -> str:
    """An Accept header for a single reply: who takes frames takes what would be in them."""
    for codec, media_type in FRAMES.items():
        accept = accept.replace(media_type, codec)
    return accept


class ItemReader(Protocol):
    """Takes the bytes of a body as they come, gives whole items."""

    @property
    def is_over(self) -> bool:
        """Whether the stream has said that it is over."""

    @property
    def pending(self) -> int:
        """Bytes of an item that is not whole yet."""

    @property
    def missing(self) -> int:
        """Bytes that a large item under way still lacks, as far as that is known: so many hold no other."""

    def feed(self, data: bytes | memoryview) -> Iterator[bytes]:
        """The items that are whole now. To be gone through to its end.

        Raises InvalidArgument and ResourceExhausted, behind the items before what is wrong.
        """

    def finish(self) -> list[bytes]:
        """What is left when the body has ended. Raises Unavailable for a stream that was cut off."""


def accepted_form(content_type: str) -> str:
    """The codec of the items in a request that streams. Raises Unimplemented for a type that is no stream."""
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type in _LINES:
        return _JSON
    if media_type not in _CODECS:
        given = (
            f"the content type {media_type[:80]!r} is no stream" if media_type else "the request has no content type"
        )
        raise Unimplemented(
            f"{given}; this endpoint takes {LINES} (each line a JSON value, the first an object with the arguments but for "
            f"the stream, {{}} if there are none), or frames of a xooai client: {', '.join(_CODECS)}",
            details={"reason": "codec"},
        )
    return _CODECS[media_type]


def item_reader(content_type: str, limit: int) -> ItemReader:
    """The reader of a request's body; `limit` bounds one item. Raises Unimplemented for a type that is no stream."""
    accepted_form(content_type)
    return LineReader(limit) if content_type.partition(";")[0].strip().lower() in _LINES else _Frames(limit)


class LineReader:
    """Lines, the last one with or without its end; those with nothing but space are passed over. An ItemReader."""

    def __init__(self, limit: int) -> None:
        self._buffer = bytearray()
        self._limit = limit

    @property
    def is_over(self) -> bool:
        """False: lines are over with the body."""
        return False

    @property
    def pending(self) -> int:
        return len(self._buffer)

    @property
    def missing(self) -> int:
        return 0

    def feed(self, data: bytes | memoryview) -> Iterator[bytes]:
        buffer = self._buffer
        seen, start = len(buffer), 0
        buffer += data
        while (end := buffer.find(b"\n", max(start, seen))) >= 0:
            self._check(end - start)
            line = bytes(buffer[start:end].strip())
            start = end + 1
            if line:
                yield line
        del buffer[:start]
        self._check(len(buffer))

    def finish(self) -> list[bytes]:
        rest = bytes(self._buffer.strip())
        self._buffer.clear()
        return [rest] if rest else []

    def _check(self, size: int) -> None:
        if size > self._limit:
            raise too_large(None, self._limit, "a line of the stream")


class _Frames:
    """Frames up to the one that ends the stream. An ItemReader."""

    def __init__(self, limit: int) -> None:
        self._reader = FrameReader(limit)

    @property
    def is_over(self) -> bool:
        return self._reader.is_over

    @property
    def pending(self) -> int:
        return self._reader.buffered

    @property
    def missing(self) -> int:
        return self._reader.missing

    def feed(self, data: bytes | memoryview) -> Iterator[bytes]:
        return (content for kind, content in self._reader.feed(data) if kind == ITEM)

    def finish(self) -> list[bytes]:
        if not self._reader.is_over:
            raise Unavailable(
                "the stream of the request was cut off: its body ended before its last frame, which ends it"
            )
        return []
