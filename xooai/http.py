"""How a call looks as an HTTP request and its outcome as a response: pure functions, no input or output.

Shared by every driver that speaks HTTP, on both sides. Rules: RFC 9110 (HTTP), RFC 9457 (problem details).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from math import ceil
from typing import Any
from urllib.parse import quote

import msgspec

from xooai.driver import AUTHORIZATION, Head, Outcome
from xooai.errors import Code, Internal, InvalidArgument, XooaiError
from xooai.metadata import FORWARDED, ID_HEADER, RESERVED, TIMEOUT_HEADER, pairs, printable_ascii

__all__ = [
    "EVENTS",
    "FRAMES",
    "ID_HEADER",
    "LINES",
    "PROBLEM",
    "STATUS",
    "TIMEOUT_HEADER",
    "Headers",
    "end_of",
    "is_page",
    "outcome_of",
    "passing_headers",
    "problem",
    "refusal",
    "request_head",
    "request_headers",
    "request_target",
    "response_headers",
    "standing_headers",
    "status_of",
    "timeout_value",
]

PROBLEM = "application/problem+json"
FRAMES = {
    "application/json": "application/vnd.xooai.frames+json",
    "application/msgpack": "application/vnd.xooai.frames+msgpack",
}
"""The media types of bodies that stream frames (`xooai.wire`) between xooai peers, by the codec of what is in them."""
LINES = "application/x-ndjson"
EVENTS = "text/event-stream"
"""For everybody else: a line, or an event, is the JSON of an item; one called `error` is the problem that ended the stream."""

_PAGES = frozenset(("/livez", "/readyz", "/openapi.json", "/docs", "/metrics", "/status", "/status.json"))

STATUS: Mapping[int, int] = {
    Code.OK: 200,
    Code.CANCELLED: 499,  # nginx's "client closed request": nobody reads it
    Code.INVALID_ARGUMENT: 400,
    Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.PERMISSION_DENIED: 403,
    Code.RESOURCE_EXHAUSTED: 503,
    Code.FAILED_PRECONDITION: 412,
    Code.UNIMPLEMENTED: 501,
    Code.UNAVAILABLE: 503,
    Code.UNAUTHENTICATED: 401,
}
_BY_REASON = {"size": 413, "load": 503, "storage": 507}
_FROM_STATUS: Mapping[int, int] = {
    400: Code.INVALID_ARGUMENT,
    401: Code.UNAUTHENTICATED,
    403: Code.PERMISSION_DENIED,
    404: Code.NOT_FOUND,
    405: Code.UNIMPLEMENTED,
    408: Code.UNAVAILABLE,
    409: Code.ALREADY_EXISTS,
    412: Code.FAILED_PRECONDITION,
    413: Code.RESOURCE_EXHAUSTED,
    414: Code.RESOURCE_EXHAUSTED,
    415: Code.UNIMPLEMENTED,
    422: Code.INVALID_ARGUMENT,
    429: Code.RESOURCE_EXHAUSTED,
    431: Code.RESOURCE_EXHAUSTED,
    501: Code.UNIMPLEMENTED,
    502: Code.UNAVAILABLE,
    503: Code.UNAVAILABLE,
    504: Code.DEADLINE_EXCEEDED,
    507: Code.RESOURCE_EXHAUSTED,
}


_WHOLE = frozenset((AUTHORIZATION, *FORWARDED))
"""Headers whose values count together: a proxy may have looked at another key than the last, and of proxies each adds one."""


class Headers(Mapping[str, str]):
    """The metadata in a list of raw headers, read when somebody asks: names in lower case; the last value counts, of some all."""

    __slots__ = ("_raw", "_read")

    def __init__(self, raw: Iterable[tuple[bytes, bytes]]) -> None:
        self._raw = raw
        self._read: dict[str, str] | None = None

    def _all(self) -> dict[str, str]:
        if self._read is None:
            self._read = {}
            for raw, value in self._raw:
                name, text = raw.decode("latin-1").lower(), value.decode("latin-1")
                if name in _WHOLE and name in self._read:
                    text = f"{self._read[name]}, {text}"
                if name not in RESERVED:
                    self._read[name] = text
        return self._read

    def __getitem__(self, name: str) -> str:
        return self._all()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def __repr__(self) -> str:
        return f"Headers({sorted(self._all())})"  # names only: a value may be a secret


def is_page(path: str) -> bool:
    """Whether a path is answered by the server itself, and never by the site."""
    return path in _PAGES or path.startswith(("/docs/", "/status/"))


def request_head(
    path: str, headers: Iterable[tuple[bytes, bytes]], table: Mapping[bytes, bytes], peer: str = "", identity: str = ""
) -> Head:
    """The head of a unary call from a request's path and headers (names in lower case). Raises InvalidArgument.

    `table` is `dict(headers)`, which servers have made already.
    """
    timeout = table.get(b"xooai-timeout")
    return Head(
        path=path,
        codec=table.get(b"content-type", b"").decode("latin-1"),
        accept=table.get(b"accept", b"").decode("latin-1"),
        timeout=None if timeout is None else timeout_of(timeout),
        metadata=Headers(headers),
        peer=peer,
        identity=identity,
        is_timed=b"xooai-timing" in table,
        is_named=b"x-request-id" in table,
        is_keyed=b"idempotency-key" in table,
    )


def timeout_of(value: bytes) -> float:
    """Seconds from a timeout header's value. Raises InvalidArgument."""
    if not value.isdigit() or len(value) > 12:  # 12 digits of milliseconds are 31 years
        given = value[:40].decode("latin-1")
        raise InvalidArgument(f"{TIMEOUT_HEADER} is {given!r}; it takes a whole number of milliseconds")
    return int(value) / 1000


def request_headers(head: Head) -> Iterator[tuple[str, str]]:
    """The headers that a client sends for `head`, but for Host and Content-Length. Raises InvalidArgument."""
    yield from standing_headers(head)
    yield from passing_headers(head)


def standing_headers(head: Head) -> Iterator[tuple[str, str]]:
    """Those of `request_headers` that are the same in every call with this codec and accept."""
    yield "content-type", printable_ascii("the codec", head.codec)
    if head.accept:
        yield "accept", printable_ascii("the accepted codec", head.accept)


def passing_headers(head: Head) -> Iterator[tuple[str, str]]:
    """Those of `request_headers` that differ from call to call."""
    if head.timeout is not None:
        yield TIMEOUT_HEADER, str(timeout_value(head.timeout))
    yield from pairs(head.metadata)


def timeout_value(seconds: float) -> int:
    """The timeout header's value: whole milliseconds, rounded up, of at most 12 digits."""
    return ceil(min(max(seconds, 0), 999_999_999) * 1000)


def request_target(path: str) -> str:
    """A call's path as a request line has it (RFC 9112, 3.2.1): without space, line end, query or letter beyond ASCII."""
    return quote(path, safe="/:@!$&'()*+,;=")


def status_of(outcome: Outcome) -> int:
    """The HTTP status of an outcome (design: the table of errors)."""
    details = outcome.details
    if outcome.code == Code.RESOURCE_EXHAUSTED:
        if details.get("limit") == "caller":  # others may call
            return 429
        return _BY_REASON.get(str(details.get("reason")), 503)
    if outcome.code == Code.INVALID_ARGUMENT and details.get("errors"):
        return 422
    if outcome.code == Code.UNIMPLEMENTED and details.get("reason") == "codec":
        return 415
    return STATUS.get(outcome.code, 500)


def response_headers(outcome: Outcome) -> Iterator[tuple[str, str]]:
    """The headers of the response, but for Content-Length. Raises InvalidArgument."""
    if outcome.code != Code.OK:
        yield "content-type", PROBLEM
    elif outcome.codec:
        yield "content-type", printable_ascii("the codec", outcome.codec)
    retry_after = outcome.details.get("retry_after") if outcome.code != Code.OK else None
    if retry_after is not None:
        yield "retry-after", str(max(1, ceil(retry_after)))
    if outcome.code == Code.UNAUTHENTICATED:
        yield "www-authenticate", "Bearer"
    if outcome.id is not None and ID_HEADER not in outcome.metadata:
        yield ID_HEADER, outcome.id
    yield from pairs(outcome.metadata)


def problem(outcome: Outcome, status: int | None = None) -> bytes:
    """The problem document (RFC 9457) of an outcome that is not OK; `status` where it is not the outcome's own."""
    status = status or status_of(outcome)
    name = Code(outcome.code).name if outcome.code in Code._value2member_map_ else "UNKNOWN"
    document: dict[str, Any] = {"type": "about:blank", "title": name, "status": status, "detail": outcome.message}
    document["code"] = int(outcome.code)
    if outcome.id is not None:
        document["id"] = outcome.id
    if outcome.details:
        document["details"] = dict(outcome.details)
    return msgspec.json.encode(document)


def refusal(error: XooaiError, status: int | None = None) -> tuple[int, list[tuple[str, str]], bytes]:
    """Status, headers (but for Content-Length) and body for a request that is refused before it becomes a call.

    `status` is for what only HTTP knows, such as 405 and 431; without it, it is the error's own.
    """
    outcome = Outcome(code=error.code, message=error.message, details=error.details)
    status = status or status_of(outcome)
    return status, list(response_headers(outcome)), problem(outcome, status)


_REFUSALS = frozenset({413, 429, 503})
"""Where Retry-After says that a call was not begun (RFC 9110 10.2.3, 15.5.14; RFC 6585 4); one that a gateway lost may have."""


def outcome_of(status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> Outcome:
    """How a call ended, from a response (header names in lower case), whether or not the server is one of ours."""
    codec, id, retry_after = "", None, None
    for name, value in headers:
        if name == b"content-type":
            codec = value.decode("latin-1")
        elif name == b"x-request-id":
            id = value.decode("latin-1")
        elif name == b"retry-after" and value.isdigit() and len(value) < 10:  # int() refuses thousands of digits
            retry_after = int(value)
    if 200 <= status < 300:
        return Outcome(codec=codec, id=id, metadata=Headers(headers))
    found = _problem(body) if codec.partition(";")[0].strip() == PROBLEM else {}
    code = found.get("code")
    details = found.get("details")
    outcome = Outcome(
        code=code if isinstance(code, int) and code > 0 else _FROM_STATUS.get(status, Code.INTERNAL),
        message=str(found.get("detail") or found.get("title") or _says(status)),
        details=details if isinstance(details, dict) else {},
        id=str(found["id"]) if "id" in found else id,
        codec=codec,
        metadata=Headers(headers),
    )
    if retry_after is not None and status in _REFUSALS and "retry_after" not in outcome.details:
        outcome.details = {**outcome.details, "retry_after": retry_after}
    if outcome.code == Code.RESOURCE_EXHAUSTED and "reason" not in outcome.details:
        outcome.details = {
            **outcome.details,
            "reason": {413: "size", 414: "size", 431: "size", 507: "storage"}.get(status, "load"),
        }
    return outcome


def end_of(content: bytes, codec: str, headers: Iterable[tuple[bytes, bytes]]) -> Outcome:
    """How a call ended that was answered by a stream of frames, from the last one; `headers` are those before it.

    Raises Internal where it does not say. What it holds is a problem, with `code` 0 where all is well, and `metadata`
    where there was some that could not go with the headers.
    """
    found = _problem(content)
    code, details, more = found.get("code"), found.get("details"), found.get("metadata")
    if type(code) is not int or code < 0:
        raise Internal("the last frame of the stream does not say how the call ended")
    known = Headers(headers)
    if isinstance(more, dict):
        metadata: Mapping[str, str] = {**known, **{name: str(value) for name, value in more.items()}}
    else:
        metadata = known
    id = next((value.decode("latin-1") for name, value in headers if name == b"x-request-id"), None)
    return Outcome(
        code=code,
        message=str(found.get("detail") or found.get("title") or ""),
        details=details if isinstance(details, dict) else {},
        id=str(found["id"]) if "id" in found else id,
        codec=codec,
        metadata=metadata,
    )


def _says(status: int) -> str:
    if 300 <= status < 400:
        return f"the server answered with status {status}; redirects are not followed: give the URL that it leads to"
    return f"the server answered with status {status}"


def _problem(body: bytes) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
