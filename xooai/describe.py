"""What executors offer, as documents: OpenAPI 3.1, and the plain JSON that our own clients read."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib.metadata import PackageNotFoundError, version
from math import isfinite
from typing import Any, Protocol

import msgspec
from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema as cs

from xooai.codec import JSON
from xooai.driver import Shape
from xooai.endpoint import ANYTHING, INTEGER_KEY, Endpoint, Parameter
from xooai.errors import InvalidArgument, Unimplemented
from xooai.payload import leaves
from xooai.walk import INT_MAX, INT_MIN, documents

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
    return Endpoint.of(_Own.describe, "xooai", "describe")


def document(form: str, executors: Iterable[Described]) -> bytes:
    """The description in `form`. Raises Unimplemented for a form that this server does not write."""
    if form == "json":
        return msgspec.json.encode(plain(executors))
    if form == "openapi":
        return msgspec.json.encode(openapi(executors))
    raise Unimplemented(f"no description as {form!r}; there are: openapi, json")


def _listed(executors: Iterable[Described]) -> list[tuple[str, Endpoint]]:
    return [(executor.name, endpoint) for executor in executors for endpoint, _ in executor.endpoints()]


class _Schemas(GenerateJsonSchema):
    """Pydantic's schemas, with what tells types apart that JSON writes alike."""

    def bytes_schema(self, schema: cs.BytesSchema) -> JsonSchemaValue:
        return {"type": "string", "contentEncoding": "base64"}

    def decimal_schema(self, schema: cs.DecimalSchema) -> JsonSchemaValue:
        found = super().decimal_schema(schema)
        text = found["anyOf"][1] if "anyOf" in found else found
        text["format"] = "decimal"  # https://spec.openapis.org/registry/format/decimal
        return found

    def dict_schema(self, schema: cs.DictSchema) -> JsonSchemaValue:
        found = super().dict_schema(schema)
        if schema.get("keys_schema", {}).get("type") == "int":
            found["propertyNames"] = {"pattern": INTEGER_KEY}
        return found


def _schemas(
    listed: list[tuple[str, Endpoint]], template: str
) -> tuple[dict[str, tuple[dict[str, Any], dict[str, Any]]], dict[str, Any]]:
    """By path the schemas of body and reply, and the definitions that they share."""
    inputs: list[Any] = []
    for name, found in listed:
        path = f"/{name}/{found.name}"
        inputs += [
            (f"{path} body", "validation", found.arguments.adapter),
            (f"{path} reply", "serialization", found.result.adapter),
        ]
    schemas, shared = TypeAdapter.json_schemas(inputs, ref_template=template, schema_generator=_Schemas)
    definitions = shared.get("$defs", {})
    by_path = {}
    for name, found in listed:
        path = f"/{name}/{found.name}"
        body = _inline(schemas[f"{path} body", "validation"], definitions)
        properties = body.get("properties", {})
        body["properties"] = {
            key: {**schema, **_default(found, found.parameters[key])} for key, schema in properties.items()
        }
        body["title"] = found.name
        by_path[path] = (_portable(body), _portable(schemas[f"{path} reply", "serialization"]))
    return by_path, _portable(definitions)


def _inline(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """A body's own schema, where pydantic put it among the definitions: nothing else refers to it."""
    ref = schema.get("$ref")
    return dict(schema if ref is None else definitions.pop(ref.rpartition("/")[2]))


def _default(found: Endpoint, parameter: Parameter) -> dict[str, Any]:
    """The keyword `default`; nothing for one that cannot be sent, or that means something on this machine only."""
    if parameter.required or not all(leaves(doc) for doc in documents(parameter.default)):
        return {}
    try:
        return {"default": msgspec.json.decode(JSON.encode(found.schema_of(parameter), parameter.default))}
    except InvalidArgument:
        return {}


_LIMITS = frozenset("minimum maximum exclusiveMinimum exclusiveMaximum multipleOf".split())


def _portable(value: Any) -> Any:
    """A schema as every reader of JSON takes it: no integer beyond 64 bits, no limit that is no number, nothing but JSON."""
    if isinstance(value, dict):
        pairs = ((str(key), _portable(inner)) for key, inner in value.items())
        return {key: inner for key, inner in pairs if not (key in _LIMITS and isinstance(inner, str))}
    if isinstance(value, list | tuple):
        return [_portable(inner) for inner in value]
    if isinstance(value, int) and not isinstance(value, bool) and not INT_MIN <= value <= INT_MAX:
        return float(value) if abs(value) < 2**1023 else "Infinity"
    if isinstance(value, float) and not isfinite(value):
        return {"inf": "Infinity", "-inf": "-Infinity"}.get(str(value), "NaN")
    return value if value is None or isinstance(value, str | int | float) else str(value)


def plain(executors: Iterable[Described]) -> dict[str, Any]:
    """The description that `Executor(url)` reads."""
    listed = _listed(executors)
    schemas, shared = _schemas(listed, "#/$defs/{model}")
    found: dict[str, Any] = {executor.name: {} for executor in executors}
    for name, one in listed:
        body, reply = schemas[f"/{name}/{one.name}"]
        said = None if one.result.annotation is ANYTHING else reply
        found[name][one.name] = {"shape": Shape(one.shape).name, "summary": one.summary, "body": body, "reply": said}
    return {"xooai": 1, "executors": found, "$defs": shared}


def openapi(executors: Iterable[Described]) -> dict[str, Any]:
    """An OpenAPI 3.1 document (https://spec.openapis.org/oas/v3.1.0)."""
    executors = tuple(executors)
    listed = _listed(executors)
    schemas, shared = _schemas(listed, "#/components/schemas/{model}")
    paths: dict[str, Any] = {}
    ids: set[str] = set()
    for name, one in listed:
        path = f"/{name}/{one.name}"
        paths[path] = {"post": _operation(name, one, *schemas[path])}
        own = paths[path]["post"]["operationId"]
        while own in ids:  # a_b/c and a/b_c
            own += "_"
        ids.add(own)
        paths[path]["post"]["operationId"] = own
    return {
        "openapi": "3.1.0",
        "info": {"title": ", ".join(executor.name for executor in executors) or "xooai", "version": _version()},
        "paths": paths,
        "components": {"schemas": {**shared, "Problem": _PROBLEM}},
    }


def _version() -> str:
    try:
        return version("xooai")
    except PackageNotFoundError:  # a checkout on the path, not installed
        return "0"


def _operation(name: str, one: Endpoint, body: dict[str, Any], reply: dict[str, Any]) -> dict[str, Any]:
    first, _, rest = one.summary.partition("\n")
    content: dict[str, Any] = {"application/json": {"schema": body}}
    return {
        "operationId": f"{name}_{one.name}",
        "tags": [name],
        "summary": first or one.name,
        "description": rest.strip(),
        "requestBody": {"required": True, "content": content},
        "responses": {
            "200": {"description": "The reply.", "content": {"application/json": {"schema": reply}}},
            "default": {
                "description": "What went wrong.",
                "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
            },
        },
    }


_PROBLEM: dict[str, Any] = {
    "type": "object",
    "description": "A problem document (RFC 9457).",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string", "description": "The name of the code."},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "One line: what was given, what is wrong, what would be right."},
        "code": {"type": "integer", "description": "gRPC's number of the code."},
        "id": {"type": "string", "description": "The request id, under which the server's log tells more."},
        "details": {"type": "object", "description": "More, such as `errors` with the location of each mistake."},
    },
    "required": ["type", "title", "status", "detail", "code"],
}
