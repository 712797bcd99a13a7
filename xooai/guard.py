"""What an HTTP server refuses before it takes a call: foreign hosts and origins, encoded and oversized bodies."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from xooai.errors import InvalidArgument, PermissionDenied, Unimplemented, too_large

__all__ = ["Hosts", "check_request", "check_site", "host_name"]

_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
# RFC 9110 7.2, but for escapes
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[0-9A-Za-z._-]{1,253})(?::[0-9]{0,5})?")
_KNOWN = 256  # spellings of Host remembered per listener: a bound, since clients choose them


def host_name(authority: str) -> str | None:
    """The name in `name`, `name:port` or `[address]:port`, in lower case; None where it is none of these."""
    found = _HOST.fullmatch(authority)
    return found[1].lower() if found else None


class Hosts:
    """The names that a server answers to, against DNS rebinding: a page that gives its own name our address.

    The port is not compared: a tunnel or a container may show another one.
    """

    def __init__(self, names: Iterable[str] | None = None) -> None:
        """Names beside the loopback ones; None for a server that is called by any name. Raises InvalidArgument.

        `*.example.com` is any one label before `.example.com`, as in certificates (RFC 6125 6.4.3).
        """
        self.names = None if names is None else tuple(dict.fromkeys((*_LOOPBACK, *map(_name, names))))
        """All of them, for errors."""
        self._names = frozenset(self.names or ())
        self.known: set[bytes] = set()
        """Spellings found to be right, for a quick look before `allows`."""

    def allows(self, authority: bytes) -> bool:
        name = host_name(authority.decode("latin-1"))
        if name is None or (self.names is not None and not self._has(name)):
            return False
        if len(self.known) < _KNOWN:
            self.known.add(authority)
        return True

    def _has(self, name: str) -> bool:
        return name in self._names or f"*.{name.partition('.')[2]}" in self._names


def _name(given: str) -> str:
    name = host_name(given.removeprefix("*."))
    if name is not None and given.startswith("*."):
        return f"*.{name}"
    if name is None:
        raise InvalidArgument(f"{given!r} is not a host name; it looks like 'api.example.com' or '192.0.2.1'")
    return name


def check_request(headers: Mapping[bytes, bytes], limit: int) -> None:
    """Raise what speaks against a request with a body, by its headers (names in lower case)."""
    encoding = headers.get(b"content-encoding", b"identity")
    if (
        encoding.lower() != b"identity"
    ):  # a few bytes could unpack to anything: nobody unpacks before the limits are known
        given = encoding[:40].decode("latin-1")
        raise Unimplemented(f"Content-Encoding is {given!r}; send the body as it is", details={"reason": "codec"})
    length = headers.get(b"content-length", b"0")
    if not length.isdigit():
        raise InvalidArgument("Content-Length is not a number")
    if int(length) > limit:
        raise too_large(int(length), limit, "the request")
    _check_origin(headers)


def check_site(headers: Mapping[bytes, bytes]) -> None:
    """Raise PermissionDenied for a call by GET that a page of another site makes: such come without Origin.

    Browsers since 2023 send Sec-Fetch-Site (https://www.w3.org/TR/fetch-metadata/), and no page can forge it.
    """
    site = headers.get(b"sec-fetch-site", b"same-origin")
    if site != b"same-origin":
        raise PermissionDenied(f"a page that is {site[:40].decode('latin-1')!r} may not call this server; its own may")


def _check_origin(headers: Mapping[bytes, bytes]) -> None:
    # Browsers send Origin with every unsafe request, and no page can forge it (https://www.w3.org/TR/fetch/#origin-header).
    # The scheme is not compared: a proxy in front may end TLS.
    origin = headers.get(b"origin")
    if origin is None:
        return
    host = headers.get(b"host", b"")
    if not host or origin.partition(b"://")[2].lower() != host.lower():
        given = origin[:100].decode("latin-1")
        raise PermissionDenied(f"a page of {given!r} may not call this server; pages of its own may")
