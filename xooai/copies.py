"""Copies of ComboDocs: what writing one and reading it again gives, without a frame between the two.

What goes from one handler to another of this process is never shared: either may keep it, and change it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from types import NoneType
from typing import Any, cast

from xooai.combo import ComboDoc
from xooai.forms import Node, fields_in, is_document, nodes, resolver
from xooai.payload import passes
from xooai.schema import Schema
from xooai.walk import INT_MAX, INT_MIN

__all__ = ["Copy", "copier", "is_certain"]

Copy = Callable[[Any], Any]
"""Gives a copy; None of a value that has to be written and read, or is refused where it is."""

_SCALARS = frozenset((int, float, bool, NoneType))
_LONG = 65_536  # characters or bytes of one field: more takes as long to be read as it is, and may be more than a message takes
_FIELDS = 64  # so that all of them are less than a message takes
_AS_IT_IS = {"type", "schema", "metadata"}  # a field that is written under its name, whatever its value


def copier(schema: Schema) -> Copy | None:
    """What copies values of a type; None of a type whose values are more than scalars and documents by name."""
    taken = _documents(schema) if _may_be_plain(schema) else None
    if taken is None:
        return None
    annotation, count = schema.annotation, len(taken)

    def copied(value: Any) -> Any:
        if type(value) is not annotation:
            return None
        fields = value.__dict__
        if len(fields) != count:  # something is kept beside them
            return None
        for name, one in fields.items():
            kind = type(one)
            if kind is str:
                if len(one) > _LONG or not (one.isascii() or _is_text(one)):
                    return None
            elif kind not in _SCALARS and not _goes(kind, one, taken.get(name, ())):
                return None
        try:
            return schema.native.validate_python(fields)  # as it is read from a frame
        except Exception:  # noqa: BLE001 - whatever the class raises: it does so where it is read
            return None

    return copied


def is_certain(value: str | float) -> bool:
    """Whether a scalar is surely what writing and reading it gives, and small enough for a message."""
    kind = type(value)
    if kind is str:
        return len(value) <= _LONG and (value.isascii() or _is_text(value))  # type: ignore[arg-type,union-attr]
    return kind is not int or INT_MIN <= value <= INT_MAX  # type: ignore[operator]


def _is_text(text: str) -> bool:
    """Whether a text can be written: one half of a surrogate pair cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _goes(kind: type, value: Any, taken: Collection[type]) -> bool:
    """Whether a value that is no number and no text may stand in two documents: bytes, and a document, which do not change.

    A document is read as what is `taken`: one of a subclass would be another one.
    """
    if kind is not bytes:
        if kind not in taken or not passes(kind, value):
            return False
        value = value.value
    return len(value) <= _LONG


def _may_be_plain(schema: Schema) -> bool:
    """Whether what is written of a value are its fields, as far as it is a scalar."""
    annotation, facts = schema.annotation, schema.facts
    if (
        not isinstance(annotation, type)
        or not issubclass(annotation, ComboDoc)
        or len(annotation.model_fields) > _FIELDS
    ):
        return False
    return not (facts.loose or facts.deep) and facts.as_they_are and facts.countable


def _documents(schema: Schema) -> Mapping[str, Collection[type]] | None:
    """The classes of the documents in each field; None where one is not written under its name, and as it is."""
    core = cast(Node, schema.adapter.core_schema)
    resolve = resolver(schema.adapter.core_schema)
    inside = fields_in(core, resolve)
    fields = inside["fields"]
    if inside.get("computed_fields") or not all(field.keys() <= _AS_IT_IS for field in fields.values()):
        return None
    return {name: {one["cls"] for one in nodes(field, resolve) if is_document(one)} for name, field in fields.items()}
