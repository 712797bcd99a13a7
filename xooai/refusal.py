"""Types that cannot travel: refused when the class is made, since their values would not come back as they were sent."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import isfinite

from pydantic_core import CoreSchema

from xooai.forms import (
    MAPPINGS,
    Node,
    Resolve,
    children,
    fields_in,
    fields_of,
    inner_of,
    is_document,
    is_plain,
    loses_floats,
    nodes,
    places,
    resolver,
    writes_itself,
)
from xooai.unions import clash_in, name_of, values_of
from xooai.walk import INT_MAX, INT_MIN

__all__ = ["refuse"]

_KEYS = frozenset("any str int float bool date time datetime timedelta uuid decimal".split())
_NEVER = {
    "generator": "an Iterable can be read once only; annotate it with list[...] or Sequence[...]",
    "callable": "a function does not travel",
    "is-instance": "pydantic can look at such an object but not make one; annotate it with a document or a type it validates",
    "is-subclass": "a class does not travel",
    "json": "Json is read from a text and written as what the text says; annotate it with what the text says",
}
_TIMES = {"ser_json_temporal": "iso8601", "ser_json_timedelta": "iso8601"}
_OURS = {**_TIMES, "ser_json_bytes": "base64", "val_json_bytes": "base64", "ser_json_inf_nan": "strings"}


def refuse(schema: CoreSchema, owner: str) -> None:
    """Raise TypeError for a type whose values would not come back as they were sent; `owner` says where it stands."""
    resolve = resolver(schema)
    for path, node in places(schema, resolve, _on_the_wire):
        rule = _RULES.get(node["type"])
        reason = _NEVER.get(node["type"]) or (rule(node, resolve) if rule is not None else "")
        if reason:
            raise TypeError(f"{owner}{'.' if path else ''}{path}: {reason}")


def _on_the_wire(node: Node) -> Iterable[tuple[str, Node]]:
    """The schemas inside `node` that have a part in how it is read from JSON."""
    if writes_itself(node) or node["type"] == "computed-field":
        return ()
    ways = [node[name] for name in ("json_schema", "lax_schema") if name in node]
    return [("", way) for way in ways] or children(node)


def _of_mapping(node: Node, resolve: Resolve) -> str:
    keys = inner_of(node.get("keys_schema", {"type": "any"}), resolve)
    if keys["type"] in ("enum", "literal"):
        kinds = {type(value) for value in values_of(keys)}
        known = kinds == {str} or (kinds == {int} and keys["type"] == "enum")
    else:
        known = keys["type"] in _KEYS or (writes_itself(keys) and keys["type"] != "bytes")
    return "" if known else f"{name_of(keys)} cannot be the key of an object, where keys are text; take a list of pairs"


def _of_set(node: Node, resolve: Resolve) -> str:
    items = inner_of(node.get("items_schema", {"type": "any"}), resolve)
    if is_document(items):
        return "a set of documents does not travel; take a list"
    deeper = any(
        inner["type"] == "bytes" or is_document(inner) for inner in nodes(items, resolve) if inner is not items
    )
    return "a set of what holds bytes does not travel; take a list" if deeper else ""


def _of_values(node: Node, resolve: Resolve) -> str:
    for value in values_of(node):
        if type(value) is int and not INT_MIN <= value <= INT_MAX:
            return f"{name_of(node)} has the value {value!r}; integers have at most 64 bits, signed"
        if not isinstance(value, str | int | float | None) or (isinstance(value, float) and not isfinite(value)):
            return (
                f"{name_of(node)} has the value {value!r}, which does not come back from JSON; take texts or integers"
            )
    return ""


def _of_class(node: Node, resolve: Resolve) -> str:
    name, config = name_of(node), node.get("config", {})
    for option, needed in (_TIMES if node["type"] == "typed-dict" or is_plain(node) else _OURS).items():
        if config.get(option, needed) != needed:
            return f"{name} sets {option}={config[option]!r}, which is not read back; leave it at {needed!r}"
    if node.get("root_model"):
        return _of_plain(node, resolve) if is_plain(node) else ""
    return _of_fields(node, resolve) or (
        _of_plain(node, resolve) if is_plain(node) else _of_document(node, resolve) if is_document(node) else ""
    )


def _of_fields(node: Node, resolve: Resolve) -> str:
    config, holder = node.get("config", {}), fields_in(node, resolve)
    by_name = config.get("populate_by_name") or config.get("validate_by_name")
    for name, field in fields_of(node, resolve).items():
        alias = field.get("validation_alias", name)
        read = (
            [alias]
            if isinstance(alias, str)
            else [path[0] for path in alias if isinstance(path, list) and len(path) == 1]
        )
        written = field.get("serialization_alias", name)
        if written not in read and not (by_name and written == name):
            return f"{name} is written as {written!r} and not read by that name; give it one alias= for both"
        if field.get("init_only"):
            return f"{name} is an InitVar, which is needed when it is read and never written"
        if field.get("serialization_exclude") and field["schema"]["type"] != "default":
            return f"{name} is excluded, and needed when it is read; give it a default"
    extra = config.get("extra_fields_behavior") or holder.get("extra_behavior")
    computed = holder.get("computed_fields")
    if extra == "forbid" and computed:
        return f"{computed[0]['property_name']} is computed and written, and refused when read (extra='forbid'); make it a method"
    if extra == "allow" and (node["type"] == "typed-dict" or is_plain(node)):
        return f"{name_of(node)} takes extra keys of any type, which do not come back as they were; subclass ComboDoc"
    return ""


def _of_plain(node: Node, resolve: Resolve) -> str:
    """A class that is none of ours writes by rules of its own."""
    name = name_of(node)
    own = nodes(
        node,
        resolve,
        lambda found: children(found) if found is node or found["type"] not in ("model", "dataclass") else (),
    )
    for inner in own:
        what = {"bytes": "bytes", "any": "a value of any type"}.get(inner["type"], "")
        if is_document(inner):
            what = f"the document {name_of(inner)}"
        elif loses_floats(inner, resolve):
            what = "a union of float and str"
        if what:
            return (
                f"{name} holds {what}, which a plain model writes in ways that do not come back; "
                f"subclass ComboDoc: class {name}(ComboDoc)"
            )
    return ""


def _of_document(node: Node, resolve: Resolve) -> str:
    loose = any(inner["type"] == "any" for inner in nodes(node, resolve))
    return (
        f"{name_of(node)} holds a value of any type, which does not come back; annotate it with the type"
        if loose
        else ""
    )


_RULES: dict[str, Callable[[Node, Resolve], str]] = {
    "union": clash_in,
    **dict.fromkeys(MAPPINGS, _of_mapping),
    "set": _of_set,
    "frozenset": _of_set,
    "enum": _of_values,
    "literal": _of_values,
    "model": _of_class,
    "dataclass": _of_class,
    "typed-dict": _of_class,
}
