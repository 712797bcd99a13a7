"""TLS gone wrong: certificates that do not fit, handshakes that are cut, and who does not even begin one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from itertools import product
from typing import Any
from urllib.parse import urlsplit

import pytest
from chaos_calls import Clock, ends_well_or_with_an_error, keeping_time
from chaos_program import PATIENCE, SHAPES, Ledger
from waiting_program import Waiting

from impairment import CLEAN, ENDINGS, Stream
from tcp_proxy import TcpProxy
from xooai.errors import Unavailable

Run = Callable[[Coroutine[Any, Any, Any]], Any]

SIZE = 20_000  # bytes of content
TIMEOUT = 1.0  # seconds, of a call whose connection may hang
SILENT = 30  # connections that do not do what a handshake wants


@pytest.fixture(params=["https", "grpcs"])
def scheme(request: pytest.FixtureRequest) -> str:
    """Each driver with TLS on TCP."""
    return str(request.param)


@pytest.fixture
def url(ledger: Ledger, scheme: str, pem: dict[str, str]) -> str:
    return ledger.start(f"{scheme}://127.0.0.1:0", certificate=pem["certificate"], key=pem["key"])[0]


@pytest.mark.parametrize(
    ("served", "trusted"), [("expired", "expired"), ("other", "other"), ("certificate", "other"), ("certificate", None)]
)
def test_a_certificate_that_does_not_fit_is_an_error(
    run: Run, ledger: Ledger, scheme: str, pem: dict[str, str], served: str, trusted: str | None
) -> None:
    """Its days are over, it is for another name, it is not the one that is trusted, or nobody vouches for it."""

    async def scene() -> None:
        url = ledger.start(f"{scheme}://127.0.0.1:0", certificate=pem[served], key=pem["key"])[0]
        async with Ledger.at(url, trust=trusted and pem[trusted]) as client:
            for shape, call in SHAPES.items():
                with pytest.raises(Unavailable, match="ertificate|Hostname"):
                    await call(client, shape, 100, PATIENCE)
        assert not ledger.runs

    run(scene())


def test_a_call_over_tls_that_is_cut_off_anywhere_gives_all_or_an_error(
    run: Run, ledger: Ledger, url: str, pem: dict[str, str]
) -> None:
    """In the handshake and behind it."""

    async def cut(clock: Clock, name: str, up: Stream, down: Stream) -> None:
        async with TcpProxy(url, up, down) as proxy, Ledger.at(proxy.url, trust=pem["certificate"]) as client:
            await ends_well_or_with_an_error(client, ledger, "both", name, SIZE, TIMEOUT, clock)

    async def scene() -> None:
        async with TcpProxy(url) as proxy, Ledger.at(proxy.url, trust=pem["certificate"]) as client:
            await SHAPES["both"](client, "clean", SIZE, PATIENCE)
            totals = proxy.passed
        async with keeping_time() as clock, asyncio.TaskGroup() as group:
            for part, ending, way in product((0, 0.01, 0.05, 0.5, 0.99), ENDINGS, (0, 1)):
                cutting = Stream(cut=round(part * totals[way]), ending=ending)
                streams = (CLEAN, cutting) if way else (cutting, CLEAN)
                group.create_task(cut(clock, f"{part} {ending} {way}", *streams))

    run(scene())


@pytest.mark.parametrize("said", [b"", b"\x16\x03\x01", b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 5000], ids=range(4))
def test_who_does_not_do_its_part_of_a_handshake_holds_nobody_up(
    run: Run, waiting: Waiting, scheme: str, pem: dict[str, str], said: bytes
) -> None:
    async def scene() -> None:
        url = waiting.start(f"{scheme}://127.0.0.1:0", certificate=pem["certificate"], key=pem["key"])[0]
        parts = urlsplit(url)
        async with (
            Waiting.at(url, trust=pem["certificate"], timeout=PATIENCE) as client,
            client.open(on="each") as talk,
        ):
            others = [(await asyncio.open_connection(parts.hostname, parts.port))[1] for _ in range(SILENT)]
            for writer in others:
                writer.write(said)
            for number in range(20):
                await talk.send(number)
                assert await talk.receive() == number
            async with Waiting.at(url, trust=pem["certificate"], timeout=PATIENCE) as newcomer:
                assert await newcomer.apost(on="ready") == "ready"
            for writer in others:
                writer.transport.abort()

    run(scene())
