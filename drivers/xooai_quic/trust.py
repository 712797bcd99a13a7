"""Whom a link trusts: the system's authorities, those of a PEM file, or certificates themselves, by their fingerprints."""

from __future__ import annotations

import ipaddress
import os
import re
import ssl
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import ExtendedKeyUsageOID
from service_identity import CertificateError, VerificationError
from service_identity.cryptography import verify_certificate_hostname, verify_certificate_ip_address

from xooai.errors import InvalidArgument

__all__ = ["Trust", "check_pinned", "check_usage"]

_FINGERPRINT = re.compile(
    r"sha256:((?:[0-9a-f]{2}:?){32})", re.IGNORECASE
)  # with colons between bytes, as openssl has it


class Trust(msgspec.Struct, frozen=True):
    """Where the authorities are, and the SHA-256 of certificates that are trusted themselves, whoever signed them.

    Hosts and dates are checked in any case.
    """

    file: str | None = None
    directory: str | None = None
    fingerprints: frozenset[bytes] = frozenset()

    @property
    def is_pinned(self) -> bool:
        """Whether no authority is asked."""
        return bool(self.fingerprints) and self.file is None

    @classmethod
    def of(cls, trust: str | None) -> Trust:
        """Read `trust=`: a PEM file, or `sha256:` and 64 hexadecimal digits. Raises InvalidArgument."""
        if trust is None:
            return cls._of_system()
        if trust.lower().startswith("sha256:"):
            found = _FINGERPRINT.fullmatch(trust)
            if found is None:
                raise InvalidArgument(f"trust={trust!r} is no fingerprint; one is 'sha256:' and 64 hexadecimal digits")
            return cls(fingerprints=frozenset((bytes.fromhex(found[1].replace(":", "")),)))
        try:
            certificates = x509.load_pem_x509_certificates(Path(trust).read_bytes())
            fingerprints = frozenset(certificate.fingerprint(SHA256()) for certificate in certificates)
            if any(_is_authority(certificate) for certificate in certificates):
                return cls(trust, None, fingerprints)
        except (OSError, ValueError) as error:
            raise InvalidArgument(
                f"trust={trust!r} is no readable PEM file of certificates, and no fingerprint ('sha256:...'): {error}"
            ) from error
        return cls(fingerprints=fingerprints)

    @classmethod
    def _of_system(cls) -> Trust:
        """The authorities that Python's own TLS trusts, also by SSL_CERT_FILE and SSL_CERT_DIR."""
        paths = ssl.get_default_verify_paths()
        file = paths.cafile if paths.cafile and os.path.exists(paths.cafile) else None
        directory = paths.capath if paths.capath and os.path.isdir(paths.capath) else None
        return cls(file, directory)  # neither: the library's own, those of Mozilla


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return certificate.version is x509.Version.v1  # which had no extensions: roots of old


def check_usage(certificate: x509.Certificate) -> None:
    """Raise ValueError where a certificate says what it is for, and that is no server (RFC 5280 4.2.1.12)."""
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return
    if not {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE} & set(usage):
        raise ValueError("its certificate is not for servers")


def check_pinned(certificate: bytes, trust: Trust, host: str) -> None:
    """Raise ValueError where a certificate (DER) is not trusted itself, or is not good now and for the host."""
    read = x509.load_der_x509_certificate(certificate)
    found = read.fingerprint(SHA256())
    if found not in trust.fingerprints:
        raise ValueError(f"its certificate has the fingerprint sha256:{found.hex()}")
    if not read.not_valid_before_utc <= datetime.now(UTC) <= read.not_valid_after_utc:
        raise ValueError(f"its certificate is good from {read.not_valid_before_utc} to {read.not_valid_after_utc}")
    try:
        if _is_address(host):
            verify_certificate_ip_address(read, host)
        else:
            verify_certificate_hostname(read, host)
    except (CertificateError, VerificationError) as error:
        raise ValueError(f"its certificate is not for {host}") from error


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
