"""From a URL and its options to listening sockets and a TLS context, with errors that say what would be right."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import os
import socket
import ssl
from contextlib import ExitStack
from urllib.parse import urlsplit

import msgspec

from xooai.driver import ListenOptions
from xooai.errors import InvalidArgument, PermissionDenied, Unavailable, XooaiError

__all__ = ["Place", "bind", "parse", "resolve", "tls"]

_BACKLOG = 1024  # connections that the kernel keeps until they are accepted: as many as a listener takes

Address = tuple[socket.AddressFamily, str]


class Place(msgspec.Struct, frozen=True):
    """Where to listen. `authority` is the host as it stands in a URL."""

    scheme: str
    host: str
    port: int

    @property
    def authority(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.authority}:{self.port}"


def parse(url: str) -> Place:
    """Raises InvalidArgument for anything but `http(s)://host:port`."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InvalidArgument(f"cannot listen at {url!r}: {error}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path not in ("", "/"):
        raise InvalidArgument(f"cannot listen at {url!r}: it takes http(s)://host:port, without a path")
    if parts.query or parts.fragment or "@" in parts.netloc:
        raise InvalidArgument(f"cannot listen at {url!r}: it takes nothing beside http(s)://host:port")
    return Place(parts.scheme, parts.hostname, (443 if parts.scheme == "https" else 80) if port is None else port)


async def resolve(place: Place, insecure: bool) -> list[Address]:
    """The addresses of a host, each once. PermissionDenied where one is beyond loopback and `insecure` is not set."""
    addresses = _literal(place.host) or await _looked_up(place)
    if not insecure and not all(is_loopback(host) for _, host in addresses):
        raise PermissionDenied(
            f"cannot listen at {place.url}: others could reach it, and nothing asks them who they are; "
            "listen at 127.0.0.1, or allow it with insecure=True (--insecure)"
        )
    return addresses


def _literal(host: str) -> list[Address]:
    if host == "localhost":  # both, whatever the resolver says (RFC 6761 6.3): clients try either first
        return [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]
    try:
        version = ipaddress.ip_address(host).version
    except ValueError:
        return []
    return [(socket.AF_INET if version == 4 else socket.AF_INET6, host)]


async def _looked_up(place: Place) -> list[Address]:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise InvalidArgument(f"cannot listen at {place.url}: the host {place.host!r} is not known here") from error
    return sorted({(family, str(at[0])) for family, _, _, _, at in found})


def is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


def bind(place: Place, addresses: list[Address]) -> list[socket.socket]:
    """Sockets listening at all addresses on one port. Raises Unavailable, PermissionDenied or InvalidArgument.

    Where a name has several addresses (localhost has two), the first must do, the others may.
    """
    with ExitStack() as undo:
        sockets: list[socket.socket] = []
        port = place.port
        for family, host in addresses:
            bound = undo.enter_context(socket.socket(family, socket.SOCK_STREAM))
            try:
                _bind(bound, host, port)
            except OSError as error:
                if not sockets or (error.errno == errno.EADDRINUSE and place.port):
                    raise _explained(place, error) from error
                if error.errno == errno.EADDRINUSE:
                    return bind(place, addresses)  # the free port of one address is taken at the other: take another
                bound.close()  # localhost is in IPv6, too, but this machine has none
                continue
            sockets.append(bound)
            port = bound.getsockname()[1]
        undo.pop_all()
    return sockets


def _bind(bound: socket.socket, host: str, port: int) -> None:
    bound.setblocking(False)
    if os.name == "posix":  # elsewhere it would allow a second server on the same port
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if bound.family == socket.AF_INET6:
        bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    bound.bind((host, port))
    bound.listen(_BACKLOG)


def _explained(place: Place, error: OSError) -> XooaiError:
    where = f"cannot listen at {place.url}:"
    if error.errno == errno.EADDRINUSE:
        return Unavailable(f"{where} the address is in use; take another port (0 means any free one)")
    if error.errno == errno.EACCES:
        return PermissionDenied(f"{where} this user may not; ports from 1024 on are free for all")
    if error.errno == errno.EADDRNOTAVAIL:
        return InvalidArgument(f"{where} {place.host!r} is no address of this machine")
    return Unavailable(f"{where} {error.strerror or error}")


def tls(place: Place, options: ListenOptions) -> ssl.SSLContext | None:
    """The TLS context of an https:// listener (TLS 1.2 and later); None for http://. Raises InvalidArgument."""
    if place.scheme != "https":
        return None
    if options.certificate is None:
        raise InvalidArgument(f"{place.url} needs certificate= and key=: names of PEM files")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    for name in filter(None, (options.certificate, options.key)):
        _check_readable(name)
    try:
        # Without a password of ours, OpenSSL would ask for one on the terminal and wait.
        context.load_cert_chain(options.certificate, options.key, password="")
    except (ssl.SSLError, ValueError) as error:
        files = " and ".join(repr(name) for name in (options.certificate, options.key) if name)
        raise InvalidArgument(f"{files}: not a PEM certificate and its unencrypted key: {error}") from error
    return context


def _check_readable(name: str) -> None:
    try:
        with open(name, "rb") as file:
            file.read(1)
    except OSError as error:
        raise InvalidArgument(f"cannot read the TLS file {name!r}: {error.strerror}") from error
