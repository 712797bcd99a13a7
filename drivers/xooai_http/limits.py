"""How much of a connection one client may use, and the checks of a request's head, as pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from xooai.driver import MESSAGE_LIMIT
from xooai.errors import InvalidArgument, PermissionDenied, ResourceExhausted, Unimplemented, XooaiError
from xooai.guard import Hosts, check_request

__all__ = ["UNUSUAL", "Limits", "Refused", "check_head", "check_size", "head_too_large", "origin_form"]

Header = tuple[bytes, bytes]
_NAMES = 8  # shown of a server's own: three are those of loopback, a certificate may have a hundred


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of one listener. Times are in seconds, sizes in bytes.

    Deadlines are kept by one sweep of all connections every `sweep` seconds, so each may be late by two of these.
    """

    fields: int = 100  # headers of a request: browsers and proxies send 10 to 40
    head_size: int = 32 * 1024  # a request's head whole, which is parsed before anything is known of its sender
    field_size: int = 8 * 1024  # one header, and the URL: the longest that common clients and proxies send
    head_time: float = 10.0  # from a connection's or a head's first byte to the head's last
    window: float = 10.0  # a body, or a reply that the client takes, is measured over this time,
    rate: int = 1024  # and must move by this many bytes a second: slower than any link in use, so it is on purpose
    stall: float = 300.0  # but nothing at all of a stream may be taken for so long: its client may think about an item
    keep_alive: float = 5.0  # between calls; as uvicorn, and shorter than the idle time of common clients and proxies
    ping: float = (
        20.0  # silence after which the client of a WebSocket is asked whether it is there: proxies cut after 60
    )
    pong: float = 20.0  # and for its answer, which a browser gives by itself; as uvicorn
    linger: float = 5.0  # for a refused client to read why, while what it still sends is discarded (RFC 9112 9.6)
    pipeline: int = 16  # requests waiting behind a running call: more than clients send ahead
    pipeline_size: int = 64 * 1024  # bytes read while a call runs: reading must go on, or nobody sees a client leave
    overhead: int = 64 * 1024  # chunk sizes, extensions and trailers of a body beyond a quarter of its own size
    connections: int = 1024  # as many as calls run at once, and as files that a process may open on most systems
    connections_per_client: int = 256  # by address beyond loopback: a quarter, so that one cannot fill the listener
    buffered: int = 8 * MESSAGE_LIMIT  # of bodies on their way in, over all connections
    sweep: float = 0.5


class Refused(Exception):
    """A request that is answered by an error, after which its connection is closed.

    `status` is for what only HTTP knows, such as 431; without it, it is the error's own.
    """

    def __init__(self, error: XooaiError, status: int | None = None) -> None:
        super().__init__(error.message)
        self.error = error
        self.status = status


# A head with none of these, no name twice, a known Host and a length within the limit is nothing for `check_head`.
UNUSUAL = frozenset((b"transfer-encoding", b"content-encoding", b"expect", b"origin", b"upgrade"))


def check_size(url: bytes, headers: Sequence[Header], limits: Limits) -> None:
    """Raise Refused when a head is too large as a whole or in one of its parts."""
    if len(url) > limits.field_size:
        raise head_too_large(url, limits)
    if len(headers) > limits.fields:
        raise Refused(_size(f"the request has more than {limits.fields} headers"), 431)
    sizes = [len(name) + len(value) for name, value in headers]
    if max(sizes, default=0) > limits.field_size:
        raise Refused(_size(f"a header is longer than {limits.field_size:,} bytes"), 431)
    if sum(sizes) + len(url) > limits.head_size:
        raise head_too_large(url, limits)


def head_too_large(url: bytes, limits: Limits) -> Refused:
    """The error about a head that is too large as a whole, or for its URL."""
    if len(url) > limits.field_size:
        return Refused(_size(f"the URL is longer than {limits.field_size:,} bytes"), 414)
    return Refused(_size(f"the headers are longer than {limits.head_size:,} bytes"), 431)


def _size(message: str) -> ResourceExhausted:
    return ResourceExhausted(message, reason="size")


def check_head(version: str, headers: Sequence[Header], hosts: Hosts, limit: int) -> None:
    """Raise Refused when a head is malformed or not for this server (RFC 9112 3.2 and 6, RFC 9110 10.1.1).

    What llhttp refuses itself is not repeated here: Content-Length beside Transfer-Encoding or twice, line breaks and
    NUL in headers, folded headers, malformed chunks.
    """
    table = dict(headers)
    if version not in ("1.1", "1.0"):
        raise Refused(Unimplemented(f"HTTP/{version} is not spoken here; HTTP/1.1 is"), 505)
    _check_host(version, headers, table, hosts)
    coding = table.get(b"transfer-encoding")
    if coding is not None and version == "1.0":
        raise Refused(InvalidArgument("HTTP/1.0 has no Transfer-Encoding; send Content-Length"))
    if coding is not None and coding.lower() != b"chunked":
        raise Refused(Unimplemented(f"Transfer-Encoding is {_shown(coding)}; only 'chunked' is understood"), 501)
    if coding is not None and b"upgrade" in table:
        raise Refused(InvalidArgument("an Upgrade cannot come with a chunked body; send Content-Length"))
    if table.get(b"expect", b"100-continue").lower() != b"100-continue":
        raise Refused(InvalidArgument(f"Expect is {_shown(table[b'expect'])}; only '100-continue' is understood"), 417)
    try:
        check_request(table, limit)
    except XooaiError as error:
        raise Refused(error) from error


def _check_host(version: str, headers: Sequence[Header], table: Mapping[bytes, bytes], hosts: Hosts) -> None:
    count = sum(name == b"host" for name, _ in headers)
    if count == 0 and version == "1.0":
        return
    if count != 1:
        raise Refused(InvalidArgument(f"the request has {count or 'no'} Host headers; it takes exactly one"))
    if not hosts.allows(table[b"host"]):
        raise Refused(_not_ours(table[b"host"], hosts.names or ()))


def _not_ours(host: bytes, names: Sequence[str]) -> PermissionDenied:
    known = ", ".join(names[:_NAMES]) + (", ..." if len(names) > _NAMES else "")
    return PermissionDenied(
        f"this server is not called {_shown(host)}; a request, also through a proxy, names it in Host as one of: {known}"
    )


def _shown(value: bytes) -> str:
    return repr(value[:100].decode("latin-1"))


def origin_form(url: bytes, host: bytes) -> bytes:
    """The path and query of a request's target. Raises Refused (RFC 9112 3.2)."""
    target = url
    if not url.startswith(b"/"):
        authority, _, path = url.partition(b"://")[2].partition(b"/")
        if authority.lower() != host.lower() or not host:
            raise Refused(InvalidArgument(f"the target {_shown(url)} is neither a path nor a URL of the host in Host"))
        target = b"/" + path
    if b"#" in target:
        raise Refused(InvalidArgument("the target has a fragment; '#' is written as %23"))
    return target
