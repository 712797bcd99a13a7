"""A name server over UDP, which answers from a table, in turn where it has several answers, and remembers the questions."""

from __future__ import annotations

import asyncio
import ipaddress
import struct
from collections import Counter
from typing import cast

__all__ = ["Names"]

A, AAAA = 1, 28
OK, FAILURE, UNKNOWN = 0, 2, 3
BROKEN, SLOW = "broken.test", "slow.test"


class Names(asyncio.DatagramProtocol):
    """`table` has for each name what is answered: lists of addresses, the last one for all further questions of a kind.

    What ends in `broken.test` is answered with a failure, and what ends in `slow.test` not at all.
    """

    def __init__(self) -> None:
        self.table: dict[str, list[list[str]]] = {}
        self.asked: Counter[tuple[str, int]] = Counter()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, sender: tuple[str, int]) -> None:
        name, end = _name(data)
        (kind,) = struct.unpack("!H", data[end : end + 2])
        if name.endswith(SLOW):
            return
        answers = self.table.get(name, [])
        found = answers[min(self.asked[name, kind], len(answers) - 1)] if answers else []
        self.asked[name, kind] += 1
        version = {A: 4, AAAA: 6}.get(kind)
        records = [
            b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, 0, len(address.packed)) + address.packed
            for address in map(ipaddress.ip_address, found)
            if address.version == version
        ]
        code = FAILURE if name.endswith(BROKEN) else OK if answers else UNKNOWN
        head = data[:2] + struct.pack("!HHHHH", 0x8180 | code, 1, len(records), 0, 0)
        self._transport.sendto(head + data[12 : end + 4] + b"".join(records), sender)


def _name(data: bytes) -> tuple[str, int]:
    """The name that is asked for, and where its text ends."""
    labels, place = [], 12
    while size := data[place]:
        labels.append(data[place + 1 : place + 1 + size].decode())
        place += 1 + size
    return ".".join(labels).lower(), place + 1
