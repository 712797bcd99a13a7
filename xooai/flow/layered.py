"""The layers of a Flow: made once, however often it is planned, so that what they count goes on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextvars import ContextVar

from xooai.call import Call, Layer, Service, composed

__all__ = ["Layered"]


class Layered:
    """Several layers as one, around whatever answers calls now."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self._layers = tuple(layers)
        self._service: Service | None = None

    @property
    def layers(self) -> tuple[Layer, ...]:
        return (self._around,) if self._layers else ()

    def _around(self, service: Service) -> Service:
        if self._service is None:
            self._service = composed(self._layers, self._inner)
        layered = self._service

        async def answer(call: Call) -> None:
            token = _innermost.set({**_innermost.get(), self: service})
            try:
                await layered(call)
            finally:
                _innermost.reset(token)

        return answer

    async def _inner(self, call: Call) -> None:
        await _innermost.get()[self](call)


_innermost: ContextVar[Mapping[Layered, Service]] = ContextVar("xooai_flow_innermost", default={})  # noqa: B039 - is not changed
"""What answers the calls of Flows, inside of their layers: that of the plan by which a call began."""
