"""Which members of a union cannot be told apart once they are written."""

from __future__ import annotations

from enum import Enum
from typing import Any, cast

from pydantic_core import CoreSchema, SchemaValidator, ValidationError, to_json

from xooai.doc import Doc
from xooai.forms import (
    MAPPINGS,
    Node,
    Resolve,
    fields_in,
    fields_of,
    inner_of,
    is_any_document,
    is_document,
    is_sequence,
    writes_itself,
)

__all__ = ["clash_in", "name_of", "values_of"]

# How members are written; what JSON has no form of its own for is a text. In this order pairs are looked at.
_FORMS = {
    "none": frozenset({"none"}),
    "object": MAPPINGS | {"typed-dict", "model", "dataclass"},
    "array": frozenset("list tuple set frozenset deque named-tuple".split()),
    "number": frozenset("int float bool".split()),
    "finite": frozenset("enum literal".split()),
    "text": frozenset("str bytes date time datetime timedelta uuid decimal complex fraction".split()),
    "custom": frozenset(),  # a function decides
    "any": frozenset({"any"}),
    "root": frozenset(),  # a RootModel, written as what it holds
}
_ORDER = list(_FORMS)
_READ_AS_NUMBERS = frozenset("bytes decimal fraction complex".split())


def clash_in(node: Node, resolve: Resolve) -> str:
    """Why the members of a union cannot be told apart, naming two of them; '' when they can."""
    members = _members(node, resolve)
    for index, (tag, first) in enumerate(members):
        for other_tag, second in members[index + 1 :]:
            reason = "" if tag == other_tag is not None else _clash(first, second, resolve)
            if reason:
                return (
                    f"a union of {name_of(first)} and {name_of(second)} cannot be read back: {reason}; "
                    "give them distinct fields or types"
                )
    return ""


def _members(node: Node, resolve: Resolve) -> list[tuple[int | None, Node]]:
    """What a union chooses from, unions in it taken apart; those with the same number are told apart by a tag."""
    tag = id(node) if node["type"] == "tagged-union" else None
    found: list[tuple[int | None, Node]] = []
    for choice in node["choices"].values() if tag is not None else node["choices"]:
        inner = inner_of(choice, resolve)
        if inner["type"] in ("union", "tagged-union") and not writes_itself(inner):
            found += [(tag or within, member) for within, member in _members(inner, resolve)]
        else:
            found.append((tag, inner))
    return found


def name_of(node: Node) -> str:
    """What a schema is called in a text."""
    if "cls" in node:
        return str(node["cls"].__name__)
    if is_any_document(node):
        return "Doc"
    if is_sequence(node):
        return "Sequence"
    return "a type that writes itself" if writes_itself(node) else str(node["type"])


def values_of(node: Node) -> list[Any]:
    """The values of an enum or a Literal."""
    return [member.value for member in node["members"]] if node["type"] == "enum" else list(node["expected"])


def _form(node: Node) -> str:
    if is_any_document(node):
        return "object"
    if writes_itself(node):
        return "custom"
    if node.get("root_model"):
        return "root"
    if is_sequence(node):
        return "array"
    return next((form for form, kinds in _FORMS.items() if node["type"] in kinds), "custom")


def _clash(first: Node, second: Node, resolve: Resolve) -> str:
    """Why two members cannot be told apart; '' when they can."""
    one, other = sorted((first, second), key=lambda node: _ORDER.index(_form(node)))
    match _form(one), _form(other):
        case "object", "object":
            return _clash_of_objects(one, other, resolve)
        case "array", "array":
            return _clash_of_arrays(one, other, resolve)
        case "finite", "finite":
            same = set(map(to_json, values_of(one))) & set(map(to_json, values_of(other)))
            exact = _is_exact(one) and _is_exact(other)
            return f"{min(same).decode()} may be either" if same and not exact else ""
        case ("number", "finite") | ("finite", "text"):
            finite, wide = (other, one) if _form(one) == "number" else (one, other)
            return _clash_of_values(finite, wide)
        case "number", "text":
            return "a number may be read from the text of the other" if other["type"] in _READ_AS_NUMBERS else ""
        case "text", "text":
            return "" if one["type"] == other["type"] else "both are written as a string"
        case ("array", ("text" | "custom")) if is_sequence(one) and other["type"] != "str":
            return "what is no list may be written as a sequence"
        case (("object" | "array"), "custom") if _writes_its_own_only(other) and not is_any_document(one):
            return ""
        case (("object" | "array" | "number" | "finite" | "text" | "custom"), "custom"):
            return "a function decides how one of them is written"
        case _, "any" if one["type"] not in ("none", "literal", "str", *_FORMS["number"]):
            return "what has a type may be read as what has none"
        case (("object" | "array" | "number" | "finite" | "text" | "custom" | "any" | "root"), "root"):
            return "a RootModel is written as what it holds"
    return ""


def _writes_its_own_only(node: Node) -> bool:
    """Whether a type that writes itself as text, as pydantic's Path or URL, leaves alone what is not its own."""
    function = node.get("serialization", {}).get("function")
    return str(getattr(function, "__module__", "")).startswith("pydantic.")


def _clash_of_values(finite: Node, wide: Node) -> str:
    """Whether what an enum or a Literal writes is read as something else. A Literal's own text or number comes first."""
    if _is_exact(finite) and (wide["type"] == "str" or wide["type"] in _FORMS["number"]):
        return ""
    validator = SchemaValidator(cast(CoreSchema, wide))
    for value in values_of(finite):
        try:
            validator.validate_json(to_json(value))
        except ValidationError:
            continue
        return f"{to_json(value).decode()} may be either"
    return ""


def _is_exact(node: Node) -> bool:
    """Whether these are texts and numbers themselves, not the members of an enum."""
    return node["type"] == "literal" and not any(isinstance(value, Enum) for value in node["expected"])


def _clash_of_arrays(one: Node, other: Node, resolve: Resolve) -> str:
    both = "both are written as an array"
    if one["type"] != other["type"]:
        return both
    if one["type"] == "tuple":  # of different lengths, such as a point and a box
        fixed = "variadic_item_index" not in one and "variadic_item_index" not in other
        return "" if fixed and len(one["items_schema"]) != len(other["items_schema"]) else both
    if one["type"] != "list":
        return both
    items = [inner_of(node.get("items_schema", {"type": "any"}), resolve) for node in (one, other)]
    kinds = {item["type"] for item in items}
    if "float" in kinds and kinds & {"str", "literal", "enum", "any"}:
        return "NaN is written as a string"
    if any(item["type"] in ("union", "tagged-union", "nullable") for item in items):
        return both
    return _clash(items[0], items[1], resolve)


def _clash_of_objects(one: Node, other: Node, resolve: Resolve) -> str:
    if one["type"] in MAPPINGS or other["type"] in MAPPINGS:
        return "both are written as an object"
    if _documents_differ(one, other) or _tags_differ(one, other, resolve):
        return ""
    return (
        "what one writes may be read as the other" if _reads(one, other, resolve) or _reads(other, one, resolve) else ""
    )


def _documents_differ(one: Node, other: Node) -> bool:
    """Whether these are documents of two kinds, or a document beside a field typed Doc, which reads it as the same."""
    if is_document(one) and is_document(other):
        return bool(one["cls"]._kind != other["cls"]._kind)
    return any(map(is_document, (one, other))) and any(map(is_any_document, (one, other)))


def _tags_differ(one: Node, other: Node, resolve: Resolve) -> bool:
    """Whether a field that both always write is a Literal in each, of values that the other has not."""
    if is_any_document(one) or is_any_document(other):
        return False
    tags, others = _tags(one, resolve), _tags(other, resolve)
    return any(tags[name].isdisjoint(others[name]) for name in tags.keys() & others.keys())


def _tags(node: Node, resolve: Resolve) -> dict[str, set[bytes]]:
    """The values of the Literals that an object always holds, by their names on the wire."""
    found = {}
    for name, field in fields_of(node, resolve).items():
        schema = field["schema"]
        while schema["type"] in ("default", "definition-ref"):
            schema = resolve(schema) if schema["type"] == "definition-ref" else schema["schema"]
        left_out = {"serialization_exclude", "serialization_exclude_if"} & field.keys() or not field.get(
            "required", True
        )
        if schema["type"] == "literal" and not left_out and not writes_itself(schema):
            found[field.get("serialization_alias", name)] = set(map(to_json, values_of(schema)))
    return found


def _reads(reader: Node, writer: Node, resolve: Resolve) -> bool:
    """Whether `reader` may take what `writer` writes."""
    known, _, needed, forbids = _wire_fields(reader, resolve)
    written, always, _, _ = _wire_fields(writer, resolve)
    return (needed <= written or _takes_extra(writer)) and not (forbids and always - known)


def _takes_extra(node: Node) -> bool:
    return bool(node.get("config", {}).get("extra_fields_behavior") == "allow")


def _wire_fields(node: Node, resolve: Resolve) -> tuple[set[str], set[str], set[str], bool]:
    """An object's names on the wire, those always written, those needed when it is read, and whether others are refused."""
    if is_any_document(node):
        return set(Doc.model_fields), {"kind"}, {"kind"}, True
    known, always, needed = set(), set(), set()
    for name, field in fields_of(node, resolve).items():
        written = field.get("serialization_alias", name)
        known.add(written)
        if not field.get("serialization_exclude_if") and field.get("required", True):
            always.add(written)
        if field["schema"]["type"] != "default" and field.get("required", True):
            needed.add(written)
    extra = node.get("config", {}).get("extra_fields_behavior") or fields_in(node, resolve).get("extra_behavior")
    return known, always, needed, extra == "forbid"
