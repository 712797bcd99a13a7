"""Who leaves the block of a client ends its calls: none goes on, on another connection, when nobody holds the client any more."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from authority import Authority
from everywhere import served
from grpc_poller import poller
from xooai import Executor, Unavailable, post

__all__ = ["poller"]

PATIENCE = 20.0  # seconds: what waits longer fails its test instead of stopping the run


class Waiting(Executor):
    @post
    async def wait(self, seconds: float) -> float:
        await asyncio.sleep(seconds)
        return seconds


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    folder: Path = tmp_path_factory.mktemp("pki")
    return Authority(folder)


@pytest.mark.parametrize("scheme", ["http", "grpc", "quic"])
def test_calls_end_with_the_block_of_their_client(
    scheme: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def left_after(turns: int, url: str) -> None:
        async with Waiting.at(url) as client:
            await client.apost(on="wait", seconds=0.0)
            calls = [asyncio.ensure_future(client.apost(on="wait", seconds=PATIENCE)) for _ in range(2)]
            for _ in range(turns):
                await asyncio.sleep(0)

        async with asyncio.timeout(PATIENCE / 2):
            for error in await asyncio.gather(*calls, return_exceptions=True):
                assert isinstance(error, Unavailable)

    async def scenario(url: str) -> None:
        for turns in range(1, 8):
            await left_after(turns, url)

    with Waiting() as waiting:
        asyncio.run(scenario(served(waiting, scheme, request, monkeypatch)))
