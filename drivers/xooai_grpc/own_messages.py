"""Reads messages of gRPC's own services, whose callers may be anybody.

Not by grpcio, which tells its log of each message that cannot be read, with a traceback.
"""

from __future__ import annotations

from typing import Any, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

__all__ = ["read"]

_Kind = TypeVar("_Kind", bound=Message)


async def read(kind: type[_Kind], frame: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> _Kind:
    """The message in a frame; a call with one that cannot be read ends here, as INVALID_ARGUMENT."""
    try:
        return kind.FromString(frame)
    except DecodeError:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"this is no {kind.DESCRIPTOR.full_name}")
        raise
