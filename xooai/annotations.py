"""Types from a description: JSON Schema, as our servers write it, read back into annotations."""

from __future__ import annotations

import datetime
import decimal
import uuid
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Union

from pydantic import ConfigDict, Field, create_model

from xooai.combo import ComboDoc
from xooai.doc import Doc, kinds
from xooai.driver import Shape
from xooai.endpoint import Endpoint, Parameter, untyped
from xooai.endpoint import arguments as arguments_of
from xooai.schema import Schema

__all__ = ["endpoint_from"]

_FORMATS: dict[str, Any] = {
    "date-time": datetime.datetime,
    "date": datetime.date,
    "time": datetime.time,
    "duration": datetime.timedelta,
    "uuid": uuid.UUID,
    "binary": bytes,
    "base64url": bytes,
}
_PLAIN: dict[str, Any] = {"string": str, "integer": int, "number": float, "boolean": bool, "null": None}
_DEPTH = 64  # a description comes from a peer: as deep as a frame may be


class _Reader:
    """Reads the schemas of one description; a named one becomes one class."""

    def __init__(self, shared: Mapping[str, Any]) -> None:
        self._shared = shared
        self._made: dict[str, Any] = {}

    def read(self, schema: Mapping[str, Any], depth: int = 0) -> Any:
        """The annotation that a schema stands for; Any where it says nothing."""
        if depth > _DEPTH:
            return Any
        ref = schema.get("$ref")
        if isinstance(ref, str):
            return self._named(ref.rpartition("/")[2], depth)
        choices = schema.get("anyOf") or schema.get("oneOf")
        if choices and "properties" not in schema:
            return self._union(choices, depth)
        if "const" in schema:
            return Literal[schema["const"]]
        if "enum" in schema and all(isinstance(value, str | int | bool) for value in schema["enum"]):
            return Literal[tuple(schema["enum"])]
        kind = schema.get("type")
        if kind == "array":
            return self._array(schema, depth)
        if kind == "object":
            return self._object(schema, depth)
        if kind == "string" and schema.get("contentEncoding") == "base64":
            return bytes
        if kind == "string" and schema.get("format") in _FORMATS:
            return _FORMATS[schema["format"]]
        return _PLAIN.get(kind, Any) if isinstance(kind, str) else Any

    def _named(self, name: str, depth: int) -> Any:
        if name not in self._made:
            self._made[name] = Any  # what refers to itself is not looked into again
            self._made[name] = self.read(self._shared.get(name, {}), depth + 1)
        return self._made[name]

    def _union(self, choices: list[Any], depth: int) -> Any:
        found = [self.read(choice, depth + 1) for choice in choices]
        if decimal_like(choices):
            return decimal.Decimal
        return Any if Any in found else Union[tuple(found)]

    def _array(self, schema: Mapping[str, Any], depth: int) -> Any:
        fixed = schema.get("prefixItems")
        if fixed and schema.get("maxItems") == len(fixed):
            return tuple[tuple(self.read(item, depth + 1) for item in fixed)]  # type: ignore[misc]
        item = self.read(schema.get("items") or {}, depth + 1)
        return set[item] if schema.get("uniqueItems") else list[item]  # type: ignore[valid-type]

    def _object(self, schema: Mapping[str, Any], depth: int) -> Any:
        properties = schema.get("properties")
        if not properties:
            return dict[str, self.read(_schema(schema.get("additionalProperties")), depth + 1)]  # type: ignore[misc]
        kind = document_kind(properties)
        if kind is not None:
            return kind
        needed = schema.get("required", ())
        fields: dict[str, Any] = {}
        for index, (name, inner) in enumerate(properties.items()):
            default: Any = ... if name in needed else inner.get("default")
            # Names come from a peer: they are aliases, never Python attributes.
            fields[f"field_{index}" if not name.isidentifier() or name.startswith("_") else name] = (
                Annotated[self.read(inner, depth + 1), Field(alias=name)],
                default,
            )
        title = str(schema.get("title", "Record"))
        config = ConfigDict(populate_by_name=True, serialize_by_alias=True, protected_namespaces=())
        return create_model(title if title.isidentifier() else "Record", __base__=_with(config), **fields)


def _with(config: ConfigDict) -> type[ComboDoc]:
    return type("Described", (ComboDoc,), {"model_config": config, "__module__": __name__})


def _schema(given: Any) -> Mapping[str, Any]:
    return given if isinstance(given, dict) else {}


def decimal_like(choices: list[Any]) -> bool:
    """Whether these are the two forms in which pydantic takes a Decimal."""
    return len(choices) == 2 and choices[0].get("type") == "number" and choices[1].get("type") == "string" and "pattern" in choices[1]


def document_kind(properties: Mapping[str, Any]) -> type[Doc] | None:
    """The kind of document that an object with these properties is."""
    kind = _schema(properties.get("kind"))
    name = kind.get("const")
    if name is None and "enum" in kind and len(properties) == 1:
        return Doc  # any kind
    return kinds().get(name) if isinstance(name, str) and "ref" in properties else None


def endpoint_from(executor: str, name: str, described: Mapping[str, Any], shared: Mapping[str, Any]) -> Endpoint:
    """An endpoint from its description. What cannot be understood is untyped, never an error."""
    reader = _Reader(shared)
    body = described.get("body", {})
    needed = body.get("required", ())
    parameters = {
        key: Parameter(key, reader.read(schema), key in needed, schema.get("default")) for key, schema in body.get("properties", {}).items()
    }
    reply = described.get("reply") or {}
    where = f"{executor}.{name}"
    return Endpoint(
        name=name,
        owner=executor,
        parameters=parameters,
        arguments=Schema(arguments_of(where, parameters), where),
        result=Schema(reader.read(reply), where) if reply else untyped(),
        shape=Shape[described.get("shape", "UNARY")],
        is_async=True,
        summary=str(described.get("summary", "")),
        order=tuple(parameters),
    )
