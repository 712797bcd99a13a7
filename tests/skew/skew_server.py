"""Serves the contract over all drivers until stdin ends, for a client of another version: `python skew_server.py FOLDER`.

Prints the URLs as JSON; a certificate for 127.0.0.1 is written into FOLDER.
"""

from __future__ import annotations

import datetime
import ipaddress
import json
import sys
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from skew_program import Contract

import xooai

PLAIN = ("http", "grpc")
SECURE = ("https", "grpcs", "quic")


def certificate(folder: Path) -> Path:
    """Write a certificate for 127.0.0.1 and its key into one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "skew")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = folder / "server.pem"
    pkcs8, none = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, pkcs8, none) + made.public_bytes(serialization.Encoding.PEM)
    )
    return file


def main(folder: Path) -> None:
    file = str(certificate(folder))
    # A server for each: what one driver calls is counted by itself.
    servers = [Contract() for _ in PLAIN + SECURE]
    urls = []
    for scheme, server in zip(PLAIN + SECURE, servers, strict=True):
        urls += server.start(f"{scheme}://127.0.0.1:0", certificate=None if scheme in PLAIN else file)
    print(json.dumps({"urls": urls, "trust": file, "xooai": str(Path(xooai.__file__).parent)}), flush=True)
    sys.stdin.read()
    for server in servers:
        server.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
