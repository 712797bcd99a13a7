"""The names that a certificate is for, learnt as a client learns them: from a handshake, here within memory."""

from __future__ import annotations

import ipaddress
import ssl
from contextlib import suppress

from xooai.guard import host_name

__all__ = ["names_in"]

_STEPS = 8  # halves of a handshake that lead nowhere: TLS 1.2 takes 4, TLS 1.3 takes 3


def names_in(server: ssl.SSLContext, certificate: str) -> list[str]:
    """The hosts that the certificate of `server` (loaded from the PEM file `certificate`) names; a `*` stands for a label.

    None for one that no client would accept, such as one that has expired. The ssl module reads the names of a peer's
    certificate only, and only once it is trusted.
    """
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False  # any name will do: all are asked for
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # the certificate stands for itself, whoever signed it
    try:
        client.load_verify_locations(certificate)
        peer = _peer_of(client, server)
    except ssl.SSLError:
        return []
    found = [_host(kind, str(name)) for kind, name in peer.get("subjectAltName", ()) if kind in ("DNS", "IP Address")]
    return [name for name in found if host_name(name.removeprefix("*."))]


def _peer_of(client: ssl.SSLContext, server: ssl.SSLContext) -> dict[str, tuple[tuple[str, str], ...]]:
    """What `client` learns of the certificate of `server`."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    asking = client.wrap_bio(to_client, to_server)
    answering = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(_STEPS):
        for side in (asking, answering):
            with suppress(ssl.SSLWantReadError):
                side.do_handshake()
                if side is asking:
                    return asking.getpeercert() or {}  # type: ignore[return-value]  # of its values only names are read
    return {}


def _host(kind: str, name: str) -> str:
    """As it stands in a URL."""
    if kind == "DNS":
        return name
    address = ipaddress.ip_address(name.strip())  # OpenSSL writes IPv6 in full
    return f"[{address}]" if address.version == 6 else str(address)
