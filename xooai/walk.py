"""Walking through values: the documents in them, and what no frame may hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from pydantic import BaseModel

from xooai.doc import Doc
from xooai.errors import InvalidArgument

__all__ = ["INT_MAX", "INT_MIN", "check_integers", "documents", "keys_in", "replaced"]

INT_MIN, INT_MAX = -(2**63), 2**63 - 1  # what every codec and most languages hold
_LEAVES = frozenset({str, int, float, bool, bytes, type(None)})
_PASSED = _LEAVES - {int}


def documents(value: Any) -> Iterator[Doc]:
    """The documents in a value, at any depth, in a fixed order."""
    if isinstance(value, Doc):
        yield value
        return
    for inner in _inside(value):
        if type(inner) not in _LEAVES:
            yield from documents(inner)


def _inside(value: Any) -> Iterator[Any]:
    if isinstance(value, BaseModel):
        yield from value.__dict__.values()
        yield from (value.__pydantic_extra__ or {}).values()
    elif isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list | tuple | set | frozenset):
        yield from value
    elif is_dataclass(value) and not isinstance(value, type):
        yield from (getattr(value, field.name) for field in fields(value))


def replaced(value: Any, change: Callable[[Doc], Doc]) -> Any:
    """The value with its documents changed: what holds none that change is the same object as before."""
    if type(value) in _LEAVES:
        return value
    if isinstance(value, Doc):
        return change(value)
    if isinstance(value, BaseModel):
        new = _changed(value.__dict__, change)
        return value.model_copy(update=new) if new else value
    if isinstance(value, dict):
        new = _changed(value, change)
        return {**value, **new} if new else value
    if isinstance(value, list | tuple):
        items = [replaced(item, change) for item in value]
        same = all(new is old for new, old in zip(items, value, strict=True))
        return value if same else _rebuilt(value, items)
    return value


def _changed(mapping: dict[Any, Any], change: Callable[[Doc], Doc]) -> dict[Any, Any]:
    pairs = ((name, inner, replaced(inner, change)) for name, inner in mapping.items())
    return {name: new for name, old, new in pairs if new is not old}


def _rebuilt(value: Any, items: list[Any]) -> Any:
    if isinstance(value, list):
        return items
    return type(value)(*items) if hasattr(value, "_fields") else tuple(items)


def keys_in(value: Any) -> int:
    """How many keys of objects a value was read from: more or fewer where a validator of the user's changed it."""
    if isinstance(value, BaseModel):
        inside = [inner for inner in value.__dict__.values() if type(inner) not in _LEAVES]
        found = len(value.__pydantic_fields_set__) + (len(value.__pydantic_extra__) if value.__pydantic_extra__ else 0)
    elif isinstance(value, dict):
        inside = [inner for inner in value.values() if type(inner) not in _LEAVES]
        found = len(value)
    else:
        inside = [inner for inner in _inside(value) if type(inner) not in _LEAVES]
        found = 0
    for inner in inside:
        found += keys_in(inner)
    return found


def check_integers(value: Any) -> None:
    """Raise InvalidArgument for an integer beyond 64 bits, at any depth."""
    if type(value) is int:
        if not INT_MIN <= value <= INT_MAX:
            raise InvalidArgument(f"an integer of {value.bit_length()} bits was given; integers have at most 64 bits, signed")
        return
    for inner in _inside(value):
        if type(inner) not in _PASSED:
            check_integers(inner)
