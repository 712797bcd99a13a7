"""A type, compiled: what validates, writes and describes its values."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol, Self, cast

from pydantic import GetCoreSchemaHandler, PydanticSchemaGenerationError, PydanticUserError, TypeAdapter
from pydantic_core import CoreSchema, SchemaSerializer, SchemaValidator

from xooai import forms
from xooai.facts import facts
from xooai.finite import finite
from xooai.lazy import lazy
from xooai.refusal import refuse
from xooai.subclasses import Classes

if TYPE_CHECKING:
    from xooai import native
else:
    native = lazy("xooai.native")

__all__ = ["JsonValidator", "Schema", "Settled"]


class Settled:
    """Marks a parameter's or a reply's annotation: its schema follows the rules of `xooai.forms`."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        schema = handler(source)
        forms.settle(schema, handler.resolve_ref_schema)
        return schema


class JsonValidator(Protocol):
    """What validates JSON text."""

    def validate_json(self, frame: bytes, /, *, strict: bool) -> Any: ...


class _Unmade:
    """Stands for a schema's `validator` or `serializer` until it is first used: a server seldom writes what it reads."""

    def __init__(self, schema: Schema, name: Literal["validator", "serializer"]) -> None:
        self._schema = schema
        self._name = name

    def __getattr__(self, name: str) -> Any:
        return getattr(self._schema.made(self._name), name)


class _Uncompiled:
    """Stands for a schema's `native` until it is first used: a server may never see msgpack."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema

    def validate_python(self, value: Any, /) -> Any:
        found = self._schema.native = native.native(self._schema.adapter.core_schema)
        return found.validate_python(value)


class _Infinite:
    """Stands for a schema's `finite` until it is first used: a server may never read JSON."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema

    def validate_json(self, frame: bytes, /, *, strict: bool) -> Any:
        schema = self._schema
        found = schema.finite = finite(schema.adapter.core_schema) if schema.facts.floats else schema.made("validator")
        return found.validate_json(frame, strict=strict)


class Schema:
    """The compiled form of one annotation; `owner` names it in errors. Raises TypeError for a type that cannot travel."""

    __slots__ = (
        "_classes",
        "adapter",
        "annotation",
        "facts",
        "finite",
        "native",
        "serializer",
        "subclasses",
        "validator",
        "warnings",
    )

    def __init__(self, annotation: Any, owner: str) -> None:
        self.annotation = annotation
        try:
            self.adapter: TypeAdapter[Any] = TypeAdapter(Annotated[annotation, Settled])
        except PydanticSchemaGenerationError as error:
            reason = str(error).partition("\n")[0]
            raise TypeError(
                f"{owner}: {reason}; annotate it with a document or a type that pydantic validates"
            ) from None
        except PydanticUserError as error:
            raise TypeError(f"{owner}: {error.message}") from None
        core = self.adapter.core_schema
        refuse(core, owner)
        self.facts = facts(core)
        self.subclasses: tuple[Callable[[], list[type]], ...] = tuple(cls.__subclasses__ for cls in self.facts.classes)
        """Asked at every call, so bound here: whether a class has subclasses by now. Most have none."""
        self.validator = cast(SchemaValidator, _Unmade(self, "validator"))
        self.serializer = cast(SchemaSerializer, _Unmade(self, "serializer"))
        self._classes: Classes | None = None
        self.finite: JsonValidator = _Infinite(self)
        """The validator that takes no number of JSON for infinite."""
        self.native: native.Validator = _Uncompiled(self)
        self.warnings: Literal[False, "error"] = (
            False  # what becomes of a value that is not of the type when it is written
        )

    def made(self, name: Literal["validator", "serializer"]) -> Any:
        """What stands there from its first use on. Two threads may make it at once; one is as good as the other."""
        found = getattr(self, name)
        if isinstance(found, _Unmade):
            make = SchemaValidator if name == "validator" else SchemaSerializer
            found = make(self.adapter.core_schema, forms.CONFIG)
            setattr(self, name, found)
        return found

    def doubting(self) -> Self:
        """A copy that takes pydantic's doubts about a value that is written for errors."""
        self.made("serializer")  # or each would have one of its own
        found = copy(self)
        found.warnings = "error"
        return found

    @property
    def classes(self) -> Classes:
        """The classes at its places, made when they are first asked for: few programs give instances of subclasses."""
        if self._classes is None:
            self._classes = Classes(self.adapter.core_schema)
        return self._classes
