"""A listener of a worker that passes on all its calls passes the suite, as the driver itself does."""

from __future__ import annotations

from functools import partial
from math import inf
from types import SimpleNamespace
from typing import Any

import pytest
from beside import eventually, ready

from xooai import ResourceExhausted, XooaiError, plugins
from xooai.driver import Channel, DialOptions, Driver, Link, Listener, ListenOptions, Shape, Site
from xooai.testing import DriverTests
from xooai.testing.suite.fixtures import Serve, on_a_loop
from xooai.testing.suite.limits import LIMIT
from xooai.workers.passing import Passing


class Busy:
    """A worker with so many calls under way that all others go on to the one beside it."""

    def __init__(self, folder: str) -> None:
        table = ready(2)
        self.there = Passing(table, 1, folder)
        self._here = Passing(table, 0, folder)
        self._here._under_way = 1_000_000

    async def begin(self, site: Site) -> Site:
        """The site of that worker, beside one with this `site`."""
        near = await self.there.listen(site)
        assert near is not None
        self._near = near
        handling = SimpleNamespace(handling=lambda driver, path: inf)
        accepting = partial(self._here.accepting, site=handling, driver="test")
        await eventually(lambda: (other := self._here._freer()) is not None and other.line is not None)

        async def refuse(_: Channel) -> None:
            raise AssertionError("a call was not passed on")

        found: Any = SimpleNamespace(
            accept=accepting(refuse), ready=site.ready, shape=site.shape, describe=site.describe
        )
        return found  # type: ignore[no-any-return]

    async def end(self, grace: float) -> None:
        await self._near.aclose(grace)
        await self._here.aclose()


class PassingDriver:
    """A driver whose listener is of a worker that passes on all its calls."""

    def __init__(self, inner: Driver, folder: str) -> None:
        self._inner, self._folder = inner, folder

    async def dial(self, url: str, options: DialOptions) -> Link:
        return await self._inner.dial(url, options)

    async def listen(self, url: str, site: Site, options: ListenOptions) -> Listener:
        busy = Busy(self._folder)
        behind = await busy.begin(site)
        try:
            return PassingListener(await self._inner.listen(url, behind, options), busy)
        except XooaiError:
            await busy.end(0)
            raise


class PassingListener:
    def __init__(self, listener: Listener, busy: Busy) -> None:
        self.url = listener.url
        self._listener, self._busy = listener, busy

    async def aclose(self, grace: float = 0) -> None:
        await self._listener.aclose(grace)
        await self._busy.end(grace)


class TestPassedOn(DriverTests):
    url = "memory://suite"
    window = 2 * 1024 * 1024

    @pytest.fixture
    def driver(self, sockets: str) -> Driver:
        return PassingDriver(plugins.driver("memory"), sockets)

    @on_a_loop
    async def test_a_later_frame_one_byte_larger_is_refused(self, serve: Serve, client_streams: Shape) -> None:
        """Whether the frame before was seen is not told: it may still be on its way when the call is over."""
        async with serve(message_limit=LIMIT) as served:
            with pytest.raises(ResourceExhausted) as refused:
                await served.call("echo", client_streams, b"first", bytes(LIMIT + 1), b"last")

            assert refused.value.reason == "size"
            assert (await served.call("last", client_streams, b"next"))[0] == [b"next"]
