"""Certificates for tests of TLS, made by the openssl command."""

from __future__ import annotations

import hashlib
import shutil
import ssl
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

__all__ = ["HERE", "Authority", "Pair"]

HERE = "DNS:localhost,IP:127.0.0.1,IP:::1"
"""What a certificate for this machine names."""


class Pair(NamedTuple):
    """PEM files: a certificate, its key, and both in one."""

    certificate: Path
    key: Path
    both: Path

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(self.certificate.read_text())).hexdigest()


class Authority:
    """Signs certificates, and is trusted by the file `trust`. Skips the test where openssl is missing."""

    def __init__(self, folder: Path) -> None:
        if shutil.which("openssl") is None:
            pytest.skip("needs the openssl command")
        self._folder = folder
        self.own = self._made("authority", "/CN=authority")
        self.trust = self.own.certificate

    def signs(self, name: str, names: str = "", subject: str | None = None) -> Pair:
        """A certificate with `names` as subjectAltName has them, for `subject`, which is a common name unless it is given."""
        by = ["-CA", str(self.own.certificate), "-CAkey", str(self.own.key)]
        alternatives = ["-addext", f"subjectAltName={names}"] if names else []
        leaf = ["-addext", "basicConstraints=critical,CA:FALSE"]
        return self._made(name, subject or f"/CN={name}", *by, *leaf, *alternatives)

    def unsigned(self, name: str, names: str) -> Pair:
        """One that nobody has signed but itself."""
        return self._made(name, f"/CN={name}", "-addext", f"subjectAltName={names}")

    def _made(self, name: str, subject: str, *options: str) -> Pair:
        pair = Pair(*(self._folder / f"{name}.{kind}" for kind in ("crt", "key", "pem")))
        new = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2".split()
        ways = ["-utf8", "-subj", subject, "-keyout", str(pair.key), "-out", str(pair.certificate), *options]
        subprocess.run([*new, *ways], check=True, capture_output=True)
        pair.both.write_bytes(pair.key.read_bytes() + pair.certificate.read_bytes())
        return pair
