"""Datagrams at a port that several processes share: whose each is, and what is said where nobody has it any more."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager

import pytest

pytest.importorskip("aioquic", reason="needs the extra quic")

from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection

from first_datagrams import initial
from xooai.driver import ListenOptions, Taken
from xooai.errors import Unavailable
from xooai_quic.driver import QuicDriver
from xooai_quic.names import MOST, SIZE, Names, Resets
from xooai_quic.steering import Steering

SECRET = b"known to all processes"
COUNT = 5
PATIENCE = 5.0
kernel = pytest.mark.skipif(sys.platform != "linux", reason="only Linux takes a program that deals datagrams")


def short(name: bytes, size: int = 60) -> bytes:
    """A datagram of a connection with a name."""
    return b"\x40" + name + bytes(size - 1 - len(name))


def first() -> bytes:
    """What a client begins with, which chooses a name of 8 bytes by chance."""
    client = QuicConnection(configuration=QuicConfiguration(is_client=True, server_name="localhost"))
    client.connect(("127.0.0.1", 1), 0.0)
    return client.datagrams_to_send(0.0)[0][0]


class Port:
    """A port with a socket for each process, and a client."""

    def __init__(self) -> None:
        self.places: list[list[socket.socket]] = []
        address = ("127.0.0.1", 0)
        for _ in range(COUNT):
            made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            made.setblocking(False)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            made.bind(address)
            address = made.getsockname()
            self.places.append([made])
        self.client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.client.setblocking(False)
        self.client.connect(address)
        self.steering = Steering(self.places, SECRET)

    def receiver(self, data: bytes) -> int:
        """The place that a datagram goes to."""
        self.client.send(data)
        found = [place for place, (own,) in enumerate(self.places) if heard(own) == data]
        assert len(found) == 1
        return found[0]

    async def answer(self, data: bytes) -> bytes:
        """What is said to a datagram."""
        self.client.send(data)
        async with asyncio.timeout(PATIENCE):
            return await asyncio.get_running_loop().sock_recv(self.client, 2048)


def heard(own: socket.socket) -> bytes | None:
    try:
        return own.recv(2048)
    except BlockingIOError:
        return None


@asynccontextmanager
async def port() -> AsyncIterator[Port]:
    found = Port()
    try:
        yield found
    finally:
        found.steering.close()
        for one in (found.client, *(own for (own,) in found.places)):
            one.close()


@kernel
def test_a_connection_stays_with_the_process_that_named_it_whoever_is_ready() -> None:
    async def main() -> list[int]:
        async with port() as found:
            found.steering.direct({0}, range(COUNT))
            return [found.receiver(short(Names(SECRET, place).new())) for place in range(COUNT)]

    assert asyncio.run(main()) == list(range(COUNT))


@kernel
def test_new_connections_go_to_all_that_are_ready_and_to_nobody_else() -> None:
    async def main() -> list[set[int]]:
        async with port() as found:
            chosen = []
            for ready in ({1}, {0, 2, 4}, {3, 4}):
                found.steering.direct(ready, range(COUNT))
                chosen.append({found.receiver(first()) for _ in range(64)})
            return chosen

    assert asyncio.run(main()) == [{1}, {0, 2, 4}, {3, 4}]


@kernel
def test_a_client_of_a_process_that_has_ended_is_told_so_by_the_token_of_its_connection() -> None:
    name = Names(SECRET, 2).new()

    async def main() -> bytes:
        async with port() as found:
            found.steering.direct({0}, {0, 1})
            return await found.answer(short(name))

    said = asyncio.run(main())

    assert said.endswith(Names(SECRET, 2).token(name))
    assert said[0] & 0xC0 == 0x40
    assert len(said) < 60


@kernel
def test_a_new_client_is_refused_at_once_where_nobody_is_ready() -> None:
    hello = QuicConnection(configuration=QuicConfiguration(is_client=True, server_name="localhost"))
    hello.connect(("127.0.0.1", 1), 0.0)

    async def main() -> bytes:
        async with port() as found:
            found.steering.direct((), ())
            return await found.answer(hello.datagrams_to_send(0.0)[0][0])

    hello.receive_datagram(asyncio.run(main()), ("127.0.0.1", 1), 0.1)

    assert hello._close_event is not None
    assert "not up" in hello._close_event.reason_phrase


@kernel
@pytest.mark.parametrize("what", ["short", "of another version", "a negotiation", "not the first"])
def test_what_begins_no_connection_gets_nothing_from_who_answers_for_a_process(what: str) -> None:
    """A stranger who gives an address that is not his makes nobody send there more than he sent."""
    said = {
        "short": initial(60),
        "of another version": initial(1200, version=0x1A2A3A4A),
        "a negotiation": initial(1200, version=0),
        "not the first": b"\xe3" + initial(1200)[1:],
    }[what]

    async def main() -> bytes | None:
        async with port() as found:
            found.steering.direct((), ())
            found.client.send(said)
            hello = first()
            answer = await found.answer(hello)  # in turn, so that the other would be there before
            assert hello[6 : 6 + hello[5]] in answer[:40] or answer[0] & 0x80
            return heard(found.client)

    assert asyncio.run(main()) is None


@kernel
def test_a_stranger_gets_so_many_refusals_a_second() -> None:
    async def main() -> int:
        async with port() as found:
            found.steering.direct((), ())
            answers = 0
            for _ in range(40):
                for _ in range(50):
                    found.client.send(first_of_all)
                for _ in range(20):
                    await asyncio.sleep(0)
                while heard(found.client) is not None:
                    answers += 1
            return answers

    first_of_all = first()
    began = time.monotonic()
    answers = asyncio.run(main())

    assert 0 < answers <= 1000 * (1 + time.monotonic() - began)


def test_no_token_is_told_of_a_connection_that_another_process_has() -> None:
    """Who could get that would end the connection (RFC 9000 21.11)."""
    name = Names(SECRET, 3).new()

    assert Resets(SECRET).answer(short(name), 0.0, {0, 1}) is None
    assert Resets(SECRET).answer(short(name), 0.0, {1, 3}) is not None


@pytest.mark.parametrize("size", [0, 1, 7, 21])
def test_what_is_too_short_for_a_smaller_answer_gets_none(size: int) -> None:
    assert Resets(SECRET).answer(bytes([0x40]) * size, 0.0, {0x40}) is None


def test_two_who_do_not_know_each_other_stop_answering() -> None:
    resets, data, answers = Resets(SECRET), short(b"unknown"), 0
    while (said := resets.answer(data, 0.0, range(MOST))) is not None:
        assert len(said) < len(data)
        data, answers = said, answers + 1

    assert answers < 43


def test_a_stranger_gets_so_many_answers_a_second() -> None:
    resets = Resets(SECRET)
    given = [resets.answer(short(os.urandom(SIZE)), 0.5, range(MOST)) for _ in range(5000)]

    assert sum(one is not None for one in given) == 1000
    assert resets.answer(short(os.urandom(SIZE)), 2.0, range(MOST)) is not None


@pytest.mark.parametrize(
    ("library", "processes", "why"),
    [("qh3", 5, "qh3 lets nobody choose the names"), (None, MOST + 1, "256 can be told apart")],
    ids=["qh3", "many"],
)
def test_where_connections_cannot_be_dealt_one_process_has_the_port_and_the_log_says_why(
    library: str | None, processes: int, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    if library is not None:
        pytest.importorskip(library)

    async def main() -> Taken:
        return await QuicDriver(library=library).take("quic://127.0.0.1:0", ListenOptions(), processes)

    taken = asyncio.run(main())

    assert taken.is_alone
    assert not taken.places
    assert why in caplog.text


@kernel
def test_nobody_else_takes_a_port_that_processes_share() -> None:
    async def main() -> Taken:
        driver = QuicDriver()
        taken = await driver.take("quic://127.0.0.1:0", ListenOptions(), 3)
        with ExitStack() as undo:
            assert taken.steering is not None
            undo.callback(taken.steering.close)
            for own in taken.places:
                for one in own:
                    undo.enter_context(one)
            with pytest.raises(Unavailable):
                await driver.take(taken.url, ListenOptions(), 3)
        return taken

    assert len(asyncio.run(main()).places) == 3
