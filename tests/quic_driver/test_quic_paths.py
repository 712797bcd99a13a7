"""Paths that carry only small datagrams, or fail: calls get through, and a server is told of a client that gives up."""

from __future__ import annotations

import asyncio
import os
from urllib.parse import urlsplit

import pytest

pytest.importorskip("aioquic", reason="needs the extra quic")

from quic_files import Files
from quic_site import SOON, Run, call, linked

from quic_listening import listening
from relay import Relay
from xooai.driver import DialOptions
from xooai.errors import Unavailable
from xooai_quic.limits import ClientLimits, Limits

pytestmark = pytest.mark.usefixtures("library")

SMALL = 1200  # bytes: what every path carries (RFC 9000 14)
CONTENT = 512 * 1024


def trusted(files: Files) -> DialOptions:
    return DialOptions(trust=f"sha256:{files.fingerprint}")


def test_calls_get_through_where_only_small_datagrams_do(run: Run, files: Files) -> None:
    """Though larger ones would be in use."""

    async def scenario() -> None:
        async with listening(files.options()) as (listener, site):
            relay = Relay(urlsplit(listener.url).port or 0)
            port = await relay.start()
            async with linked(f"quic://127.0.0.1:{port}", trusted(files)) as link:
                relay.largest = SMALL
                body = os.urandom(CONTENT)
                async with asyncio.timeout(2 * SOON):
                    assert (await call(link, body=body))[0] == body
                assert len({head.peer for head in site.heads}) == 1  # on one connection
            await relay.aclose()

    run(scenario())


def test_a_reply_finds_a_client_whose_address_has_changed_while_it_waited(run: Run, files: Files) -> None:
    """Though the server does not know of it, and nobody is where it sends the reply to."""

    async def scenario() -> None:
        async with listening(files.options()) as (listener, site):
            relay = Relay(urlsplit(listener.url).port or 0)
            port = await relay.start()
            limits = ClientLimits(silence=0.1)
            async with linked(f"quic://127.0.0.1:{port}", trusted(files), limits) as link, asyncio.timeout(SOON):
                await call(link)
                body = os.urandom(CONTENT)
                waiting = asyncio.ensure_future(call(link, "wait", body))
                await site.started.wait()
                await asyncio.sleep(0.2)  # until both have confirmed all: what the client sends would show its address
                await relay.rebind()
                site.released.set()
                assert (await waiting)[0] == body
                assert len(site.heads) == 2
            await relay.aclose()

    run(scenario())


def test_a_handshake_that_is_stuck_is_overtaken_by_another(run: Run, files: Files) -> None:
    async def scenario() -> None:
        async with listening(files.options()) as (listener, site):
            relay = Relay(urlsplit(listener.url).port or 0)
            relay.ignored = 1
            port = await relay.start()
            limits = ClientLimits(handshake_pause=0.2)
            async with linked(f"quic://127.0.0.1:{port}", trusted(files), limits) as link, asyncio.timeout(SOON):
                assert (await call(link, body=b"1"))[0] == b"1"
                assert len(site.heads) == 1
            await relay.aclose()

    run(scenario())


def test_a_client_that_gives_up_its_handshake_tells_the_server(run: Run, files: Files) -> None:
    """Which holds no place for it until its time is over."""

    async def scenario() -> None:
        async with listening(files.options(), Limits(connections=1, handshake_time=10 * SOON)) as (listener, _):
            async with linked(listener.url, DialOptions(trust="sha256:" + "0" * 64)) as stranger:
                with pytest.raises(Unavailable):
                    await call(stranger)
            async with linked(listener.url, trusted(files)) as link, asyncio.timeout(SOON):
                while True:
                    try:
                        await call(link)
                        return
                    except Unavailable:
                        await asyncio.sleep(0.05)

    run(scenario())


def test_a_call_that_crosses_the_end_of_an_idle_connection_is_told_that_it_was_not_begun(
    run: Run, files: Files
) -> None:
    """Since its server ends, it is made anew elsewhere then, whatever it does."""

    async def scenario() -> None:
        async with listening(files.options()) as (listener, site):
            relay = Relay(urlsplit(listener.url).port or 0)
            port = await relay.start()
            limits = ClientLimits(silence=SOON)  # it does not ask first whether the server is there
            async with linked(f"quic://127.0.0.1:{port}", trusted(files), limits) as link, asyncio.timeout(SOON):
                await call(link)
                await asyncio.sleep(1.2)  # longer than the server waits for the end of a call to arrive
                relay.is_silent = True
                ending = asyncio.ensure_future(listener.aclose(grace=SOON))
                crossing = asyncio.ensure_future(call(link))
                await asyncio.sleep(0.3)  # both have spoken, and neither was heard
                relay.is_silent = False
                with pytest.raises(Unavailable) as refused:
                    await crossing
                await ending
            await relay.aclose()
            assert refused.value.never_ran
            assert len(site.heads) == 1

    run(scenario())


def test_a_call_after_a_pause_goes_over_a_new_connection_where_the_old_one_is_silent(run: Run, files: Files) -> None:
    """Nothing of it was sent over the old one, so that it may be a call that must not run twice."""

    async def scenario() -> None:
        async with listening(files.options()) as (listener, site):
            relay = Relay(urlsplit(listener.url).port or 0)
            port = await relay.start()
            limits = ClientLimits(silence=0.1, confirming=0.2)
            async with linked(f"quic://127.0.0.1:{port}", trusted(files), limits) as link, asyncio.timeout(SOON):
                await call(link)
                await asyncio.sleep(0.2)
                relay.ignored = 1  # and nobody is told
                assert (await call(link, body=b"2"))[0] == b"2"
            await relay.aclose()
            assert len(site.heads) == 2

    run(scenario())
