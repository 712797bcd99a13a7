"""Classes for what a description names: a peer's models, and its kinds of documents with fields of their own."""

from __future__ import annotations

import keyword
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, create_model, model_serializer
from pydantic_core import PydanticSerializationUnexpectedValue

from xooai.combo import ComboDoc
from xooai.doc import Doc
from xooai.subclasses import written_of

__all__ = ["kind_of", "record"]

Fields = Mapping[str, tuple[Any, Any]]
"""By the name on the wire: the annotation, and the default, `...` for none."""


def record(title: object, given: Fields, extra: Literal["allow", "ignore"]) -> type[ComboDoc]:
    """A model with these fields. Names come from a peer: they are aliases, and Python attributes only where they hide nothing."""
    names = {name: name if _is_free(name) else f"field_{index}" for index, name in enumerate(given)}
    config = ConfigDict(populate_by_name=True, serialize_by_alias=True, protected_namespaces=(), extra=extra)
    base = type(
        "Described",
        (ComboDoc,),
        {
            "model_config": config,
            "__module__": __name__,
            "__annotations__": {"__xooai_described__": ClassVar[bool]},
            "__xooai_described__": True,
            "_write": model_serializer(mode="wrap")(_renaming(names)),
        },
    )
    found = {
        names[name]: (Annotated[annotation, Field(alias=name)], default)
        for name, (annotation, default) in given.items()
    }
    return create_model(str(title) if _is_free(title) else "Record", __base__=base, **found)  # type: ignore[call-overload, no-any-return]


def kind_of(base: type[Doc], title: object, given: Fields) -> type[Doc]:
    """The kind `base` with these fields beside its own."""
    found = {
        (name if _is_free(name, base) else f"field_{index}"): (Annotated[annotation, Field(alias=name)], default)
        for index, (name, (annotation, default)) in enumerate(given.items())
    }
    name = str(title) if _is_free(title) else base.__name__
    made = create_model(name, __base__=base, __module__=__name__, **found)  # type: ignore[call-overload]
    made.__xooai_described__ = True
    return made  # type: ignore[no-any-return]


def _is_free(name: object, base: type = ComboDoc) -> bool:
    """Whether a name may be that of a class or a field of one with this base: one that hides nothing."""
    if not isinstance(name, str) or not name.isidentifier() or keyword.iskeyword(name):
        return False
    return not name.startswith("_") and not hasattr(base, name)


def _renaming(names: Mapping[str, str]) -> Callable[[Any, Any], Any]:
    """Writes what a caller's own class calls otherwise by the names of the description."""

    def write(self: Any, handler: Callable[[Any], Any]) -> Any:
        if hasattr(type(self), "__xooai_described__"):
            return handler(self)
        held = written_of(self)
        if held is None:
            return handler(self)
        if not held.keys() <= names.keys():  # another member of a union, or one with extra fields
            raise PydanticSerializationUnexpectedValue(f"{type(self).__name__} is something else")
        return handler(SimpleNamespace(**{names[name]: value for name, value in held.items()}))

    write.__xooai_ours__ = True  # type: ignore[attr-defined]
    return write
