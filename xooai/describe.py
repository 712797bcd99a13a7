"""What executors offer, as documents: OpenAPI and protobuf for everybody, and the plain JSON that our own clients read."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

import msgspec

from xooai.driver import Shape
from xooai.endpoint import Endpoint
from xooai.errors import Unimplemented
from xooai.json_schema import described
from xooai.openapi import openapi
from xooai.proto_schema import files
from xooai.untyped import ANYTHING

__all__ = ["Described", "document", "endpoint", "plain"]


class Described(Protocol):
    """What is described: an executor's name and endpoints."""

    @property
    def name(self) -> str: ...

    def endpoints(self) -> Iterable[tuple[Endpoint, Callable[..., Any]]]: ...


class _Own:
    """Endpoints that every server has, under the reserved name `xooai`."""

    async def describe(self) -> dict[str, Any]:
        """The executors of this server: names, endpoints, parameters and replies as JSON Schema."""
        raise NotImplementedError  # the site answers


def endpoint() -> Endpoint:
    """The endpoint `/xooai/describe`, the same over every driver."""
    found = Endpoint.of(_Own.describe, "xooai", "describe")
    found.idempotent = True
    return found


def document(form: str, executors: Iterable[Described]) -> bytes:
    """The description in `form`. Raises Unimplemented for a form that this server does not write."""
    if form == "json":
        return msgspec.json.encode(plain(executors))
    if form == "openapi":
        return msgspec.json.encode(openapi(_listed(executors)))
    if form == "proto":
        return msgspec.json.encode(files(plain(executors)))
    raise Unimplemented(f"no description as {form!r}; there are: openapi, proto, json")


def _listed(executors: Iterable[Described]) -> dict[str, dict[str, Endpoint]]:
    return {executor.name: {one.name: one for one, _ in executor.endpoints()} for executor in executors}


def plain(executors: Iterable[Described]) -> dict[str, Any]:
    """The description that `Executor(url)` reads."""
    listed = _listed(executors)
    paths = {f"{executor}/{name}": one for executor, ones in listed.items() for name, one in ones.items()}
    schemas = described(paths, "#/$defs/{model}")
    found: dict[str, Any] = {executor: {} for executor in listed}
    for path, one in paths.items():
        executor, _, name = path.partition("/")
        reply = None if one.result.annotation is ANYTHING else schemas.replies[path]
        found[executor][name] = {
            "shape": Shape(one.shape).name,
            "summary": one.summary,
            "body": schemas.bodies[path],
            "reply": reply,
        }
        if one.idempotent:
            found[executor][name]["idempotent"] = True
        if one.batch is not None:
            found[executor][name] |= {"batch": one.batch.parameter, "batch_size": one.batch.size}
        if one.items is not None:
            item = None if one.items.annotation is ANYTHING else schemas.items[path]
            found[executor][name] |= {"stream": one.incoming, "item": item}
    return {"xooai": 1, "executors": found, "$defs": schemas.definitions}
