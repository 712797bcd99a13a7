"""The host of a URL, in the one spelling that resolver, TLS and policy all take alike."""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from xooai.optional import load

__all__ = ["is_address", "read_host"]

LONGEST = 253  # characters of a name (RFC 1035); also what of a stranger's text is given to IDNA's tables

_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")  # underscores stand in names that are in use
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")  # a last label that makes resolvers and browsers read an IPv4 address
_IN_BRACKETS = re.compile(r"\[([0-9A-Fa-f:.]{2,45})\]")  # without a zone, which is of this machine


def read_host(text: str) -> str:
    """`text` as a name in lower case and ASCII, or as an address in its usual form, IPv6 without brackets.

    ValueError, saying what is wrong, for what others could read otherwise: `0x7f.1`, `1.2.3`, `[fe80::1%eth0]`, `a..b`.
    """
    if text.startswith("["):
        inner = _IN_BRACKETS.fullmatch(text)
        if inner is None:
            raise ValueError("its host is no IPv6 address, which is written as [2001:db8::1]")
        try:
            return str(IPv6Address(inner[1]))
        except AddressValueError:
            raise ValueError("its host is no IPv6 address, which is written as [2001:db8::1]") from None
    if not text or len(text) > LONGEST:
        raise ValueError("it has no host" if not text else f"its host has more than {LONGEST} characters")
    name = _in_ascii(text)
    labels = name.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        try:
            return str(IPv4Address(name))  # four decimal numbers and no zeros before them
        except AddressValueError:
            raise ValueError(
                "its host ends in a number and is no IPv4 address, which is written as 192.0.2.1"
            ) from None
    if len(name) > LONGEST or not all(map(_LABEL.fullmatch, labels)):
        raise ValueError("its host is no name: letters, digits, '-' and '_' with single dots between, none at the end")
    return name


def is_address(host: str) -> bool:
    """Whether a host that `read_host` gave is an address."""
    return ":" in host or host.rpartition(".")[2].isdigit()


def _in_ascii(text: str) -> str:
    """As browsers do it (UTS #46), and with all rules of IDNA 2008, also for what is in ASCII already (`xn--...`)."""
    if text.isascii() and "xn--" not in text.lower():
        return text.lower()
    idna = load("idna", "a URL with letters beyond ASCII", "fetch")
    try:
        name: str = idna.encode(text, uts46=True, std3_rules=False).decode("ascii").lower()
    except UnicodeError:
        raise ValueError("its host is no internationalised name (IDNA 2008)") from None
    return name
