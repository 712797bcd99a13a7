"""Who a client is, by the certificate that it has shown to a listener with `clients=`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["identity_of", "named"]


def named(uris: Iterable[str], emails: Iterable[str], hosts: Iterable[str], common: Iterable[str]) -> str:
    """The name to go by: the first URI (SPIFFE's are such), else email, DNS name, or common name; "" where there is none."""
    return next((name for names in (uris, emails, hosts, common) for name in names if name), "")


def identity_of(certificate: Mapping[str, Any]) -> str:
    """Whom a certificate names, given as `ssl.SSLSocket.getpeercert` does: {} where none was asked for."""
    if not certificate:
        return ""
    others = certificate.get("subjectAltName", ())
    uris, emails, hosts = ([name for kind, name in others if kind == wanted] for wanted in ("URI", "email", "DNS"))
    subject = certificate.get("subject", ())
    return named(uris, emails, hosts, (value for part in subject for kind, value in part if kind == "commonName"))
