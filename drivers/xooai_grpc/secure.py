"""The TLS of a listener: its certificate as the files are now, and whom a client's certificate names."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import grpc

from xooai.driver import ListenOptions
from xooai.identity import named
from xooai.place import Place, server_tls
from xooai.renewal import Renewal
from xooai_grpc.channels import Context

__all__ = ["Pair", "credentials", "files_of", "identity_of"]

_NAMES = (
    "peer_uri",
    "peer_email",
    "peer_dns",
    "x509_common_name",
)  # as gRPC's core calls them, see grpc_security_constants.h


class Pair(NamedTuple):
    """PEM of a key and its chain, and of the authorities that know the clients."""

    key: bytes
    chain: bytes
    authorities: bytes | None


def files_of(place: Place, options: ListenOptions) -> Renewal[Pair] | None:
    """What gives the files of a grpcs:// listener; None for grpc://. Raises InvalidArgument."""

    def made() -> Pair:
        server_tls(place, "grpc", options, ["h2"])  # says what is wrong with the files, which gRPC does not
        assert options.certificate is not None  # or it has raised
        chain = Path(options.certificate).read_bytes()
        key = Path(options.key).read_bytes() if options.key is not None else chain
        return Pair(key, chain, None if options.clients is None else Path(options.clients).read_bytes())

    if place.scheme == "grpc":
        server_tls(place, "grpc", options, [])  # says what is for grpcs only
        return None
    return Renewal(place.url, options, made)


def credentials(files: Renewal[Pair]) -> grpc.ServerCredentials:
    """Credentials for one port: gRPC tells each just once what it begins with, and asks again with each connection."""
    used = files.current()

    def renewed() -> grpc.ServerCertificateConfiguration | None:
        """Called by gRPC before each handshake, in one of its threads or in several; None stands for no change."""
        nonlocal used
        found = files.current()
        if found is used:
            return None
        used = found
        return _configuration(found)

    ask: Any = renewed  # its types leave out that it may return None
    return grpc.dynamic_ssl_server_credentials(_configuration(used), ask, used.authorities is not None)


def _configuration(pair: Pair) -> grpc.ServerCertificateConfiguration:
    """A new one each time: gRPC takes what is in it."""
    return grpc.ssl_server_certificate_configuration([(pair.key, pair.chain)], pair.authorities)


def identity_of(context: Context) -> str:
    """Whom the certificate of a call's client names; "" where there is none.

    Asked with each call (2 µs): the next connection from the same address and port may be another client's.
    """
    found = context.auth_context()
    return named(*([name.decode("utf-8", "backslashreplace") for name in found.get(kind, ())] for kind in _NAMES))
