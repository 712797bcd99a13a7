"""Where a server listens and where a client calls: what a URL and its TLS files say, checked, the same for every driver."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import re
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from urllib.parse import SplitResult, urlsplit

import msgspec

from xooai import handed
from xooai.driver import DialOptions, ListenOptions
from xooai.errors import InvalidArgument, PermissionDenied, Unavailable, XooaiError

__all__ = [
    "Address",
    "Place",
    "bound_at",
    "called_at",
    "cannot_listen",
    "client_tls",
    "is_loopback",
    "listened_at",
    "resolve",
    "server_tls",
    "whom_to_trust",
]

Address = tuple[socket.AddressFamily, str]

# As OpenSSL, BoringSSL and the TLS of QUIC tell it, with and without hyphens.
_UNSIGNED = re.compile(
    r"self.signed|unable to get (local )?issuer|unable to verify the first|unknown ?issuer", re.IGNORECASE
)
_NAME = re.compile(r"[a-z0-9._-]{1,253}")  # DNS (RFC 1035) allows 253 characters; underscores occur in Docker's names


class Place(msgspec.Struct, frozen=True):
    """A host and a port. `authority` is the host as it stands in a URL."""

    scheme: str
    host: str
    port: int

    @property
    def authority(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host

    @property
    def peer(self) -> str:
        """As errors name it."""
        return f"{self.authority}:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.peer}"


def listened_at(url: str, ports: Mapping[str, int | None]) -> Place:
    """Read the URL of a listener. `ports` has the driver's schemes and their usual ports, the plain one first.

    Raises InvalidArgument for anything but `scheme://host:port`.
    """
    form = f"{next(iter(ports))}{'(s)' if len(ports) > 1 else ''}://host:port"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InvalidArgument(f"cannot listen at {url!r}: {error}") from error
    if parts.scheme not in ports or not parts.hostname or parts.path not in ("", "/"):
        raise InvalidArgument(f"cannot listen at {url!r}: it takes {form}, without a path")
    if parts.query or parts.fragment or "@" in parts.netloc:
        raise InvalidArgument(f"cannot listen at {url!r}: it takes nothing beside {form}")
    port = ports[parts.scheme] if port is None else port
    if port is None:
        raise InvalidArgument(f"cannot listen at {url!r}: it has no port; give one (0 means any free one)")
    return Place(parts.scheme, parts.hostname, port)


def called_at(url: str, ports: Mapping[str, int | None]) -> Place:
    """Read the URL of a link, `ports` as in `listened_at`. Raises InvalidArgument, which tells no secret in the URL."""
    form = f"{next(iter(ports))}://host:port"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        reason = str(error).partition("'")[0].strip()  # without what it quotes, which may hold a password
        raise InvalidArgument(f"the URL cannot be read ({reason}); it takes {form}") from None
    if parts.scheme not in ports:
        raise InvalidArgument(f"the scheme of the URL is {parts.scheme!r}; this driver takes {' and '.join(ports)}")
    if "@" in parts.netloc:
        raise InvalidArgument("the URL holds a user name or password; send credentials as metadata instead")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise InvalidArgument(f"the URL of a link to {parts.hostname} has more than scheme://host:port")
    if port == 0:
        raise InvalidArgument("the URL has port 0, which is for listening at any free one; give the port in use")
    host = _host(parts, form)
    port = ports[parts.scheme] if port is None else port
    if port is None:
        raise InvalidArgument(f"the URL of a link to {host} has no port; it takes {form}")
    return Place(parts.scheme, host, port)


def _host(parts: SplitResult, form: str) -> str:
    host = parts.hostname or ""
    try:
        if ":" in host:
            return str(ipaddress.ip_address(host))
        host = host.encode("idna").decode("ascii")
    except (ValueError, UnicodeError):
        host = ""
    if not _NAME.fullmatch(host):
        raise InvalidArgument(f"the URL names no host, or one that is no name and no address; it takes {form}")
    return host


async def resolve(place: Place, insecure: bool) -> list[Address]:
    """The addresses of a host, each once. PermissionDenied where one is beyond loopback and `insecure` is not set."""
    addresses = _literal(place.host) or await _looked_up(place)
    if not insecure and not all(is_loopback(host) for _, host in addresses):
        raise PermissionDenied(
            f"cannot listen at {place.url}: others could reach it, and nothing asks them who they are; "
            "listen at 127.0.0.1, ask for keys (XOOAI_KEYS, --keys), or allow it with insecure=True (--insecure)"
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


def bound_at(
    place: Place, addresses: Sequence[Address], kind: socket.SocketKind, bind: Callable[[socket.socket, str, int], None]
) -> list[socket.socket]:
    """Sockets at all addresses on one port, each bound by `bind`. Raises Unavailable, PermissionDenied or InvalidArgument.

    Where a name has several addresses (localhost has two), the first must do, the others may. Those that were handed over to this
    process are taken as they are, and no others then.
    """
    given = (handed.at(family, kind, host, place.port) for family, host in addresses)
    if found := [one for one in given if one is not None]:
        return found
    with ExitStack() as undo:
        sockets: list[socket.socket] = []
        port = place.port
        for family, host in addresses:
            made = undo.enter_context(socket.socket(family, kind))
            try:
                made.setblocking(False)
                if family == socket.AF_INET6:
                    made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                bind(made, host, port)
            except OSError as error:
                if not sockets or (error.errno == errno.EADDRINUSE and place.port):
                    raise cannot_listen(place, error) from error
                if error.errno == errno.EADDRINUSE:  # the free port of one address is taken at the other: take another
                    return bound_at(place, addresses, kind, bind)
                made.close()  # localhost is in IPv6, too, but this machine has none
                continue
            sockets.append(made)
            port = made.getsockname()[1]
        undo.pop_all()
    return sockets


def cannot_listen(place: Place, error: OSError) -> XooaiError:
    """What binding to a place failed with, and what would be right."""
    where = f"cannot listen at {place.url}:"
    if error.errno == errno.EADDRINUSE:
        return Unavailable(f"{where} the address is in use; take another port (0 means any free one)")
    if error.errno == errno.EACCES:
        return PermissionDenied(f"{where} this user may not; ports from 1024 on are free for all")
    if error.errno == errno.EADDRNOTAVAIL:
        return InvalidArgument(f"{where} {place.host!r} is no address of this machine")
    return Unavailable(f"{where} {error.strerror or error}")


def server_tls(place: Place, plain: str, options: ListenOptions, protocols: Sequence[str]) -> ssl.SSLContext | None:
    """The context of a listener with TLS (1.2 and later), `protocols` as ALPN names them; None for the scheme `plain`.

    Raises InvalidArgument.
    """
    if place.scheme == plain:
        if options.clients is not None:
            raise InvalidArgument(
                f"clients={options.clients!r} is for {plain}s; a plain {plain} server asks nobody who it is"
            )
        return None
    if options.certificate is None:
        raise InvalidArgument(f"{place.url} needs certificate= and key=: names of PEM files")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(list(protocols))
    _load_own(context, options.certificate, options.key)
    if options.clients is not None:
        try:
            context.load_verify_locations(cafile=options.clients)
        except (OSError, ValueError) as error:
            raise _unreadable("clients", options.clients, error) from error
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_tls(place: Place, plain: str, options: DialOptions, protocols: Sequence[str]) -> ssl.SSLContext | None:
    """The context of a client with TLS (1.2 and later), which verifies; None for the scheme `plain`. Raises InvalidArgument."""
    if place.scheme == plain:
        given = next((name for name in ("trust", "certificate", "key") if getattr(options, name) is not None), None)
        if given is not None:
            raise InvalidArgument(
                f"{given}={getattr(options, given)!r} is for {plain}s; a plain {plain} connection is not verified"
            )
        return None
    try:
        context = ssl.create_default_context(cafile=options.trust)  # verifies; with cafile the system's are not loaded
    except (OSError, ValueError) as error:
        raise _unreadable("trust", options.trust, error) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(list(protocols))
    if options.certificate is not None:
        _load_own(context, options.certificate, options.key)
    elif options.key is not None:
        raise InvalidArgument(f"key={options.key!r} needs certificate=, the PEM file that it belongs to")
    return context


def whom_to_trust(reason: str) -> str:
    """Why a connection was not made, and what helps where nobody who is trusted has signed the server's certificate."""
    if not _UNSIGNED.search(reason):
        return reason
    return f"{reason}; trust= (--trust on the command line) names the PEM file of that certificate, or of who signed it"


def _unreadable(option: str, name: str | None, error: Exception) -> InvalidArgument:
    return InvalidArgument(f"{option}={name!r} is no readable PEM file of certificates: {error}")


def _load_own(context: ssl.SSLContext, certificate: str, key: str | None) -> None:
    for name in filter(None, (certificate, key)):
        _check_readable(name)
    try:
        # Without a password of ours, OpenSSL would ask for one on the terminal and wait.
        context.load_cert_chain(certificate, key, password="")
    except (ssl.SSLError, ValueError) as error:
        files = " and ".join(repr(name) for name in (certificate, key) if name)
        raise InvalidArgument(f"{files}: not a PEM certificate and its unencrypted key: {error}") from error


def _check_readable(name: str) -> None:
    try:
        with open(name, "rb") as file:
            file.read(1)
    except OSError as error:
        raise InvalidArgument(f"cannot read the TLS file {name!r}: {error.strerror}") from error
