"""A plain call: a unary request that is answered without ASGI, as a Channel. What is unusual goes the other way."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from xooai.driver import Head, Outcome
from xooai.errors import Code, Internal
from xooai.http import problem, response_headers, status_of

if TYPE_CHECKING:
    from xooai_quic.request import Request

__all__ = ["PlainCall", "response"]

Headers = list[tuple[bytes, bytes]]
_OK = Outcome()
_SUCCESS = int(Code.OK)  # an IntEnum's own comparison is slower


class PlainCall:
    """The server's end of one call. Its request comes in, and then is answered."""

    __slots__ = ("_body", "_request", "head", "parts")

    def __init__(self, request: Request, head: Head) -> None:
        self.head = head
        self.parts: list[bytes] = []
        """Of the body, as they come."""
        self._request: Request | None = request
        self._body: bytes | None = None

    def is_whole(self) -> None:
        """The body has come."""
        parts = self.parts
        self._body = parts[0] if len(parts) == 1 else b"".join(parts)
        self.parts = []

    @property
    def outcome(self) -> Outcome | None:
        """None: this is the server's end."""
        return None

    @property
    def held(self) -> int:
        """See `xooai.driver.Holding`."""
        return 0 if self._body is None else len(self._body)

    async def receive(self) -> bytes | None:
        """Return the request's body, then None. Never waits."""
        body, self._body = self._body, None
        return body

    async def send(self, frame: bytes) -> None:
        raise Internal("a unary call has one reply: end it with the frame")

    async def end(self, frame: bytes | None = None, outcome: Outcome = _OK) -> None:
        """Send the response; does nothing when the client has left."""
        request = self._request
        if request is None:
            raise Internal("this call has ended")
        headers, body = response(frame, outcome)  # first: where it raises, the call is still open for another outcome
        self._request = None
        await request.answer(headers, body)

    def abort(self) -> None:
        request, self._request = self._request, None
        if request is not None:
            request.drop()


def response(frame: bytes | None, outcome: Outcome) -> tuple[Headers, bytes]:
    """The head and the body of a call's response. Raises InvalidArgument when a header is not printable."""
    if outcome.code == _SUCCESS:
        body = frame or b""
        head = _head(outcome) if outcome.metadata or outcome.id else list(_usual(outcome.codec))
    else:
        body = problem(outcome)
        head = _head(outcome)
    head.append((b"content-length", b"%d" % len(body)))
    return head, body


@lru_cache(maxsize=64)  # by codec: a pure function, and a server has few codecs
def _usual(codec: str) -> tuple[tuple[bytes, bytes], ...]:
    return tuple(_head(Outcome(codec=codec)))


def _head(outcome: Outcome) -> Headers:
    status = b"%d" % (200 if outcome.code == _SUCCESS else status_of(outcome))
    lines = [(name.encode("ascii"), value.encode("ascii")) for name, value in response_headers(outcome)]
    return [(b":status", status), *lines]
