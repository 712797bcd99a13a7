"""What the values of a type need on their way: found once, when the type is compiled."""

from __future__ import annotations

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
    deep: bool = False  # values may be nested deeper than the type is: it holds itself, or anything
    classes: tuple[type, ...] = ()  # those at some place, where an instance of a subclass may be given
    contents: bool = False  # there are bytes, and msgspec writes all of it as JSON does, base64 at a third of the cost


def facts(schema: CoreSchema) -> Facts:
    """What has to be done for the values of a finished schema."""
    resolve = resolver(schema)
    found = [
        node
        for node in nodes(schema, resolve)
        if not (node["type"] == "function-after" and is_document(inner_of(node, resolve)))
    ]
    kinds = {node["type"] for node in found}
    documents = any(is_document(node) for node in found)
    plain = {inner["type"] for node in found if is_plain(node) for inner in nodes(node, resolve)}
    return Facts(
        documents=documents
        or "function-plain" in kinds,  # a field typed Doc, or a validator that we cannot see through
        as_they_are=all(_same_in_msgpack(node, resolve) for node in found),
        plain_floats="float" in plain,
        bytes=documents or "bytes" in kinds or "function-plain" in kinds,
        loose=bool(kinds & _LOOSE) or _has_loose_ints(schema, resolve),
        floats="float" in kinds,
        free_keys=bool(kinds & MAPPINGS),
        countable=kinds <= _COUNTABLE and not any(_hides_keys(node) for node in found),
        deep=_is_deep(schema, found, resolve),
        classes=classes_in(found),
        contents="bytes" in kinds and kinds <= _SAME_IN_JSON and all(_same_in_msgpack(node, resolve) for node in found),
    )


def _is_deep(schema: CoreSchema, found: list[Node], resolve: Resolve) -> bool:
    """Whether values may be nested deeper than the type is."""
    if any(node["type"] == "any" or (node["type"] == "function-plain" and not is_any_document(node)) for node in found):
        return True
    shared = [one for node in nodes(schema, resolve) if node["type"] == "definitions" for one in node["definitions"]]
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


def _has_loose_ints(schema: CoreSchema, resolve: Resolve) -> bool:
    """Whether there are integers that nothing held to 64 bits: outside of models, which do when they are made, or unbounded."""
    outside = nodes(schema, resolve, lambda node: children(node) if node["type"] != "model" else ())
    unbounded = (node for node in nodes(schema, resolve) if _is_unbounded(node))
    return any(node["type"] == "int" for node in (*outside, *unbounded))


def _is_unbounded(node: Node) -> bool:
    return ("ge" not in node and "gt" not in node) or ("le" not in node and "lt" not in node)


_COUNTABLE = _SAME_IN_MSGPACK - {"function-plain", "function-after"} | frozenset(
    "date time datetime timedelta uuid url decimal complex enum deque named-tuple fraction".split()
)


def _hides_keys(node: Node) -> bool:
    """Whether the keys in such a value are not those of its frame: one key for several fields, or fields without one."""
    if node["type"] == "model":
        return bool(node.get("root_model")) or node.get("config", {}).get("extra_fields_behavior") == "allow"
    return node["type"].endswith("-field") and isinstance(node.get("validation_alias"), list)
