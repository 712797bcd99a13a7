"""What a server's answer to a fetch means: pure, and strict where a lie would give wrong bytes."""

from __future__ import annotations

import re

import msgspec

from xooai.errors import DataLoss, NotFound, PermissionDenied, Unavailable

__all__ = ["REDIRECTS", "Answer", "Head", "Span", "fields_for", "judged", "location_of"]

REDIRECTS = frozenset({301, 302, 303, 307, 308})
_NOTHING = frozenset({404, 410})
_FORBIDDEN = frozenset({401, 402, 403, 407, 451})
_NUMBER = re.compile(r"[0-9]{1,18}")
_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)", re.ASCII | re.IGNORECASE)
_NO_RANGE = re.compile(r"bytes \*/([0-9]{1,18})", re.ASCII | re.IGNORECASE)
_MEDIA_TYPE = re.compile(
    r"\s*([!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}/[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64})\s*(?:;.*)?", re.DOTALL
)
_ETAG = re.compile(r'(?:W/)?"[!#-~]{0,256}"')  # longer ones, and other characters, are taken for none


Head = tuple[int, list[tuple[bytes, bytes]]]
"""A status and the fields, names in lower case."""


class Span(msgspec.Struct, frozen=True):
    """Which bytes are wanted: from `start` up to `end`, or to the end of the content."""

    start: int = 0
    end: int | None = None

    @property
    def is_all(self) -> bool:
        return self.start == 0 and self.end is None


class Answer(msgspec.Struct, frozen=True):
    """`size` of the whole content, `skipped` bytes before what is wanted, `length` of what is wanted; None: not known."""

    size: int | None
    length: int | None
    skipped: int
    is_range: bool
    media_type: str | None
    etag: str | None


def fields_for(span: Span) -> list[tuple[str, str]]:
    fields = [("User-Agent", "xooai"), ("Accept", "*/*"), ("Accept-Encoding", "identity")]
    if not span.is_all:
        last = "" if span.end is None else max(span.start, span.end - 1)
        fields.append(("Range", f"bytes={span.start}-{last}"))
    return fields


def location_of(head: Head, shown: str) -> str:
    """Where a redirect leads, as its server wrote it."""
    given = _given(head, b"location")
    if given is None:
        raise Unavailable(f"{shown} cannot be fetched: its server redirects and does not say where, or says it twice")
    return given


def judged(head: Head, span: Span, shown: str) -> Answer:
    """What the head says of the content. Raises NotFound, PermissionDenied, Unavailable, or DataLoss for what cannot be true."""
    status, fields = head
    if status in _NOTHING:
        raise NotFound(f"there is nothing at {shown}")
    if status in _FORBIDDEN:
        raise PermissionDenied(f"{shown} may not be read: its server answers with HTTP status {status}")
    if status == 416 and not span.is_all:
        return _beyond(head, span, shown)
    if status != 200 and (status != 206 or span.is_all):
        raise Unavailable(f"{shown} cannot be fetched: its server answers with HTTP status {status}")
    if any(name == b"content-encoding" and value.strip().lower() != b"identity" for name, value in fields):
        raise Unavailable(f"{shown} cannot be fetched: its server encodes the content, and was asked for it as it is")
    length = _given(head, b"content-length")
    if length is not None and not _NUMBER.fullmatch(length):
        raise Unavailable(f"{shown} cannot be fetched: its server announces more than anybody has")
    announced = None if length is None else int(length)
    is_chunked = _given(head, b"transfer-encoding") is not None
    # Of a content that ends with its connection nobody can say whether it is whole.
    if announced is None and not is_chunked:
        raise DataLoss(f"{shown} cannot be fetched: its server does not tell where the content ends")
    if announced is not None and is_chunked:  # RFC 9112 6.3: one of both is a lie
        raise Unavailable(f"{shown} cannot be fetched: its server tells twice where the content ends")
    if status == 206:
        return _part(head, span, announced, shown)
    wanted = None if span.end is None else span.end - span.start
    if announced is not None:
        end = announced if span.end is None else min(announced, span.end)
        wanted = max(0, end - span.start)
    return Answer(announced, wanted, span.start, False, *_described(head))


def _part(head: Head, span: Span, announced: int | None, shown: str) -> Answer:
    """A range that is not just what was asked for, or of another length than it says, is refused."""
    told = _RANGE.fullmatch(_given(head, b"content-range") or "")
    if told is None:
        raise DataLoss(f"{shown} cannot be fetched: its server gives a part, and does not say which")
    first, last = int(told[1]), int(told[2])
    size = None if told[3] == "*" else int(told[3])
    end = last + 1 if span.end is None else max(span.end, span.start + 1)
    if size is not None:
        end = min(end, size) if span.end is not None else size
    if (first, last + 1) != (span.start, end) or last < first or announced not in (None, end - first):
        raise DataLoss(f"{shown} cannot be fetched: its server gives another part than it was asked for")
    if size is None and span.end is None:
        raise DataLoss(f"{shown} cannot be fetched: its server does not tell where the content ends")
    wanted = 0 if span.end == span.start else end - first
    return Answer(size, wanted, 0, True, *_described(head))


def _beyond(head: Head, span: Span, shown: str) -> Answer:
    """There is nothing from `start` on: as with slices, that is no error."""
    told = _NO_RANGE.fullmatch(_given(head, b"content-range") or "")
    if told is None or int(told[1]) > span.start:
        raise DataLoss(f"{shown} cannot be fetched: its server has no such part, and does not say why")
    return Answer(int(told[1]), 0, 0, True, None, _described(head)[1])


def _described(head: Head) -> tuple[str | None, str | None]:
    """The media type without parameters, and the entity tag; None for what is not told, or not once and rightly."""
    media_type = _MEDIA_TYPE.fullmatch(_given(head, b"content-type") or "")
    etag = _ETAG.fullmatch(_given(head, b"etag") or "")
    return (None if media_type is None else media_type[1].lower()), (None if etag is None else etag[0])


def _given(head: Head, name: bytes) -> str | None:
    """The value of a field that stands there once."""
    found = [value for key, value in head[1] if key == name]
    if len(found) != 1:
        return None
    try:
        return found[0].decode("utf-8")
    except UnicodeDecodeError:
        return None
