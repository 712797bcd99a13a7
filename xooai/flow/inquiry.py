"""Asking the servers of remote nodes what they take and give, all at once."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from typing import Any

from xooai.deadline import part_of
from xooai.endpoint import Endpoint
from xooai.errors import Code, FlowError, XooaiError, error_from
from xooai.flow.targets import Target
from xooai.log import logger

__all__ = ["PATIENCE", "inquired", "told"]

PATIENCE = 2.0  # seconds for asking the server of an optional node: it answers in milliseconds, or hangs

_log = logger("xooai")


class _Enough(Exception):
    """A node that the Flow cannot do without could not be asked: the answers of the others are of no use."""


async def inquired(
    targets: Mapping[str, Target], optional: Collection[str], timeout: float | None
) -> tuple[dict[str, Endpoint], dict[str, XooaiError]]:
    """The endpoints of nodes, asked within `timeout` seconds; and the errors, which name the node, of those that could not be.

    A node that is `optional` is given less time, so that there is some left to go on without it.
    """
    found: dict[str, Endpoint] = {}
    failures: dict[str, XooaiError] = {}
    short = PATIENCE if timeout is None else min(PATIENCE, timeout / 2)

    async def ask(id: str, target: Target) -> None:
        limit = short if id in optional else timeout
        try:
            found[id], _ = await part_of(limit, target.endpoint, limit)
        except Exception as error:  # noqa: BLE001 - whatever a driver raises: it is told by the node
            failures[id] = _failure(id, target, error)
            if id not in optional or isinstance(error, FlowError):
                raise _Enough from None

    try:
        async with asyncio.TaskGroup() as group:
            for id, target in targets.items():
                known = target.known
                if known is None:
                    group.create_task(ask(id, target))
                else:
                    found[id] = known
    except* _Enough:
        pass
    return found, failures


def told(id: str, target: Target) -> str:
    """A node, as an error about asking calls it."""
    return f"node {id!r} ({target.path}{f' at {target.host}' if target.host else ''})"


def _failure(id: str, target: Target, error: Exception) -> XooaiError:
    code: Code = Code.INTERNAL
    message, details, request = "asking what it takes failed; the log tells more", dict[str, Any](), None
    outside = "its server did not say what it takes" if target.host else message
    if isinstance(error, XooaiError):
        code, message, details, request = error.code, error.message, error.details, error.id
        if isinstance(error, FlowError):  # its servers contradict each other
            return FlowError(f"{told(id, target)}: {message}")
        if error._to_peers is not None:  # of a Flow inside of this one
            outside = error._to_peers[0]
    else:
        _log.error("%s could not be asked what it takes", told(id, target), exc_info=error)
    named = {"node": id, "endpoint": target.path}
    host = {"host": target.host}
    made = error_from(code, f"{told(id, target)}: {message}", {**details, **named, **host}, request)
    made._to_peers = f"node {id!r} ({target.path}): {outside}", named
    made.__cause__ = error
    return made
