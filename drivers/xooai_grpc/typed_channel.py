"""A call of protobuf messages as a site sees it: a Channel of frames."""

from __future__ import annotations

from msgspec.structs import replace

from xooai.driver import Channel, Outcome, Shape
from xooai_grpc.channels import UnaryChannel
from xooai_grpc.typed import TypedMethod

__all__ = ["TypedChannel"]

_OK = Outcome()
_NOTHING = b"\x80"  # an empty object in msgpack


class TypedChannel:
    """Turns the messages of `channel` into frames, and frames into messages."""

    def __init__(self, channel: Channel, method: TypedMethod) -> None:
        self.head = channel.head
        self._channel = channel
        self._method = method
        self._streams_request = bool(method.shape & Shape.CLIENT)
        self._is_opened = False  # the site has the arguments
        self._is_first = True  # no message of the stream has come yet
        self._item: bytes | None = None  # that came with the arguments

    @property
    def outcome(self) -> Outcome | None:
        return None

    @property
    def held(self) -> int:
        """See `xooai.driver.Holding`."""
        return self._channel.held if isinstance(self._channel, UnaryChannel) else 0

    async def receive(self) -> bytes | None:
        """The next frame; a stream's first is that of its arguments, which an endpoint without any need not wait for."""
        if not self._streams_request:
            message = await self._channel.receive()
            return None if message is None else self._method.opening(message)
        if not self._is_opened:
            return await self._opening()
        item, self._item = self._item, None
        return item if item is not None else await self._next()

    async def _opening(self) -> bytes:
        self._is_opened = True
        if not self._method.has_parameters:
            return _NOTHING
        self._is_first = False
        message = await self._channel.receive()
        if message is None:
            return _NOTHING
        opening, self._item = self._method.first(message)
        return opening

    async def _next(self) -> bytes | None:
        message = await self._channel.receive()
        if message is None:
            return None
        if self._is_first:
            self._is_first = False
            _, item = self._method.first(message)
            return item if item is not None else await self._next()
        return self._method.item(message)

    async def send(self, frame: bytes) -> None:
        await self._channel.send(self._method.answer(frame))

    async def end(self, frame: bytes | None = None, outcome: Outcome = _OK) -> None:
        if outcome.metadata:  # then the codec goes beside them: what it names is this side's own
            outcome = replace(outcome, codec="")
        await self._channel.end(None if frame is None else self._method.answer(frame), outcome)

    def abort(self) -> None:
        self._channel.abort()
