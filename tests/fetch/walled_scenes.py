"""Scenes in a network namespace where every address on Earth leads to one server, so that none leads out.

`python walled_scenes.py`, as root of namespaces of its own, prints a JSON object: for each scene null, or its traceback.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import subprocess
import sys
import tempfile
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fetch_addresses import FORBIDDEN, PUBLIC
from walled_dns import AAAA, A, Names

from xooai import fetch
from xooai.errors import DeadlineExceeded, PermissionDenied, ResourceExhausted, Unavailable, XooaiError
from xooai.fetch import FetchPolicy
from xooai.fetch.lookup import AT_ONCE, TRIED

__all__ = ["SCENES"]

OWN = ("93.185.0.1", "2606:2801::1")
"""Addresses of this machine that look public."""
SETUP = f"""
ip link set lo up
ip addr add 192.0.2.77/32 dev lo
ip -6 addr add 2001:db8::77/128 dev lo nodad
ip route add local 0.0.0.0/0 dev lo src 192.0.2.77
ip -6 route add local ::/0 dev lo src 2001:db8::77
ip addr add {OWN[0]}/32 dev lo
ip -6 addr add {OWN[1]}/128 dev lo nodad
mount --bind resolv.conf /etc/resolv.conf
mount --bind nsswitch.conf /etc/nsswitch.conf
"""
ANY = FetchPolicy(hosts=frozenset({"*"}))
TCP, UDP, SYN = 6, 17, 2


class World:
    """The one server, its name server, and all packets."""

    def __init__(self, packets: socket.socket, names: Names) -> None:
        self.names = names
        self.visits: list[tuple[str, str]] = []
        """For each connection the address where it arrived, and the Host that it asked for."""
        self.location: str | None = None
        """Where the server redirects to, once."""
        self._packets = packets

    def called(self, name: str, *answers: list[str]) -> str:
        """A URL of a name that the name server gives these answers for."""
        self.names.table[name] = list(answers)
        return f"http://{name}/a.png"

    def sent(self) -> list[str]:
        """Where packets went since this was last asked, other than to the name server: each place once, in order."""
        found: dict[str, None] = {}
        while True:
            try:
                packet = self._packets.recv(65536)
            except BlockingIOError:
                return list(found)
            place = _place(packet)
            if place not in (None, "127.0.0.1:53/17"):
                found[str(place)] = None

    def nothing_happened(self) -> bool:
        visits, self.visits = self.visits, []
        return not visits and not self.sent()

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            host = head.partition("Host: ")[2].partition("\r\n")[0]
            at = str(writer.get_extra_info("sockname")[0]).removeprefix("::ffff:")
            self.visits.append((at, host))
            location, self.location = self.location, None
            first = f"302 Found\r\nLocation: {location}" if location else "200 OK"
            writer.write(f"HTTP/1.1 {first}\r\nContent-Length: {len(at)}\r\n\r\n{at}".encode())
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


def _place(packet: bytes) -> str | None:
    """The receiver, its port, and the protocol; for answers, the sender's. None for what goes on in a connection of TCP."""
    if packet[0] >> 4 == 4:
        protocol, start = packet[9], (packet[0] & 15) * 4
        ends = [socket.inet_ntop(socket.AF_INET, packet[at : at + 4]) for at in (12, 16)]
    else:
        protocol, start = packet[6], 40
        ends = [socket.inet_ntop(socket.AF_INET6, packet[at : at + 16]) for at in (8, 24)]
    if protocol not in (TCP, UDP):
        return f"{ends[1]}/{protocol}"
    if protocol == TCP and not packet[start + 13] & SYN:
        return None
    ports = struct.unpack("!HH", packet[start : start + 4])
    server = 0 if ports[0] < ports[1] else 1
    return f"{ends[server]}:{ports[server]}/{protocol}"


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    loop = asyncio.get_running_loop()
    packets = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))  # ETH_P_ALL
    packets.setblocking(False)
    packets.bind(("lo", 0))
    transport, names = await loop.create_datagram_endpoint(Names, local_addr=("127.0.0.1", 53))
    made = World(packets, names)
    servers = [await asyncio.start_server(made.talk, host, 80) for host in ("0.0.0.0", "::")]
    try:
        yield made
    finally:
        for server in servers:
            server.close()
        transport.close()
        packets.close()


def url(address: str) -> str:
    return f"http://[{address}]/a.png" if ":" in address else f"http://{address}/a.png"


async def whole(url: str, policy: FetchPolicy = ANY) -> str:
    async with await fetch.open(url, policy) as fetched:
        return b"".join([chunk async for chunk in fetched]).decode()


async def refused(kind: type[XooaiError], doing: Awaitable[object]) -> str:
    try:
        given = await doing
    except kind as error:
        return error.message
    raise AssertionError(f"{given!r} and no {kind.__name__}")


async def a_public_address_is_reached(world: World) -> None:
    for number, address in enumerate(PUBLIC):
        assert await whole(url(address)) == address
        name = f"public{number}.test"
        assert await whole(world.called(name, [address])) == address
        assert world.visits[-1] == (address, name)
        assert f"{address}:80/6" in world.sent()


async def no_packet_goes_to_an_address_that_is_not_public(world: World) -> None:
    for number, address in enumerate(" ".join(FORBIDDEN.values()).split()):
        name = world.called(f"inner{number}.test", [address])
        by_address = await refused(PermissionDenied, whole(url(address)))
        by_name = await refused(PermissionDenied, whole(name))
        assert "not at public addresses only" in by_address
        assert address not in by_name
        assert world.nothing_happened(), address
        assert world.names.asked[f"inner{number}.test", A] == 1


async def one_address_that_is_not_public_among_others_is_enough(world: World) -> None:
    for number, addresses in enumerate(FORBIDDEN.values()):
        for place, mixed in enumerate(("8.8.8.8 {}", "{} 8.8.8.8", "2606:4700::1111 {} 1.1.1.1")):
            answer = mixed.format(addresses.split()[-1]).split()
            await refused(PermissionDenied, whole(world.called(f"mixed{number}-{place}.test", answer)))
            assert world.nothing_happened()


async def a_redirect_into_an_inner_network_is_not_followed(world: World) -> None:
    start = world.called("start.test", ["8.8.8.8"])
    inner = world.called("inner.test", ["10.0.0.1"])
    for location in (url("127.0.0.1"), url("::1"), url("::ffff:169.254.169.254"), url("169.254.169.254"), inner):
        world.location = location
        await refused(PermissionDenied, whole(start))
        assert world.visits == [("8.8.8.8", "start.test")]
        assert world.sent() == ["8.8.8.8:80/6"]
        world.visits.clear()


async def a_name_is_looked_up_once_whatever_it_would_mean_next(world: World) -> None:
    rebinding = world.called("rebinding.test", ["8.8.8.8"], ["127.0.0.1"])

    assert await whole(rebinding) == "8.8.8.8"
    assert world.names.asked["rebinding.test", A] == world.names.asked["rebinding.test", AAAA] == 1
    assert world.sent() == ["8.8.8.8:80/6"]

    world.visits.clear()
    await refused(PermissionDenied, whole(rebinding))
    assert world.nothing_happened()


async def a_redirect_is_looked_up_anew_and_checked_anew(world: World) -> None:
    world.location = "/b"
    await refused(PermissionDenied, whole(world.called("again.test", ["8.8.8.8"], ["192.168.0.1"])))

    assert world.visits == [("8.8.8.8", "again.test")]
    assert world.sent() == ["8.8.8.8:80/6"]


async def an_address_of_this_machine_is_not_public_whatever_it_is(world: World) -> None:
    for place, address in enumerate(OWN):
        for where in (url(address), world.called(f"own{place}.test", [address])):
            await refused(PermissionDenied, whole(where))
            assert world.nothing_happened()
        policy = FetchPolicy(hosts=frozenset({address}), networks=frozenset({address}))
        assert await whole(url(address), policy) == address
        world.visits.clear()
        world.sent()


async def an_allowed_network_is_reached_by_a_host_that_is_named(world: World) -> None:
    policy = FetchPolicy(hosts=frozenset({"*", "*.inner.test"}), networks=frozenset({"10.1.0.0/16"}))

    assert await whole(world.called("files.inner.test", ["10.1.2.3"]), policy) == "10.1.2.3"
    world.visits.clear()
    world.sent()
    for name, address in (("of-a-stranger.test", "10.1.2.3"), ("other.inner.test", "10.2.0.1")):
        await refused(PermissionDenied, whole(world.called(name, [address]), policy))
        assert world.nothing_happened()


async def an_unknown_name_and_an_inner_one_look_alike(world: World) -> None:
    inner = await refused(PermissionDenied, whole(world.called("inner0.test", ["10.0.0.1"])))
    unknown = await refused(PermissionDenied, whole("http://inner1.test/a.png"))
    named = FetchPolicy(hosts=frozenset({"inner1.test"}))

    assert unknown == inner.replace("inner0", "inner1")
    assert "not known" in await refused(Unavailable, whole("http://inner1.test/", named))
    assert "now" in await refused(Unavailable, whole("http://broken.test/"))
    assert world.nothing_happened()


async def only_some_addresses_of_a_name_are_tried(world: World) -> None:
    many = world.called("many.test", [f"8.8.8.{number}" for number in range(12)])
    policy = FetchPolicy(hosts=frozenset({"*"}), ports=frozenset({81}))

    await refused(Unavailable, whole(many.replace(".test/", ".test:81/"), policy))

    assert len(world.sent()) == TRIED


async def slow_name_servers_hold_up_nothing_else(world: World) -> None:
    slow = FetchPolicy(hosts=frozenset({"*"}), first_byte=0.5)
    waiting = [asyncio.create_task(whole(f"http://a{number}.slow.test/", slow)) for number in range(AT_ONCE)]
    await asyncio.sleep(0)  # each is begun

    await refused(ResourceExhausted, whole("http://one-more.slow.test/", slow))
    assert await whole(url("8.8.8.8")) == "8.8.8.8"
    assert await asyncio.to_thread(str, 1) == "1"
    for task in waiting:
        assert "too long" in await refused(DeadlineExceeded, task)


SCENES: dict[str, Callable[[World], Awaitable[None]]] = {
    scene.__name__: scene
    for scene in (
        a_public_address_is_reached,
        no_packet_goes_to_an_address_that_is_not_public,
        one_address_that_is_not_public_among_others_is_enough,
        a_redirect_into_an_inner_network_is_not_followed,
        a_name_is_looked_up_once_whatever_it_would_mean_next,
        a_redirect_is_looked_up_anew_and_checked_anew,
        an_address_of_this_machine_is_not_public_whatever_it_is,
        an_allowed_network_is_reached_by_a_host_that_is_named,
        an_unknown_name_and_an_inner_one_look_alike,
        only_some_addresses_of_a_name_are_tried,
        slow_name_servers_hold_up_nothing_else,
    )
}


def set_up() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:2 attempts:1\n")
        Path(folder, "nsswitch.conf").write_text("hosts: files dns\n")
        subprocess.run(["sh", "-euc", SETUP], cwd=folder, check=True)


async def play(scene: Callable[[World], Awaitable[None]]) -> str | None:
    try:
        async with world() as made:
            await asyncio.wait_for(scene(made), 60)
    except Exception:  # noqa: BLE001 - told to the test, whatever it is
        return traceback.format_exc()
    return None


def main() -> None:
    set_up()
    told: dict[str, Any] = {name: asyncio.run(play(scene)) for name, scene in SCENES.items()}
    json.dump(told, sys.stdout)


if __name__ == "__main__":
    main()
