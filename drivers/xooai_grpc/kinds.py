"""What a single value is in protobuf and in a frame: scalars and enums."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, Protocol

import msgspec

from xooai.proto import Enum

__all__ = ["ABSENT", "EnumKind", "Kind", "Scalar", "Unfit"]

ABSENT: Any = object()
"""Instead of a value: there is none."""

_CLASSES: dict[str, type] = {"bool": bool, "bytes": bytes, "double": float, "int64": int, "string": str}


class Unfit(ValueError):
    """A message or a value is not what the file says. `where` is the field, as the fields that lead to it."""

    where = ""

    def __str__(self) -> str:
        said = super().__str__()
        return f"{self.where}: {said}" if self.where else said


class Kind(Protocol):
    """The type of a field that is no message."""

    def take(self, raw: Any) -> Any:
        """The value of what a message holds; ABSENT for an enum's 0."""

    def give(self, value: Any) -> Any:
        """What a message is to hold for a value. Raises Unfit."""

    def fits(self, value: Any) -> bool:
        """Whether a value can be of this type."""

    def take_all(self, raw: Iterable[Any]) -> list[Any]:
        """`take` for many. Raises Unfit where one is absent."""

    def give_all(self, values: Collection[Any]) -> Iterable[Any]:
        """`give` for many."""

    def fit(self, values: Iterable[Any]) -> bool:
        """`fits` for many."""


class Scalar:
    """A number, text, bytes, true or false: the same in both."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._class = _CLASSES[name]

    def take(self, raw: Any) -> Any:
        return raw

    def give(self, value: Any) -> Any:
        if type(value) is self._class:
            return value
        if type(value) is int and self._class is float:
            return float(value)
        raise Unfit(f"{type(value).__name__} is no {self._name}")

    def fits(self, value: Any) -> bool:
        return type(value) is self._class

    def take_all(self, raw: Iterable[Any]) -> list[Any]:
        return list(raw)

    def give_all(self, values: Collection[Any]) -> Iterable[Any]:
        return values if set(map(type, values)) <= {self._class} else [self.give(value) for value in values]

    def fit(self, values: Iterable[Any]) -> bool:
        return set(map(type, values)) <= {self._class}


class EnumKind:
    """A number in protobuf, and any value of JSON in a frame."""

    def __init__(self, enum: Enum) -> None:
        self._name = enum.name
        self._values = {one.number: one.value for one in enum.values}
        self._numbers = {msgspec.json.encode(one.value): one.number for one in enum.values}

    def take(self, raw: Any) -> Any:
        if not raw:
            return ABSENT
        if raw not in self._values:  # proto3 lets any number through
            raise Unfit(f"{self._name} has no value {raw}; it has 1 to {len(self._values)}")
        return self._values[raw]

    def give(self, value: Any) -> Any:
        number = self._number(value)
        if number is None:
            raise Unfit(f"{type(value).__name__} is no value of {self._name}")
        return number

    def fits(self, value: Any) -> bool:
        return self._number(value) is not None

    def take_all(self, raw: Iterable[Any]) -> list[Any]:
        found = [self.take(one) for one in raw]
        if ABSENT in found:
            raise Unfit(f"the number 0 of {self._name} stands for no value")
        return found

    def give_all(self, values: Collection[Any]) -> Iterable[Any]:
        return [self.give(value) for value in values]

    def fit(self, values: Iterable[Any]) -> bool:
        return all(map(self.fits, values))

    def _number(self, value: Any) -> int | None:
        try:
            return self._numbers.get(msgspec.json.encode(value))
        except (TypeError, ValueError):
            return None
