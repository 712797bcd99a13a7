"""The limit of gRPC: grpc.aio's generic handlers of bytes that validate and dump with pydantic, and nothing else.

python grpc_limit.py LOOP PORT, with GRPC_EXPERIMENTS=-event_engine_listener where LOOP is uvloop-poller
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from typing import Any

if sys.argv[1] == "uvloop-poller":
    os.environ["GRPC_EXPERIMENTS"] = "-event_engine_listener"

import grpc
import uvloop
from pydantic import BaseModel, ConfigDict, TypeAdapter


class Document(BaseModel):
    """Three plain fields."""

    text: str
    count: int
    score: float


class Arguments(BaseModel):
    """The body of a call: its arguments by name."""

    model_config = ConfigDict(extra="forbid")

    doc: Document


class NoArguments(BaseModel):
    """The opening of a conversation."""

    model_config = ConfigDict(extra="forbid")


opened = TypeAdapter(NoArguments).validate_json
taken, one, dump = (
    TypeAdapter(Arguments).validate_json,
    TypeAdapter(Document).validate_json,
    TypeAdapter(Document).dump_json,
)


async def combo(request: bytes, _context: object) -> bytes:
    """Answer the document that came."""
    return dump(taken(request).doc)


async def chat(requests: AsyncIterator[bytes], _context: object) -> AsyncIterator[bytes]:
    """Answer each document behind the opening as it comes."""
    opened(await anext(requests))
    async for request in requests:
        yield dump(one(request))


async def chat_read(_requests: object, context: Any) -> None:
    """The same by reading and writing."""
    opened(await context.read())
    while (request := await context.read()) is not grpc.aio.EOF:
        await context.write(dump(one(request)))


HANDLERS: dict[str, Any] = {
    "combo": grpc.unary_unary_rpc_method_handler(combo),
    "chat": grpc.stream_stream_rpc_method_handler(chat),
    "chat_read": grpc.stream_stream_rpc_method_handler(chat_read),
}


async def serve(port: int) -> None:
    """Serve until killed."""
    server = grpc.aio.server(handlers=[grpc.method_handlers_generic_handler("limit", HANDLERS)])
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    loop, port = sys.argv[1:]
    factory = asyncio.new_event_loop if loop == "asyncio" else uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(serve(int(port)))
