"""The description of executors as .proto files: a service each, and the messages that mirror its documents and parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xooai.driver import Shape
from xooai.proto import File, Method
from xooai.proto_names import Names, camel, package_name
from xooai.proto_types import Types

__all__ = ["files"]

Json = Any

_REF = "#/$defs/"
_WAYS = ("-Input", "-Output")


def files(description: Mapping[str, Json]) -> list[File]:
    """A file for each executor of a plain description, as `xooai.describe.plain` gives it."""
    definitions = description.get("$defs", {})
    merging = _merging(definitions)
    definitions = {merging.get(_REF + name, _REF + name): schema for name, schema in definitions.items()}
    definitions = {ref.removeprefix(_REF): _renamed(schema, merging) for ref, schema in definitions.items()}
    executors = _renamed(description["executors"], merging)
    packages = Names()
    return [_file(name, packages.take(package_name(name)), ones, definitions) for name, ones in executors.items()]


def _file(executor: str, package: str, endpoints: Mapping[str, Json], definitions: Mapping[str, Json]) -> File:
    service = camel(executor)
    types = Types(definitions, service)
    names = Names()
    methods = [_method(types, names.take(camel(name)), f"/{executor}/{name}", one) for name, one in endpoints.items()]
    return File(f"xooai.{package}", service, tuple(methods), tuple(types.messages), tuple(types.enums))


def _method(types: Types, name: str, path: str, endpoint: Json) -> Method:
    shape = Shape[endpoint["shape"]]
    request = types.names.take(f"{name}Request")
    stream = types.message(endpoint["body"], request, endpoint.get("stream", ""), endpoint.get("item"))
    reply = _reply(types, name, endpoint["reply"])
    return Method(name, path, int(shape), request, reply, stream, endpoint["summary"])


def _reply(types: Types, method: str, schema: Json) -> str:
    """The message of the reply: the one of its class, or one made for it with the field `value`."""
    found = types.of(schema, f"{method}Value")
    if not (found.label or found.is_nullable) and types.is_message(found.name):
        return found.name
    name = types.names.take(f"{method}Reply")
    types.box(found, name)
    return name


# Models that pydantic describes twice, as they are read and as they are written


def _merging(definitions: Mapping[str, Json]) -> dict[str, str]:
    """References to `Page-Input` and `Page-Output`, and the one to `Page` instead, where protobuf has the same for both."""
    pairs = {name.removesuffix(_WAYS[0]) for name in definitions if name.endswith(_WAYS[0])}
    alike = {name for name in pairs if name + _WAYS[1] in definitions and name not in definitions}
    while True:
        merging = {_REF + name + way: _REF + name for name in alike for way in _WAYS}
        different = {
            name for name in alike if not _is_same(definitions[name + _WAYS[0]], definitions[name + _WAYS[1]], merging)
        }
        if not different:
            return merging
        alike -= different


def _is_same(one: Json, other: Json, merging: Mapping[str, str]) -> bool:
    return bool(_comparable(_renamed(one, merging)) == _comparable(_renamed(other, merging)))


def _renamed(schema: Json, merging: Mapping[str, str]) -> Json:
    if isinstance(schema, dict):
        return {
            key: merging.get(inner, inner) if key == "$ref" else _renamed(inner, merging)
            for key, inner in schema.items()
        }
    return [_renamed(inner, merging) for inner in schema] if isinstance(schema, list) else schema


def _comparable(schema: Json) -> Json:
    """What protobuf makes of a schema, as far as pydantic's two sides differ: a decimal is a text on both, for one."""
    if isinstance(schema, list):
        return [_comparable(inner) for inner in schema]
    if not isinstance(schema, dict):
        return schema
    choices = schema.get("anyOf")
    if isinstance(choices, list) and any(choice.get("format") == "decimal" for choice in choices):
        kept = [choice for choice in choices if choice.get("type") != "number"]
        others = {key: inner for key, inner in schema.items() if key != "anyOf"}
        schema = {**others, **(kept[0] if len(kept) == 1 else {"anyOf": kept})}
    others = {key: inner for key, inner in schema.items() if (key, inner) != ("additionalProperties", False)}
    return {key: _comparable(inner) for key, inner in others.items() if key != "pattern"}
