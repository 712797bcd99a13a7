"""What the values of a type need on their way: found once, when the type is compiled."""

from __future__ import annotations

from typing import Any

import msgspec
from pydantic_core import CoreSchema

from xooai.forms import (
    MAPPINGS,
    Node,
    Resolve,
    children,
    inner_of,
    is_any_document,
    is_document,
    is_ours,
    is_plain,
    nodes,
    resolver,
)
from xooai.subclasses import classes_in

__all__ = ["Facts", "facts"]

_OBJECTS = MAPPINGS | frozenset({"typed-dict", "model", "dataclass"})
_SETS = frozenset({"set", "frozenset"})
_SAME_IN_MSGPACK = frozenset(
    "any none bool int float str bytes list tuple set frozenset dict nullable default model model-field typed-dict "
    "typed-dict-field union "
    "tagged-union definitions definition-ref literal model-fields function-plain function-after".split()
)
# Not floats: NaN would be null. Not unions and what may be anything: pydantic tells more apart than msgspec.
_SAME_IN_JSON = frozenset(
    "none bool int str bytes list nullable default model model-fields model-field typed-dict typed-dict-field "
    "definitions definition-ref literal function-after".split()
)


class Facts(msgspec.Struct, frozen=True):
    """What the values of a type need on their way."""

    documents: bool  # there may be some
    as_they_are: bool  # msgpack takes them without a detour
    plain_floats: bool  # floats that a plain model's own rules write: NaN as null
    bytes: bool  # there are some, raw in msgpack
    loose: bool  # nothing held them to what the wire takes: they are looked through before they are sent
    floats: bool = False  # there are some, which may be NaN
    free_keys: bool = False  # there are objects with any keys
    countable: bool = False  # the keys in a value are those in its frame
    keys: int | None = None  # how many these are, where they are always as many: all are required
    deep: bool = False  # values may be nested deeper than the type is: it holds itself, or anything
    classes: tuple[type, ...] = ()  # those at some place, where an instance of a subclass may be given
    is_simple: bool = (
        False  # their JSON is what pydantic writes, without a look at it before or, where it is short, after
    )
    contents: bool = False  # there are bytes, and msgspec writes all of it as JSON does, base64 at a third of the cost


def facts(schema: CoreSchema) -> Facts:
    """What has to be done for the values of a finished schema."""
    resolve = resolver(schema)
    whole = list(nodes(schema, resolve))
    found = [node for node in whole if not (node["type"] == "function-after" and is_document(inner_of(node, resolve)))]
    kinds = {node["type"] for node in found}
    documents = any(is_document(node) for node in found)
    plain = {inner["type"] for node in found if is_plain(node) for inner in nodes(node, resolve)}
    plain_floats = "float" in plain
    loose = bool(kinds & _LOOSE) or _has_loose_ints(schema, whole, resolve)
    is_deep = _is_deep(whole, found, resolve)
    as_they_are = all(_same_in_msgpack(node, resolve) for node in found)
    contents = "bytes" in kinds and kinds <= _SAME_IN_JSON and as_they_are
    countable = kinds <= _COUNTABLE and not any(_hides_keys(node) for node in found)
    return Facts(
        documents=documents
        or "function-plain" in kinds,  # a field typed Doc, or a validator that we cannot see through
        as_they_are=as_they_are,
        plain_floats=plain_floats,
        bytes=documents or "bytes" in kinds or "function-plain" in kinds,
        loose=loose,
        floats="float" in kinds,
        free_keys=bool(kinds & MAPPINGS),
        countable=countable,
        keys=_keys(schema, resolve) if countable else None,
        deep=is_deep,
        classes=classes_in(found),
        is_simple=not (loose or contents or plain_floats or kinds & MAPPINGS or is_deep),
        contents=contents,
    )


def _is_deep(whole: list[Node], found: list[Node], resolve: Resolve) -> bool:
    """Whether values may be nested deeper than the type is."""
    if any(node["type"] == "any" or (node["type"] == "function-plain" and not is_any_document(node)) for node in found):
        return True
    shared = [one for node in whole if node["type"] == "definitions" for one in node["definitions"]]
    return any(sum(inner is one for inner in nodes(one, resolve)) > 1 for one in shared)


def _same_in_msgpack(node: Node, resolve: Resolve) -> bool:
    if node["type"] in _SETS and inner_of(node.get("items_schema", {"type": "any"}), resolve)["type"] in _OBJECTS:
        return False  # a set of objects cannot be written as a set
    if node["type"] == "dict" and inner_of(node.get("keys_schema", {"type": "any"}), resolve)["type"] not in (
        "any",
        "str",
        "int",
    ):
        return False
    own = node.get("serialization")
    return node["type"] in _SAME_IN_MSGPACK and (own is None or is_ours(own.get("function")))


# Kinds whose values may be such as do not arrive as they are, see walk.check_sendable: a Decimal may be NaN, a time may have an
# offset with seconds, a function may return anything.
_LOOSE = frozenset(
    "any decimal datetime time function-plain function-wrap function-before function-after json-or-python lax-or-strict".split()
)


def _has_loose_ints(schema: CoreSchema, whole: list[Node], resolve: Resolve) -> bool:
    """Whether there are integers that nothing held to 64 bits: outside of models, which do when they are made, or unbounded."""
    ints = [node for node in whole if node["type"] == "int"]
    if not ints or any(_is_unbounded(node) for node in ints):
        return bool(ints)
    outside = nodes(schema, resolve, lambda node: children(node) if node["type"] != "model" else ())
    return any(node["type"] == "int" for node in outside)


def _is_unbounded(node: Node) -> bool:
    return ("ge" not in node and "gt" not in node) or ("le" not in node and "lt" not in node)


_COUNTABLE = _SAME_IN_MSGPACK - {"function-plain", "function-after"} | frozenset(
    "date time datetime timedelta uuid url decimal complex enum deque named-tuple fraction".split()
)


# Kinds whose values are no objects in JSON, and hold none.
_KEYLESS = frozenset(
    "none bool int float str bytes literal date time datetime timedelta uuid url decimal complex fraction".split()
)


def _keys(node: Any, resolve: Resolve, depth: int = 0) -> int | None:
    """How many keys stand in each frame of a countable type; None where that differs, or nobody knows."""
    kind = node["type"]
    if kind in _KEYLESS:
        return 0
    if depth > _DEPTH:  # it holds itself
        return None
    if kind in ("nullable", "list"):
        inside = _keys(node.get("schema") or node.get("items_schema") or {"type": "any"}, resolve, depth + 1)
        return 0 if inside == 0 else None
    if kind == "definition-ref":
        return _keys(resolve(node), resolve, depth + 1)
    if kind in ("definitions", "model"):
        return _keys(node["schema"], resolve, depth + 1)
    if kind not in ("typed-dict", "model-fields"):
        return None
    found = len(node["fields"])
    for field in node["fields"].values():
        inside = _keys(field["schema"], resolve, depth + 1) if _is_required(field, node) else None
        if inside is None:
            return None
        found += inside
    return found


_DEPTH = 32  # of classes in classes: more than anybody writes


def _is_required(field: Node, owner: Node) -> bool:
    if field["type"] == "typed-dict-field":
        return bool(field.get("required", owner.get("total", True)))
    return str(field["schema"]["type"]) != "default"  # which, inside of anything else, has no number of keys


def _hides_keys(node: Node) -> bool:
    """Whether the keys in such a value are not those of its frame: one key for several fields, or fields without one."""
    if node["type"] == "model":
        made = bool(node.get("root_model")) or bool(node.get("custom_init"))  # which may add some by itself
        return made or node.get("config", {}).get("extra_fields_behavior") == "allow"
    return node["type"].endswith("-field") and isinstance(node.get("validation_alias"), list)
