"""The certificate of a listener: read from its files, or made for development on this machine."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from xooai.driver import ListenOptions
from xooai.errors import InvalidArgument
from xooai.guard import host_name
from xooai.log import logger
from xooai.place import Address, Place, is_loopback, server_tls
from xooai.renewal import Renewal
from xooai_quic.library import Library

__all__ = ["Certificate", "Certified", "certificate_for", "for_development"]

_LOG = logger("xooai.quic")
_DAYS = 13  # browsers that are told a fingerprint take certificates of at most two weeks (W3C WebTransport)


class Certificate(NamedTuple):
    """PEM of the chain and of its key, and the hosts that it names; a `*` stands for a label."""

    chain: bytes
    key: bytes
    names: tuple[str, ...]

    @property
    def fingerprint(self) -> str:
        """As `trust=` takes it."""
        return f"sha256:{x509.load_pem_x509_certificate(self.chain).fingerprint(SHA256()).hex()}"


class Certified(NamedTuple):
    """A certificate and its key as a library takes them, and the hosts that it names."""

    own: Mapping[str, Any]
    """A part of the library's configuration."""
    names: tuple[str, ...]


def certificate_for(
    place: Place,
    addresses: list[Address],
    options: ListenOptions,
    library: Library,
    given: Certificate | None = None,
) -> Renewal[Certified] | Certified:
    """What gives that of the options, as its files are now; or one for development, where only this machine can call.

    For that one is made and told of, unless it is `given`.

    Raises InvalidArgument.
    """
    if options.clients is not None:
        raise InvalidArgument(
            f"clients={options.clients!r} is for https and grpcs; a quic server cannot ask its clients who they are"
        )
    if options.certificate is not None:
        return Renewal(place.url, options, lambda: _certified(place, options, library))
    if options.key is not None or not all(is_loopback(host) for _, host in addresses):
        raise InvalidArgument(
            f"{place.url} needs certificate= and key=: names of PEM files; only at 127.0.0.1, ::1 and localhost one is made"
        )
    made = given or for_development()
    if given is None:
        _tell(made.fingerprint)
    return Certified(library.certified(made.chain, made.key), made.names)


@lru_cache(maxsize=1)  # once: a server listens twice, the first time to see whether it can
def _tell(fingerprint: str) -> None:
    _LOG.warning(
        "a certificate was made for the quic:// listeners of this process, for localhost only; clients trust it by trust='%s'",
        fingerprint,
    )


def _certified(place: Place, options: ListenOptions, library: Library) -> Certified:
    server_tls(place, "", options, ["h3"])  # says what is wrong with the files
    assert options.certificate is not None
    chain = Path(options.certificate).read_bytes()
    try:
        key = load_pem_private_key(Path(options.key or options.certificate).read_bytes(), None)
        certificates = x509.load_pem_x509_certificates(chain)
        own = library.certified(
            b"".join(one.public_bytes(Encoding.PEM) for one in certificates),
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        )
        return Certified(own, _names(certificates[0]))
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InvalidArgument(f"{options.certificate!r}: not a certificate and key for QUIC: {error}") from error


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    """As they stand in a URL; what is no host is left out."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return ()
    hosts = tuple(name for name in found.get_values_for_type(x509.DNSName) if host_name(name.removeprefix("*.")))
    addresses = found.get_values_for_type(x509.IPAddress)
    return hosts + tuple(f"[{one}]" if one.version == 6 else str(one) for one in addresses)


@lru_cache(maxsize=1)  # one for all listeners of this process, whose clients then trust one fingerprint
def for_development() -> Certificate:
    """A certificate that signs itself, for localhost, 127.0.0.1 and ::1, made anew by each process."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "xooai for development")])
    names = [
        x509.DNSName("localhost"),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
        x509.IPAddress(ipaddress.ip_address("::1")),
    ]
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))  # clocks differ
        .not_valid_after(now + timedelta(days=_DAYS))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, SHA256())
    )
    return Certificate(
        certificate.public_bytes(Encoding.PEM),
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        _names(certificate),
    )
