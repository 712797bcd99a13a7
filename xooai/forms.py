"""How types look on the wire: rules over pydantic's core schemas, so that every codec gives back what was sent.

A core schema is a tree of dictionaries (https://docs.pydantic.dev/latest/api/pydantic_core_schema/). `settle` adjusts one
while it is made, `refuse` checks one that is finished, `facts` says what has to be done for its values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from pydantic import BaseModel
from pydantic_core import CoreSchema
from pydantic_core import core_schema as cs

from xooai.doc import Doc, as_base64
from xooai.walk import INT_MAX, INT_MIN

__all__ = ["Facts", "facts", "refuse", "settle"]

Resolve = Callable[[Any], Any]
Node = dict[str, Any]

_WRAPPERS = frozenset(
    "default nullable function-after function-before function-wrap definitions lax-or-strict json-or-python chain model-field "
    "typed-dict-field".split()
)
# How the types that JSON has no form for are written: all of them as strings.
_STRINGS = frozenset(
    "str bytes date time datetime timedelta uuid url multi-host-url decimal complex".split()
)
_ARRAYS = frozenset("list tuple set frozenset generator".split())
_OBJECTS = frozenset("dict typed-dict model dataclass".split())
_SAME_IN_MSGPACK = frozenset(
    "any none bool int float str bytes list tuple set frozenset dict nullable default model model-field typed-dict typed-dict-field union "
    "tagged-union definitions definition-ref literal model-fields function-plain".split()
)


def children(node: Node) -> Iterator[Node]:
    """The schemas directly inside `node`."""
    for name, value in node.items():
        if name in ("metadata", "serialization", "config", "default", "cls", "expected", "members", "function"):
            continue
        for inner in value.values() if isinstance(value, dict) and "type" not in value else value if isinstance(value, list) else (value,):
            if isinstance(inner, tuple):  # a choice with its label
                inner = inner[0]
            if isinstance(inner, dict) and "type" in inner:
                yield inner


def inner_of(node: Any, resolve: Resolve) -> Node:
    """What `node` validates to in the end, wrappers taken off."""
    for _ in range(32):
        if isinstance(node, tuple):
            node = node[0]
        if node["type"] == "definition-ref":
            node = resolve(node)
        elif node["type"] in _WRAPPERS:
            node = node.get("schema") or node.get("json_schema") or node.get("lax_schema") or node["steps"][-1]
        else:
            break
    return cast(Node, node)


# While a schema is made


def _json_only(value: Any) -> Any:
    """Refuse in an untyped place what would come back as something else."""
    stack = [value]
    while stack:
        item = stack.pop()
        kind = type(item)
        if kind is list:
            stack.extend(item)
        elif kind is dict:
            if not all(type(key) is str for key in item):
                raise ValueError("an untyped place takes a dict with str keys only; annotate the keys")
            stack.extend(item.values())
        elif kind is float:
            if item != item or item in (float("inf"), float("-inf")):
                raise ValueError("an untyped place takes no NaN or infinity; annotate it with float")
        elif item is not None and kind not in (str, int, bool):
            raise ValueError(f"an untyped place takes JSON values only, got {kind.__name__}; annotate it with the type")
    return value


def settle(schema: CoreSchema, resolve: Resolve) -> None:
    """Adjust a schema in place: bytes as standard base64 in JSON, untyped places for JSON values only, unions of documents by `kind`."""
    node = cast(Node, schema)
    kind = node["type"]
    if kind == "bytes" and "serialization" not in node:
        node["serialization"] = cs.plain_serializer_function_ser_schema(as_base64, when_used="json")
    elif kind == "int":
        _bound(node)
    elif kind == "any" and "serialization" not in node:
        node["serialization"] = cs.plain_serializer_function_ser_schema(_json_only)
    elif kind == "union":
        _tag(node, resolve)
    for child in children(node):
        settle(cast(CoreSchema, child), resolve)


def _bound(node: Node) -> None:
    """Integers beyond 64 bits are refused in C, both ways: most languages and msgpack do not hold them."""
    if "ge" not in node and "gt" not in node:
        node["ge"] = INT_MIN
    if "le" not in node and "lt" not in node:
        node["le"] = INT_MAX


def _tag(node: Node, resolve: Resolve) -> None:
    """Let documents in a union be told apart by `kind` alone."""
    documents: dict[str, Any] = {}
    others = []
    for choice in node["choices"]:
        found = inner_of(choice, resolve)
        if _is_document(found):
            documents.setdefault(found["cls"]._kind, choice[0] if isinstance(choice, tuple) else choice)
        else:
            others.append(choice)
    if len(documents) < 2:
        return
    tagged = cs.tagged_union_schema(documents, "kind")
    node["choices"] = [tagged, *others]
    if not others:
        node.clear()
        node.update(tagged)


# Once a schema is made


def definitions(schema: CoreSchema) -> Mapping[str, Node]:
    """The named schemas of a finished schema."""
    found: dict[str, Node] = {}
    stack: list[Any] = [schema]
    while stack:
        node = stack.pop()
        if node["type"] == "definitions":
            found.update((inner["ref"], inner) for inner in node["definitions"])
        stack.extend(children(node))
    return found


def resolver(schema: CoreSchema) -> Resolve:
    """How the references of a finished schema are followed."""
    named = definitions(schema)
    return lambda node: named[node["schema_ref"]]


def nodes(schema: CoreSchema, into: Callable[[Node], bool] = lambda node: True) -> Iterator[Node]:
    """All schemas below one, each named one once; `into` says whether to look inside."""
    resolve = resolver(schema)
    seen: set[str] = set()
    stack: list[Any] = [schema]
    while stack:
        node = stack.pop()
        if node["type"] == "definition-ref":
            if node["schema_ref"] in seen:
                continue
            seen.add(node["schema_ref"])
            node = resolve(node)
        yield node
        if into(node):
            stack.extend(child for child in children(node) if node["type"] != "definitions" or child is node["schema"])


def refuse(schema: CoreSchema, owner: str) -> None:
    """Raise TypeError for a type whose values would not come back as they were sent; `owner` says where it stands."""
    resolve = resolver(schema)
    for node in nodes(schema):
        if node["type"] == "union":
            _refuse_union(node, resolve, owner)
        elif _is_plain(node):
            _refuse_plain(node, owner)


def _is_plain(node: Node) -> bool:
    """Whether this is a class with fields that is none of ours, so that its own rules say how it is written."""
    if node["type"] == "dataclass":
        return True
    return node["type"] == "model" and not getattr(node["cls"], "__xooai_wire__", False) and not issubclass(node["cls"], Doc)


def _refuse_plain(node: Node, owner: str) -> None:
    name = node["cls"].__name__
    for inner in nodes(cast(CoreSchema, {**node, "ref": None}), lambda found: found.get("cls") is node["cls"] or found["type"] not in ("model", "dataclass")):
        if inner["type"] == "bytes" or _is_document(inner):
            what = "bytes" if inner["type"] == "bytes" else f"the document {inner['cls'].__name__}"
            raise TypeError(f"{owner}: {name} holds {what}, which a plain model writes in ways that do not come back; subclass ComboDoc: class {name}(ComboDoc)")


def _refuse_union(node: Node, resolve: Resolve, owner: str) -> None:
    members = [inner_of(choice, resolve) for choice in node["choices"]]
    for index, one in enumerate(members):
        for other in members[index + 1 :]:
            clash = _clash(one, other, resolve)
            if clash:
                raise TypeError(f"{owner}: a union of {_name(one)} and {_name(other)} cannot be read back: {clash}; give them distinct fields or types")


def _name(node: Node) -> str:
    return str(node["cls"].__name__ if "cls" in node else node["type"])


def _clash(one: Node, other: Node, resolve: Resolve) -> str:
    kinds = {one["type"], other["type"]}
    if "any" in kinds or kinds & {"tagged-union", "union"}:
        return ""
    if kinds <= {"literal", "enum"}:
        same = _values(one) & _values(other)
        return f"{sorted(map(repr, same))[0]} may be either" if same and kinds != {"literal"} else ""
    if "enum" in kinds:
        values, kind = (_values(one), other["type"]) if one["type"] == "enum" else (_values(other), one["type"])
        strings = any(isinstance(value, str) for value in values)
        numbers = any(isinstance(value, int | float) for value in values)
        return "an enum is written as its value" if (kind in _STRINGS and strings) or (kind in ("int", "float", "bool") and numbers) else ""
    if kinds <= _STRINGS and len(kinds) > 1:
        return "both are written as a string"
    if kinds <= _ARRAYS and len(kinds) > 1:
        return "both are written as an array"
    if kinds <= _OBJECTS:
        return _clash_of_objects(one, other, resolve)
    return ""


def _values(node: Node) -> set[Any]:
    if node["type"] == "enum":
        return {member.value for member in node["members"] if isinstance(member.value, str | int | float)}
    return set(node["expected"])


def _clash_of_objects(one: Node, other: Node, resolve: Resolve) -> str:
    if "dict" in (one["type"], other["type"]):
        return "both are written as an object"
    fields, needed = _fields(one, resolve)
    others, others_needed = _fields(other, resolve)
    return "what one writes may be read as the other" if others_needed <= fields or needed <= others else ""


def _fields(node: Node, resolve: Resolve) -> tuple[set[str], set[str]]:
    """The names of an object's fields, and of those that it cannot do without."""
    while "fields" not in node:
        node = resolve(node) if node["type"] == "definition-ref" else node["schema"]
    fields = node["fields"]
    pairs = [(field["name"], field) for field in fields] if isinstance(fields, list) else list(fields.items())
    needed = {name for name, field in pairs if field["schema"]["type"] != "default" and field.get("required", True)}
    return {name for name, _ in pairs}, needed


@dataclass(frozen=True, slots=True)
class Facts:
    """What the values of a type need on their way: whether they may hold `documents`, whether msgpack takes them `as_they_are`,
    whether floats are written by a plain model's own rules (`plain_floats`: NaN as null), whether there are `bytes`, and
    `loose_ints`, which are not held to 64 bits when they are made.
    """

    documents: bool
    as_they_are: bool
    plain_floats: bool
    bytes: bool
    loose_ints: bool


def facts(schema: CoreSchema) -> Facts:
    """What has to be done for the values of a finished schema."""
    documents = plain_floats = has_bytes = False
    as_they_are = True
    for node in nodes(schema):
        kind = node["type"]
        if _is_document(node):
            documents = has_bytes = True
        elif kind == "function-plain":  # a field typed Doc, or a validator that we cannot see through
            documents = True
        elif kind == "function-after" and inner_is_doc(node):
            continue
        as_they_are = as_they_are and (kind in _SAME_IN_MSGPACK or kind == "function-after") and not _writes_itself(node)
        has_bytes = has_bytes or kind == "bytes"
        if _is_plain(node):
            plain_floats = plain_floats or any(inner["type"] in ("float", "any", "decimal") for inner in nodes(cast(CoreSchema, {**node, "ref": None})))
    return Facts(documents, as_they_are, plain_floats, has_bytes, _has_loose_ints(schema))


def _has_loose_ints(schema: CoreSchema) -> bool:
    held = [node for node in nodes(schema, lambda node: node["type"] != "model" or _is_plain(node))]
    return any(node["type"] in ("int", "any", "decimal", "function-plain", "function-wrap", "function-before") for node in held)


def inner_is_doc(node: Node) -> bool:
    """Whether this is the validator that settles a document."""
    return _is_document(node["schema"])


def _is_document(node: Node) -> bool:
    return node["type"] == "model" and issubclass(node["cls"], Doc)


def _writes_itself(node: Node) -> bool:
    """Whether a serializer of the user's own decides how this is written."""
    own = node.get("serialization")
    return own is not None and own.get("function") not in (as_base64, _json_only)


def holds(annotation: Any, kind: type[BaseModel]) -> bool:
    """Whether an annotation is a class of `kind`."""
    return isinstance(annotation, type) and issubclass(annotation, kind)
