"""How much one client may use, on both sides, and how long nothing may happen: each limit with its reason."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from xooai.driver import MESSAGE_LIMIT
from xooai.place import is_loopback

__all__ = ["ClientLimits", "Limits", "Transport"]


class Transport(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of any connection, on either side. Times are in seconds, sizes in bytes."""

    streams: int = 100  # at once in a connection: what the transports of others take by default, and one client needs
    window: int = 1024 * 1024  # on its way in a stream: at 50 ms of distance 20 MB/s
    flood: int = 8 * 1024 * 1024  # kept of a stream that is not read, where nothing holds back a peer that is not ours
    handshake_time: float = 10.0  # what TCP and TLS take on the worst of links in use
    idle: float = 30.0  # without a packet, and the peer is gone: QUIC itself finds out by no other means
    keep_alive: float = 10.0  # between pings of either side while calls are under way: three of them fit into `idle`
    unsent: int = 256 * 1024  # written and not sent: above it a writer waits, so that a slow reader costs no memory
    buffer: int = 64 * 1024  # of a frame that HTTP/3 has to have whole: a head may have half of it
    socket: int = 4 * 1024 * 1024  # asked of the kernel: what comes while the loop is at work elsewhere for some 50 ms
    datagram: int = 1200  # sent at once: what every path carries (RFC 9000 14)
    loopback_datagram: int = 16_000  # between peers of ours on one machine; aioquic writes no longer frames


class Limits(Transport, frozen=True, kw_only=True):
    """Bounds of one listener.

    Deadlines are kept by one sweep of all connections every `sweep` seconds, so each may be late by two of these.
    """

    connections: int = 1024  # as the HTTP driver's
    is_here: Callable[[str], bool] = is_loopback  # addresses for which nothing is counted: proxies are there, and tests
    connections_per_client: int = 256  # by address beyond loopback: a quarter, so that one cannot fill the listener
    handshakes: int = 256  # connections that are not made yet, each of which costs a signature
    handshakes_per_client: int = 32  # by address beyond loopback
    fields: int = 100  # headers of a request: browsers and proxies send 10 to 40
    head_size: int = 32 * 1024  # a request's head whole, which is read before anything is known of its sender
    field_size: int = 8 * 1024  # one header, and the URL: the longest that common clients and proxies send
    head_time: float = 10.0  # from a stream's first byte to its head's last
    window_time: float = 10.0  # a body is measured over this time,
    rate: int = 1024  # and must move by this many bytes a second: slower than any link in use, so it is on purpose
    stall: float = (
        300.0  # replies are measured over this time, for a quarter of a window at `rate` takes nearly as long;
    )
    # and nothing at all of a stream may be taken for so long: its client may think about an item
    buffered: int = 8 * MESSAGE_LIMIT  # of bodies on their way in, over all connections
    sweep: float = 0.5


class ClientLimits(Transport, frozen=True, kw_only=True):
    """Bounds of one link."""

    handshake_pause: float = 3.0  # then another is begun beside: nearly all are done by then, also over a bad link
    # Nothing of any call moves for so long, and the server is asked, which may know an old address only, or have ended.
    silence: float = 0.4
    asking: float = 0.8  # between such questions: who waits learns within a second that its server's process is gone
    # For a sign of a server that had no call for `silence`; then it is connected to anew, which costs a slow one more.
    confirming: float = 3.0
    waiting: int = 1024  # calls that wait for a stream: the queue that a server keeps by default
    unused: float = 20.0  # a connection without calls is closed before the server forgets it at `idle`
