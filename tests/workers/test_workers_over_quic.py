"""Several processes serve at one port of QUIC: each has connections of its own, and ends without those of others."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from supervised import PATIENCE, PROGRAM, Program, running
from worker_losses import LOST
from worker_program import Faulty

from authority import HERE, Authority
from first_datagrams import initial
from ngtcp2 import installed
from relay import Relay
from xooai import Unavailable, XooaiError

pytest.importorskip("aioquic")

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import QuicEvent

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux deals datagrams to several processes")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    notes = tmp_path_factory.mktemp("notes") / "notes"
    with running([str(PROGRAM), "quic://127.0.0.1:0", "2"], TEST_NOTES=str(notes)) as found:
        yield found


@pytest.fixture(scope="module")
def trust(program: Program) -> str:
    """Of all workers, those that come later among them."""
    return program.until("clients trust it by").split("'")[1]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


async def client_of(number: str, url: str, trust: str, stack: AsyncExitStack) -> tuple[Faulty, int]:
    """A client whose connection a worker has, and that worker's process."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        client = await stack.enter_async_context(Faulty.at(url, trust=trust))
        told = await client.apost(on="who")
        if told["number"] == number:
            return client, int(told["pid"])
    raise AssertionError(f"worker {number} has got no connection")


async def spread(program: Program, trust: str) -> Counter[str]:
    """How many of eight connections each worker has."""
    async with AsyncExitStack() as stack:
        found: Counter[str] = Counter()
        for _ in range(8):
            client = await stack.enter_async_context(Faulty.at(program.urls[0], trust=trust))
            found[(await client.apost(on="who"))["number"]] += 1
        return found


def test_connections_go_to_the_worker_with_fewer_of_them(program: Program, trust: str) -> None:
    assert asyncio.run(spread(program, trust)) == {"1": 4, "2": 4}


def test_a_client_whose_address_changes_stays_with_its_worker(program: Program, trust: str) -> None:
    async def main() -> list[str]:
        relay = Relay(int(program.urls[0].rpartition(":")[2]))
        found = []
        async with Faulty.at(f"quic://127.0.0.1:{await relay.start()}", trust=trust) as client:
            for _ in range(6):
                found.append((await client.apost(on="who"))["pid"])
                await relay.rebind()
        await relay.aclose()
        return found

    assert len(set(asyncio.run(main()))) == 1


@pytest.mark.parametrize("library", ["aioquic", pytest.param("qh3", marks=pytest.mark.slow)])
def test_a_client_that_waits_in_silence_learns_at_once_that_its_worker_was_killed(
    program: Program, trust: str, library: str, pace: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(library)
    monkeypatch.setenv("XOOAI_QUIC", library)

    async def main() -> tuple[float, XooaiError | None, str, str]:
        async with AsyncExitStack() as stack:
            its, pid = await client_of("1", program.urls[0], trust, stack)
            others, other = await client_of("2", program.urls[0], trust, stack)
            lost = asyncio.create_task(its.apost(on="wait", seconds=PATIENCE))
            kept = asyncio.create_task(others.apost(on="wait", seconds=2.5))
            await asyncio.sleep(1)  # both calls have begun, and nothing is sent any more but the question who is there
            began = time.monotonic()
            os.kill(pid, signal.SIGKILL)
            await asyncio.wait([lost], timeout=PATIENCE)
            seconds = time.monotonic() - began
            error = lost.exception()
            assert error is None or isinstance(error, XooaiError)
            next_one = await its.apost(on="who")
            assert await kept == str(other)
            return seconds, error, next_one["pid"], str(pid)

    seconds, error, answered, killed = asyncio.run(main())

    assert isinstance(error, Unavailable)
    assert "has ended" in str(error)
    assert seconds < LOST * pace
    assert answered != killed
    program.until("worker 1 of 2 is ready")


@pytest.mark.parametrize("library", ["aioquic", pytest.param("qh3", marks=pytest.mark.slow)])
def test_a_client_that_is_idle_while_its_worker_is_killed_is_answered_by_another(
    program: Program, trust: str, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody tells it, so that it asks before it sends what may not run twice."""
    pytest.importorskip(library)
    monkeypatch.setenv("XOOAI_QUIC", library)

    async def main() -> None:
        async with AsyncExitStack() as stack:
            client, pid = await client_of("1", program.urls[0], trust, stack)
            await asyncio.sleep(1)
            os.kill(pid, signal.SIGKILL)
            await asyncio.to_thread(program.until, "was ended by SIGKILL")
            assert (await client.apost(on="who"))["pid"] != str(pid)

    asyncio.run(main())
    program.until("worker 1 of 2 is ready")


async def called_throughout(program: Program, trust: str) -> tuple[list[str], list[XooaiError]]:
    """Who answers while all workers are replaced, by clients that stay and by clients that come and go; and how calls fail."""
    answered: list[str] = []
    failed: list[XooaiError] = []
    is_over = asyncio.Event()

    async def call(anew: bool) -> None:
        client = Faulty.at(program.urls[0], trust=trust)
        while not is_over.is_set():
            try:
                answered.append(await client.apost(on="note", id=os.urandom(8).hex()))
            except XooaiError as error:
                failed.append(error)
            if anew:
                await client.__aexit__()
                client = Faulty.at(program.urls[0], trust=trust)
        await client.__aexit__()

    callers = [asyncio.create_task(call(anew)) for anew in (False, False, True, True)]
    program.process.send_signal(signal.SIGHUP)
    await asyncio.to_thread(program.until, "all 2 workers are new")
    is_over.set()
    await asyncio.gather(*callers)
    return answered, failed


@pytest.mark.slow
def test_workers_are_replaced_without_a_failed_call(program: Program, trust: str) -> None:
    answered, failed = asyncio.run(called_throughout(program, trust))

    assert not failed
    assert len(set(answered)) == 4


@pytest.mark.slow
def test_where_one_worker_has_all_connections_it_is_replaced_without_a_failed_call(
    authority: Authority, tmp_path: Path
) -> None:
    pytest.importorskip("qh3")
    given = {"XOOAI_QUIC": "qh3", "TEST_CERTIFICATE": str(authority.signs("server", HERE).both)}
    with running([str(PROGRAM), "quic://127.0.0.1:0", "2"], TEST_NOTES=str(tmp_path / "notes"), **given) as program:
        answered, failed = asyncio.run(called_throughout(program, str(authority.trust)))
        program.process.send_signal(signal.SIGTERM)
        said = program.said()

    assert not failed
    assert len(set(answered)) >= 2  # those that have the connections, and whom they pass calls on to
    assert "one process has all connections at quic://127.0.0.1:" in said
    assert "qh3 lets nobody choose the names" in said


@pytest.mark.slow
def test_at_a_name_with_two_addresses_workers_share_the_port_at_both() -> None:
    with running([str(PROGRAM), "quic://localhost:0", "2"]) as program:
        trust = program.until("clients trust it by").split("'")[1]
        port = program.urls[0].rpartition(":")[2]
        found = set()
        for host in ("127.0.0.1", "[::1]", "127.0.0.1", "[::1]"):
            with Faulty.at(f"quic://{host}:{port}", trust=trust) as client:
                found.add((host, client.post(on="who")["number"]))

    assert {host for host, _ in found} == {"127.0.0.1", "[::1]"}


class Quiet(QuicConnectionProtocol):
    """A connection that is made, and nothing more."""

    def quic_event_received(self, event: QuicEvent) -> None: ...


def test_a_stranger_is_told_no_token_of_a_connection_at_the_other_address() -> None:
    """Who has seen the name of a connection could end it by that (RFC 9000 21.11)."""

    async def main(port: int) -> tuple[bytes, bytes]:
        loop = asyncio.get_running_loop()
        trusting = QuicConfiguration(is_client=True, alpn_protocols=["h3"], verify_mode=ssl.CERT_NONE)
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as stranger:
            stranger.setblocking(False)
            stranger.connect(("::1", port))
            async with connect("127.0.0.1", port, configuration=trusting, create_protocol=Quiet) as client:
                name = client._quic._peer_cid.cid
                unknown = name[:1] + os.urandom(len(name) - 1)
                for one, size in ((name, 70), (unknown, 30)):  # the same process answers both in turn
                    stranger.send(b"\x40" + one + bytes(size - 1 - len(one)))
                async with asyncio.timeout(PATIENCE):
                    first = await loop.sock_recv(stranger, 2048)
                await client.ping()
                return first, client._quic._peer_cid.stateless_reset_token or b""

    with running([str(PROGRAM), "quic://localhost:0", "2"]) as program:
        told, token = asyncio.run(main(int(program.urls[0].rpartition(":")[2])))

    assert token
    assert told[-16:] != token
    assert len(told) < 30


@installed
def test_a_client_that_is_not_ours_is_answered_by_each_worker(program: Program, tmp_path: Path) -> None:
    body = tmp_path / "body.json"
    body.write_text("{}")
    host, port = program.urls[0].removeprefix("quic://").split(":")
    found: set[str] = set()
    until = time.monotonic() + PATIENCE
    while len(found) < 2 and time.monotonic() < until:
        subprocess.run(
            ["gtlsclient", "--quiet", "--exit-on-all-streams-close", "--http-method=POST", f"--data={body}",
             f"--download={tmp_path}", host, port, f"https://{host}:{port}/faulty/who"],
            check=True, capture_output=True, timeout=PATIENCE,
        )  # fmt: skip
        found.add((tmp_path / "who").read_text())

    assert len(found) == 2


def test_clients_that_never_come_back_keep_no_worker_from_others(program: Program, trust: str) -> None:
    """What they were told to come to is not counted for long: anybody may begin, in any number, from addresses not his own."""
    host, port = program.urls[0].removeprefix("quic://").split(":")

    async def flood(by: Faulty) -> Counter[str]:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for _ in range(200):
                sender.sendto(initial(), (host, int(port)))
        await by.apost(on="who")  # only the worker of this connection has anything to tell meanwhile
        await asyncio.sleep(1.5)
        return await spread(program, trust)

    async def main() -> Counter[str]:
        async with Faulty.at(program.urls[0], trust=trust) as first:
            return await flood(first)

    found = asyncio.run(main())

    assert set(found) == {"1", "2"}
    assert max(found.values()) - min(found.values()) <= 2


def test_new_clients_are_let_in_while_the_end_is_announced() -> None:
    with running([str(PROGRAM), "quic://127.0.0.1:0", "2"], TEST_DELAY="3600") as program:
        trust = program.until("clients trust it by").split("'")[1]
        program.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        for _ in range(3):
            with Faulty.at(program.urls[0], trust=trust, retry=0) as client:
                client.post(on="who")

        assert program.end(signal.SIGTERM) == 0  # the second ends the wait


def test_a_second_signal_cuts_off_what_is_under_way_in_each_worker() -> None:
    async def main(program: Program, trust: str) -> list[BaseException | None]:
        async with AsyncExitStack() as stack:
            clients = [(await client_of(number, program.urls[0], trust, stack))[0] for number in ("1", "2")]
            calls = [asyncio.create_task(client.apost(on="pause", seconds=3600.0)) for client in clients]
            while sum(await asyncio.gather(*(client.apost(on="paused") for client in clients))) < len(calls):  # noqa: ASYNC110 - it happens in other processes
                await asyncio.sleep(0.01)
            program.process.send_signal(signal.SIGTERM)
            await turned_away(program.urls[0], trust)
            assert not any(call.done() for call in calls)
            program.process.send_signal(signal.SIGTERM)
            await asyncio.wait(calls, timeout=PATIENCE)
            return [call.exception() for call in calls]

    with running([str(PROGRAM), "quic://127.0.0.1:0", "2"]) as program:
        trust = program.until("clients trust it by").split("'")[1]
        errors = asyncio.run(main(program, trust))

        assert program.process.wait(PATIENCE) == 1

    assert {type(error) for error in errors} == {Unavailable}


async def turned_away(url: str, trust: str) -> None:
    """Come anew until nobody is let in any more."""
    while True:
        async with Faulty.at(url, trust=trust, retry=0) as client:
            try:
                await client.apost(on="who", timeout=PATIENCE)
            except Unavailable:
                return


@pytest.mark.slow
def test_without_a_worker_a_client_is_refused_at_once_and_let_in_again_later(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    with running([str(PROGRAM), "quic://127.0.0.1:0", "1"], TEST_FAILS=str(broken)) as program:
        trust = program.until("clients trust it by").split("'")[1]
        with Faulty.at(program.urls[0], trust=trust) as client:
            pid = int(client.post(on="who")["pid"])
        broken.touch()
        os.kill(pid, signal.SIGKILL)
        program.until("worker 1 cannot start")
        with Faulty.at(program.urls[0], trust=trust, retry=0) as client, pytest.raises(Unavailable, match="is not up"):
            client.post(on="who")
        broken.unlink()
        program.until("is ready after")
        with Faulty.at(program.urls[0], trust=trust) as client:
            assert client.post(on="who")["pid"] != str(pid)

        assert program.end(signal.SIGTERM) == 0
