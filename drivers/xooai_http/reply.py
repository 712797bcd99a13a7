"""Responses as bytes: the reply of a call from its outcome, and whole refusals."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from http import HTTPStatus

from xooai.driver import Outcome
from xooai.errors import Code, XooaiError
from xooai.http import problem, refusal, response_headers, status_of

__all__ = ["CONTINUE", "refuse", "response", "whole"]

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_OK = int(Code.OK)  # an IntEnum's own comparison is slower
_GO_ON = b"\r\n\r\n"
_CLOSE = b"\r\nconnection: close\r\n\r\n"
_WHOLE = 64 * 1024  # a body up to this size is copied behind its head, so that both go as one write


def response(frame: bytes | None, outcome: Outcome, keep_alive: bool) -> tuple[bytes, bytes]:
    """The first bytes of a call's response, and the rest: a large body, which is not copied behind its head.

    Raises InvalidArgument when a header is not printable.
    """
    if outcome.code == _OK:
        body = frame or b""
        opening = _lines(200, response_headers(outcome)) if outcome.metadata or outcome.id else _opening(outcome.codec)
    else:
        body = problem(outcome)
        opening = _lines(status_of(outcome), response_headers(outcome))
    end = _GO_ON if keep_alive else _CLOSE
    if len(body) <= _WHOLE:
        return b"%b%d%b%b" % (opening, len(body), end, body), b""
    return b"%b%d%b" % (opening, len(body), end), body


def refuse(error: XooaiError, status: int | None = None) -> tuple[int, bytes]:
    """Status and whole response for a request that is refused, after which the connection is closed."""
    status, headers, body = refusal(error, status)
    return status, whole(status, headers, body)


def whole(status: int, headers: Iterable[tuple[str, str]], body: bytes) -> bytes:
    """A response after which the connection is closed; `headers` are those but for Content-Length."""
    return b"%b%d%b%b" % (_lines(status, headers), len(body), _CLOSE, body)


@lru_cache(maxsize=64)  # by codec: a pure function, and a server has few codecs
def _opening(codec: str) -> bytes:
    return _lines(200, response_headers(Outcome(codec=codec)))


def _lines(status: int, headers: Iterable[tuple[str, str]]) -> bytes:
    lines = [_status_line(status), *(f"{name}: {value}\r\n" for name, value in headers), "content-length: "]
    return "".join(lines).encode("ascii")


@lru_cache(maxsize=64)  # there are about 60 codes
def _status_line(status: int) -> str:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:  # 499, nginx's own
        phrase = ""
    return f"HTTP/1.1 {status} {phrase}\r\n"
