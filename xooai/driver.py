"""What a transport implements, and what it is given: calls as opaque frames of bytes between two sides."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from enum import IntFlag
from socket import socket
from types import MappingProxyType
from typing import Any, Literal, Protocol, runtime_checkable

import msgspec

from xooai.errors import Code

__all__ = [
    "AUTHORIZATION",
    "EMPTY",
    "MESSAGE_LIMIT",
    "METRICS",
    "Channel",
    "DialOptions",
    "Driver",
    "Guarding",
    "Head",
    "Holding",
    "Link",
    "ListenOptions",
    "Listener",
    "Measuring",
    "Neighbour",
    "Offering",
    "Outcome",
    "Placed",
    "Reloading",
    "Shape",
    "Shared",
    "Sharing",
    "Site",
    "Started",
    "Starting",
    "Steering",
    "Strays",
    "Taken",
]

MESSAGE_LIMIT = (
    64 * 1024 * 1024
)  # bytes in one frame: what one call may hold in memory; larger content belongs in a store
EMPTY: Mapping[str, str] = MappingProxyType({})
AUTHORIZATION = "authorization"
"""The metadata by which a caller says who it is (RFC 9110 11.6.2)."""
METRICS = "/xooai/metrics"
"""The endpoint that tells what a server has counted, and what its pages are asked for as that show it."""


class Shape(IntFlag):
    """Which sides of a call stream."""

    UNARY = 0
    CLIENT = 1
    SERVER = 2
    BIDI = 3


class Head(msgspec.Struct):
    """What a call opens with. Not changed once the call has begun.

    `path` is `/{executor}/{endpoint}`; `codec` the media type of the request's frames, `accept` the wanted media types
    of the reply ("" means the request's own); `timeout` seconds left when it was sent. On the server's side: `peer` where
    it came from, for the log; `identity` who sent it, by the certificate of the client, "" without one. Only the driver
    sets these two, and a site that asks for keys the second: nothing else that a client sends may. `is_timed` says that
    `xooai-timing` is in the metadata, and `is_keyed` that `idempotency-key` is, which the driver has at hand: the caller is told
    how long the stages of the call took, and calls with the same key are one.
    `driver` is set by the site that answers: the scheme of the listener that the call came by, "" within the process.
    `is_named` says that `x-request-id` is, and then the reply has it too.
    """

    path: str
    codec: str = "application/msgpack"
    accept: str = ""
    shape: Shape = Shape.UNARY
    timeout: float | None = None
    metadata: Mapping[str, str] = EMPTY
    peer: str = ""
    identity: str = ""
    is_timed: bool = False
    is_keyed: bool = False
    driver: str = ""
    is_named: bool = False


class Outcome(msgspec.Struct):
    """How a call ended. `details` are JSON values; `id` the server's request id, sent with an error; `codec` the media
    type of the reply's frames and `metadata` what the server sent beside them.
    """

    code: int = Code.OK
    message: str = ""
    details: Mapping[str, Any] = {}
    id: str | None = None
    codec: str = ""
    metadata: Mapping[str, str] = EMPTY


@runtime_checkable
class Channel(Protocol):
    """One call, seen from either end. At most one task sends or ends and one receives at a time; any may abort.

    The driver cancels the task that it called `Site.accept` in when the peer leaves.
    """

    head: Head

    async def receive(self) -> bytes | None:
        """Return the peer's next frame; None when it ended well. Raises the error that it ended with."""

    async def send(self, frame: bytes) -> None:
        """Send a frame; wait while the peer's window is full."""

    async def end(self, frame: bytes | None = None, outcome: Outcome = ...) -> None:
        """End this side: with a last frame and, on the server's side, how the call went. One write where possible."""

    def abort(self) -> None:
        """End the call now, without waiting, any number of times. The other side sees an error, never a short answer."""

    @property
    def outcome(self) -> Outcome | None:
        """How the peer ended the call: on the client's side, once its last frame has been received; before that None."""


class Offering(Protocol):
    """What the server's end of a channel may have beside: for streams of many small frames, of which few have to wait."""

    def offer(self, frame: bytes) -> bool:
        """Take a frame if that needs no waiting; False where it is not taken: then send it.

        Whoever offers on and on waits for nothing: so that others have their turn, this is False now and then, and `send` waits.
        """


class Holding(Protocol):
    """What the server's end of a channel may have beside: the request is in memory while the call waits for its turn."""

    @property
    def held(self) -> int:
        """The bytes of the request that it holds."""


class Link(Protocol):
    """The client's side of a driver: what calls to one server go through. Belongs to the loop that dialled it."""

    async def open(self, head: Head, request: bytes | None = None) -> Channel:
        """Open a call. `request` is this side's only frame: head, frame and end then go as one write.

        What this raises was raised before the server could begin with the call.
        """

    async def aclose(self) -> None:
        """Close all connections; calls under way end with Unavailable."""


@runtime_checkable
class Leaving(Protocol):
    """What a link may have beside: its server may say that it is about to stop, so that calls go elsewhere meanwhile."""

    @property
    def is_leaving(self) -> bool:
        """Whether the server has said so."""


class Started(Channel, Protocol):
    """A unary call that has been sent by `start`."""

    def reply(self) -> bytes | None:
        """Give what `receive` would, or raise that, once it is told that the call has ended."""


class Starting(Protocol):
    """What a link may have beside: for callers that wait for many replies at once, with a task for none of them."""

    def start(self, head: Head, request: bytes, told: Callable[[], None]) -> Started | None:
        """Send a unary call if that needs no waiting; None where it was not sent: then `open` it. Called on the link's loop.

        `told` is called on the loop when the call has ended, once and not before this returns; it raises nothing. What this
        raises was raised before the server could begin with the call.
        """


class Listener(Protocol):
    """The server's side of a driver, accepting calls."""

    url: str
    """Where it listens, the port resolved."""

    async def aclose(self, grace: float = 0) -> None:
        """Stop accepting, let calls under way finish for `grace` seconds, then cancel what is left."""


@runtime_checkable
class Neighbour(Protocol):
    """What a listener may have beside: it tells its clients where else the same calls are answered."""

    def beside(self, urls: Sequence[str]) -> None:
        """Learn the URLs of the other listeners of its site, before the first call is answered."""


@runtime_checkable
class Reloading(Protocol):
    """What a listener may have beside: it has read files, which are looked at anew when it is told."""

    def reload(self) -> None:
        """Use files as they are now. What is wrong with one is told to the log, and what it said before stays. Raises nothing."""


class Site(Protocol):
    """What the core hands to a listening driver; the driver knows nothing else of it."""

    async def accept(self, channel: Channel) -> None:
        """Answer one call, and end its channel whatever happens. Cancelled by the driver when the client leaves."""

    def ready(self) -> bool:
        """Whether calls are welcome: False before set-up is done and once draining began."""

    def shape(self, path: str) -> Shape | None:
        """The shape of the endpoint at a path, for peers that do not tell theirs; None where there is none."""

    def describe(self, form: Literal["openapi", "proto", "json"]) -> bytes:
        """The description of all endpoints, as a document in `form`; "proto" is a JSON list of `xooai.proto.File`."""


@runtime_checkable
class Guarding(Protocol):
    """What a site may have beside: it answers known callers only. Its own `accept` sees to that for calls."""

    def admit(self, head: Head) -> str:
        """Return whose request this is, where it is no call but tells of the site. Raises Unauthenticated, PermissionDenied.

        Who is refused is counted and may be logged, by the `peer` of the head.
        """

    def knows(self, head: Head) -> bool:
        """Whether `admit` would let a request in; nobody is told of it."""


@runtime_checkable
class Measuring(Protocol):
    """What a site may have beside: it tells what it has counted."""

    async def measured(self, form: Literal["text", "openmetrics", "json"]) -> bytes:
        """All that was counted, by all its workers: as Prometheus reads it, or as JSON. For whom `admit` lets to `METRICS`."""


class Strays(Protocol):
    """The way of datagrams that came to one process and belong to another, where two listen at one port for a time."""

    def receive(self, port: str, received: Callable[[bytes, Any], None]) -> None:
        """Have those of others for a port, with the address that they came from. Raises OSError."""

    def send(self, port: str, data: bytes, address: Any) -> None:
        """Pass one on, without waiting."""

    def close(self, port: str) -> None:
        """Have no more."""


class Shared(Protocol):
    """The ports that this process shares with others, which serve the same."""

    is_last: bool
    """Whether nobody listens after this process: then it takes who waits in the kernel's queue when it ends."""

    strays: Strays

    def sockets(self, url: str) -> Sequence[socket]:
        """The sockets that are bound for a URL, and listen; none where this process binds its own beside those of others."""

    def is_next(self, connections: int, calls: int) -> bool:
        """Whether to take the next connection, with so many connections and calls under way: False where another process has
        clearly less to do. Who is told so leaves it to the others for a moment, and then takes it.
        """


@runtime_checkable
class Placed(Protocol):
    """What who shares ports may have beside: each process has sockets of its own, and the driver places connections."""

    place: int
    """Of this process among them, from 0 on."""

    def secret(self, url: str) -> bytes:
        """What only the processes at a URL know; none where they have no sockets of their own there."""

    def work(self, url: str, amount: int) -> None:
        """Tell the others how much this process has to do at a URL: its connections, and their calls."""

    def least(self) -> int:
        """The place of the process with the least to do, of those that are ready."""


class ListenOptions(msgspec.Struct, frozen=True):
    """How to listen. `certificate` and `key` are PEM file names; `hosts` the names by which a server is called beside
    the loopback names and its own; `insecure` allows an address beyond loopback; `clients` is a PEM file with authorities,
    and only clients with a certificate of one of them may connect; `shared` tells of ports that several processes listen at.
    `limit` and `queue` are of the site that is listened for: how many calls run at a time, and how many wait; and
    `trusted_proxies`, addresses and networks whose word counts for where a call came from.
    """

    certificate: str | None = None
    key: str | None = None
    hosts: tuple[str, ...] = ()
    insecure: bool = False
    message_limit: int = MESSAGE_LIMIT
    clients: str | None = None
    shared: Shared | None = None
    limit: int | None = None
    queue: int | None = None
    trusted_proxies: tuple[str, ...] = ()


class DialOptions(msgspec.Struct, frozen=True):
    """How to reach a server. `trust` is a PEM file with the authorities to trust instead of the system's; some drivers also take
    `sha256:` and the fingerprint of the server's certificate. `certificate` and `key` are PEM files with which this side shows
    who it is, to a server that asks.
    """

    trust: str | None = None
    message_limit: int = MESSAGE_LIMIT
    certificate: str | None = None
    key: str | None = None


class Driver(Protocol):
    """A transport: found by the scheme of a URL."""

    async def dial(self, url: str, options: DialOptions) -> Link:
        """Prepare calls to `scheme://host:port`. Opens no connection yet."""

    async def listen(self, url: str, site: Site, options: ListenOptions) -> Listener:
        """Listen at `scheme://host:port` (port 0: any free one). Raises Unavailable when the address is in use."""


class Steering(Protocol):
    """What deals connections to processes, each of which has sockets of its own. Belongs to the loop it was made on."""

    def direct(self, ready: Collection[int], listening: Collection[int]) -> None:
        """Send new connections to the places that are ready, and leave to those that listen what comes for them."""

    def close(self) -> None:
        """Do nothing more."""


class Taken(msgspec.Struct, frozen=True):
    """A port that is kept for several processes. `url` has it resolved; each process gets `sockets`, and `kept` stay with who
    took it. Where it `is_alone`, only the first process listens, and its successor beside it until it has ended. Where there
    are `places`, each process gets the sockets of its own, and `steering` and the `secret` go with them.
    """

    url: str
    sockets: tuple[socket, ...] = ()
    kept: tuple[socket, ...] = ()
    places: tuple[tuple[socket, ...], ...] = ()
    secret: bytes = b""
    steering: Steering | None = None
    is_alone: bool = False


@runtime_checkable
class Sharing(Protocol):
    """What a driver may have beside: several processes can listen at one of its URLs, each by `listen` with `shared` options."""

    async def take(self, url: str, options: ListenOptions, processes: int) -> Taken:
        """Take a port for several processes, so many at a time. Raises what `listen` raises."""
