"""Types as people write them in Python: what tables and errors of the command line show."""

from __future__ import annotations

import typing
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union

from pydantic import BaseModel

from xooai.doc import Doc

__all__ = ["members", "records", "shown"]


def members(annotation: Any) -> tuple[Any, ...]:
    """The types that an annotation allows, without None and without what `Annotated` adds."""
    origin = typing.get_origin(annotation)
    if origin is Annotated:
        return members(typing.get_args(annotation)[0])
    if origin in (Union, UnionType):
        return tuple(found for one in typing.get_args(annotation) for found in members(one))
    if hasattr(annotation, "__value__"):  # type Name = ...
        return members(annotation.__value__)
    return () if annotation in (None, NoneType) else (annotation,)


def shown(annotation: Any) -> str:
    """`Image`, `list[Text]`, `float | None`, `'cat' | 'dog'`; "anything" where nothing is said."""
    if annotation is Any:
        return "anything"
    if annotation in (None, NoneType):
        return "None"
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return shown(inner[0])
    if origin in (Union, UnionType):
        return " | ".join(shown(one) for one in inner)
    if origin is Literal:
        return " | ".join(repr(one) for one in inner)
    if origin is not None and inner:
        return (
            f"{getattr(origin, '__name__', origin)}[{', '.join('...' if one is ... else shown(one) for one in inner)}]"
        )
    return str(getattr(annotation, "__name__", annotation))


def records(annotation: Any) -> list[type[BaseModel]]:
    """The models in an annotation that are no documents, at any depth, the outer first."""
    found: list[type[BaseModel]] = []
    waiting = [annotation]
    while waiting:
        one = waiting.pop(0)
        waiting += [inner for inner in typing.get_args(one) if not isinstance(inner, str | int)]
        if isinstance(one, type) and issubclass(one, BaseModel) and not issubclass(one, Doc) and one not in found:
            found.append(one)
            waiting += [field.annotation for field in one.model_fields.values()]
    return found
