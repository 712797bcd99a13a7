"""The time allowed for a call over QUIC: what counts, and what ends with it on either side."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

import pytest

pytest.importorskip("aioquic", reason="needs the extra quic")

from quic_files import Files
from quic_site import SOON, Run, call, linked, talking

from quic_listening import listening
from relay import Relay
from xooai.driver import DialOptions
from xooai.errors import DeadlineExceeded

pytestmark = pytest.mark.usefixtures("library")

DARK = 0.5  # seconds


def test_connecting_takes_a_part_of_the_time_allowed_for_a_call(run: Run, files: Files) -> None:
    """And the server is told what is left."""
    timeout = 1.5

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        async with listening(files.options()) as (listener, site):
            relay = Relay(urlsplit(listener.url).port or 0)
            port = await relay.start()
            relay.is_silent = True
            loop.call_later(DARK, setattr, relay, "is_silent", False)
            async with linked(f"quic://127.0.0.1:{port}", DialOptions(trust=f"sha256:{files.fingerprint}")) as link:
                began = loop.time()
                with pytest.raises(DeadlineExceeded):
                    await call(link, "wait", timeout=timeout)
                assert timeout <= loop.time() - began < timeout + DARK
                told = site.heads[0].timeout
                assert told is not None
                assert 0 < told <= timeout - DARK
            await relay.aclose()

    run(scenario())


@pytest.mark.parametrize("path", ["/echo/say", "/echo/s%61y"], ids=["plain", "by the application"])
def test_a_request_that_does_not_come_in_its_time_holds_nothing_up(run: Run, files: Files, path: str) -> None:
    """Long before its body is found to be slow, or a listener's grace is over."""
    headers = [(b"content-length", b"1000"), (b"xooai-timeout", b"300"), (b"content-type", b"application/json")]

    async def scenario() -> None:
        async with listening(files.options()) as (listener, site), talking(listener.url, files) as talker:
            exchange = talker.say(headers, b"1", ended=False, pseudo={"path": path})
            async with asyncio.timeout(SOON):
                _, (status, body) = await asyncio.gather(listener.aclose(10 * SOON), exchange.answer())
            assert (status, b"did not come in the time allowed" in body) == (504, True)
            assert site.heads == []

    run(scenario())


def test_a_reply_that_is_not_taken_ends_with_the_time_of_its_call(run: Run, files: Files) -> None:
    async def scenario() -> None:
        async with listening(files.options()) as (listener, _), talking(listener.url, files) as talker:
            exchange = talker.say([(b"xooai-timeout", b"300")], b"8000000", pseudo={"path": "/echo/large"})
            async with asyncio.timeout(SOON):
                await asyncio.gather(listener.aclose(10 * SOON), exchange.ending())
            assert not exchange.is_whole

    run(scenario())
