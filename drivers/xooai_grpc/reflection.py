"""Server reflection: which services there are, and what their messages look like, as grpcurl asks for it."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2

from xooai_grpc.health import SERVICE as HEALTH
from xooai_grpc.own_messages import read

__all__ = ["Reflection"]

# The second version of the protocol has the messages of the first (grpc/reflection/v1/reflection.proto).
_SERVICES = ("grpc.reflection.v1.ServerReflection", reflection.SERVICE_NAME)


class Reflection:
    """Describes the services that `services` names, with the pool that has them, once somebody asks; the health service,
    and itself.
    """

    def __init__(
        self, services: Callable[[], tuple[list[str], DescriptorPool]], admit: Callable[[Any], Awaitable[None]]
    ) -> None:
        """`admit` ends a call by a caller who is not to see them."""
        self._services, self._admit = services, admit
        self._servicer: Any = None

    def handlers(self) -> list[grpc.GenericRpcHandler]:
        method: Any = grpc.stream_stream_rpc_method_handler(
            self.answer,
            None,
            reflection_pb2.ServerReflectionResponse.SerializeToString,
        )
        return [
            grpc.method_handlers_generic_handler(service, {"ServerReflectionInfo": method}) for service in _SERVICES
        ]

    async def answer(self, requests: Any, context: Any) -> AsyncIterator[Any]:
        await self._admit(context)
        if self._servicer is None:
            names, pool = self._services()
            for own in (health_pb2.DESCRIPTOR, reflection_pb2.DESCRIPTOR):
                pool.AddSerializedFile(own.serialized_pb)
            self._servicer = reflection.aio.ReflectionServicer([*names, HEALTH, reflection.SERVICE_NAME], pool)
        async for reply in self._servicer.ServerReflectionInfo(_read(requests, context), context):
            yield reply


async def _read(frames: AsyncIterable[bytes], context: Any) -> AsyncIterator[Any]:
    async for frame in frames:
        yield await read(reflection_pb2.ServerReflectionRequest, frame, context)
