"""A handler that raises what Python closes coroutines with: its caller is told, over each driver, and others are served."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from authority import Authority
from everywhere import served
from grpc_poller import poller
from xooai import Executor, Internal, post, stream

__all__ = ["poller"]

PATIENCE = 20  # seconds: what waits longer fails its test instead of stopping the run


class Leaving(Executor):
    @post
    async def one(self, leaves: bool = True) -> int:
        if leaves:
            raise GeneratorExit
        return 1

    @stream
    async def some(self, leaves: bool = True) -> AsyncIterator[int]:
        yield 1
        if leaves:
            raise GeneratorExit

    @stream
    async def total(self, xs: AsyncIterator[int], leaves: bool = True) -> int:
        if leaves:
            raise GeneratorExit
        return sum([x async for x in xs])


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.mark.parametrize("scheme", ["memory", "http", "grpc", "quic"])
def test_a_handler_that_raises_a_generator_exit_has_failed(
    scheme: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Leaving() as leaving, Leaving.at(served(leaving, scheme, request, monkeypatch), timeout=PATIENCE) as e:
        with pytest.raises(Internal, match="the handler failed"):
            e.post(on="one")
        with pytest.raises(Internal, match="the handler failed"):
            list(e.stream("some"))
        with pytest.raises(Internal, match="the handler failed"):
            e.stream("total", xs=[1, 2])

        assert e.post(on="one", leaves=False) == 1
        assert list(e.stream("some", leaves=False)) == [1]
        assert e.stream("total", xs=[1, 2], leaves=False) == 3
