"""Instances of subclasses: what their classes say beyond the class that a place is annotated with would be lost unseen."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import fields, is_dataclass
from typing import Any, cast

from pydantic import BaseModel
from pydantic_core import CoreSchema

from xooai.doc import Doc, kind_named
from xooai.errors import InvalidArgument
from xooai.forms import (
    MAPPINGS,
    Node,
    fields_of,
    inner_of,
    is_any_document,
    is_sequence,
    resolver,
)

__all__ = ["Classes", "classes_in", "written_of"]

_LEAVES = frozenset({str, int, float, bool, bytes, type(None)})
_CLASSES = frozenset({"model", "dataclass"})
_UNIONS = frozenset({"union", "tagged-union"})
_LISTED = frozenset("list set frozenset deque".split())


def classes_in(found: Iterable[Node]) -> tuple[type, ...]:
    """The classes among the schemas of a type: where one has a subclass by now, values are looked through."""
    classes = dict.fromkeys(node["cls"] for node in found if node["type"] in _CLASSES)
    always = any(map(is_any_document, found)) or any(map(_is_described, classes))
    return (*classes, Doc) if always else tuple(classes)


class Classes:
    """The classes that a type has at its places."""

    def __init__(self, schema: CoreSchema) -> None:
        self._schema = cast(Node, schema)
        self._resolve = resolver(schema)

    def check(self, value: Any) -> None:
        """Raise InvalidArgument where an instance of a subclass has a field that its place does not keep."""
        reason = self._lost(self._schema, value, "")
        if reason:
            raise InvalidArgument(reason)

    def _lost(self, schema: Any, value: Any, path: str) -> str:
        if type(value) in _LEAVES:
            return ""
        node = inner_of(schema, self._resolve)
        if node["type"] in _UNIONS:
            return self._in_union(node, value, path)
        reason = _wider(node, value, path) if _fits(node, value) else ""
        inside = self._inside(node, value) if not reason and _fits(node, value) else ()
        return reason or next(filter(None, (self._lost(one, held, f"{path}.{name}") for name, one, held in inside)), "")

    def _in_union(self, node: Node, value: Any, path: str) -> str:
        fitting = [member for member in self._members(node) if _fits(member, value)]
        exact = [member for member in fitting if member.get("cls") is type(value)]
        reasons = [self._lost(member, value, path) for member in exact or fitting]
        return reasons[0] if reasons and all(reasons) else ""

    def _members(self, node: Node) -> Iterator[Node]:
        for choice in node["choices"].values() if node["type"] == "tagged-union" else node["choices"]:
            inner = inner_of(choice, self._resolve)
            if inner["type"] in _UNIONS:
                yield from self._members(inner)
            else:
                yield inner

    def _inside(self, node: Node, value: Any) -> Iterator[tuple[object, Node, Any]]:
        """What a value that fits holds: where, as what, and what it is."""
        kind = node["type"]
        if node.get("root_model"):
            yield "root", node["schema"], value.root
        elif kind in _CLASSES or kind == "typed-dict":
            held = value if isinstance(value, dict) else _held(value, node["cls"])
            for name, field in fields_of(node, self._resolve).items():
                yield name, field["schema"], held.get(field.get("serialization_alias", name), held.get(name))
        elif kind == "named-tuple":
            for field, item in zip(node["fields"], value, strict=False):
                yield field["name"], field["schema"], item
        elif kind in MAPPINGS and "values_schema" in node:
            for key, item in value.items():
                yield key, node["values_schema"], item
        elif kind == "tuple":
            yield from _in_tuple(node, value)
        else:
            listed = inner_of(node["json_schema"], self._resolve) if is_sequence(node) else node
            for index, item in enumerate(value if "items_schema" in listed else ()):
                yield index, listed["items_schema"], item


def _in_tuple(node: Node, value: Any) -> Iterator[tuple[object, Node, Any]]:
    schemas, variadic = node["items_schema"], node.get("variadic_item_index", len(value))
    for index, item in enumerate(value):
        at = index if index < variadic else max(variadic, index - len(value) + len(schemas))
        if at < len(schemas):
            yield index, schemas[at], item


def _is_described(cls: type) -> bool:
    """Whether this class stands for one that is not here: instances of any class are given for it."""
    return hasattr(cls, "__xooai_described__")


def _fits(node: Node, value: Any) -> bool:
    """Whether a value may be meant for a place with this schema."""
    kind = node["type"]
    if kind in _CLASSES:
        return isinstance(value, node["cls"]) or (_is_described(node["cls"]) and isinstance(value, BaseModel))
    if is_any_document(node):
        return isinstance(value, Doc)
    if kind in MAPPINGS or kind == "typed-dict":
        return isinstance(value, Mapping)
    listed = kind in _LISTED or kind in ("tuple", "named-tuple") or is_sequence(node)
    return listed and isinstance(value, list | tuple | Set | deque)


def _wider(node: Node, value: Any, path: str) -> str:
    """What of a value, which is an instance of the class at its place or of a subclass, would be lost; '' where nothing is."""
    cls = kind_named(type(value)._kind) if is_any_document(node) else node.get("cls")
    if cls is None or cls is type(value):
        return ""
    kept = _written(cls)
    more = [name for name in _held(value, cls) if name not in kept]
    if not more:
        return ""
    given, name = type(value).__name__, cls.__name__
    return (
        f"{path.strip('.') or 'the value'} is of the class {given}, of which {name} keeps no field {more[0]!r}; annotate it with "
        f"{given}, or with {name} | {given} where the two can be told apart"
    )


def _held(value: Any, cls: Any) -> dict[str, Any]:
    """The fields that are written of a value by their names on the wire; not those that `cls` takes as extra ones."""
    held = written_of(value) or {}
    if isinstance(value, BaseModel) and getattr(cls, "model_config", {}).get("extra") == "allow":
        own = _written(type(value))
        return {name: inner for name, inner in held.items() if name in own}
    return held


def written_of(value: Any) -> dict[str, Any] | None:
    """The fields of an instance of any class with fields, as they are called on the wire; None for what is none."""
    if isinstance(value, BaseModel):
        held = {written: value.__dict__.get(name) for written, name in _written(type(value)).items()}
        return {**held, **(value.__pydantic_extra__ or {})}
    if is_dataclass(value) and not isinstance(value, type):
        return {written: getattr(value, name, None) for written, name in _written(type(value)).items()}
    return None


def _written(cls: Any) -> dict[str, str]:
    """The fields of a class: by the name on the wire that in Python."""
    if is_dataclass(cls):
        return {field.name: field.name for field in fields(cls)}
    listed = getattr(cls, "model_fields", {}).items()
    return {info.serialization_alias or info.alias or name: name for name, info in listed if not info.exclude}
