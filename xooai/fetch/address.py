"""Which IP addresses are public: reachable by everybody on the Internet, and no way into a network of the operator's."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

__all__ = ["Address", "Network", "embedded", "is_public", "may_reach"]

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# IANA's registries of special addresses, multicast and reserved ones; whole blocks, also where single addresses in them are
# reachable by all (192.0.0.9). `ipaddress.is_global` differs: by version of Python, and on multicast, 6to4 and NAT64.
_NOT_PUBLIC_4 = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",  # this network; Linux takes 0.0.0.0 for itself
            "10.0.0.0/8",  # private
            "100.64.0.0/10",  # of providers, between them and their customers; a cloud's metadata at 100.100.100.200
            "127.0.0.0/8",  # loopback
            "168.63.129.16/32",  # Azure's own service for each virtual machine, at an address that looks public
            "169.254.0.0/16",  # link-local; clouds' metadata at 169.254.169.254
            "172.16.0.0/12",  # private
            "192.0.0.0/24",  # of protocols; a cloud's metadata at 192.0.0.192
            "192.0.2.0/24",  # documentation
            "192.88.99.0/24",  # relays of 6to4
            "192.168.0.0/16",  # private
            "198.18.0.0/15",  # benchmarks
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, broadcast
        ),
    )
)
# Everything else is loopback, mapped, compatible, NAT64, discarding, unique-local, link-local, site-local, multicast, or
# given to nobody.
_PUBLIC_6 = IPv6Network("2000::/3")
_NOT_PUBLIC_6 = tuple(
    map(
        IPv6Network,
        (
            "2001::/23",  # of protocols: Teredo, benchmarks, ORCHID
            "2001:db8::/32",  # documentation
            "2002::/16",  # 6to4
            "3fff::/20",  # documentation
        ),
    )
)
_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052
_NAT64_LOCAL = IPv6Network("64:ff9b:1::/48")  # RFC 8215; with the form that RFC 6052 has for 48 bits
_COMPATIBLE = IPv6Network("::/96")  # RFC 4291 2.5.5.1, given up


def is_public(address: Address) -> bool:
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC_4)
    return address in _PUBLIC_6 and not any(address in network for network in _NOT_PUBLIC_6)


def may_reach(address: str, networks: Iterable[Network] = ()) -> bool:
    """Say whether `address` is public or in one of `networks`, and so is each IPv4 address that it stands for."""
    return _may_reach(ip_address(address), tuple(networks))


def _may_reach(address: Address, networks: tuple[Network, ...]) -> bool:
    if is_public(address):
        return True
    return any(address in network for network in networks) and all(
        _may_reach(inner, networks) for inner in embedded(address)
    )


def embedded(address: Address) -> list[IPv4Address]:
    """The IPv4 addresses where packets to an IPv6 address may come out: mapped, compatible, NAT64, 6to4, Teredo."""
    if isinstance(address, IPv4Address):
        return []
    bits = int(address)
    if address.teredo is not None:
        return list(address.teredo)
    if address.sixtofour is not None:
        return [address.sixtofour]
    if address.ipv4_mapped is not None or address in _NAT64:
        return [IPv4Address(bits & 0xFFFF_FFFF)]
    if address in _NAT64_LOCAL:
        return [IPv4Address((bits >> 64 & 0xFFFF) << 16 | bits >> 40 & 0xFFFF)]
    if address in _COMPATIBLE and bits > 1:  # '::' and '::1' mean something else
        return [IPv4Address(bits)]
    return []
