"""Conditions on replies that are data: paths into what nodes gave, and what is to be found there. Nothing is evaluated."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable, Collection, Mapping, Sequence
from enum import Enum
from math import isnan
from types import NoneType
from typing import Any, TypeVar, get_args, get_origin

import msgspec
from pydantic import BaseModel

from xooai.errors import FailedPrecondition, FlowError
from xooai.fitting import is_open, members, shown
from xooai.hints import nearest

__all__ = ["MISSING", "OPERATORS", "Condition", "condition", "inside", "model_fields", "place_in"]

MISSING: Any = object()
"""What stands where there is nothing."""
_ORDERS: Mapping[str, Callable[[Any, Any], Any]] = {
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
}
OPERATORS = ("eq", "ne", *_ORDERS, "in", "not_in", "exists")
_LISTS = (list, tuple, set, frozenset)

At = Callable[[Any, Sequence[str]], Any]


class _Test(msgspec.Struct, frozen=True):
    """What is to be found in one place: `name` is the need, or the parameter, and `steps` are the fields below it."""

    name: str
    steps: Sequence[str]
    operator: str
    wanted: Any

    @property
    def path(self) -> str:
        return ".".join([self.name, *self.steps])

    def holds(self, values: Mapping[str, Any], at: At) -> bool:
        """Raises FailedPrecondition where there is nothing to compare, or what cannot be compared."""
        is_there = self.name in values
        if self.operator == "exists" and not self.steps:
            return is_there is self.wanted
        found = at(values[self.name], self.steps) if is_there else MISSING
        if self.operator == "exists":
            return (found is not MISSING) is self.wanted
        if found is MISSING:
            raise FailedPrecondition(
                f"when= looks at {self.path!r}, which there is not; {{'exists': True}} beside it asks for that"
            )
        if isinstance(found, Enum):
            found = found.value
        if self.operator in ("eq", "ne"):
            return _is_equal(found, self.wanted) is (self.operator == "eq")
        if self.operator in ("in", "not_in"):
            return any(_is_equal(found, one) for one in self.wanted) is (self.operator == "in")
        try:
            return bool(_ORDERS[self.operator](found, self.wanted))
        except TypeError:
            kinds = f"{type(found).__name__} and {type(self.wanted).__name__}"
            raise FailedPrecondition(f"when= cannot order {self.path!r}: {kinds} have no order") from None

    def check(self, annotation: Any, where: str) -> None:
        """Raise FlowError where what is of this type has no such place, as far as is known."""
        path = self.name
        for step in self.steps:
            inner = [found for kind in members(annotation) if (found := _typed(kind, step)) is not MISSING]
            if not inner:
                known = sorted({name for kind in members(annotation) for name in _fields(kind)})
                raise FlowError(
                    f"{where} looks at {self.path!r}, and {path}, which is {shown(annotation)}, has no {step!r}"
                    f"{nearest(step, known)}" + (f"; it has: {', '.join(known)}" if known else "")
                )
            if len(inner) > 1 or is_open(inner[0]):
                return  # it depends, or nothing is known
            annotation, path = inner[0], f"{path}.{step}"


class Condition(msgspec.Struct, frozen=True):
    """What has to be found in the replies, all of it."""

    tests: Sequence[_Test]

    @property
    def looks_at(self) -> dict[str, frozenset[str] | None]:
        """The needs, or parameters, that it looks at, each with the fields next below it; None for the whole."""
        found: dict[str, set[str] | None] = {}
        for test in self.tests:
            fields = found.setdefault(test.name, set())
            if not test.steps:
                found[test.name] = None
            elif fields is not None:
                fields.add(test.steps[0])
        return {name: None if fields is None else frozenset(fields) for name, fields in found.items()}

    @property
    def names(self) -> Sequence[str]:
        """The needs, or parameters, that it looks at."""
        return list(self.looks_at)

    @property
    def text(self) -> str:
        """For people."""
        return " and ".join(f"{test.path} {test.operator} {test.wanted!r}" for test in self.tests)

    def holds(self, values: Mapping[str, Any], at: At | None = None) -> bool:
        """Whether all is as it says. Raises FailedPrecondition where there is nothing to compare.

        `at` finds what is below names in one of the values, as `inside` does.
        """
        return all(test.holds(values, inside if at is None else at) for test in self.tests)

    def check(self, types: Mapping[str, Any], where: str) -> None:
        """Raise FlowError for a field that a type does not have; what is not known is not told."""
        for test in self.tests:
            if test.name in types:
                test.check(types[test.name], where)


def condition(given: Mapping[Any, Any], names: Sequence[str] | None, where: str) -> Condition:
    """`{"ocr.score": {"ge": 0.5}, "ocr.language": "en"}` read. Raises FlowError, with `where` for whose it is.

    `names` are what a path may begin with, None where that is not known yet. Whether something exists is asked first.
    """
    if not given:
        raise FlowError(f"{where} says nothing: it takes a path and what is to be found there")
    tests: list[_Test] = []
    for path, said in given.items():
        name, steps = _path(path, names, where)
        asked = said if isinstance(said, Mapping) else {"eq": said}
        if not asked:
            raise FlowError(f"{where}: nothing is said of {path!r}; there are: {', '.join(OPERATORS)}")
        tests += [
            _Test(name, steps, kind, _wanted(kind, wanted, f"{where}: {path!r}")) for kind, wanted in asked.items()
        ]
    return Condition(sorted(tests, key=lambda test: test.operator != "exists"))


def _path(path: Any, names: Sequence[str] | None, where: str) -> tuple[str, list[str]]:
    """What a path begins with, which may have dots of its own, and the fields below."""
    if not isinstance(path, str):
        raise FlowError(f"{where}: {repr(path)[:80]} is no path; it is written need.field")
    if names is None:
        first, *steps = path.split(".")
        found = [first]
    else:
        found = sorted((name for name in names if path == name or path.startswith(f"{name}.")), key=len, reverse=True)
        if not found:
            raise FlowError(
                f"{where} looks at {path!r}, which is none of: {', '.join(map(repr, names)) or 'nothing'}"
                f"{nearest(path.partition('.')[0], names)}"
            )
        steps = path[len(found[0]) + 1 :].split(".") if path != found[0] else []
    if not all([found[0], *steps]):
        raise FlowError(f"{where}: {path!r} is no path: there is nothing between two of its dots")
    return found[0], steps


def _wanted(kind: Any, wanted: Any, where: str) -> Any:
    if kind not in OPERATORS:
        raise FlowError(
            f"{where}: no operator {kind!r}{nearest(str(kind), OPERATORS)}; there are: {', '.join(OPERATORS)}"
        )
    if kind == "exists":
        if not isinstance(wanted, bool):
            raise FlowError(f"{where}: exists takes true or false, and got {_short(wanted)}")
        return wanted
    if kind in ("in", "not_in"):
        if not isinstance(wanted, list | tuple) or not all(map(_is_literal, wanted)):
            raise FlowError(
                f"{where}: {kind} takes a list of texts, numbers, true, false and null; got {_short(wanted)}"
            )
        return tuple(wanted)
    if kind in _ORDERS and (isinstance(wanted, bool | NoneType) or not _is_literal(wanted)):
        raise FlowError(f"{where}: {kind} takes a number or a text, and got {_short(wanted)}")
    if not _is_literal(wanted):
        raise FlowError(f"{where}: {kind} takes a text, a number, true, false or null, and got {_short(wanted)}")
    return wanted


def _is_literal(value: Any) -> bool:
    return type(value) in (NoneType, bool, int, str) or (type(value) is float and not isnan(value))


def _short(value: object) -> str:
    return repr(value)[:80]


def _is_equal(found: Any, wanted: Any) -> bool:
    """Equal as JSON takes it, where true is not 1."""
    return isinstance(found, bool) is isinstance(wanted, bool) and bool(found == wanted)


# Below a value, and below a type


def inside(value: Any, steps: Sequence[str]) -> Any:
    """What is in `value` below these names, MISSING where there is nothing."""
    for step in steps:
        if value is MISSING:
            break
        value = _inside(value, step)
    return value


def _inside(value: Any, step: str) -> Any:
    """What is in `value` under this name, or at this place of a list. Nothing but data: of an object its fields alone."""
    if isinstance(value, Mapping):
        return value.get(step, MISSING)
    if isinstance(value, list | tuple):
        place = place_in(step)
        return value[place] if place is not None and place < len(value) else MISSING
    if isinstance(value, BaseModel):
        name = model_fields(type(value)).get(step)
        return (value.model_extra or {}).get(step, MISSING) if name is None else getattr(value, name)
    if dataclasses.is_dataclass(value) and step in _fields(type(value)):
        return getattr(value, step)
    return MISSING


def place_in(step: str) -> int | None:
    """A place in a list. Few digits: no list is as long as what more of them say."""
    return int(step) if step.isascii() and step.isdecimal() and len(step) < 10 else None


def model_fields(kind: type[BaseModel]) -> dict[str, str]:
    """The fields by the names that they have in Python, and on the wire."""
    fields = kind.model_fields
    return {**{one.alias: name for name, one in fields.items() if one.alias}, **{name: name for name in fields}}


def _fields(kind: Any) -> Collection[str]:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return model_fields(kind)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return [field.name for field in dataclasses.fields(kind)]
    return ()


def _typed(kind: Any, step: str) -> Any:
    """The type of what is below one of this type; Any where nothing is known of it."""
    origin, inside = get_origin(kind) or kind, get_args(kind)
    if is_open(kind) or isinstance(kind, TypeVar) or not isinstance(origin, type):
        return Any
    if issubclass(origin, BaseModel):
        name = model_fields(origin).get(step)
        if name is not None:
            return origin.model_fields[name].annotation
        return Any if origin.model_config.get("extra") == "allow" else MISSING
    if issubclass(origin, Mapping):
        return inside[1] if len(inside) == 2 else Any
    if issubclass(origin, _LISTS):
        return _item(inside, place_in(step)) if issubclass(origin, list | tuple) else MISSING
    if dataclasses.is_dataclass(origin):
        return Any if step in _fields(origin) else MISSING
    return MISSING if issubclass(origin, _PLAIN) else Any


_PLAIN = (str, bytes, bool, int, float, complex, NoneType, Enum)  # which have nothing below them


def _item(inside: Sequence[Any], place: int | None) -> Any:
    if place is None:
        return MISSING
    if not inside:
        return Any
    if len(inside) > 1 and Ellipsis not in inside:  # a tuple with a length of its own
        return inside[place] if place < len(inside) else MISSING
    return inside[0]
