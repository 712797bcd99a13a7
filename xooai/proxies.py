"""Proxies whose word counts for where a call came from: by X-Forwarded-For, and by Forwarded (RFC 7239)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from xooai.errors import InvalidArgument
from xooai.metadata import FORWARDED

__all__ = ["Proxies"]

REMEMBERED = 1024  # pairs of an address and what it told: as many as there are connections
LONG = 1024  # characters of headers that are remembered: a dozen proxies write less, and strangers any number
HOPS = 32  # addresses that are looked at, the last ones: more proxies than stand behind each other anywhere
_FOR, _STANDARD = FORWARDED
_QUOTED = r'"(?:[^"\\]|\\.)*"'
# An element of Forwarded: its commas are in quotes (RFC 7239 4). A quote that is not closed takes all that follows, at once.
_ELEMENT = re.compile(rf'(?:[^,"]|{_QUOTED}|(".*))+', re.DOTALL)
_PAIR = re.compile(rf'(?:[^;"]|{_QUOTED})+', re.DOTALL)
_NODE = re.compile(rf'\s*for\s*=\s*({_QUOTED}|[^\s"]+)\s*', re.DOTALL | re.IGNORECASE)
_PORT = re.compile(r"(?:\[(?P<six>[^\[\]]+)\]|(?P<four>[^:]+))(?::[0-9]{1,5})?")

_Address = IPv4Address | IPv6Address


class Proxies:
    """Who is believed. From everybody else the headers are what they are to a client: metadata."""

    def __init__(self, networks: Iterable[str]) -> None:
        """Addresses and networks, as `10.0.0.0/8` or `2001:db8::1`. Raises InvalidArgument."""
        self._networks = tuple(_network(one) for one in networks)
        self._found = lru_cache(REMEMBERED)(self._looked_up)

    def client(self, peer: str, metadata: Mapping[str, str]) -> str:
        """Where a call came from whose connection is that of `peer`; its port is 0 where a proxy tells it.

        It is the last address in the header that is not a proxy of ours: those before it were written by anybody. Where both
        headers are there and differ, one of them is a stranger's, which the proxy has let through, and neither counts.
        """
        told = metadata.get(_FOR, ""), metadata.get(_STANDARD, "")
        size = len(told[0]) + len(told[1])
        found = self._found if size <= LONG else self._looked_up
        return found(peer.rpartition(":")[0], *told) or peer if size else peer

    def _looked_up(self, host: str, told: str, standard: str) -> str:
        """What is told by a host that is believed; "" where nothing is to be believed."""
        nearest = _address(host.strip("[]"))
        if nearest is None or not self._trusts(nearest):
            return ""
        found = {self._farthest(nodes) for nodes in (told and told.split(","), standard and _nodes(standard)) if nodes}
        address = found.pop() if len(found) == 1 else None
        if address is None:
            return ""
        return f"[{address}]:0" if isinstance(address, IPv6Address) else f"{address}:0"

    def _farthest(self, nodes: Iterable[str]) -> _Address | None:
        """The last address that is no proxy's, else the first: a proxy has called for itself. None where there is none."""
        found: _Address | None = None
        for node in reversed(list(nodes)[-HOPS:]):
            address = _of_node(node.strip())
            if address is None:  # "unknown", or a name that was made up: the proxy that tells it is as near as we come
                break
            found = address
            if not self._trusts(address):
                break
        return found

    def _trusts(self, address: _Address) -> bool:
        return any(address in network for network in self._networks)


def _nodes(value: str) -> Iterator[str]:
    """The `for=` of each element of Forwarded, "" for one that has none or two.

    So it is where a quote is left open: a client may have done that, for what a proxy adds to be within its own quotes.
    """
    for element in _ELEMENT.finditer(value):
        pairs = () if element[1] else _PAIR.findall(element[0])
        found = [node[1] for pair in pairs if (node := _NODE.fullmatch(pair))]
        text = found[0] if len(found) == 1 else ""
        yield re.sub(r"\\(.)", r"\1", text[1:-1]) if text.startswith('"') else text


def _of_node(text: str) -> _Address | None:
    """The address in `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]:80`."""
    found = _PORT.fullmatch(text)
    return _address((found["six"] or found["four"]) if found else text)


def _address(text: str) -> _Address | None:
    try:
        address = ip_address(text.partition("%")[0])  # without the zone, which is a name of this machine's
    except ValueError:
        return None
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address


def _network(given: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(given)
    except ValueError as error:
        raise InvalidArgument(
            f"trusted_proxies has {str(given)[:80]!r}: {error}; it takes addresses and networks, as 10.0.0.0/8"
        ) from None
