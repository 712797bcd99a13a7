"""What an operator allows to be fetched."""

from __future__ import annotations

import functools
from collections.abc import Set as AbstractSet
from ipaddress import ip_network

import msgspec

from xooai.errors import InvalidArgument
from xooai.fetch.address import Network
from xooai.fetch.host import read_host

__all__ = ["FetchPolicy"]


class FetchPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Which URLs may be fetched, and how much of each. InvalidArgument for what cannot be.

    Sizes are in bytes, times in seconds.
    """

    hosts: AbstractSet[str]
    """Names such as `files.example.com`, `*.example.com` for all names below, addresses, or `*` for every public host."""

    ports: AbstractSet[int] = frozenset({80, 443})

    limit: int = 64 * 1024 * 1024
    """Most that one fetch reads: what a message may have."""

    redirects: int = 3
    """How many are followed, each checked as the first URL was."""

    first_byte: float = 10.0
    """For each server to be found, to connect and to begin its answer."""

    timeout: float = 300.0
    """For a whole fetch, with what the reader of the chunks takes: `limit` at 220 KiB a second."""

    networks: AbstractSet[str] = frozenset()
    """Networks that are not public and may be reached, such as `10.1.0.0/16`, by hosts that `hosts` names, not by `*` alone."""

    trust: str | None = None
    """PEM file of the authorities that servers' certificates are verified by, instead of the system's. Read once."""

    def __post_init__(self) -> None:
        for name in ("hosts", "ports", "networks"):
            if isinstance(getattr(self, name), str):
                raise InvalidArgument(f"{name}={getattr(self, name)!r} is one text; give a set of them")
        msgspec.structs.force_setattr(self, "hosts", frozenset(map(_pattern, self.hosts)))
        msgspec.structs.force_setattr(self, "ports", frozenset(self.ports))
        msgspec.structs.force_setattr(self, "networks", frozenset(str(_network(text)) for text in self.networks))
        if not all(0 < port < 65536 for port in self.ports):
            raise InvalidArgument(f"ports={sorted(self.ports)}: a port is from 1 to 65535")
        for name in ("limit", "first_byte", "timeout"):
            if not getattr(self, name) > 0:
                raise InvalidArgument(f"{name}={getattr(self, name)!r} must be more than 0")
        if self.redirects < 0:
            raise InvalidArgument(f"redirects={self.redirects!r} must be 0 or more")

    def names(self, host: str) -> bool:
        """Whether `host`, as `read_host` gives it, is allowed by its name or by that of a domain above it."""
        if host in self.hosts:
            return True
        labels = host.split(".")
        return any(f"*.{'.'.join(labels[place:])}" in self.hosts for place in range(1, len(labels)))

    def allows(self, host: str) -> bool:
        return "*" in self.hosts or self.names(host)

    def networks_for(self, host: str) -> tuple[Network, ...]:
        """What `host` may be at beside public addresses: a stranger's own name, which `*` allows, leads into none of them."""
        return tuple(map(_network, self.networks)) if self.names(host) else ()


def _pattern(text: str) -> str:
    if text == "*":
        return text
    below, name = ("*.", text[2:]) if text.startswith("*.") else ("", text)
    try:
        return below + read_host(f"[{name}]" if ":" in name and not name.startswith("[") else name)
    except ValueError as error:
        raise InvalidArgument(
            f"hosts: {text!r} is no host ({error}); it takes names, '*.example.com', addresses, or '*', without port and scheme"
        ) from None


@functools.lru_cache(maxsize=256)
def _network(text: str) -> Network:
    try:
        return ip_network(text)
    except ValueError as error:
        raise InvalidArgument(f"networks: {error}; it takes networks such as '10.1.0.0/16'") from None
