"""What grpcio has one of in a process, for tests that look for what is left behind."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from importlib.util import find_spec

import pytest


@pytest.fixture(scope="session", autouse=True)
def poller() -> Iterator[None]:
    """Keep gRPC's thread and its two sockets, so that no test is the first to have them."""
    if find_spec("grpc") is None:
        yield
        return
    import grpc.aio

    loop = asyncio.new_event_loop()  # it binds itself to the current loop, and there may be none
    asyncio.set_event_loop(loop)
    grpc.aio.init_grpc_aio()
    asyncio.set_event_loop(None)
    yield
    grpc.aio.shutdown_grpc_aio()
    loop.close()


def is_of_grpcio(complaint: str) -> bool:
    """Whether asyncio complains where grpcio's threads still had something for a loop that has been closed.

    It has one queue for all loops, and nobody waits for what is left there.
    """
    return "PollerCompletionQueue" in complaint and "Event loop is closed" in complaint
