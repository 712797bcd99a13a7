"""Server reflection: which services there are, and what their messages look like, as grpcurl asks for it."""

from __future__ import annotations

from collections.abc import Sequence

import grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2

__all__ = ["handlers"]

# The second version of the protocol has the messages of the first (grpc/reflection/v1/reflection.proto).
_SERVICES = ("grpc.reflection.v1.ServerReflection", reflection.SERVICE_NAME)


def handlers(services: Sequence[str]) -> list[grpc.GenericRpcHandler]:
    """Handlers that describe `services`, whose descriptors protobuf's default pool has, and themselves."""
    servicer = reflection.aio.ReflectionServicer([*services, reflection.SERVICE_NAME])
    method = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        reflection_pb2.ServerReflectionRequest.FromString,
        reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    return [grpc.method_handlers_generic_handler(service, {"ServerReflectionInfo": method}) for service in _SERVICES]
