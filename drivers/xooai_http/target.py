"""Where a link's calls go: what its URL and its options say, checked."""

from __future__ import annotations

import re
import ssl
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

import msgspec

from xooai.driver import DialOptions
from xooai.errors import InvalidArgument

__all__ = ["Target"]

_PORTS = {"http": 80, "https": 443}
_NAME = re.compile(r"[a-z0-9._-]{1,253}")  # DNS (RFC 1035) allows 253 characters; underscores occur in Docker's names


class Target(msgspec.Struct, frozen=True):
    """A server: `host` and `port` to connect to, `authority` as the Host header has it, `peer` as errors name it."""

    host: str
    port: int
    authority: str
    peer: str
    context: ssl.SSLContext | None

    @classmethod
    def at(cls, url: str, options: DialOptions) -> Target:
        """Read `scheme://host[:port]`. Raises InvalidArgument, whose text holds no secret that the URL may hold."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            reason = str(error).partition("'")[0].strip()  # without what it quotes, which may hold a password
            raise InvalidArgument(f"the URL cannot be read ({reason}); it takes http://host:port") from None
        if parts.scheme not in _PORTS:
            raise InvalidArgument(f"the scheme of the URL is {parts.scheme!r}; this driver takes http and https")
        if "@" in parts.netloc:
            raise InvalidArgument("the URL holds a user name or password; send credentials as metadata instead")
        if parts.path not in ("", "/") or parts.query or parts.fragment:
            raise InvalidArgument(f"the URL of a link to {parts.hostname} has more than scheme://host:port")
        if port == 0:
            raise InvalidArgument("the URL has port 0, which is for listening at any free one; give the port in use")
        host = _host(parts)
        bracketed = f"[{host}]" if ":" in host else host
        usual = _PORTS[parts.scheme]
        port = usual if port is None else port
        peer = f"{bracketed}:{port}"
        return cls(host, port, bracketed if port == usual else peer, peer, _context(parts.scheme, options))


def _host(parts: SplitResult) -> str:
    host = parts.hostname or ""
    try:
        if ":" in host:
            return str(ip_address(host))
        host = host.encode("idna").decode("ascii")
    except (ValueError, UnicodeError):
        host = ""
    if not _NAME.fullmatch(host):
        raise InvalidArgument("the URL names no host, or one that is no name and no address; it takes http://host:port")
    return host


def _context(scheme: str, options: DialOptions) -> ssl.SSLContext | None:
    if scheme == "http":
        if options.trust is not None:
            raise InvalidArgument(f"trust={options.trust!r} is for https; a plain http connection is not verified")
        return None
    try:
        context = ssl.create_default_context(cafile=options.trust)  # verifies; with cafile the system's are not loaded
    except (OSError, ValueError) as error:
        raise InvalidArgument(f"trust={options.trust!r} is no readable PEM file of certificates: {error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context
