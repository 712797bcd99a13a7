"""The fields of a message, numbered as they are declared, and what is unset in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from xooai.errors import InvalidArgument
from xooai.proto import EXTRA, Field
from xooai.proto_names import Names, camel, field_name

__all__ = ["Fields", "Type"]

Json = Any

_RESERVED = 19_000  # the first of a thousand numbers


class Type(msgspec.Struct, frozen=True):
    """A type of the file: `name` is that of a scalar, message or enum; `label` is "", "repeated" or "map"."""

    name: str
    label: str = ""
    is_nullable: bool = False


class Owner(Protocol):
    """What makes the types of the fields."""

    def of(self, schema: Json, hint: str) -> Type: ...

    def element(self, type: Type) -> str: ...

    def is_message(self, name: str) -> bool: ...


class Fields:
    """The fields of one message, numbered as they come."""

    def __init__(self, types: Owner, message: str) -> None:
        self.fields: list[Field] = []
        self._types = types
        self._message = message
        self._names = Names()
        self._number = 0

    def skip(self) -> None:
        self._number += 1

    def _next(self, key: str) -> None:
        self._number += 1
        if self._number >= _RESERVED:
            raise InvalidArgument(
                f"{self._message}.{key}: protobuf keeps the field numbers from {_RESERVED:,} on for itself; "
                "put some of the fields into a class of their own"
            )

    def add(self, key: str, schema: Json, required: bool) -> None:
        self._next(key)
        type = self._types.of(schema, f"{self._message}{camel(key)}")
        default = schema.get("default", ...) if isinstance(schema, Mapping) else ...
        label: Any
        if type.is_nullable and not required and default is not None:  # then unset stands for the default
            type = Type(self._types.element(type))
        if type.label and not type.is_nullable and (required or default in ([], {})):
            label = type.label
        else:
            if type.label:
                type = Type(self._types.element(Type(type.name, type.label)), "", type.is_nullable)
            label = "" if required and not type.is_nullable else "optional"
        if label == "optional" and self._types.is_message(type.name):
            label = ""  # unset messages can always be told
        name = self._types.element(type) if type.name == "null" else type.name
        found = Field(
            self._names.take(field_name(key)),
            self._number,
            name,
            label,
            key,
            required,
            type.is_nullable,
            _comment(schema, required),
        )
        self.fields.append(found)

    def item(self, key: str, schema: Json) -> str:
        """Add the field for the items of a stream, and return its name: it always tells whether it is there."""
        self._next(key)
        type = self._types.element(self._types.of(schema, f"{self._message}{camel(key)}"))
        name = self._names.take(field_name(key))
        label: Any = "" if self._types.is_message(type) else "optional"
        self.fields.append(Field(name, self._number, type, label, comment="each item of the stream"))
        return name

    def extra(self, schema: Json) -> str:
        type = self._types.element(self._types.of(schema, f"{self._message}Extra"))
        name = self._names.take("extra")
        self.fields.append(Field(name, EXTRA, type, "map", comment="fields beside those above"))
        return name


def _comment(schema: Json, required: bool) -> str:
    parts = [str(schema[name]) for name in ("description", "format") if isinstance(schema, Mapping) and name in schema]
    if isinstance(schema, Mapping) and not required and "default" in schema:
        parts.append(f"default: {msgspec.json.encode(schema['default']).decode()[:80]}")
    return "; ".join(parts)
