"""What JSON Schemas become in protobuf: scalars, messages and enums of one file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from xooai.proto import Enum, EnumValue, Field, Message, is_scalar
from xooai.proto_fields import Fields, Type
from xooai.proto_names import Names, camel, snake, upper

__all__ = ["Types"]

Json = Any

_SCALARS = {"boolean": "bool", "integer": "int64", "number": "double", "string": "string"}
_SAID = {"bool": "boolean", "int64": "integer", "double": "number", "bytes": "data"}
"""What members of a union are called, after their types: not as C++ and Java call a type."""
_REF = "#/$defs/"


class Types:
    """The messages and enums of one file, made as they are asked for."""

    def __init__(self, definitions: Mapping[str, Json], *taken: str) -> None:
        self.messages: list[Message] = []
        self.enums: list[Enum] = []
        self.names = Names(*taken, "None", "True", "False")  # these three no Python module can have
        self._definitions = definitions
        self._named: dict[str, Type] = {}
        self._shared: dict[object, str] = {}
        self._value = ""  # the message for what has no type

    # Messages

    def is_message(self, name: str) -> bool:
        return not is_scalar(name) and all(enum.name != name for enum in self.enums)

    def message(self, schema: Json, name: str, stream: str = "", item: Json = None) -> str:
        """Make the message of an object, its name being taken already.

        The request of a stream has a first field for an `item`, whose name is returned.
        """
        place = len(self.messages)
        properties, required = schema.get("properties", {}), schema.get("required", ())
        extra = schema.get("additionalProperties")
        made = Fields(self, name)
        streamed = made.item(stream, item) if stream else ""
        constants: dict[str, Json] = {}
        is_document = _is_document(properties)
        for key, inner in properties.items():
            if "const" not in inner or not (key in required or inner.get("default", ...) == inner["const"]):
                made.add(key, inner, key in required)
            elif key == "kind" and is_document:
                constants[key] = inner["const"]
            else:  # it keeps its number: what is one text today may be one of two tomorrow
                constants[key] = inner["const"]
                made.skip()
        more = made.extra(extra) if extra is True or (isinstance(extra, dict) and properties) else ""
        found = Message(name, "object", tuple(made.fields), constants, more, comment=schema.get("description", ""))
        self.messages.insert(place, found)  # before those that it refers to
        return streamed

    def box(self, type: Type, name: str) -> None:
        """Make a message that holds one value, its name being taken already."""
        if type.label and type.is_nullable:
            type = Type(self.element(Type(type.name, type.label)), "", True)
        label: Any = type.label or ("" if type.name == "null" else "optional")
        if label == "optional" and self.is_message(type.name):
            label = ""
        fields = () if type.name == "null" else (Field("value", 1, type.name, label, is_nullable=type.is_nullable),)
        self.messages.append(Message(name, "box" if fields else "null", fields))

    # Types

    def of(self, schema: Json, hint: str) -> Type:
        """The type of what a schema describes; what is made for it alone is called after `hint`."""
        if not isinstance(schema, Mapping):
            return self._anything()
        if "$ref" in schema:
            return self._of_definition(schema["$ref"].removeprefix(_REF))
        choices = schema.get("anyOf") or schema.get("oneOf")
        if choices and "properties" not in schema:
            return self._union(choices, hint)
        if "enum" in schema or "const" in schema:
            return self._enum(schema.get("enum", [schema.get("const")]), hint)
        match schema.get("type"):
            case "null":
                return Type("null", "", True)
            case "string" if schema.get("contentEncoding") == "base64":
                return Type("bytes")
            case "array" if "prefixItems" in schema and not isinstance(schema.get("items"), dict):
                return self._tuple(schema, hint)
            case "array":
                return Type(self.element(self.of(schema.get("items"), hint)), "repeated")
            case "object":
                return self._object(schema, hint)
            case str(scalar) if scalar in _SCALARS:
                return Type(_SCALARS[scalar])
        return self._anything()

    def element(self, type: Type) -> str:
        """The type within a list, a map, a union: what cannot stand there is put into a message."""
        if type.name == "null":
            return self._share("null", "Null", lambda name: self.messages.append(Message(name, "null")))
        if type.label:
            found = self._boxed(Type(type.name, type.label), camel(type.name) + _CONTAINERS[type.label])
            type = Type(found, "", type.is_nullable)
        return self._boxed(type, f"Optional{camel(type.name)}") if type.is_nullable else type.name

    def _boxed(self, type: Type, name: str) -> str:
        return self._share(type, name, lambda taken: self.box(type, taken))

    def _share(self, key: object, name: str, make: Any) -> str:
        found = self._shared.get(key)
        if found is None:
            found = self._shared[key] = self.names.take(name)
            make(found)
        return found

    def _of_definition(self, name: str) -> Type:
        found = self._named.get(name)
        if found is not None:
            return found
        schema = self._definitions[name]
        hint = camel(name if name.endswith(("-Input", "-Output")) else str(schema.get("title") or name))
        if "properties" in schema and not _is_any_document(schema):
            hint = self.names.take(hint)
            found = self._named[name] = Type(hint)
            self.message(schema, hint)
        elif self._refers(schema, name, set()):  # a type of itself that is no class
            hint = self.names.take(hint)
            found = self._named[name] = Type(hint)
            self.box(self.of(schema, hint), hint)
        else:
            found = self._named[name] = self.of(schema, hint)
        return found

    def _refers(self, schema: Json, name: str, seen: set[str]) -> bool:
        """Whether a schema leads to a definition, not through a class."""
        if isinstance(schema, Mapping):
            if "properties" in schema:
                return False
            ref = schema.get("$ref")
            if isinstance(ref, str) and (ref := ref.removeprefix(_REF)) not in seen:
                seen.add(ref)
                return ref == name or self._refers(self._definitions[ref], name, seen)
            return any(self._refers(inner, name, seen) for inner in schema.values())
        return isinstance(schema, list) and any(self._refers(inner, name, seen) for inner in schema)

    def _object(self, schema: Json, hint: str) -> Type:
        if _is_any_document(schema):
            return Type(self._share("Doc", "Doc", lambda name: self.message(_ANY_DOCUMENT, name)))
        if "properties" in schema:
            name = self.names.take(hint)
            self.message(schema, name)
            return Type(name)
        patterns = schema.get("patternProperties", {})
        values = next(iter(patterns.values())) if len(patterns) == 1 else schema.get("additionalProperties")
        return Type(self.element(self.of(values, hint)), "map")

    def _tuple(self, schema: Json, hint: str) -> Type:
        name = self.names.take(hint)
        place = len(self.messages)
        made = Fields(self, name)
        items = schema["prefixItems"]
        least = schema.get("minItems", len(items))
        for index, item in enumerate(items):
            made.add(str(item.get("title") or f"item {index + 1}").lower(), item, index < least)
        self.messages.insert(place, Message(name, "tuple", tuple(made.fields)))
        return Type(name)

    def _enum(self, values: Sequence[Json], hint: str) -> Type:
        name = self.names.take(hint)
        prefix = upper(name)
        unset = self.names.take(f"{prefix}_UNSPECIFIED")
        named = [
            EnumValue(self.names.take(f"{prefix}_{upper(_text(value)) or 'EMPTY'}"), index, value)
            for index, value in enumerate(values, 1)
        ]
        self.enums.append(Enum(name, unset, tuple(named)))
        return Type(name)

    def _union(self, choices: Sequence[Json], hint: str) -> Type:
        choices = list(_flat(choices))
        kinds = [choice.get("type") for choice in choices]
        if any(choice.get("format") == "decimal" for choice in choices):  # which may be given as a number, too
            choices = [choice for choice, kind in zip(choices, kinds, strict=True) if kind != "number"]
        types = [self.of(choice, hint) for choice in choices if choice.get("type") != "null"]
        is_nullable = "null" in kinds or any(type.is_nullable for type in types)
        types = list(dict.fromkeys(Type(type.name, type.label) for type in types))
        if any(type.name == "null" for type in types) or not types:
            return Type("null", "", True)
        if len(types) == 1:
            return Type(types[0].name, types[0].label, is_nullable)
        members = tuple(self.element(type) for type in types)
        if self._value and self._value in members:
            return self._anything()
        name = "Or".join(map(camel, members)) if len(members) <= 3 else hint
        return Type(self._share(members, name, lambda taken: self._oneof(members, taken)), "", is_nullable)

    def _oneof(self, members: Sequence[str], name: str) -> None:
        names = Names("value")
        found = [Field(names.take(_SAID.get(one, snake(one))), index, one) for index, one in enumerate(members, 1)]
        self.messages.append(Message(name, "union", tuple(found)))

    def _anything(self) -> Type:
        """What JSON and msgpack can write: a message `Value`, and its lists and objects."""
        if self._value:
            return Type(self._value)
        self._value = value = self.names.take("Value")
        values, table = self.names.take(f"{value}List"), self.names.take(f"{value}Map")
        self._shared |= {Type(value, "repeated"): values, Type(value, "map"): table}
        said = {**_SAID, values: "list", table: "object"}
        members = ("bool", "int64", "double", "string", "bytes", values, table)
        fields = [Field(said.get(one, one), index, one) for index, one in enumerate(members, 1)]
        self.messages.append(Message(value, "union", tuple(fields), is_nullable=True, comment=_NO_TYPE))
        self.box(Type(value, "repeated"), values)
        self.box(Type(value, "map"), table)
        return Type(value)


_CONTAINERS = {"repeated": "List", "map": "Map"}
_NO_TYPE = "Any value; null where nothing is set."
_ANY_DOCUMENT: Json = {
    "description": "A document of any kind. What the kind adds to these fields is in `extra`.",
    "properties": {
        "kind": {"type": "string"},
        "ref": {"type": "string"},
        "value": {"anyOf": [{"type": "string"}, {"type": "string", "contentEncoding": "base64"}]},
        "media_type": {"type": "string"},
        "signature": {"type": "string"},
        "size": {"type": "integer"},
    },
    "required": ["kind"],
    "additionalProperties": True,
}


def _is_document(properties: Mapping[str, Json]) -> bool:
    return "const" in properties.get("kind", {}) and "ref" in properties and "media_type" in properties


def _is_any_document(schema: Mapping[str, Json]) -> bool:
    """Whether this is a field typed Doc, or a base of several kinds: only the kind is said, without a type."""
    properties = schema.get("properties", {})
    return properties.keys() == {"kind"} and "enum" in properties["kind"] and "type" not in properties["kind"]


def _flat(choices: Sequence[Json]) -> Any:
    for choice in choices:
        inner = choice.get("anyOf") or choice.get("oneOf")
        if inner and "properties" not in choice:
            yield from _flat(inner)
        else:
            yield choice


def _text(value: Json) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
