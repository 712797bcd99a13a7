"""grpc.health.v1: whether the server takes calls, for balancers and orchestrators."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeAlias

import grpc
from grpc_health.v1 import health_pb2

from xooai_grpc.own_messages import read

__all__ = ["SERVICE", "Health"]

SERVICE = "grpc.health.v1.Health"
_LOOK = 0.5  # seconds between two looks whether the site is ready, for those who watch it

Request = health_pb2.HealthCheckRequest
Response = health_pb2.HealthCheckResponse
Context: TypeAlias = "grpc.aio.ServicerContext[bytes, Response]"
_STATUSES = {True: Response.SERVING, False: Response.NOT_SERVING}


class Health:
    """Answers for the server as a whole, whose service is called "". `is_ready` says whether it takes calls."""

    def __init__(self, is_ready: Callable[[], bool]) -> None:
        self._is_ready = is_ready
        self._ended = asyncio.Event()

    def end(self) -> None:
        """Say that calls are welcome no more, also to those who watch, and end their calls."""
        self._ended.set()

    def handler(self) -> grpc.GenericRpcHandler:
        methods: dict[str, Any] = {
            "Check": grpc.unary_unary_rpc_method_handler(self.check, None, Response.SerializeToString),
            "Watch": grpc.unary_stream_rpc_method_handler(self.watch, None, Response.SerializeToString),
        }
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    def _status(self) -> Response:
        return Response(status=_STATUSES[self._is_ready() and not self._ended.is_set()])

    async def check(self, frame: bytes, context: Context) -> Response:
        request = await read(Request, frame, context)
        if request.service:
            await context.abort(grpc.StatusCode.NOT_FOUND, 'the health of the whole server is known, service ""')
        return self._status()

    async def watch(self, frame: bytes, context: Context) -> None:
        request = await read(Request, frame, context)
        if request.service:
            await context.write(Response(status=Response.SERVICE_UNKNOWN))
            await self._ended.wait()
            return
        said = None
        while True:
            is_last = self._ended.is_set()
            status = self._status()
            if status != said:
                await context.write(status)
                said = status
            if is_last:
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK):
                    await self._ended.wait()
