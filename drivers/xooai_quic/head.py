"""The head of a request in HTTP/3, checked, and as an application is told: pure functions (RFC 9114 4.3, RFC 9110)."""

from __future__ import annotations

import re
from math import inf
from typing import Any, NamedTuple
from urllib.parse import unquote

from xooai.driver import Head
from xooai.errors import InvalidArgument, PermissionDenied, ResourceExhausted, Unimplemented, XooaiError
from xooai.guard import Hosts
from xooai.http import TIMEOUT_HEADER, timeout_of
from xooai_quic.limits import Limits

__all__ = ["Last", "Refused", "RequestHead", "read_head", "scope", "time_allowed"]

Headers = list[tuple[bytes, bytes]]
# RFC 9114 4.2 and 10.3. Not every library looks, and what is let in may be told on by HTTP/1, where it forges headers.
_NO_NAME = re.compile(rb"[^!#$%&'*+.^_`|~0-9a-z-]")
_NO_VALUE = re.compile(rb"[\0\r\n]")
_OF_CONNECTIONS = frozenset((b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"))
_TIMEOUT = TIMEOUT_HEADER.encode("ascii")
_NAMES = 8  # shown of a server's own: three are those of loopback, a certificate may have a hundred


class Refused(Exception):
    """A request that is answered by an error. `status` is for what only HTTP knows, such as 431."""

    def __init__(self, error: XooaiError, status: int | None = None) -> None:
        super().__init__(error.message)
        self.error = error
        self.status = status


class RequestHead(NamedTuple):
    """`headers` with a Host, as ASGI has them; `length` is announced, or None."""

    method: str
    path: bytes
    query: bytes
    headers: Headers
    length: int | None


class Last(NamedTuple):
    """The head of a plain call as it came, and what was read of it."""

    fields: Headers
    head: RequestHead
    call: Head


def read_head(raw: Headers, limits: Limits, hosts: Hosts) -> RequestHead:
    """Read the fields of a request. Raises Refused."""
    pseudo: dict[bytes, bytes] = {}
    headers: Headers = []
    size, longest = 0, limits.field_size
    for field in raw:
        name, value = field
        length = len(name) + len(value)
        if length > longest:
            raise _too_long(name, limits)
        size += length
        if name[:1] == b":":
            pseudo[name] = value
        else:
            headers.append(field)
    if len(raw) > limits.fields or size > limits.head_size:
        raise _too_many(len(raw), limits)
    method, target, authority = pseudo.get(b":method", b""), pseudo.get(b":path", b""), pseudo.get(b":authority", b"")
    if b":protocol" in pseudo or method == b"CONNECT":
        raise Refused(Unimplemented("tunnels are not served here; requests are answered"))
    if not target.startswith(b"/") or b"#" in target:
        raise Refused(InvalidArgument(f"the target {_shown(target)} is no path of a URL"))
    table = dict(headers)
    _check_fields(headers, table)
    if b"host" in table or authority not in hosts.known:
        _check_authority(authority, headers, hosts)
        headers = [field for field in headers if field[0] != b"host"]
    headers.insert(0, (b"host", authority))
    path, _, query = target.partition(b"?")
    length_named = _length(headers) if b"content-length" in table else None
    return RequestHead(method.decode("latin-1"), path, query, headers, length_named)


def time_allowed(head: RequestHead) -> float:
    """Seconds for the call, endless where none are told. What is told wrongly is refused by who reads the whole head."""
    for name, value in head.headers:
        if name == _TIMEOUT:
            try:
                return timeout_of(value)
            except InvalidArgument:
                return inf
    return inf


def _too_long(name: bytes, limits: Limits) -> Refused:
    what, status = ("the URL", 414) if name == b":path" else ("a header", 431)
    return Refused(_size(f"{what} is longer than {limits.field_size:,} bytes"), status)


def _too_many(count: int, limits: Limits) -> Refused:
    if count > limits.fields:
        return Refused(_size(f"the request has more than {limits.fields} headers"), 431)
    return Refused(_size(f"the headers are longer than {limits.head_size:,} bytes"), 431)


def _check_fields(headers: Headers, table: dict[bytes, bytes]) -> None:
    values = b"".join([value for _, value in headers])
    if b"" in table or _NO_NAME.search(b"".join(table)) or _NO_VALUE.search(values):
        raise Refused(InvalidArgument("a header has a character that none can have"))
    if not _OF_CONNECTIONS.isdisjoint(table):
        named = ", ".join(name.decode("ascii") for name in sorted(_OF_CONNECTIONS.intersection(table)))
        raise Refused(InvalidArgument(f"HTTP/3 has no header of a connection; the request has {named}"))


def _check_authority(authority: bytes, headers: Headers, hosts: Hosts) -> None:
    named = [value for name, value in headers if name == b"host"]
    if any(value.lower() != authority.lower() for value in named):
        raise Refused(InvalidArgument("the request has a Host that is not its :authority"))
    if authority not in hosts.known and not hosts.allows(authority):
        known = ", ".join((hosts.names or ())[:_NAMES]) + (", ..." if len(hosts.names or ()) > _NAMES else "")
        raise Refused(
            PermissionDenied(f"this server is not called {_shown(authority)}; a request names it as one of: {known}")
        )


def _length(headers: Headers) -> int | None:
    found = [value for name, value in headers if name == b"content-length"]
    if not found:
        return None
    if len(found) > 1 or not found[0].isdigit() or len(found[0]) > 18:  # an exabyte has 19 digits
        raise Refused(InvalidArgument("Content-Length is not one number"))
    return int(found[0])


def _size(message: str) -> ResourceExhausted:
    return ResourceExhausted(message, reason="size")


def _shown(value: bytes) -> str:
    return repr(value[:100].decode("latin-1"))


def scope(head: RequestHead, client: tuple[str, int]) -> dict[str, Any]:
    """A request as an ASGI application is told of it."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "3",
        "server": None,
        "client": client,
        "scheme": "https",
        "root_path": "",
        "headers": head.headers,
        "method": head.method,
        "path": unquote(head.path.decode("latin-1")),
        "raw_path": head.path,
        "query_string": head.query,
        "state": {},
    }
