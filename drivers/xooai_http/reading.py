"""The reading half of a connection: from bytes to requests, each limit judged before more is buffered.

A request is taken when it is whole; one that streams when its head is, and its body flows on into the call.
"""

from __future__ import annotations

import asyncio
import sys
from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, TypeAlias
from urllib.parse import unquote

from httptools import HttpParserCallbackError, HttpParserError, HttpParserUpgrade

from xooai.driver import Head, Shape
from xooai.errors import Internal, InvalidArgument, ResourceExhausted, XooaiError, too_large
from xooai.http import request_head
from xooai.log import logger
from xooai_http.identified import Identified
from xooai_http.limits import UNUSUAL, Refused, check_head, check_size, head_too_large, origin_form
from xooai_http.repeated import Repeated
from xooai_http.reply import CONTINUE
from xooai_http.server import Server
from xooai_http.unary import UnaryChannel

if TYPE_CHECKING:
    from xooai_http.fallback import Cycle
    from xooai_http.websocket import WebSocket

__all__ = ["BODY", "DEAF", "HEAD", "IDLE", "LINGER", "SWITCHED", "Excess", "Pending", "Refusal", "RequestReader"]

IDLE, HEAD, BODY, LINGER = range(4)  # what the connection waits for, when no call runs
OPEN, DEAF, RAW, SWITCHED = range(
    4
)  # what becomes of incoming bytes: parsed, discarded, a body unparsed, or a WebSocket's
_LOG = logger("xooai.http")
_UNASKED = 64 * 1024  # bytes of a body that is taken in before it is known who sends it: most come with their heads
_FRAMING = 8  # bytes of chunk framing for one of content, at most, in a stream: chunks of one byte have five
_SMALL = 1024  # pieces of a body below this size are joined as they come: a byte kept by itself costs 40


class Refusal:
    """The answer to what was no request, waiting for the calls before it."""

    __slots__ = ("data", "keep_alive", "task")

    kind: Literal["refusal"] = "refusal"

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.keep_alive = False
        self.task: asyncio.Task[None] | None = None


Pending: TypeAlias = "UnaryChannel | Cycle | WebSocket | Refusal"
"""What a connection answers in turn. They are told apart by `kind`: a server that streams nothing does not load what streams."""


class Excess(Exception):
    """More requests were sent ahead than the limit."""


class RequestReader(Identified):
    """Calls `_taken` for each whole request and `_refuse` for what is none; what to do with them is the heir's."""

    def __init__(self, server: Server, client: tuple[str, int]) -> None:
        super().__init__(server.config, server.state, {}, server.loop)
        self._server = server
        self._peer = f"{client[0]}:{client[1]}"
        self._call: Pending | None = None  # the request that is not answered yet
        self._incoming: Cycle | None = None  # the same, while its body flows in
        self._socket: WebSocket | None = None  # what the connection has become
        self._stage = IDLE
        self._mode = OPEN
        self._fed = 0  # bytes since the last call ended: at least those of the message that is coming in
        self._ahead = 0  # bytes that came while a call ran
        self._raw = 0  # bytes of a body that are still to come unparsed
        self._buffered = 0  # what of them is counted in server.buffered
        self._discarded = 0
        self.url = self._method = self._body = b""
        self._head: Head | None = None
        self._pieces: list[bytes | bytearray] | None = None
        self._is_chunked = False  # or streams
        self._received = 0  # bytes of such a body
        self._keep_alive = True
        self._wants_continue = False
        self._is_handshake = False
        self._is_plain = False  # whether the last head had nothing that takes a closer look
        self._repeated: Repeated[Head] | None = None

    @abstractmethod
    def _taken(self, head: Head | None, body: bytes) -> None:
        """A request is whole; `head` is None for one that is not a plain call. Raises Excess."""

    @abstractmethod
    def _begun(self) -> Cycle:
        """A request that streams begins, its head being whole; it has not run yet. Raises Excess."""

    @abstractmethod
    def _switched(self) -> WebSocket:
        """The connection becomes a WebSocket. Raises Excess and Refused."""

    @abstractmethod
    def _refuse(self, error: XooaiError, status: int | None = None) -> None:
        """Answer with an error once the calls before are answered, and hear no more."""

    @abstractmethod
    def _hear_no_more(self) -> None:
        """Close after the last request that was taken."""

    def data_received(self, data: bytes) -> None:
        if self._call is not None or self._mode != OPEN:
            if not self._admits(data):
                return
        elif self._stage == IDLE:
            repeated = self._repeated
            if repeated is not None and self._keep_alive:
                body = repeated.body_of(data)
                if body is not None and len(body) <= self._server.message_limit:
                    self.headers = []  # by it the sweep sees that this is another message
                    self._taken(repeated.meaning, body)
                    return
            self._feed_whole(data)
            return
        self._feed(data)

    def _feed_whole(self, data: bytes) -> None:
        """Parse what begins with a request, and remember its head if that is all there was."""
        self._is_plain = False
        self._feed(data)
        head = self._head
        if (
            self._is_plain
            and head is not None
            and self._call is not None
            and self._stage == IDLE
            and self._mode == OPEN
        ):
            self._repeated = Repeated.of(data, head)

    def _feed(self, data: bytes) -> None:
        self._fed += len(data)
        try:
            self.parser.feed_data(data)
        except HttpParserUpgrade as exc:
            self._resume(data[exc.args[0] :])
        except HttpParserError as exc:
            self._fail(exc)
        if self._stage and self._mode == OPEN:
            if self._call is None:
                self._check_unfinished()
            elif self._incoming is not None:
                self._check_framing(_FRAMING * self._received)

    def _admits(self, data: bytes) -> bool:
        if self._mode == SWITCHED and self._socket is not None:
            self._socket.feed(data)
            return False
        if self._mode == DEAF:
            self._discarded += len(data)
            if self._discarded > 2 * self._server.message_limit:  # so that who sends somewhat too much can read why
                self.transport.abort()
            return False
        if self._call is not None and self._incoming is None:
            self._ahead += len(data)
            if self._ahead > self._server.limits.pipeline_size:
                self._hear_no_more()
                return False
        if self._mode == RAW:
            self._fed += len(data)
            self._resume(data)
            return False
        return True

    # -- the parser's events

    def on_message_begin(self) -> None:
        self.url = b""
        self.headers = []
        self._stage = HEAD

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        parser, server, headers = self.parser, self._server, self.headers
        table = dict(headers)
        self._method = parser.get_method()
        self._keep_alive = parser.should_keep_alive() and not server.is_draining
        if server.admit is not None:
            self._admit(server.admit, table)
        if (
            not len(headers) == len(table) <= server.limits.fields
            or not UNUSUAL.isdisjoint(table)
            or table.get(b"host") not in server.hosts.known
            or not self._keep_alive
            or (b"connection" in table and parser.get_http_version() != "1.1")
            or self._fed + self._ahead > server.limits.field_size
            or int(table.get(b"content-length", b"0")) > server.message_limit
        ):
            self._check_head(table)
        else:
            self._is_plain = True
        self._stage = BODY
        path = server.path_of(self.url) if self._method == b"POST" else None
        if path is None and self._is_plain and not self.url.startswith(b"/"):
            self.url = origin_form(self.url, table[b"host"])
            path = server.path_of(self.url) if self._method == b"POST" else None
        if path is not None:
            self._head = request_head(path, headers, table, self._peer, self.identity)
        else:
            self._head = None
            if self._method == b"POST" and server.shape_of(self.url) & Shape.CLIENT:
                self._incoming = self._begun()
                self._is_chunked = True
            else:
                self._is_handshake = self._asks_to_switch(table)
        if self._is_chunked:
            self.headers = []  # trailers are counted and left out: they must not pass for headers

    def _admit(self, admit: Callable[[Head], str], table: dict[bytes, bytes]) -> None:
        """Raise what a caller is refused with before a large body is taken in, or the connection becomes a WebSocket.

        Smaller ones are refused where they are answered, and their connection is kept.
        """
        length = table.get(b"content-length", b"0")
        if b"transfer-encoding" in table or b"upgrade" in table or int(length) > _UNASKED:
            path = self.url if self.url.startswith(b"/") else b"/" + self.url.partition(b"://")[2].partition(b"/")[2]
            name = unquote(path.partition(b"?")[0].decode("latin-1"))
            admit(request_head(name, self.headers, table, self._peer, self.identity))

    def _asks_to_switch(self, table: dict[bytes, bytes]) -> bool:
        """Whether a request wants a WebSocket where there is one; another Upgrade is ignored (RFC 9110 7.8)."""
        return (
            self._method == b"GET"
            and self.parser.should_upgrade()
            and self.parser.get_http_version() == "1.1"
            and table.get(b"upgrade", b"").lower() == b"websocket"
            and not int(table.get(b"content-length", b"0"))
            and self._server.shape_of(self.url) != Shape.UNARY
        )

    def _check_head(self, table: dict[bytes, bytes]) -> None:
        version = self.parser.get_http_version()
        check_size(self.url, self.headers, self._server.limits)
        streams = self._method == b"POST" and self._server.shape_of(self.url) & Shape.CLIENT
        limit = sys.maxsize if streams else self._server.message_limit
        check_head(version, self.headers, self._server.hosts, limit)
        if self._method == b"CONNECT":
            raise Refused(InvalidArgument("this server is no proxy"), 405)
        self.url = origin_form(self.url, table.get(b"host", b""))
        self._keep_alive = self._keep_alive and version == "1.1"
        self._is_chunked = b"transfer-encoding" in table
        length = int(table.get(b"content-length", b"0"))
        if self.parser.should_upgrade() and length:
            # The parser takes what follows for another protocol; we ignore the Upgrade (RFC 9110 7.8): it is the body.
            self._raw = length
            self._mode = RAW
        if b"expect" in table:
            self._wants_continue = True
            self._offer_to_continue()

    def on_body(self, body: bytes) -> None:
        if self._is_chunked:
            self._received += len(body)
            if self._incoming is not None:
                self._incoming.feed(body)
                return
        if not self._body:
            self._body = body  # nearly always the only one
        elif self._pieces is None:
            self._pieces = [self._body, body]
        elif len(body) >= _SMALL:
            self._pieces.append(body)
        elif isinstance(self._pieces[-1], bytearray):
            self._pieces[-1] += body
        else:
            self._pieces.append(bytearray(body))

    def on_message_complete(self) -> None:
        if self._raw:
            return
        self._stage = IDLE
        if self._is_handshake:
            self._is_handshake = False
            self._socket = self._switched()
            self._mode = SWITCHED
            return
        if self._incoming is not None:
            self._flowed()
            return
        body, self._body = self._body, b""
        if self._pieces is not None:
            body, self._pieces = b"".join(self._pieces), None
        if self._is_chunked:
            self._is_chunked = False
            received, self._received = self._received, 0
            if received > self._server.message_limit:
                raise Refused(too_large(None, self._server.message_limit, "the request"))
        self._wants_continue = False
        if not self._keep_alive:
            self._mode = DEAF
        self._taken(self._head, body)

    def _flowed(self) -> None:
        """The body of the request that streams has come to its end."""
        incoming, self._incoming = self._incoming, None
        self._is_chunked = self._wants_continue = False
        self._received = 0
        self._fed = self._server.limits.field_size + 1  # as in _start_count
        if not self._keep_alive:
            self._mode = DEAF
        if incoming is not None:
            incoming.feed_end()

    # -- what is not a whole request

    def _check_unfinished(self) -> None:
        limits = self._server.limits
        if self._stage == HEAD:
            if self._fed > limits.head_size + limits.field_size:  # the second may be an assumption; see _start_count
                refused = head_too_large(self.url, limits)
                self._refuse(refused.error, refused.status)
            return
        self._server.buffered += self._fed - self._buffered
        self._buffered = self._fed
        if self._server.buffered > limits.buffered:
            self._refuse(ResourceExhausted("too much is being sent to this server; try again later", retry_after=1))
        elif self._received > self._server.message_limit:
            self._refuse(too_large(None, self._server.message_limit, "the request"))
        elif self._is_chunked:
            self._check_framing(self._received // 4)

    def _check_framing(self, allowed: int) -> None:
        if self._fed - self._received > self._server.limits.overhead + allowed:
            self._refuse(InvalidArgument("the body has more chunk framing than content; send larger chunks"))

    def _start_count(self) -> None:
        # Where a message began behind the last one, nobody knows how much of it came: enough to be looked at closely.
        self._fed = self._server.limits.field_size + 1 if self._stage else 0
        self._ahead = 0

    def _count_off(self) -> None:
        self._server.buffered -= self._buffered
        self._buffered = 0

    def _resume(self, data: bytes) -> None:
        """Go on behind a head with an Upgrade, which is ignored."""
        if self._raw:
            body, data = data[: self._raw], data[self._raw :]
            self._raw -= len(body)
            if body:
                self.on_body(body)
            if self._raw:
                return
            self._mode = OPEN
            try:
                self.on_message_complete()
            except Excess:
                self._hear_no_more()
        if data:
            self.data_received(data)

    def _offer_to_continue(self) -> None:
        if self._wants_continue and self._call is None:
            self._wants_continue = False
            self.transport.write(CONTINUE)

    def _fail(self, exc: HttpParserError) -> None:
        cause = exc.__context__ if isinstance(exc, HttpParserCallbackError) else None
        if isinstance(cause, Excess):
            self._hear_no_more()
        elif isinstance(cause, Refused):
            self._refuse(cause.error, cause.status)
        elif isinstance(cause, XooaiError):
            self._refuse(cause)
        elif cause is not None:
            _LOG.error("a request could not be read", exc_info=cause)
            self._refuse(Internal("the request could not be read"))
        else:
            self._refuse(InvalidArgument(f"this is not HTTP/1.1: {exc}"))
