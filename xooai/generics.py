"""Type variables of generic classes: what they stand for in a subclass, put into annotations."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping
from functools import reduce
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

__all__ = ["bound", "open_in", "variables_of"]


def variables_of(cls: type, home: type) -> dict[Any, Any]:
    """What the type variables of `home`, a base of `cls`, stand for in `cls`."""
    for base in vars(cls).get("__orig_bases__", cls.__bases__):
        origin = get_origin(base) or base
        if not (isinstance(origin, type) and issubclass(origin, home)):
            continue
        names, given = getattr(origin, "__parameters__", ()), get_args(base)
        here = dict(zip(names, given, strict=True)) if len(names) == len(given) else {}
        inner = {} if origin is home else variables_of(origin, home)
        return here if origin is home else {name: bound(kind, here) for name, kind in inner.items()}
    return {}


def bound(annotation: Any, variables: Mapping[Any, Any]) -> Any:
    """The annotation with what the variables stand for in their place."""
    if isinstance(annotation, TypeVar):
        return variables.get(annotation, annotation)
    origin, args = _parts(annotation)
    own = () if args else _own(annotation)
    if own and variables.keys() & set(own):  # what pydantic makes of Pair[T], where Pair has the same T
        return annotation[tuple(variables.get(name, name) for name in own)]
    new = tuple(bound(arg, variables) for arg in args)
    if all(one is other for one, other in zip(new, args, strict=True)):
        return annotation
    if origin is Annotated:
        return Annotated[(new[0], *annotation.__metadata__)]
    if origin in (Union, UnionType):
        return reduce(operator.or_, new)
    return annotation.copy_with(new) if hasattr(annotation, "copy_with") else origin[new]


def open_in(annotation: Any) -> Iterator[Any]:
    """The variables in an annotation of which nothing says what they stand for."""
    if isinstance(annotation, TypeVar):
        says = annotation.__bound__ is not None or annotation.__constraints__
        if not says and not getattr(annotation, "has_default", bool)():
            yield annotation
    for arg in _parts(annotation)[1]:
        yield from open_in(arg)


def _parts(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    """What an annotation is made of; models of pydantic, which are classes, among them."""
    known = getattr(annotation, "__pydantic_generic_metadata__", None) if isinstance(annotation, type) else None
    if known:
        return known["origin"], known["args"]
    return get_origin(annotation), get_args(annotation)


def _own(annotation: Any) -> tuple[Any, ...]:
    known = getattr(annotation, "__pydantic_generic_metadata__", None) if isinstance(annotation, type) else None
    return known["parameters"] if known else ()
