"""Whether a reply is what its endpoint promises: told at a glance where one is enough, else while it is written."""

from __future__ import annotations

from types import UnionType
from typing import Any, Union, get_args, get_origin

import msgspec

from xooai.codec import Codec
from xooai.errors import InvalidArgument
from xooai.forms import fields_of, inner_of, is_any_document, is_document, nodes, resolver
from xooai.schema import Schema

__all__ = ["Check", "check", "classes_of", "names_of"]

_ARRAYS = (list, tuple, set, frozenset)  # written alike
_PLAIN: dict[Any, tuple[type, ...]] = {
    None: (type(None),),
    type(None): (type(None),),
    bool: (bool,),
    int: (int,),
    float: (float, int),
    str: (str,),
    bytes: (bytes, bytearray),
    dict: (dict,),
    **dict.fromkeys(_ARRAYS, _ARRAYS),
}
_GLANCED = frozenset("none bool int float str bytes literal".split())
_CLASSES = frozenset({"model", "dataclass", "typed-dict"})
_MUTABLE = frozenset({"model", "dataclass"})  # whose fields may have been set since; documents are frozen
_UNKNOWN = frozenset({"any", "function-plain"})


def classes_of(annotation: Any) -> tuple[type, ...]:
    """The classes that a reply may be of, where one look at it tells; none where it does not."""
    origin = get_origin(annotation) or annotation
    if origin in (Union, UnionType):
        found = [classes_of(choice) for choice in get_args(annotation)]
        return tuple(kind for kinds in found for kind in kinds) if all(found) else ()
    if isinstance(origin, type) and hasattr(origin, "model_fields"):
        return (origin,)
    return _PLAIN.get(origin, ()) if origin is None or isinstance(origin, type) else ()


def names_of(kinds: tuple[type, ...]) -> str:
    """What classes are called in a text."""
    return " or ".join("None" if kind is type(None) else kind.__name__ for kind in kinds)


class Check(msgspec.Struct, frozen=True):
    """How a reply is written that may turn out to be of another type inside."""

    schema: Schema
    doubting: Schema
    holds_classes: bool
    """Whether they are held by what is none: pydantic has no doubt about one class for another, or a key that is missing."""

    def written(self, codec: Codec, value: Any) -> bytes:
        """The frame of a reply that can be read as its type. Raises InvalidArgument for any other.

        Where pydantic has doubts, such as about a tuple in place of a list, reading the frame decides.
        """
        if not self.holds_classes or self.schema.validator.isinstance_python(value, strict=True):
            try:
                return codec.encode(self.doubting, value)
            except InvalidArgument as error:  # it may be a doubt or more than that, as will be seen
                if "limit" in error.details:
                    raise
        frame = codec.encode(self.schema, value)
        codec.decode(self.schema, frame, True)
        return frame


def check(schema: Schema) -> Check | None:
    """How replies of this type are checked; None where their class says all, or nobody knows what they are."""
    resolve = resolver(schema.adapter.core_schema)
    root = inner_of(schema.adapter.core_schema, resolve)
    is_model = root["type"] == "model" and not root.get("root_model")
    if root["type"] in _GLANCED or is_document(root) or (root["type"] in _UNKNOWN and not is_any_document(root)):
        return None
    if is_model and all(
        inner_of(field["schema"], resolve)["type"] in _GLANCED for field in fields_of(root, resolve).values()
    ):
        return None
    found = list(nodes(schema.adapter.core_schema, resolve))
    holds_classes = not is_model and any(node["type"] in _CLASSES or is_any_document(node) for node in found)
    is_doubtful = not holds_classes or any(node["type"] in _MUTABLE and not is_document(node) for node in found)
    return Check(schema, schema.doubting() if is_doubtful else schema, holds_classes)
