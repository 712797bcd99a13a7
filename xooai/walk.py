"""Walking through values: the documents in them, and what no frame may hold."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import fields, is_dataclass
from datetime import datetime, time, timedelta
from decimal import Decimal
from math import isfinite
from typing import Any

from pydantic import BaseModel, Secret, SecretBytes, SecretStr

from xooai.doc import Doc
from xooai.errors import InvalidArgument
from xooai.plain import is_of_numpy

__all__ = [
    "INT_MAX",
    "INT_MIN",
    "check_integers",
    "check_keys",
    "check_sendable",
    "check_untyped",
    "documents",
    "has_ref",
    "keys_in",
    "refs_of_dicts",
    "replaced",
]

INT_MIN, INT_MAX = -(2**63), 2**63 - 1  # what every codec and most languages hold
_LEAVES = frozenset({str, int, float, bool, bytes, type(None)})
_PASSED = _LEAVES - {int}


def documents(value: Any) -> Iterator[Doc]:
    """The documents in a value, at any depth, in a fixed order."""
    if isinstance(value, Doc):
        yield value
        inside: Iterable[Any] = (value.__dict__.get(name) for name in type(value)._own_fields)
    elif type(value) is dict:
        inside = value.values()
    else:
        inside = value if type(value) is list else _inside(value)
    for inner in inside:
        if type(inner) in _LEAVES:
            continue
        if isinstance(inner, Doc) and not type(inner)._own_fields:  # most are such: one generator less
            yield inner
        else:
            yield from documents(inner)


def has_ref(value: Any) -> bool:
    """Whether a dict with a ref stands somewhere, which may be meant for a document."""
    if isinstance(value, Doc):
        return any(has_ref(value.__dict__.get(name)) for name in type(value)._own_fields)
    if isinstance(value, dict) and type(value.get("ref")) is str:
        return True
    return any(has_ref(inner) for inner in _inside(value) if type(inner) not in _LEAVES)


def refs_of_dicts(value: Any) -> Iterator[str]:
    """The refs of those."""
    if isinstance(value, Doc):
        inside: Iterable[Any] = (value.__dict__.get(name) for name in type(value)._own_fields)
    else:
        inside = _inside(value)
        if isinstance(value, dict) and type(value.get("ref")) is str:
            yield value["ref"]
    for inner in inside:
        if type(inner) not in _LEAVES:
            yield from refs_of_dicts(inner)


def _inside(value: Any) -> Iterator[Any]:
    if isinstance(value, BaseModel):
        yield from value.__dict__.values()
        yield from (value.__pydantic_extra__ or {}).values()
    elif isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list | tuple | set | frozenset | deque):
        yield from value
    elif is_dataclass(value) and not isinstance(value, type):
        yield from (getattr(value, field.name) for field in fields(value))


def replaced(value: Any, change: Callable[[Doc], Doc]) -> Any:
    """The value with its documents changed: what holds none that change is the same object as before."""
    if type(value) in _LEAVES:
        return value
    if isinstance(value, Doc):
        new = _changed({name: value.__dict__.get(name) for name in type(value)._own_fields}, change)
        return change(value.model_copy(update=new) if new else value)
    if isinstance(value, BaseModel):
        new = _changed(value.__dict__, change) | _changed(value.__pydantic_extra__ or {}, change)
        return value.model_copy(update=new) if new else value
    if isinstance(value, dict):
        new = _changed(value, change)
        return {**value, **new} if new else value
    if isinstance(value, list | tuple | deque):
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
    if isinstance(value, deque):
        return deque(items, value.maxlen)
    return type(value)(*items) if hasattr(value, "_fields") else tuple(items)


def keys_in(value: Any) -> int:
    """How many keys of objects a value was read from, if its type is countable (`Facts`). Defaults were not read."""
    if isinstance(value, BaseModel):
        given = value.__pydantic_fields_set__
        inside = [inner for name, inner in value.__dict__.items() if type(inner) not in _LEAVES and name in given]
        found = len(given)
    elif isinstance(value, dict):
        inside = [inner for inner in value.values() if type(inner) not in _LEAVES]
        found = len(value)
    else:
        inside = [inner for inner in _inside(value) if type(inner) not in _LEAVES]
        found = 0
    for inner in inside:
        found += keys_in(inner)
    return found


def _look(value: Any, check: Callable[[Any], None]) -> None:
    """Check the integers in a value and, by `check`, what else it is made of: no texts, bytes, floats and booleans."""
    inside: Sequence[Any] = value if isinstance(value, list | tuple) else list(_inside(value))
    if isinstance(value, dict):
        inside = [*inside, *value.keys()]
    if not inside:
        check(value)
        return
    kinds = set(map(type, inside))  # a list of many numbers is looked through by what is compiled
    if int in kinds:
        integers = inside if len(kinds) == 1 else [inner for inner in inside if type(inner) is int]
        _check_integer(min(integers))
        _check_integer(max(integers))
    if not kinds <= _LEAVES:
        for inner in inside:
            if type(inner) not in _LEAVES:
                _look(inner, check)


def check_integers(value: Any) -> None:
    """Raise InvalidArgument for an integer beyond 64 bits, at any depth."""
    _look(value, _check_integer)


def _check_integer(leaf: Any) -> None:
    found = leaf if type(leaf) is int or not is_of_numpy(leaf) else leaf.item()
    if isinstance(found, int) and not INT_MIN <= found <= INT_MAX:
        raise InvalidArgument(
            f"an integer of {found.bit_length()} bits was given; integers have at most 64 bits, signed"
        )


def check_sendable(value: Any) -> None:
    """Raise InvalidArgument for what would arrive as something else, at any depth."""
    _look(value, _check_scalar)


def _check_scalar(scalar: Any) -> None:
    _check_integer(scalar)
    if isinstance(scalar, Decimal) and not scalar.is_finite():
        raise InvalidArgument(f"{scalar!r} cannot be sent: a Decimal is finite; a float may be NaN or infinite")
    if isinstance(scalar, datetime | time) and (scalar.utcoffset() or timedelta()) % timedelta(minutes=1):
        raise InvalidArgument(
            f"{scalar!r} cannot be sent: its offset from UTC is not in whole minutes; convert it to UTC"
        )
    if isinstance(scalar, re.Pattern) and (scalar.flags != re.UNICODE or isinstance(scalar.pattern, bytes)):
        raise InvalidArgument(
            f"{scalar!r} cannot be sent: a pattern travels as its text, without flags; write them into it, as (?i)"
        )
    if isinstance(scalar, SecretStr | SecretBytes | Secret):
        raise InvalidArgument("a secret would arrive as asterisks; send its get_secret_value(), or pass it as metadata")


def check_untyped(value: Any) -> None:
    """Raise ValueError for what a reader that knows no type takes for something else, at any depth outside of documents."""
    if is_of_numpy(value):
        value = value.item()
    if isinstance(value, bytes | bytearray):
        raise ValueError("bytes are a text in JSON, and nothing says that they are bytes; annotate the reply")
    if isinstance(value, float) and not isfinite(value):
        raise ValueError(f"{value} is a text in JSON, and nothing says that it is a number; annotate the reply")
    if isinstance(value, Iterator):
        raise ValueError(f"{type(value).__name__} can be read once only; return a list")
    if not isinstance(value, Doc):
        for inner in _inside(value):
            check_untyped(inner)


def check_keys(value: Any) -> None:
    """Raise UnicodeEncodeError for a key that UTF-8 does not hold, at any depth: pydantic writes it as question marks."""
    if isinstance(value, dict):
        for key in value:
            if isinstance(key, str):
                key.encode()
    for inner in _inside(value):
        if type(inner) not in _LEAVES:
            check_keys(inner)
