"""The schema of replies without annotation and of places for any value: written by what it is, read by its `kind`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, cast

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, SchemaSerializer, SchemaValidator, to_json
from pydantic_core import core_schema as cs

from xooai.codec import read_json
from xooai.doc import Doc, kind_named
from xooai.facts import Facts
from xooai.forms import CONFIG
from xooai.lazy import lazy
from xooai.schema import Schema
from xooai.walk import check_untyped

if TYPE_CHECKING:
    from xooai import native
else:
    native = lazy("xooai.native")

__all__ = ["ANYTHING", "untyped"]


class _Untyped:
    """A reply without annotation: written by what it is, its documents read by their `kind`."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return cs.no_info_plain_validator_function(
            _revived_from_json, serialization=cs.any_schema(), metadata={native.NATIVE: _revived_from_msgpack}
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> dict[str, Any]:
        return {}


def _revived_from_json(value: Any) -> Any:
    return _revived(
        value, lambda kind, doc: read_json(cast(SchemaValidator, kind.__pydantic_validator__), to_json(doc))
    )


def _revived_from_msgpack(value: Any) -> Any:
    return _revived(value, lambda kind, doc: native.read_native(native.of_class(kind), doc))


def _revived(value: Any, read: Callable[[type[Doc], dict[str, Any]], Doc]) -> Any:
    """The value with what is a document by its `kind` as one."""
    if isinstance(value, list):
        return [_revived(item, read) for item in value]
    if not isinstance(value, dict):
        return value
    kind = kind_named(value.get("kind"))
    if kind is not None and ("ref" in value or "value" in value):
        return read(kind, value)
    return {name: _revived(inner, read) for name, inner in value.items()}


ANYTHING: Any = Annotated[Any, _Untyped]
"""The annotation of a place where any value may stand, documents too."""


def _as_it_is(value: Any, write: cs.SerializerFunctionWrapHandler) -> Any:
    check_untyped(value)
    return write(value)


_AS_IT_IS = cs.wrap_serializer_function_ser_schema(_as_it_is, schema=cs.any_schema())


def untyped() -> Schema:
    """The schema of a reply without annotation."""
    schema = Schema(ANYTHING, "a reply")
    schema.serializer = SchemaSerializer(cs.any_schema(serialization=_AS_IT_IS), CONFIG)
    schema.facts = Facts(documents=True, as_they_are=False, plain_floats=True, bytes=True, loose=True, deep=True)
    return schema
