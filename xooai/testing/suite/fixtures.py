"""What the tests of a driver stand on: the driver, the shapes it declares, a site behind it, and a loop that ends empty."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, ClassVar
from urllib.parse import urlsplit

import msgspec
import pytest

from xooai import plugins
from xooai.driver import DialOptions, Driver, ListenOptions, Shape
from xooai.testing.alone import on_a_loop
from xooai.testing.suite.calls import Served
from xooai.testing.suite.site import ScriptedSite

__all__ = ["Fixtures", "Serve", "on_a_loop"]

Serve = Callable[..., AbstractAsyncContextManager[Served]]

SHAPES = (Shape.UNARY, Shape.CLIENT, Shape.SERVER, Shape.BIDI)
_CHOSEN: dict[str, Callable[[Shape, frozenset[Shape]], bool]] = {
    "shape": lambda shape, declared: shape in declared,
    "client_streams": lambda shape, declared: shape in declared and bool(shape & Shape.CLIENT),
    "server_streams": lambda shape, declared: shape in declared and bool(shape & Shape.SERVER),
    "both_stream": lambda shape, declared: shape in declared and shape == Shape.BIDI,
    "undeclared": lambda shape, declared: shape not in declared,
}
"""The parameters of tests that stand for a shape, and whether one is among those that a driver declares."""


def _none(name: str) -> Any:
    """In place of a shape: skips the test, and says why."""
    return pytest.param(None, id="none", marks=pytest.mark.skip(reason=f"the driver has no shape for {name!r}"))


class Fixtures:
    """What a driver says of itself, as attributes and fixtures of its test class."""

    url: ClassVar[str]
    """Where to listen, such as `tcp://127.0.0.1:0`."""

    shapes: ClassVar[frozenset[Shape]] = frozenset(SHAPES)
    """The shapes that it carries; others it refuses by Unimplemented."""

    window: ClassVar[int] = 16 * 1024 * 1024
    """Bytes that may be on their way to a reader that does not read, with the buffers of the system: those of a socket on
    loopback grow to some 10 MiB."""

    always_reads: ClassVar[bool] = True
    """Whether its server sees a client leave although nobody reads what the client has sent. Where the window is the buffers of
    the system, it cannot."""

    many: ClassVar[int] = 10_000
    """Small items in a stream that has to keep their order."""

    patience: ClassVar[float] = 60.0
    """Seconds for one test: a call that hangs fails its test instead of stopping the run."""

    listen_options: ClassVar[ListenOptions] = ListenOptions()
    dial_options: ClassVar[DialOptions] = DialOptions()

    @pytest.fixture
    def driver(self) -> Driver:
        """The driver under test: what is installed for the scheme of `url`."""
        return plugins.driver(urlsplit(self.url).scheme)

    @pytest.fixture
    def serve(self, driver: Driver) -> Serve:
        """Serve a scripted site: `async with serve() as served:`, with message limits for either side."""

        @asynccontextmanager
        async def serving(message_limit: int | None = None, reply_limit: int | None = None) -> AsyncIterator[Served]:
            listening, dialling = self.listen_options, self.dial_options
            if message_limit is not None:
                listening = msgspec.structs.replace(listening, message_limit=message_limit)
            if reply_limit is not None:
                dialling = msgspec.structs.replace(dialling, message_limit=reply_limit)
            site = ScriptedSite()
            listener = await driver.listen(self.url, site, listening)
            try:
                link = await driver.dial(listener.url, dialling)
                try:
                    yield Served(site, listener, link)
                finally:
                    await link.aclose()
            finally:
                site.released.set()
                await listener.aclose()

        return serving

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Run a test over the shapes that its parameters stand for (pytest calls this while it collects)."""
        for name, is_chosen in _CHOSEN.items():
            if name in metafunc.fixturenames:
                found = [shape for shape in SHAPES if is_chosen(shape, frozenset(self.shapes))]
                chosen = [pytest.param(shape, id=str(shape.name).lower()) for shape in found]
                metafunc.parametrize(name, chosen or [_none(name)])
