"""Drivers that break one promise each, under the suite. Run by test_broken_drivers.py, which knows what has to fail."""

from __future__ import annotations

import asyncio
import socket
from typing import Any, ClassVar

import msgspec
import pytest

from xooai.driver import Channel, DialOptions, Driver, Head, Link, Listener, ListenOptions, Outcome, Shape, Site
from xooai.errors import Code, Unimplemented
from xooai.testing import DriverTests, MemoryDriver

OK = Outcome()
ENDLESS = 1 << 60


class Through:
    """A channel that hands everything on."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class Broken(MemoryDriver):
    """The memory driver, with ends of its own in front of the client and of the site."""

    Near: ClassVar[type[Any]] = Through
    Far: ClassVar[type[Any]] = Through

    shapes: frozenset[Shape] = frozenset()

    def head(self, head: Head) -> Head:
        return head

    async def accept(self, site: Site, channel: Channel) -> None:
        await site.accept(self.Far(channel))

    async def dial(self, url: str, options: DialOptions) -> Any:
        return BrokenLink(self, await super().dial(url, options))

    async def listen(self, url: str, site: Site, options: ListenOptions) -> Any:
        return await super().listen(url, BrokenSite(self, site), options)


class BrokenLink(Through):
    def __init__(self, driver: Broken, inner: Link) -> None:
        super().__init__(inner)
        self.driver = driver

    async def open(self, head: Head, request: bytes | None = None) -> Any:
        if head.shape not in self.driver.shapes:
            raise Unimplemented(f"no shape {head.shape!r}")
        return self.driver.Near(await self.inner.open(self.driver.head(head), request))


class BrokenSite(Through):
    def __init__(self, driver: Broken, inner: Site) -> None:
        super().__init__(inner)
        self.driver = driver

    async def accept(self, channel: Channel) -> None:
        await self.driver.accept(self.inner, channel)


class BrokenTests(DriverTests):
    url = "broken://suite"
    window = 1024 * 1024
    many = 1_000
    patience = 1.0
    made: ClassVar[type[Broken]]
    taken: ClassVar[frozenset[Shape]] = frozenset()

    @pytest.fixture
    def driver(self) -> Driver:
        made = self.made()
        made.shapes = self.taken or self.shapes
        return made


class TestWhole(BrokenTests):
    made = Broken
    shapes = frozenset({Shape.CLIENT, Shape.BIDI})


class DropsTheLastFrame(Broken):
    class Far(Through):
        async def end(self, frame: bytes | None = None, outcome: Outcome = OK) -> None:
            await self.inner.end(None, outcome)


class TestDropsTheLastFrame(BrokenTests):
    made = DropsTheLastFrame
    shapes = frozenset({Shape.SERVER})


class LosesTheErrorAfterItems(Broken):
    class Far(Through):
        async def send(self, frame: bytes) -> None:
            self.has_items = True
            await self.inner.send(frame)

        async def end(self, frame: bytes | None = None, outcome: Outcome = OK) -> None:
            await self.inner.end(frame, OK if "has_items" in vars(self) else outcome)


class TestLosesTheErrorAfterItems(BrokenTests):
    made = LosesTheErrorAfterItems
    shapes = frozenset({Shape.SERVER})


class IgnoresLeaving(Broken):
    async def accept(self, site: Site, channel: Channel) -> None:
        going_on = asyncio.ensure_future(super().accept(site, channel))
        try:
            await asyncio.shield(going_on)
        except asyncio.CancelledError:
            await going_on


class TestIgnoresLeaving(BrokenTests):
    made = IgnoresLeaving
    shapes = frozenset({Shape.UNARY})


class UnboundedQueue(Broken):
    class Near(Through):
        async def send(self, frame: bytes) -> None:
            self.inner._room = ENDLESS
            await self.inner.send(frame)
            await asyncio.sleep(0)

    Far = Near


class TestUnboundedQueue(BrokenTests):
    made = UnboundedQueue
    shapes = frozenset({Shape.CLIENT, Shape.SERVER})


class EndsWellWhenCutOff(Broken):
    class Near(Through):
        async def receive(self) -> bytes | None:
            try:
                found: bytes | None = await self.inner.receive()
            except ConnectionError:
                return None
            return found


class TestEndsWellWhenCutOff(BrokenTests):
    made = EndsWellWhenCutOff
    shapes = frozenset({Shape.SERVER})


class ForgetsMetadata(Broken):
    def head(self, head: Head) -> Head:
        return msgspec.structs.replace(head, metadata={})


class TestForgetsMetadata(BrokenTests):
    made = ForgetsMetadata
    shapes = frozenset({Shape.UNARY})


class BelievesItsClient(Broken):
    class Far(Through):
        def __init__(self, inner: Any) -> None:
            super().__init__(inner)
            inner.head.identity = inner.head.metadata.get("x-forwarded-client-cert", "")


class TestBelievesItsClient(BrokenTests):
    made = BelievesItsClient
    shapes = frozenset({Shape.UNARY})


class ForgetsTheTimeLimit(Broken):
    def head(self, head: Head) -> Head:
        return msgspec.structs.replace(head, timeout=None)


class TestForgetsTheTimeLimit(BrokenTests):
    made = ForgetsTheTimeLimit
    shapes = frozenset({Shape.UNARY})


class DropsWhatCameBeforeAFailure(Broken):
    class Near(Through):
        async def receive(self) -> bytes | None:
            if self.inner._error is not None:
                raise self.inner._error
            found: bytes | None = await self.inner.receive()
            return found


class TestDropsWhatCameBeforeAFailure(BrokenTests):
    made = DropsWhatCameBeforeAFailure
    shapes = frozenset({Shape.SERVER})


class LosesWhatNobodyWaitsForAnyMore(Broken):
    class Near(Through):
        async def receive(self) -> bytes | None:
            found: bytes | None = await self.inner.receive()
            await asyncio.sleep(0)
            return found


class TestLosesWhatNobodyWaitsForAnyMore(BrokenTests):
    made = LosesWhatNobodyWaitsForAnyMore
    shapes = frozenset({Shape.SERVER})


class TakesOneByteMore(Broken):
    async def listen(self, url: str, site: Site, options: ListenOptions) -> Any:
        more = msgspec.structs.replace(options, message_limit=options.message_limit + 1)
        return await super().listen(url, site, more)


class TestTakesOneByteMore(BrokenTests):
    made = TakesOneByteMore
    shapes = frozenset({Shape.UNARY, Shape.CLIENT})


class WaitsForMore(Broken):
    """Keeps an item until the next one comes."""

    class Far(Through):
        kept: bytes | None = None

        async def send(self, frame: bytes) -> None:
            kept, self.kept = self.kept, frame
            if kept is not None:
                await self.inner.send(kept)

        async def end(self, frame: bytes | None = None, outcome: Outcome = OK) -> None:
            if self.kept is not None:
                await self.inner.send(self.kept)
            await self.inner.end(frame, outcome)


class TestWaitsForMore(BrokenTests):
    made = WaitsForMore
    shapes = frozenset({Shape.BIDI})


class TestTakesWhatItDoesNotDeclare(BrokenTests):
    made = Broken
    shapes = frozenset({Shape.UNARY})
    taken = frozenset({Shape.UNARY, Shape.BIDI})


class OneCallAtATime(Broken):
    def __init__(self) -> None:
        self.turn = asyncio.Lock()

    async def accept(self, site: Site, channel: Channel) -> None:
        async with self.turn:
            await super().accept(site, channel)


class TestOneCallAtATime(BrokenTests):
    made = OneCallAtATime
    shapes = frozenset({Shape.UNARY})


class HasNoGrace(Broken):
    async def listen(self, url: str, site: Site, options: ListenOptions) -> Any:
        return NoGrace(await super().listen(url, site, options))


class NoGrace(Through):
    inner: Listener

    async def aclose(self, grace: float = 0) -> None:
        await self.inner.aclose(0)


class TestHasNoGrace(BrokenTests):
    made = HasNoGrace
    shapes = frozenset({Shape.UNARY})


class LeavesSockets(Broken):
    left: ClassVar[list[socket.socket]] = []

    async def dial(self, url: str, options: DialOptions) -> Any:
        self.left.append(socket.socket())
        return await super().dial(url, options)


class TestLeavesSockets(BrokenTests):
    made = LeavesSockets
    shapes = frozenset({Shape.UNARY})


class LeavesTasks(Broken):
    def head(self, head: Head) -> Head:
        if head.metadata:  # a leak in every test would take minutes to find
            self.left = asyncio.ensure_future(asyncio.sleep(60))
        return head


class TestLeavesTasks(BrokenTests):
    made = LeavesTasks
    shapes = frozenset({Shape.UNARY})


class FlattensErrors(Broken):
    class Far(Through):
        async def end(self, frame: bytes | None = None, outcome: Outcome = OK) -> None:
            flat = Outcome(Code.INTERNAL, "failed") if outcome.code else outcome
            await self.inner.end(frame, flat)


class TestFlattensErrors(BrokenTests):
    made = FlattensErrors
    shapes = frozenset({Shape.UNARY})
