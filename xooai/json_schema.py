"""JSON Schemas of endpoints: what a body has to be and what a reply will be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Flag
from math import isfinite
from typing import Any

import msgspec
from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema as cs

from xooai.codec import JSON
from xooai.endpoint import INTEGER_KEY, Endpoint, Parameter
from xooai.errors import InvalidArgument
from xooai.walk import INT_MAX, INT_MIN, documents
from xooai.way import leaves

__all__ = ["Schemas", "Typed", "described"]

Json = Any


_EMPTY = (list, dict, set, frozenset, tuple)
"""What makes an empty default, of all factories the ones that are certain to do nothing else."""


class Typed(GenerateJsonSchema):
    """Pydantic's schemas, with what tells types apart that JSON writes alike."""

    def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> JsonSchemaValue:
        return {}  # a function decides what is taken: anything may be

    def ser_schema(self, schema: Any) -> JsonSchemaValue | None:
        if hasattr(schema.get("function"), "__xooai_ours__"):
            return None  # it writes what the fields say
        return super().ser_schema(schema)

    def get_default_value(self, schema: cs.WithDefaultSchema) -> Any:
        factory: Any = schema.get("default_factory")
        return factory() if factory in _EMPTY else super().get_default_value(schema)

    def bytes_schema(self, schema: cs.BytesSchema) -> JsonSchemaValue:
        return {"type": "string", "contentEncoding": "base64"}

    def decimal_schema(self, schema: cs.DecimalSchema) -> JsonSchemaValue:
        found = super().decimal_schema(schema)
        text = found["anyOf"][1] if "anyOf" in found else found
        text["format"] = "decimal"  # https://spec.openapis.org/registry/format/decimal
        return found

    def enum_schema(self, schema: cs.EnumSchema) -> JsonSchemaValue:
        found = super().enum_schema(schema)
        if not issubclass(schema["cls"], Flag):
            return found
        del found["enum"]  # any of them together
        most = sum({member.value for member in schema["members"]})
        return {**found, "type": "integer", "minimum": 0, "maximum": most}

    def dict_schema(self, schema: cs.DictSchema) -> JsonSchemaValue:
        found = super().dict_schema(schema)
        if schema.get("keys_schema", {}).get("type") == "int":
            found["propertyNames"] = {"pattern": INTEGER_KEY}
        return found


class Schemas(msgspec.Struct, frozen=True):
    """Schemas by path, and the definitions that they share."""

    bodies: Mapping[str, Json]
    replies: Mapping[str, Json]
    definitions: Mapping[str, Json]
    items: Mapping[str, Json] = {}
    """What each item of a stream of requests has to be, where there is one."""


def described(endpoints: Mapping[str, Endpoint], template: str, generator: type[GenerateJsonSchema] = Typed) -> Schemas:
    """The schemas of endpoints by path; `template` is what a reference to a definition looks like."""
    inputs: list[Any] = []
    for path, one in endpoints.items():
        inputs.append((f"{path} body", "validation", one.arguments.adapter))
        inputs.append((f"{path} reply", "serialization", one.result.adapter))
        if one.items is not None:
            inputs.append((f"{path} item", "validation", one.items.adapter))
    found, shared = TypeAdapter.json_schemas(inputs, ref_template=template, schema_generator=generator)
    definitions = shared.get("$defs", {})
    bodies: dict[str, Json] = {}
    inlined: set[str] = set()  # bodies that pydantic put among the definitions, where nothing else refers to them
    for path, one in endpoints.items():
        body = found[f"{path} body", "validation"]
        if "$ref" in body:
            name = body["$ref"].rpartition("/")[2]
            inlined.add(name)
            body = definitions[name]
        bodies[path] = _portable(_with_defaults(one, body))
    replies = {path: _portable(found[f"{path} reply", "serialization"]) for path in endpoints}
    taken = [path for path, one in endpoints.items() if one.items is not None]
    items = {path: _portable(found[f"{path} item", "validation"]) for path in taken}
    kept = {name: schema for name, schema in definitions.items() if name not in inlined}
    return Schemas(bodies, replies, _portable(kept), items)


def _with_defaults(endpoint: Endpoint, body: Json) -> Json:
    properties = {
        name: {**schema, **_default(endpoint, endpoint.parameters[name])}
        for name, schema in body.get("properties", {}).items()
    }
    return {**body, "properties": properties, "title": endpoint.name}


def _default(endpoint: Endpoint, parameter: Parameter) -> dict[str, Json]:
    """The keyword `default`; nothing for one that cannot be sent, or that means something on this machine only."""
    if parameter.required or not all(leaves(doc) for doc in documents(parameter.default)):
        return {}
    try:
        return {"default": msgspec.json.decode(JSON.encode(endpoint.schema_of(parameter), parameter.default))}
    except InvalidArgument:
        return {}


_LIMITS = frozenset("minimum maximum exclusiveMinimum exclusiveMaximum multipleOf".split())


def _portable(value: Json) -> Json:
    """A schema as every reader of JSON takes it: no integer beyond 64 bits, no limit that is no number, nothing but JSON."""
    if isinstance(value, dict):
        pairs = ((str(key), _portable(inner)) for key, inner in value.items())
        return {key: inner for key, inner in pairs if not (key in _LIMITS and isinstance(inner, str))}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_portable(inner) for inner in value]
    if isinstance(value, int) and not isinstance(value, bool) and not INT_MIN <= value <= INT_MAX:
        return float(value) if abs(value) < 2**1023 else "Infinity"
    if isinstance(value, float) and not isfinite(value):
        return {"inf": "Infinity", "-inf": "-Infinity"}.get(str(value), "NaN")
    return value if value is None or isinstance(value, str | int | float) else str(value)
