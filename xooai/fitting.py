"""Whether a value of one type may stand where another is wanted; what is not known fits."""

from __future__ import annotations

from types import NoneType, UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel

from xooai.doc import Doc
from xooai.streamed import UNTOLD
from xooai.untyped import ANYTHING

__all__ = ["fits", "is_open", "members", "same", "shown", "takes_none"]

_PLAIN = (str, bytes, bool, int, float, NoneType)  # of these no validator makes one of another, but for numbers
_NUMBERS = (bool, int, float)
_LISTS = (list, tuple, set, frozenset)  # written alike


def members(annotation: Any) -> list[Any]:
    """The types of which a value may be: those of a union, or the one."""
    if annotation is None:
        return [NoneType]
    if annotation is ANYTHING:
        return [Any]
    origin, inside = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return members(inside[0])
    if origin in (Union, UnionType):
        return [kind for member in inside for kind in members(member)]
    return [annotation]


def is_open(annotation: Any) -> bool:
    """Whether nothing is said about a value of this type."""
    return annotation is UNTOLD or any(
        kind in (Any, object) or isinstance(kind, TypeVar) for kind in members(annotation)
    )


def takes_none(annotation: Any) -> bool:
    """Whether None may stand there."""
    return is_open(annotation) or NoneType in members(annotation)


def fits(given: Any, wanted: Any) -> bool:
    """Whether some value of the type `given` may be one of the type `wanted`.

    Of a union one member is enough: a condition may have seen to it that it is that one.
    """
    if is_open(given) or is_open(wanted):
        return True
    return any(_fits(one, other) for one in members(given) for other in members(wanted))


def _fits(given: Any, wanted: Any) -> bool:
    origin, other = get_origin(given) or given, get_origin(wanted) or wanted
    if not (isinstance(origin, type) and isinstance(other, type)):
        return True
    if origin in _LISTS or other in _LISTS:
        return origin in _LISTS and other in _LISTS and _items_fit(given, wanted)
    if issubclass(origin, Doc) or issubclass(other, Doc):
        return _documents_fit(origin, other)
    if issubclass(origin, BaseModel) and issubclass(other, BaseModel):
        return _related(origin, other) or _is_described(origin) or _is_described(other)
    if origin in _PLAIN and (other in _PLAIN or issubclass(other, BaseModel)):
        return origin is other or (origin in _NUMBERS and other in _NUMBERS)
    return not (other in _PLAIN and issubclass(origin, BaseModel))


def _items_fit(given: Any, wanted: Any) -> bool:
    """Whether the items of lists fit; those of a tuple with a length of its own are not looked at."""
    one, other = get_args(given), get_args(wanted)
    return len(one) != 1 or len(other) != 1 or fits(one[0], other[0])


def _documents_fit(given: type, wanted: type) -> bool:
    if not (issubclass(given, Doc) and issubclass(wanted, Doc)):
        return issubclass(given if issubclass(wanted, Doc) else wanted, dict)  # which may stand for a document
    return _related(given, wanted) or given._kind == wanted._kind


def _related(one: type, other: type) -> bool:
    return issubclass(one, other) or issubclass(other, one)


def _is_described(kind: type) -> bool:
    return hasattr(kind, "__xooai_described__")


def same(one: Any, other: Any) -> bool:
    """Whether two places take the same values, as far as is known: what a server describes is a class of its own."""
    if is_open(one) or is_open(other) or one == other:
        return True
    mine, theirs = members(one), members(other)
    return len(mine) == len(theirs) and all(any(_same(a, b) for b in theirs) for a in mine)


def _same(one: Any, other: Any) -> bool:
    if one == other:
        return True
    if isinstance(one, type) and isinstance(other, type):
        both = issubclass(one, BaseModel) and issubclass(other, BaseModel)
        return both and (_is_described(one) or _is_described(other)) and _fits(one, other)
    origin, inside = get_origin(one), get_args(one)
    others = get_args(other)
    return (
        origin is not None
        and origin == get_origin(other)
        and len(inside) == len(others)
        and all(same(a, b) for a, b in zip(inside, others, strict=True))
    )


def shown(annotation: Any) -> str:
    """A type as an error calls it."""
    if annotation is UNTOLD or annotation is ANYTHING:
        return "anything"
    if get_origin(annotation) is Annotated:
        return shown(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return " | ".join(shown(kind) for kind in get_args(annotation))
    if annotation in (None, NoneType):
        return "None"
    inside = get_args(annotation)
    origin = get_origin(annotation)
    if inside and isinstance(origin, type):
        return f"{origin.__name__}[{', '.join('...' if kind is Ellipsis else shown(kind) for kind in inside)}]"
    return annotation.__name__ if isinstance(annotation, type) else str(annotation).removeprefix("typing.")
