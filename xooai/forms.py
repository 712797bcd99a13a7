"""How types look on the wire: what pydantic's core schemas are made of, and how they are adjusted while they are made.

A core schema is a tree of dictionaries (https://docs.pydantic.dev/latest/api/pydantic_core_schema/).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from math import isfinite
from typing import Any, cast

from pydantic_core import CoreSchema
from pydantic_core import core_schema as cs

from xooai.doc import Doc, as_base64
from xooai.walk import INT_MAX, INT_MIN

__all__ = [
    "CONFIG",
    "MAPPINGS",
    "OURS",
    "Inside",
    "Node",
    "Resolve",
    "children",
    "fields_in",
    "fields_of",
    "inner_of",
    "is_any_document",
    "is_document",
    "is_ours",
    "is_plain",
    "is_sequence",
    "loses_floats",
    "mapped",
    "nodes",
    "places",
    "resolver",
    "settle",
    "writes_itself",
]

Resolve = Callable[[Any], Any]
Node = dict[str, Any]

_NO_SCHEMAS = frozenset("metadata serialization config default cls expected members function".split())
_WRAPPERS = frozenset(
    "default nullable function-after function-before function-wrap definitions lax-or-strict json-or-python chain custom-error "
    "model-field typed-dict-field".split()
)


# What a schema is made of


def children(node: Node) -> list[tuple[str, Node]]:
    """The schemas directly inside `node`, those of fields with their names, the others with ''."""
    found: list[tuple[str, Node]] = []
    for key, value in node.items():
        if key in _NO_SCHEMAS or not isinstance(value, dict | list):
            continue
        if isinstance(value, list):
            named: Iterable[tuple[str, Any]] = [("", inner) for inner in value]
        elif isinstance(value.get("type"), str):
            named = (("", value),)
        else:  # a field may be called "type"
            named = value.items() if key == "fields" else [("", inner) for inner in value.values()]
        for name, inner in named:
            if isinstance(inner, tuple):  # a choice with its label
                inner = inner[0]  # noqa: PLW2901
            if isinstance(inner, dict) and "type" in inner:
                found.append((name or _own_name(inner), inner))
    return found


def mapped(node: Node, change: Callable[[Node], Node]) -> Node:
    """A copy of `node` with the schemas directly inside it changed."""

    def inside(value: Any) -> Any:
        if isinstance(value, tuple):  # a choice with its label
            return (inside(value[0]), *value[1:])
        return change(value) if isinstance(value, dict) and isinstance(value.get("type"), str) else value

    def of_key(key: str, value: Any) -> Any:
        if key in _NO_SCHEMAS:
            return value
        if isinstance(value, dict) and not isinstance(value.get("type"), str):
            return {name: inside(inner) for name, inner in value.items()}
        return [inside(inner) for inner in value] if isinstance(value, list) else inside(value)

    return {key: of_key(key, value) for key, value in node.items()}


def _own_name(inner: Node) -> str:
    """That of a field which is listed, not kept under its name."""
    return str(inner.get("name") or "") if inner["type"].endswith("-field") else ""


def inner_of(node: Any, resolve: Resolve) -> Node:
    """What `node` validates to in the end, wrappers taken off, but for one that writes itself in a way of its own."""
    for _ in range(32):
        if isinstance(node, tuple):
            node = node[0]
        if node["type"] == "definition-ref":
            node = resolve(node)
        elif node["type"] in _WRAPPERS and not writes_itself(node) and not is_sequence(node):
            node = node.get("schema") or node.get("json_schema") or node.get("lax_schema") or node["steps"][-1]
        else:
            break
    return cast(Node, node)


def resolver(schema: CoreSchema) -> Resolve:
    """How the references of a finished schema are followed; what they lead to is looked up for the first of them."""
    named: dict[str, Node] = {}

    def resolve(node: Any) -> Node:
        if not named:
            named.update(_definitions(schema))
        return named[node["schema_ref"]]

    return resolve


def _definitions(schema: CoreSchema) -> dict[str, Node]:
    found: dict[str, Node] = {}
    stack: list[Any] = [schema]
    while stack:
        node = stack.pop()
        if node["type"] == "definitions":
            found.update((inner["ref"], inner) for inner in node["definitions"])
        stack.extend(inner for _, inner in children(node))
    return found


MAPPINGS = frozenset("dict ordered-dict frozendict counter".split())
"""Objects with any keys."""

Inside = Callable[[Node], Iterable[tuple[str, Node]]]


def places(schema: CoreSchema | Node, resolve: Resolve, inside: Inside = children) -> Iterator[tuple[str, Node]]:
    """All schemas below one with the path of fields that leads there, each named one once; `inside` says where to look on."""
    seen: set[str] = set()
    stack: list[tuple[str, Any]] = [("", schema)]
    while stack:
        path, node = stack.pop()
        if node["type"] == "definition-ref":
            if node["schema_ref"] in seen:
                continue
            seen.add(node["schema_ref"])
            node = resolve(node)
        yield path, node
        if node["type"] == "definitions":
            stack.append((path, node["schema"]))
        else:
            stack.extend(
                [(f"{path}.{name}" if path and name else path or name, child) for name, child in inside(node)][::-1]
            )


def nodes(schema: CoreSchema | Node, resolve: Resolve, inside: Inside = children) -> Iterator[Node]:
    """As `places`, without the paths."""
    return (node for _, node in places(schema, resolve, inside))


def fields_in(node: Node, resolve: Resolve) -> Node:
    """The part of a class's schema that lists its fields."""
    while node["type"] not in ("model-fields", "typed-dict", "dataclass-args"):
        node = resolve(node) if node["type"] == "definition-ref" else node["schema"]
    return node


def fields_of(node: Node, resolve: Resolve) -> dict[str, Node]:
    """The fields of a class by name."""
    listed = fields_in(node, resolve)["fields"]
    return {field["name"]: field for field in listed} if isinstance(listed, list) else listed


def is_plain(node: Node) -> bool:
    """Whether this is a class with fields that is none of ours, so that its own rules say how it is written."""
    if node["type"] == "dataclass":
        return True
    return node["type"] == "model" and not getattr(node["cls"], "__xooai_wire__", False) and not is_document(node)


def is_document(node: Node) -> bool:
    return node["type"] == "model" and issubclass(node["cls"], Doc)


def is_any_document(node: Node) -> bool:
    """Whether this is a field typed Doc, or one of the bases that are no kind themselves."""
    owner = getattr(node["function"]["function"], "__self__", None) if node["type"] == "function-plain" else None
    return isinstance(owner, type) and issubclass(owner, Doc)


def is_sequence(node: Node) -> bool:
    """Whether this is any sequence: a text and bytes are some, too."""
    own = node.get("serialization", {}).get("type")
    return bool(node["type"] == "json-or-python" and own == "function-wrap")


def writes_itself(node: Node) -> bool:
    """Whether a function that is not ours decides how this is written."""
    own = node.get("serialization")
    return own is not None and own["type"] != "function-wrap" and not is_ours(own.get("function"))


# How a schema is adjusted while it is made

CONFIG = cs.CoreConfig(ser_json_bytes="base64", val_json_bytes="base64", ser_json_inf_nan="strings")
"""How bytes and NaN are written, where a class has no rules of its own."""


def _json_only(value: Any) -> Any:
    """Refuse in an untyped place what would come back as something else."""
    stack = [value]
    while stack:
        item = stack.pop()
        kind = type(item)
        if kind is list:
            stack.extend(item)
        elif kind is dict:
            stack.extend(item.values())
            for key in item:
                _text_key(key)
        elif kind is float:
            if not isfinite(item):
                raise ValueError("an untyped place takes no NaN or infinity; annotate it with float")
        elif item is not None and kind not in (str, int, bool):
            raise ValueError(f"an untyped place takes JSON values only, got {kind.__name__}; annotate it with the type")
    return value


def _text_key(key: Any) -> Any:
    if type(key) is not str:
        raise ValueError(
            f"an untyped place takes a dict with str keys only, got {type(key).__name__}; annotate the keys"
        )
    return key


def _finite(value: Any, write: cs.SerializerFunctionWrapHandler) -> Any:
    if type(value) is float and not isfinite(value):
        raise ValueError(f"{value} cannot be told from a text in a union of float and str")
    return write(value)


OURS = frozenset({as_base64, _json_only, _text_key, _finite})
"""The functions that `settle` puts into a schema."""


def is_ours(function: Any) -> bool:
    """Whether a function that writes values changes nothing about how they are written."""
    return function in OURS or hasattr(function, "__xooai_ours__")


def settle(schema: CoreSchema, resolve: Resolve, owner: type | None = None) -> None:
    """Adjust a schema in place: bytes as standard base64 in JSON, untyped places for JSON values only, unions of documents by
    `kind`, integers of 64 bits. Classes are left as they are, but for `owner`, which is being made.
    """
    stack: list[Node] = [cast(Node, schema)]
    seen: set[int] = set()
    while stack:
        node = stack.pop()
        if node["type"] == "definition-ref":
            try:
                node = resolve(node)
            except LookupError:  # is being made, and is settled with what refers to it
                continue
        if id(node) in seen or (node["type"] in ("model", "dataclass") and node["cls"] is not owner):
            continue
        seen.add(id(node))
        _settle(node, resolve)
        stack.extend(inner for _, inner in children(node))


def _settle(node: Node, resolve: Resolve) -> None:
    kind = node["type"]
    if kind == "union":
        _tag(node, resolve)
        _keep_floats(node, resolve)
    elif kind == "int":
        _bound(node)
    elif kind == "typed-dict":
        node["config"] = {**node.get("config", {}), **CONFIG}
    elif kind in MAPPINGS:
        keys = node.get("keys_schema", {"type": "any"})
        if keys["type"] == "any":
            node["keys_schema"] = cs.any_schema(serialization=cs.plain_serializer_function_ser_schema(_text_key))
    elif kind == "model" and node.get("config", {}).get("extra_fields_behavior") == "allow":
        fields_in(node, resolve).setdefault(
            "extras_schema", cs.any_schema(serialization=cs.plain_serializer_function_ser_schema(_json_only))
        )
    elif "serialization" in node:
        return
    elif kind == "bytes":
        node["serialization"] = cs.plain_serializer_function_ser_schema(as_base64, when_used="json")
    elif kind == "any":
        node["serialization"] = cs.plain_serializer_function_ser_schema(_json_only)


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
        if is_document(found) and found["cls"]._kind not in documents:
            documents[found["cls"]._kind] = choice[0] if isinstance(choice, tuple) else choice
        else:
            others.append(choice)
    if len(documents) < 2:
        return
    tagged = cs.tagged_union_schema(documents, "kind")
    node["choices"] = [tagged, *others]
    if not others:
        node.clear()
        node.update(tagged)


def loses_floats(node: Node, resolve: Resolve) -> bool:
    """Whether this is a union in which NaN, a string in JSON, would be read as text."""
    kinds = (
        {inner_of(choice, resolve)["type"] for choice in node.get("choices", ())} if node["type"] == "union" else set()
    )
    return "float" in kinds and not kinds.isdisjoint({"str", "any", "literal", "enum"})


def _keep_floats(node: Node, resolve: Resolve) -> None:
    if loses_floats(node, resolve) and "serialization" not in node:
        node["serialization"] = cs.wrap_serializer_function_ser_schema(_finite, schema=cast(CoreSchema, dict(node)))
