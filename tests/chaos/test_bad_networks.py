"""The proxies that other tests rely on: what they do to bytes and datagrams is what was asked, and the same for the same seed."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from udp_proxy import UdpProxy

from impairment import CLEAN, Ending, Fates, Pieces, Stream, Weather
from tcp_proxy import TcpProxy

Run = Callable[[Coroutine[Any, Any, Any]], Any]

SOON = 30.0  # seconds: far more than anything here takes
HUNG = 0.3  # seconds without a byte, after which a connection counts as one that hangs
DATA = bytes(range(256)) * 400


# Bytes


def taken(pieces: Pieces, parts: list[bytes]) -> list[bytes]:
    return [piece for part in parts for _, piece in pieces.take(part)]


def ends(pieces: list[bytes]) -> set[int]:
    return set(itertools.accumulate(map(len, pieces)))


@given(st.lists(st.binary(max_size=300)), st.integers(1, 100), st.booleans(), st.integers(0, 1000))
def test_bytes_are_cut_at_the_same_places_however_they_arrive(
    parts: list[bytes], size: int, is_random: bool, seed: int
) -> None:
    stream, data = Stream(size=size, is_random=is_random), b"".join(parts)
    whole, found = (taken(Pieces(stream, f"{seed}"), given) for given in ([data], parts))

    assert b"".join(found) == b"".join(whole) == data
    assert ends(whole) <= ends(found)
    assert max(map(len, whole), default=0) <= size


@given(st.lists(st.binary(max_size=300)), st.integers(0, 500))
def test_what_is_behind_the_cut_does_not_pass(parts: list[bytes], cut: int) -> None:
    pieces, data = Pieces(Stream(size=7, cut=cut), ""), b"".join(parts)

    assert b"".join(taken(pieces, parts)) == data[:cut]
    assert pieces.is_cut == (len(data) >= cut)


def test_another_seed_cuts_elsewhere() -> None:
    stream = Stream(size=100, is_random=True, cut=10_000)
    assert len({tuple(taken(Pieces(stream, f"{seed}"), [DATA])) for seed in range(10)}) == 10


@asynccontextmanager
async def echoing() -> AsyncIterator[str]:
    """A server that sends back what comes, and ends when its client does."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await asyncio.sleep(0.01)


async def sent_through(proxy: TcpProxy) -> tuple[bytes, Ending]:
    """What comes back of the data, and how the connection ends."""
    host, _, port = proxy.url.removeprefix("tcp://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    found = b""

    async def send() -> None:
        try:
            writer.write(DATA)
            await writer.drain()
            writer.write_eof()
        except OSError:
            pass  # the connection has ended before all was sent

    sending = asyncio.create_task(send())
    try:
        while data := await asyncio.wait_for(reader.read(65536), HUNG):
            found += data
        return found, "close"
    except TimeoutError:
        return found, "hang"
    except ConnectionError:
        return found, "reset"
    finally:
        sending.cancel()
        await asyncio.wait([sending])
        writer.close()


@pytest.mark.parametrize("ending", ["close", "reset", "hang"])
@pytest.mark.parametrize("cut", [0, 1, 1000, len(DATA) - 1])
def test_a_connection_is_cut_where_and_as_it_should(run: Run, cut: int, ending: Ending) -> None:
    async def scene() -> None:
        async with echoing() as url, TcpProxy(url, CLEAN, Stream(cut=cut, ending=ending)) as proxy:
            found, seen = await sent_through(proxy)
            assert DATA[:cut].startswith(found)
            if ending != "reset":  # which throws away what is on its way
                assert found == DATA[:cut]
            # Closed with bytes unread, a connection is reset.
            assert seen == ending or (ending, seen) == ("close", "reset")

    run(scene())


def test_what_is_not_cut_passes_whole(run: Run) -> None:
    async def scene() -> None:
        async with echoing() as url:
            for stream in (CLEAN, Stream(size=1000), Stream(size=5000, is_random=True, jitter=0.001)):
                async with TcpProxy(url, stream, stream, slow_close=0.01) as proxy:
                    assert await sent_through(proxy) == (DATA, "close")
                    assert proxy.passed == (len(DATA), len(DATA))

    run(scene())


def test_bytes_are_late_and_slow(run: Run) -> None:
    async def scene() -> None:
        loop = asyncio.get_running_loop()
        async with echoing() as url:
            for stream in (Stream(delay=0.2, size=len(DATA)), Stream(rate=len(DATA) / 0.4)):
                async with TcpProxy(url, stream, CLEAN) as proxy:
                    began = loop.time()
                    assert (await sent_through(proxy))[0] == DATA
                    assert 0.2 <= loop.time() - began < SOON

    run(scene())


# Datagrams

STORM = Weather(loss=0.1, twice=0.1, late=0.1, spoilt=0.1)


def test_the_same_seed_does_the_same_to_datagrams() -> None:
    sent = [b"%d" % number for number in range(1000)]
    fates = [[Fates(STORM, f"{seed}") for _ in range(2)] for seed in range(3)]
    became = [[[fate.of(datagram, 0.0) for datagram in sent] for fate in pair] for pair in fates]

    assert all(first == second for first, second in became)
    assert became[0][0] != became[1][0] != became[2][0]


def test_about_as_many_datagrams_suffer_as_should() -> None:
    fates = Fates(STORM, "")
    became = [fates.of(b"datagram", 0.0) for _ in range(10_000)]
    counts = {
        "lost": sum(not copies for copies in became),
        "twice": sum(len(copies) == 2 for copies in became),
        "late": sum(any(wait for wait, _ in copies) for copies in became),
        "spoilt": sum(any(copy != b"datagram" for _, copy in copies) for copies in became),
    }
    assert all(800 < count < 1200 for count in counts.values()), counts


def test_it_is_dark_for_its_time_and_large_datagrams_never_pass() -> None:
    fates = Fates(Weather(largest=1200, dark_from=2, dark=1.0), "")

    assert [bool(fates.of(b"x", now)) for now in (0, 0, 5, 5.9, 6.1)] == [True, True, False, False, True]
    assert fates.of(bytes(1200), 7)
    assert not fates.of(bytes(1201), 7)


def test_large_datagrams_pass_until_the_way_becomes_narrow() -> None:
    fates = Fates(Weather(largest=1200, largest_from=2), "")

    assert [bool(fates.of(bytes(size), 0)) for size in (1201, 1201, 1201, 1200)] == [True, True, False, True]


class Mirror(asyncio.DatagramProtocol):
    """Sends back what comes, and knows who sent it."""

    def __init__(self) -> None:
        self.seen: set[tuple[str, int]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.seen.add(addr)
        self.transport.sendto(data, addr)  # type: ignore[attr-defined]  # a DatagramTransport


class Heard(asyncio.DatagramProtocol):
    """Keeps what comes."""

    def __init__(self) -> None:
        self.data: list[bytes] = []

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.data.append(data)


@asynccontextmanager
async def mirrored(**more: Any) -> AsyncIterator[tuple[UdpProxy, Mirror, asyncio.DatagramTransport, Heard]]:
    """A proxy before a mirror, and a client of it."""
    loop = asyncio.get_running_loop()
    there, mirror = await loop.create_datagram_endpoint(Mirror, ("127.0.0.1", 0))
    async with UdpProxy(f"udp://127.0.0.1:{there.get_extra_info('sockname')[1]}", **more) as proxy:
        port = int(proxy.url.rpartition(":")[2])
        client, heard = await loop.create_datagram_endpoint(Heard, remote_addr=("127.0.0.1", port))
        yield proxy, mirror, client, heard
        client.close()
        there.close()
    await asyncio.sleep(0.01)


def test_datagrams_pass_as_their_fates_say(run: Run) -> None:
    async def scene() -> None:
        sent = [b"%d" % number for number in range(200)]
        async with mirrored(up=STORM, seed=7) as (_, _, client, heard):
            for datagram in sent:
                client.sendto(datagram)
                await asyncio.sleep(0)
            fates = Fates(STORM, "7 up")
            wanted = sorted(copy for datagram in sent for _, copy in fates.of(datagram, 0.0))
            async with asyncio.timeout(SOON):
                while len(heard.data) < len(wanted):  # noqa: ASYNC110  # it has no event for this
                    await asyncio.sleep(0.01)
            assert sorted(heard.data) == wanted
            assert heard.data != wanted

    run(scene())


def test_a_server_sees_clients_at_other_ports_after_so_many_datagrams(run: Run) -> None:
    async def scene() -> None:
        async with mirrored(rebind=10) as (proxy, mirror, client, _):
            for number in range(30):
                client.sendto(b"%d" % number)
                async with asyncio.timeout(SOON):
                    while proxy.up <= number:  # noqa: ASYNC110  # it has no event for this
                        await asyncio.sleep(0.001)
            assert (proxy.ports, len(mirror.seen)) == (3, 3)

    run(scene())
