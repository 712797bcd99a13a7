"""Where a gRPC listener listens, with and without TLS, and how it ends."""

from __future__ import annotations

import asyncio
import logging
import shutil
import socket
import subprocess
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from grpc_site import SOON, Run, call, head, linked, listening, rest, serving

from echoing import StreamSite
from xooai.driver import DialOptions, Link, ListenOptions, Shape
from xooai.errors import InvalidArgument, PermissionDenied, Unavailable
from xooai_grpc import listener as listener_module
from xooai_grpc.driver import GrpcDriver


async def listen(url: str, **options: Any) -> None:
    listener = await GrpcDriver().listen(url, StreamSite(), ListenOptions(**options))
    await listener.aclose()


# Where.


def test_port_0_takes_a_free_one_and_says_which(run: Run) -> None:
    async def scene() -> None:
        async with listening() as (listener, _), linked(listener.url) as link:
            assert not listener.url.endswith(":0")
            assert (await call(link))[0] == b"{}"

    run(scene())


def test_localhost_answers_at_both_loopback_addresses(run: Run) -> None:
    async def scene() -> None:
        async with listening("grpc://localhost:0") as (listener, _):
            port = listener.url.rpartition(":")[2]
            hosts = ["127.0.0.1", "localhost", *(["[::1]"] if socket.has_ipv6 else [])]
            for host in hosts:
                async with linked(f"grpc://{host}:{port}") as link:
                    assert (await call(link))[0] == b"{}"

    run(scene())


def test_an_ipv6_address_is_written_in_brackets(run: Run) -> None:
    async def scene() -> None:
        async with listening("grpc://[::1]:0") as (listener, site), linked(listener.url) as link:
            assert listener.url.startswith("grpc://[::1]:")
            await call(link)
            assert site.heads[0].peer.startswith("[::1]:")

    run(scene())


def test_a_port_in_use_is_named_with_a_way_out(run: Run) -> None:
    """Not shared with a server that is there already, which would take half of its connections."""

    async def scene() -> None:
        async with listening() as (listener, _):
            with pytest.raises(Unavailable) as caught:
                await listen(listener.url)
            assert caught.value.message == (
                f"cannot listen at {listener.url}: the address is in use; take another port (0 means any free one)"
            )
            port = listener.url.rpartition(":")[2]
            with pytest.raises(Unavailable, match="in use"):
                await listen(f"grpc://localhost:{port}")

    run(scene())


def test_a_port_is_free_again_as_soon_as_its_listener_has_closed(run: Run) -> None:
    async def scene() -> None:
        async with listening() as (listener, _):
            url = listener.url
        for _ in range(5):
            async with listening(url), linked(url) as link:
                assert (await call(link, timeout=SOON))[0] == b"{}"

    run(scene())


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "192.0.2.1"])
def test_an_address_beyond_loopback_takes_a_decision(run: Run, host: str) -> None:
    with pytest.raises(PermissionDenied, match="insecure=True"):
        run(listen(f"grpc://{host}:0"))


def test_an_address_of_another_machine_is_refused(run: Run) -> None:
    with pytest.raises(InvalidArgument, match=r"'192\.0\.2\.1' is no address of this machine"):
        run(listen("grpc://192.0.2.1:0", insecure=True))


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("grpc://127.0.0.1", "it has no port"),
        ("grpc://127.0.0.1:1/x", "without a path"),
        ("grpc://127.0.0.1:1?x", "nothing beside"),
        ("grpc://127.0.0.1:99999", "out of range"),
        ("grpc://no-such-host.invalid:1", "is not known here"),
        ("grpcs://127.0.0.1:0", "needs certificate= and key="),
    ],
)
def test_a_url_that_is_none_is_refused(run: Run, url: str, said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        run(listen(url))


# TLS.


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A certificate for 127.0.0.1, its key, both in one file, another key, and one with a password."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl command")
    folder = tmp_path_factory.mktemp("pem")
    names = {name: str(folder / name) for name in ("certificate", "key", "both", "other", "locked")}
    new = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=me".split()
    files = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", names["key"], "-out", names["certificate"]]
    subprocess.run([*new, *files], check=True, capture_output=True)
    again = "openssl ecparam -genkey -name prime256v1 -out".split()
    subprocess.run([*again, names["other"]], check=True, capture_output=True)
    lock = ["openssl", "ec", "-in", names["key"], "-aes128", "-passout", "pass:secret", "-out", names["locked"]]
    subprocess.run(lock, check=True, capture_output=True)
    Path(names["both"]).write_bytes(Path(names["key"]).read_bytes() + Path(names["certificate"]).read_bytes())
    return names


@pytest.mark.parametrize("files", [("certificate", "key"), ("both", None)])
def test_a_call_over_tls_trusts_the_authorities_that_it_is_given(
    run: Run, pem: dict[str, str], files: tuple[str, str | None]
) -> None:
    certificate, key = files
    options = ListenOptions(certificate=pem[certificate], key=pem[key] if key else None)
    trusting = DialOptions(trust=pem["certificate"])

    async def scene() -> None:
        async with (
            listening("grpcs://127.0.0.1:0", options) as (listener, _),
            linked(listener.url, trusting) as link,
        ):
            assert listener.url.startswith("grpcs://127.0.0.1:")
            for size in (10, 3_000_000):
                assert (await call(link, body=bytes(size)))[0] == bytes(size)
            channel = await link.open(head("each", Shape.BIDI))
            await channel.end(b"x")
            assert await rest(channel) == [b"x"]

    run(scene())


def test_a_server_whose_certificate_is_not_trusted_or_for_another_name_is_not_called(
    run: Run, pem: dict[str, str]
) -> None:
    options = ListenOptions(certificate=pem["certificate"], key=pem["key"])

    async def scene() -> None:
        async with listening("grpcs://127.0.0.1:0", options) as (listener, site):
            other = listener.url.replace("127.0.0.1", "localhost")
            trusting = DialOptions(trust=pem["certificate"])
            for url, dialling in ((listener.url, DialOptions()), (other, trusting)):
                async with linked(url, dialling) as link:
                    with pytest.raises(Unavailable, match=r"cannot connect to .*: .*(verif|Hostname|certificate)"):
                        await call(link, timeout=SOON)
            async with linked(listener.url.replace("grpcs", "grpc")) as link:
                with pytest.raises(Unavailable):
                    await call(link, timeout=SOON)
            assert site.heads == []

    run(scene())


@pytest.mark.parametrize(
    ("named", "file"), [("key", "other"), ("key", "locked"), ("certificate", "key"), ("key", "no")]
)
def test_files_that_do_not_fit_are_named(
    run: Run, pem: dict[str, str], named: str, file: str, capfd: pytest.CaptureFixture[str]
) -> None:
    given = {"certificate": pem["certificate"], "key": pem["key"], named: pem.get(file, "/nowhere/no.pem")}
    with pytest.raises(InvalidArgument) as caught:
        run(listen("grpcs://127.0.0.1:0", **given))
    assert repr(given[named]) in caught.value.message
    assert capfd.readouterr().err == ""


def test_what_is_trusted_must_be_certificates(run: Run, pem: dict[str, str]) -> None:
    for trust, url in ((pem["key"], "grpcs://h:1"), ("/nowhere/no.pem", "grpcs://h:1"), (pem["key"], "grpc://h:1")):
        with pytest.raises(InvalidArgument, match=f"trust='{trust}'"):
            run(GrpcDriver().dial(url, DialOptions(trust=trust)))


# The end.


def test_a_drained_listener_finishes_its_calls_and_takes_no_new_ones(run: Run) -> None:
    async def scene() -> None:
        async with serving() as (link, site), listening() as (other, _):
            assert other.url
            calls = [asyncio.create_task(call(link, "wait")) for _ in range(5)]
            await site.has_heads(5)
            site.released.set()
            assert [reply for reply, _ in await asyncio.gather(*calls)] == [b"{}"] * 5
        async with listening() as (listener, site), linked(listener.url) as link:
            calls = [asyncio.create_task(call(link, "wait")) for _ in range(5)]
            stream = await link.open(head("each", Shape.BIDI))
            await stream.send(b"1")
            assert await stream.receive() == b"1"
            await site.has_heads(6)
            closing = asyncio.create_task(listener.aclose(grace=SOON))
            await asyncio.sleep(0.2)
            async with linked(listener.url) as late:
                with pytest.raises(Unavailable):
                    await call(late)
            assert not closing.done()
            site.released.set()
            assert [reply for reply, _ in await asyncio.gather(*calls)] == [b"{}"] * 5
            await stream.end(b"2")
            assert await rest(stream) == [b"2"]
            await asyncio.wait_for(closing, 1)

    run(scene())


def test_a_call_that_was_just_sent_is_answered_while_draining(run: Run) -> None:
    async def scene() -> None:
        async with listening() as (listener, _), linked(listener.url) as link:
            await call(link)
            channel = await link.open(head("say"), b"1")
            await asyncio.sleep(0)
            closing = asyncio.create_task(listener.aclose(grace=SOON))
            assert await channel.receive() == b"1"
            await closing

    run(scene())


def test_what_comes_to_a_listener_that_stops_is_answered_or_surely_has_not_run(run: Run) -> None:
    async def hammered(link: Link, closing: asyncio.Event) -> tuple[int, list[Unavailable]]:
        answered = 0
        failed: list[Unavailable] = []
        while not failed:
            try:
                await call(link)
                answered += 1
            except Unavailable as error:
                failed.append(error)
        assert closing.is_set()
        return answered, failed

    async def scene() -> None:
        async with AsyncExitStack() as stack:
            listener, site = await stack.enter_async_context(listening())
            links = [await stack.enter_async_context(linked(listener.url)) for _ in range(20)]
            closing = asyncio.Event()
            calls = [asyncio.create_task(hammered(link, closing)) for link in links]
            await site.has_heads(100)
            closing.set()
            await listener.aclose(grace=SOON)
            ended = await asyncio.gather(*calls)
        assert sum(answered for answered, _ in ended) == len(site.heads)
        assert [error.message for _, failed in ended for error in failed if not error.never_ran] == []

    run(scene())


@pytest.mark.parametrize("grace", [0, 0.2])
@pytest.mark.parametrize("shape", list(Shape))
def test_calls_that_outlast_the_grace_are_cancelled(run: Run, grace: float, shape: Shape) -> None:
    async def scene() -> None:
        async with listening() as (listener, site), linked(listener.url) as link:
            channel = await link.open(head("wait", shape), None if shape & Shape.CLIENT else b"{}")
            if shape & Shape.CLIENT:
                await channel.send(b"{}")
                await channel.end()
            await site.started.wait()
            await asyncio.wait_for(listener.aclose(grace), 1)
            assert site.cancelled.is_set()
            with pytest.raises(Unavailable, match="ended the call before it was answered"):
                await channel.receive()

    run(scene())


def test_the_grace_may_be_cut_short(run: Run) -> None:
    async def scene() -> None:
        async with listening() as (listener, site), linked(listener.url) as link:
            waiting = asyncio.create_task(call(link, "wait"))
            await site.started.wait()
            closing = asyncio.create_task(listener.aclose(grace=600))
            await asyncio.sleep(0.1)
            closing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await closing
            await asyncio.wait_for(listener.aclose(), 1)
            await listener.aclose(3)
            with pytest.raises(Unavailable):
                await waiting

    run(scene())


def test_a_call_that_ignores_its_cancellation_does_not_hold_up_the_end(
    run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(listener_module, "_STOP", 0.2)

    async def scene() -> None:
        async with listening() as (listener, site), linked(listener.url) as link:
            waiting = asyncio.create_task(call(link, "wait_on"))
            await site.started.wait()
            await asyncio.wait_for(listener.aclose(), 1)
            assert site.cancelled.is_set()
            site.released.set()
            with pytest.raises(Unavailable):
                await waiting

    with caplog.at_level(logging.ERROR, "xooai.grpc"):
        run(scene())
    assert "1 calls have ignored their cancellation for 0.2 seconds" in caplog.messages
