"""What msgpack holds, validated as JSON is: a date is its text, a number is no text, whatever stands in memory.

JSON has texts, numbers, arrays and objects, and pydantic reads all else from those when it is given JSON. Given Python's
objects, as msgpack brings them, it either takes nothing but the finished thing (strict) or much more than JSON says (lax). So a
validator is made that is strict about what msgpack holds natively and reads every other leaf as JSON.
"""

from __future__ import annotations

from typing import Any, Protocol, cast
from weakref import WeakKeyDictionary

from pydantic import BaseModel, ValidationError
from pydantic_core import CoreSchema, SchemaValidator, to_json
from pydantic_core import core_schema as cs

from xooai import nan
from xooai.doc import Doc, kind_in
from xooai.forms import CONFIG, MAPPINGS, Node, is_any_document, mapped

__all__ = ["NATIVE", "Validator", "again", "native", "of_class", "read_native"]

NATIVE = "xooai_native"
"""Names, in the metadata of a plain validator, the function that stands in for it where msgpack is read."""

_STRICT = frozenset("int float bool str".split())
_LEAVES = frozenset(
    "date time datetime timedelta uuid url multi-host-url decimal complex fraction enum".split()
)  # what JSON has no form of its own for


class Validator(Protocol):
    """What validates Python's objects."""

    def validate_python(self, value: Any, /) -> Any: ...


_of_class: WeakKeyDictionary[type[BaseModel], SchemaValidator] = WeakKeyDictionary()


def native(schema: CoreSchema) -> SchemaValidator:
    """The validator of a finished schema for what msgpack holds."""
    # Without the validators that classes have already: those are lax.
    return SchemaValidator(cast(CoreSchema, _strictly(cast(Node, schema))), CONFIG, _use_prebuilt=False)


def of_class(cls: type[BaseModel]) -> SchemaValidator:
    """The same for a class, where it is found only when it is read."""
    found = _of_class.get(cls)
    if found is None:
        found = _of_class[cls] = native(cls.__pydantic_core_schema__)
    return found


def _strictly(node: Node) -> Node:
    kind = node["type"]
    if kind == "lax-or-strict":
        return _strictly(node["strict_schema"])
    if kind == "json-or-python":
        return _strictly(node["json_schema"])
    if kind in _LEAVES:
        return _as_json(node)
    if is_any_document(node):
        return _of_any_document(node["function"]["function"].__self__)
    own = (node.get("metadata") or {}).get(NATIVE)
    if own is not None:
        return cast(Node, cs.no_info_plain_validator_function(own))
    new = mapped(node, _strictly)
    new["strict"] = kind in _STRICT
    if "config" in node:
        new["config"] = {name: value for name, value in node["config"].items() if name != "strict"}
    if kind in MAPPINGS and "keys_schema" in node:
        new["keys_schema"] = _key(node["keys_schema"])
    if kind == "union":
        new["choices"] = [_named(*pair) for pair in zip(node["choices"], new["choices"], strict=True)]
    return new


def _of_any_document(base: type[Doc]) -> Node:
    def validate(value: Any) -> Any:
        return of_class(kind_in(value, base)).validate_python(value)

    return cast(Node, cs.no_info_plain_validator_function(validate))


def _as_json(leaf: Node) -> Node:
    # A complex number that is strict by itself takes no plain number from JSON, one that is read strictly does.
    inner = cs.json_schema(cast(CoreSchema, {**leaf, "strict": leaf["type"] != "complex"}))
    return cast(Node, cs.no_info_before_validator_function(_text, inner))


def _text(value: Any) -> bytes:
    """A leaf as it would stand in JSON. Nothing in JSON is bytes: an object is as wrong in their place."""
    return b"{}" if type(value) is bytes else to_json(value, inf_nan_mode="constants", bytes_mode="base64")


def _key(node: Node) -> Node:
    """Keys are texts in JSON, from which pydantic reads numbers and all else; msgpack may have integers there."""
    return _strictly(node) if node["type"] in ("str", "any") else node


def _named(choice: Any, new: Any) -> Any:
    """A choice with the name that errors give it in JSON, where it is wrapped here."""
    return (new, choice["type"]) if isinstance(choice, dict) and choice["type"] in _LEAVES else new


def read_native(validator: Validator, value: Any) -> Any:
    """Validate what was parsed from msgpack; it may be changed. Raises ValidationError."""
    try:
        return validator.validate_python(value)
    except ValidationError as error:
        return again(validator, value, error)


def again(validator: Validator, value: Any, error: ValidationError) -> Any:
    """Validate once more what `error` was about, its numbers respelled; `value` is changed. Raises ValidationError."""
    whole = nan.respelled_value(value, error)
    if whole is None:
        raise error
    return validator.validate_python(whole[0])
