"""A port that several processes listen at: how it is taken for them, and what each has of it."""

from __future__ import annotations

import os
import socket
from collections.abc import Container
from contextlib import ExitStack
from typing import Any, Self

import msgspec

from xooai import handed
from xooai.driver import ListenOptions, Placed, Shared, Taken
from xooai.errors import InvalidArgument, Unavailable
from xooai.log import logger
from xooai.place import Address, Place, listened_at, resolve
from xooai_quic.binding import PORTS, bind
from xooai_quic.certificate import Certificate, Certified, certificate_for, for_development
from xooai_quic.library import load
from xooai_quic.limits import Limits
from xooai_quic.names import MOST, Names, Resets
from xooai_quic.placing import Placing, Tokens
from xooai_quic.steering import Steering

__all__ = ["Share", "take"]

_LOG = logger("xooai.quic")
_SECRET = 32  # bytes: of SHA-256, by which names have their tokens


async def take(url: str, options: ListenOptions, limits: Limits, library: str | None, processes: int) -> Taken:
    """Take a port for several processes, or find one for the first of them, and say why. Raises as `listen`."""
    chosen = load(library)
    place = listened_at(url, PORTS)
    if not hasattr(socket, "SO_REUSEPORT"):
        raise InvalidArgument(f"cannot listen at {url!r} by several processes: this system has no SO_REUSEPORT")
    addresses = await resolve(place, options.insecure)
    for family, host in addresses:
        if (given := handed.at(family, socket.SOCK_DGRAM, host, place.port)) is not None:
            given.close()
            raise InvalidArgument(
                f"cannot listen at {url!r} by several processes: a socket that is handed over is one for all"
            )
    found = certificate_for(place, addresses, options, chosen)
    made = for_development() if isinstance(found, Certified) else None
    sockets = bind(place, addresses, limits.socket)
    bound = Place(place.scheme, place.host, sockets[0].getsockname()[1])
    for one in sockets:
        one.close()  # free, and of nobody else's who would share it; one that is kept would be given datagrams
    if not chosen.names:
        why = f"{chosen.name} lets nobody choose the names of connections; aioquic does"
    elif processes > MOST:
        why = f"there are {processes} places for processes, and {MOST} can be told apart"
    else:
        try:
            return _shared(bound, addresses[: len(sockets)], limits, (processes, made))
        except (OSError, Unavailable) as error:
            why = f"datagrams cannot be dealt: {error}"
    _LOG.warning("one process has all connections at %s: %s", bound.url, why)
    return Taken(bound.url, is_alone=True)


def _shared(bound: Place, addresses: list[Address], limits: Limits, given: tuple[int, Certificate | None]) -> Taken:
    """Sockets for so many processes, which are given a certificate. Raises OSError or Unavailable."""
    processes, certificate = given
    with ExitStack() as undo:
        places: list[tuple[socket.socket, ...]] = []
        for _ in range(processes):
            own = bind(bound, addresses, limits.socket, is_shared=True)
            for one in own:
                undo.callback(one.close)
            places.append(tuple(own))
        secret = _Secret(os.urandom(_SECRET), certificate)
        packed = msgspec.msgpack.encode(secret)
        taken = Taken(bound.url, places=tuple(places), secret=packed, steering=Steering(places, secret.key))
        undo.pop_all()
    return taken


class _Secret(msgspec.Struct):
    """What all processes at a port are given: the key of names and tokens, and the certificate that was made, if any was."""

    key: bytes
    certificate: Certificate | None


class Share:
    """What one process has of a port."""

    def __init__(self, url: str, shared: Placed, secret: bytes) -> None:
        found = msgspec.msgpack.decode(secret, type=_Secret)
        self.certificate = found.certificate
        self.names = Names(found.key, shared.place)
        self._resets = Resets(found.key)
        self._known: list[Container[bytes]] = []
        self._url, self._shared = url, shared

    @classmethod
    def of(cls, url: str, shared: Shared | None) -> Self | None:
        """What this process has of the port of a URL, if it has any of it."""
        if not isinstance(shared, Placed) or not (secret := shared.secret(url)):
            return None
        return cls(url, shared, secret)

    def work(self, amount: int) -> None:
        """Tell the other processes how much this one has to do."""
        self._shared.work(self._url, amount)

    def placing(self, routing: Any) -> Placing:
        """What sees to datagrams before a server of the library, which takes the tokens of all."""
        routing._retry = Tokens(self.names.key)
        self._known.append(routing._protocols)
        return Placing(routing, self.names, self._resets, self._shared.least, self._known)
