"""The QUIC library under the driver: what is asked of one, and which is in use."""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal, Protocol

import msgspec

from xooai.errors import PluginError
from xooai_quic.known import Known
from xooai_quic.limits import Transport
from xooai_quic.names import Names

__all__ = ["CHOICE", "DATAGRAM_SETTING", "Http", "Library", "Quic", "Verified", "load", "standing"]

CHOICE = "XOOAI_QUIC"
"""The environment variable that names the library: aioquic or qh3. Being installed is not enough: other packages bring qh3."""
DATAGRAM_SETTING = (
    0x786F6F61  # "xooa": how large a datagram this side takes; peers of others pass over it (RFC 9114 7.2.4)
)

# Both libraries warn there of each connection that a peer closes or breaks, in its words: a stranger could fill a disk.
# What matters is raised, or told by our own log.
_ITS_LOG = logging.getLogger("quic")

Headers = list[tuple[bytes, bytes]]
Verified = Literal["authorities", "fingerprint"]


class Quic(Protocol):
    """A connection without input or output, with windows that grow with what is read."""

    def receive_datagram(self, data: bytes, addr: Any, now: float) -> None: ...
    def datagrams_to_send(self, now: float) -> list[tuple[bytes, Any]]: ...
    def next_event(self) -> Any: ...
    def get_timer(self) -> float | None: ...
    def handle_timer(self, now: float) -> None: ...
    def connect(self, addr: Any, now: float) -> None: ...
    def close(self, error_code: int = ..., frame_type: int | None = ..., reason_phrase: str = ...) -> None: ...
    def get_next_available_stream_id(self, is_unidirectional: bool = ...) -> int: ...
    def reset_stream(self, stream_id: int, error_code: int) -> None: ...
    def stop_stream(self, stream_id: int, error_code: int) -> None: ...
    def send_ping(self, uid: int) -> None: ...
    def consumed(self, stream_id: int, size: int) -> None:
        """So many bytes of a stream have been read, or are for nobody."""

    def forget(self, stream_id: int) -> None:
        """Nobody asks for a stream any more."""

    def unsent(self, stream_id: int) -> int:
        """Bytes of a stream that were written and never sent."""

    def enlarge(self, datagram: int) -> None:
        """Send larger datagrams where the path carries them: the peer takes them."""

    @property
    def held(self) -> int:
        """Bytes that have come and were not read."""

    def send_stream_data(self, stream_id: int, data: bytes, end_stream: bool = ...) -> None: ...

    @property
    def can_open(self) -> bool:
        """Whether the peer takes another stream now, or will take it in its turn."""

    @property
    def closing(self) -> str | None:
        """Why the connection ends, as soon as one side wants it to."""

    @property
    def is_settled(self) -> bool:
        """Whether all that was sent has arrived."""

    def name(self, names: Names) -> None:
        """Have names of these, where the library has `names`."""

    def is_reset(self, data: bytes) -> bool:
        """Whether a datagram says that the server does not know this connection any more, and the library would not see it."""


class Http(Protocol):
    """HTTP/3 on a connection."""

    is_going_away: bool
    """Whether the peer takes no further requests."""
    on_malformed: Callable[[int, str], None]
    """Called with a stream whose request or answer is none, and why: it is over, and no other (RFC 9114 4.1.2)."""
    on_going_away: Callable[[int], None]
    """Called with the first stream whose request the peer says that it has not begun with (RFC 9114 5.2)."""
    known: Known
    """Where heads of requests are remembered: a server's connections share theirs."""

    def handle_event(self, event: Any) -> list[Any]: ...
    def send_headers(self, stream_id: int, headers: Headers, end_stream: bool = ...) -> None: ...
    def send_data(self, stream_id: int, data: bytes, end_stream: bool) -> None: ...
    def respond(self, stream_id: int, headers: Headers, body: bytes) -> None:
        """Send a whole response."""

    def go_away(self, stream_id: int) -> None:
        """Tell the peer that requests from this stream on are not answered."""

    def buffered(self, stream_id: int) -> int:
        """Bytes of a frame that is not whole yet."""

    def forget(self, stream_id: int) -> None:
        """A stream was given up by this side."""

    @property
    def received_settings(self) -> Mapping[int, int] | None: ...


class Library(msgspec.Struct, frozen=True):
    """One of the libraries: its names, and what it does in its own way."""

    name: str
    configuration: Callable[..., Any]
    """`QuicConfiguration`, with the names that both have."""
    connection: Callable[..., Any]
    """`QuicConnection`."""
    windowed: Callable[[Any, int], Quic]
    """One of these that has not begun as what is asked for here, for so many streams of the peer at once."""
    http: Callable[..., Http]
    """Made of a connection, and of the datagram that this side takes."""
    server: Callable[..., Any]
    """`QuicServer`."""
    endpoint: Callable[..., Awaitable[tuple[Any, Any]]]
    """`endpoint(loop, protocol_factory, sock)`, as `loop.create_datagram_endpoint`."""
    quic_events: Any
    http_events: Any
    errors: tuple[type[Exception], ...]
    """What a connection raises when it is used while it ends."""
    names: bool
    """Whether the names of a server's connections can be chosen."""
    grants: bool
    """Whether it bounds what comes by credits, its own windows growing whether or not anybody reads."""
    certified: Callable[[bytes, bytes], dict[str, Any]]
    """What a server's configuration has, by name, of the PEM of its chain and its key. Raises ValueError."""
    trusting: Callable[[Any, Any], None]
    """Set up a client's configuration to trust what a `Trust` says."""
    check: Callable[[Quic, Any, str], None]
    """What was left to check of a server's certificate, by a `Trust` and for a host. Raises ValueError."""


def load(name: str | None = None) -> Library:
    """The library that is named, or chosen by the environment, or else aioquic. Raises PluginError."""
    chosen = name or os.environ.get(CHOICE) or "aioquic"
    if chosen not in ("aioquic", "qh3"):
        raise PluginError(f"{CHOICE} is {chosen!r}; quic:// runs on 'aioquic' or 'qh3'")
    if find_spec(chosen) is None:
        extra = "quic-fast" if chosen == "qh3" else "quic"
        raise PluginError(f"quic:// needs the module {chosen!r}; try: pip install 'xooai[{extra}]'")
    if _ITS_LOG.level == logging.NOTSET:  # nobody has asked for it
        _ITS_LOG.setLevel(logging.ERROR)
    library: Library = import_module(f"xooai_quic.over_{chosen}").LIBRARY
    return library


def standing(limits: Transport) -> dict[str, Any]:
    """The part of a configuration that both sides have."""
    return {
        "alpn_protocols": ["h3"],
        "idle_timeout": limits.idle,
        "max_stream_data": limits.window,
        # As much as all streams together, so that one that is not read never holds up another.
        "max_data": limits.window * limits.streams,
        "max_datagram_size": limits.datagram,
    }
