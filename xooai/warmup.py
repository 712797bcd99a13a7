"""Warm-up: an endpoint's examples, run through its whole call stack before the server says that it is ready."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from xooai.codec import MSGPACK
from xooai.driver import Channel, Head, Shape
from xooai.endpoint import Endpoint
from xooai.errors import FailedPrecondition, XooaiError
from xooai.log import one_line
from xooai.memory import MemoryChannel
from xooai.payload import marks_of

__all__ = ["check", "examples", "warm"]


def examples(endpoint: Endpoint) -> list[dict[str, Any]]:
    """The arguments of each example: what is no mapping of them is the value of the one parameter that is needed."""
    return [_arguments(endpoint, one) for one in endpoint.warmup]


def _arguments(endpoint: Endpoint, given: Any) -> dict[str, Any]:
    if isinstance(given, Mapping):
        return dict(given)
    needed = [name for name, one in endpoint.parameters.items() if one.required] or list(endpoint.parameters)[:1]
    if len(needed) != 1:
        raise TypeError(
            f"{endpoint.owner}.{endpoint.name}: warmup={given!r:.80} is a value for one parameter, and there are "
            f"{len(needed)}; give a mapping of arguments by name, or a list of such"
        )
    return {needed[0]: given}


def check(endpoint: Endpoint) -> None:
    """Raise TypeError for examples that the endpoint does not take by their names."""
    if endpoint.shape is not Shape.UNARY:
        raise TypeError(f"{endpoint.owner}.{endpoint.name}: warmup is for endpoints with one request and one reply")
    for arguments in examples(endpoint):
        try:
            endpoint.check(arguments)
        except XooaiError as error:
            raise TypeError(f"{endpoint.owner}.{endpoint.name}: warmup: {error.message}") from None


async def warm(path: str, endpoint: Endpoint, accept: Callable[[Channel], Awaitable[None]]) -> None:
    """Call an endpoint with its examples, which `accept` answers; those of one that takes batches at once, as a batch.

    Raises FailedPrecondition where one fails.
    """
    channels = [_opened(path, endpoint, arguments) for arguments in examples(endpoint)]
    if endpoint.batch is not None:
        await asyncio.gather(*(accept(channel) for channel in channels))
    for channel in channels:
        if endpoint.batch is None:
            await accept(channel)
        try:
            channel.result()
        except XooaiError as error:
            cause = error.__cause__
            reason = (
                error.message if cause is None or isinstance(cause, XooaiError) else f"{type(cause).__name__}: {cause}"
            )
            raise FailedPrecondition(
                f"the warm-up of {endpoint.owner}/{endpoint.name} failed: {one_line(reason)}"
            ) from error


def _opened(path: str, endpoint: Endpoint, arguments: dict[str, Any]) -> MemoryChannel:
    schema = endpoint.arguments
    channel = MemoryChannel(Head(path, MSGPACK.media_type), MSGPACK.encode(schema, arguments))
    if schema.facts.documents:
        channel.marks = marks_of(schema, arguments)
    return channel
