"""The addresses of a host: looked up once, each checked, and none beyond these is ever connected to."""

from __future__ import annotations

import asyncio
import socket
from ipaddress import ip_address
from threading import Lock, Thread

from xooai import forks
from xooai.errors import PermissionDenied, ResourceExhausted, Unavailable
from xooai.fetch.address import Network, may_reach
from xooai.fetch.host import is_address
from xooai.fetch.policy import FetchPolicy
from xooai.fetch.url import Target

__all__ = ["addresses_of"]

AT_ONCE = 32  # lookups: a stranger chooses which name servers are asked, and these may be silent for half a minute
TRIED = 4  # addresses: so many does a stranger's name server have us knock at, for one fetch


async def addresses_of(target: Target, policy: FetchPolicy, shown: str) -> list[str]:
    """Where to connect to, in the resolver's order. PermissionDenied where one of all the addresses may not be reached."""
    found = [target.host] if is_address(target.host) else await _LOOKUPS.of(target.host, target.port, shown)
    networks = policy.networks_for(target.host)
    if not found and policy.names(target.host):
        raise Unavailable(f"{shown} cannot be fetched: its host is not known here")
    # Where any host may be asked for, one error tells of hosts that are unknown and of those that are not public: else
    # the names of an inner network could be tried out.
    if not found or not all(_is_allowed(one, networks) for one in found):
        raise PermissionDenied(f"{shown} may not be fetched: its host is unknown, or not at public addresses only")
    return found[:TRIED]


def _is_allowed(address: str, networks: tuple[Network, ...]) -> bool:
    if not may_reach(address, networks):
        return False
    return any(ip_address(address) in network for network in networks) or not _is_of_this_machine(address)


def _is_of_this_machine(address: str) -> bool:
    """Whether packets to a public address would not leave this machine, whose services trust what comes from itself.

    Connecting a UDP socket sends nothing: it chooses the address to send from.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((address, 9))
            return ip_address(probe.getsockname()[0]) == ip_address(address)
    except OSError:  # there is no way to it at all
        return False


class _Lookups:
    """Each in a thread of its own: the loop's threads read files, and must not wait for a stranger's name server."""

    def __init__(self) -> None:
        self.renew()
        forks.renewed(self)

    def renew(self) -> None:
        self._lock = Lock()
        self._running = 0

    async def of(self, host: str, port: int, shown: str) -> list[str]:
        """All addresses; none where the host is not known. Unavailable where that cannot be told now."""
        with self._lock:
            if self._running >= AT_ONCE:
                raise ResourceExhausted(
                    f"{shown} cannot be fetched now: {AT_ONCE} lookups are under way", reason="load", retry_after=1
                )
            self._running += 1
        loop = asyncio.get_running_loop()
        found: asyncio.Future[list[str]] = loop.create_future()
        try:
            Thread(target=self._look_up, args=(host, port, loop, found), name="xooai-lookup", daemon=True).start()
        except BaseException:
            self._done()
            raise
        try:
            return await found
        except OSError as error:
            raise Unavailable(f"{shown} cannot be fetched: its host cannot be looked up now") from error

    def _look_up(self, host: str, port: int, loop: asyncio.AbstractEventLoop, found: asyncio.Future[list[str]]) -> None:
        addresses: list[str] = []
        failure: OSError | None = None
        try:
            # As bytes: a text would go through Python's IDNA of 2003.
            answers = socket.getaddrinfo(host.encode("ascii"), port, type=socket.SOCK_STREAM)
            addresses = list(dict.fromkeys(str(place[0]) for *_, place in answers))
        except OSError as error:
            if error.errno not in _UNKNOWN:
                failure = error
        finally:
            self._done()
        try:
            loop.call_soon_threadsafe(_tell, found, addresses, failure)
        except RuntimeError:  # the loop is closed: nobody waits
            pass

    def _done(self) -> None:
        with self._lock:
            self._running -= 1


_UNKNOWN = tuple(
    getattr(socket, name) for name in ("EAI_NONAME", "EAI_NODATA", "EAI_ADDRFAMILY") if hasattr(socket, name)
)
_LOOKUPS = _Lookups()


def _tell(found: asyncio.Future[list[str]], addresses: list[str], failure: OSError | None) -> None:
    if found.done():  # its caller has left
        return
    if failure is None:
        found.set_result(addresses)
    else:
        found.set_exception(failure)
