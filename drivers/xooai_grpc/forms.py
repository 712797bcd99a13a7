"""Messages as the values of frames, and back: objects, unions, arrays, and what a message only wraps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from xooai.proto import File, Message
from xooai_grpc.kinds import ABSENT, EnumKind, Kind, Scalar, Unfit
from xooai_grpc.parts import Form, Part, part_of

__all__ = ["forms"]

_BOOL, _BYTES, _DOUBLE, _INT64, _STRING = (Scalar(name) for name in ("bool", "bytes", "double", "int64", "string"))
_SCALARS: dict[str, Kind] = {"bool": _BOOL, "bytes": _BYTES, "double": _DOUBLE, "int64": _INT64, "string": _STRING}


def forms(file: File) -> dict[str, Form]:
    """The forms of a file's messages, by their names."""
    kinds: dict[str, Kind] = {**_SCALARS, **{enum.name: EnumKind(enum) for enum in file.enums}}
    found: dict[str, _Form] = {message.name: _FORMS[message.form](message) for message in file.messages}
    for message in file.messages:
        is_union = message.form == "union"
        found[message.name].parts = [
            part_of(field, kinds.get(field.type), found.get(field.type), is_union) for field in message.fields
        ]
    return dict(found)


class _Form(ABC):
    """A message and its fields."""

    parts: list[Part]

    def __init__(self, message: Message) -> None:
        self.message = message

    def _each(self, part: Part, do: Callable[..., Any], *args: Any) -> Any:
        """Read or write a field; an error names it."""
        try:
            return do(*args)
        except Unfit as error:
            error.where = f"{part.name}.{error.where}" if error.where else part.name
            raise

    @abstractmethod
    def read(self, message: Any) -> Any:
        """The message's value."""

    @abstractmethod
    def write(self, message: Any, value: Any) -> None:
        """Fill an empty message."""

    @abstractmethod
    def fits(self, value: Any) -> bool:
        """Whether a value can be this message."""


class _Object(_Form):
    """An object, its names being the fields' keys, beside those that it always holds."""

    def __init__(self, message: Message) -> None:
        super().__init__(message)
        self._needed = {field.key for field in message.fields if field.required} | message.constants.keys()
        self._known = {field.key for field in message.fields if field.key} | message.constants.keys()

    def read(self, message: Any) -> Any:
        found = dict(self.message.constants)
        for part in self.parts:
            value = self._each(part, part.read, message)
            if value is ABSENT:
                continue
            if part.field.key:
                found[part.field.key] = value
            elif part.name == self.message.extra:
                if not self._known.isdisjoint(value):
                    raise Unfit(f"{part.name} names fields of {self.message.name} itself")
                found |= value
        return found

    def write(self, message: Any, value: Any) -> None:
        if not isinstance(value, dict):
            raise Unfit(f"{type(value).__name__} is no object")
        for part in self.parts:
            if part.field.key:
                if part.field.key in value:
                    self._each(part, part.write, message, value[part.field.key])
            elif part.name == self.message.extra:
                rest = {name: one for name, one in value.items() if name not in self._known}
                self._each(part, part.write, message, rest)

    def fits(self, value: Any) -> bool:
        if not isinstance(value, dict) or not self._needed <= value.keys():
            return False
        if not self.message.extra and not value.keys() <= self._known:
            return False
        if any(value[name] != constant for name, constant in self.message.constants.items()):
            return False
        # What is deeper does not tell classes apart: those with the same names are by a Literal of theirs.
        return all(
            part.fits(value[part.field.key]) for part in self.parts if part.is_single and part.field.key in value
        )


class _Union(_Form):
    """The value of whichever member is set. Members can be told apart: a class with others is refused when it is made."""

    def read(self, message: Any) -> Any:
        chosen = message.WhichOneof("value")
        for part in self.parts:
            if part.name == chosen:
                found = self._each(part, part.read, message)
                if found is ABSENT:
                    raise Unfit(f"the number 0 of {part.field.type} stands for no value")
                return found
        if self.message.is_nullable:
            return None
        raise Unfit(f"{self.message.name} takes one of: {', '.join(part.name for part in self.parts)}")

    def write(self, message: Any, value: Any) -> None:
        if value is None and self.message.is_nullable:
            return
        part = self._member(value)
        if part is None:
            raise Unfit(f"{type(value).__name__} is none of {', '.join(part.name for part in self.parts)}")
        self._each(part, part.write, message, value)

    def _member(self, value: Any) -> Part | None:
        found = next((part for part in self.parts if part.fits(value)), None)
        if found is None and type(value) is int:  # 3 for a float
            found = next((part for part in self.parts if part.fits(float(value))), None)
        return found

    def fits(self, value: Any) -> bool:
        return self._member(value) is not None or (value is None and self.message.is_nullable)


class _Box(_Form):
    """The value of the field `value`."""

    def read(self, message: Any) -> Any:
        (part,) = self.parts
        found = self._each(part, part.read, message)
        if found is not ABSENT:
            return found
        if part.field.is_nullable:
            return None
        raise Unfit(f"{part.name} of {self.message.name} is not set")

    def write(self, message: Any, value: Any) -> None:
        (part,) = self.parts
        self._each(part, part.write, message, value)

    def fits(self, value: Any) -> bool:
        return self.parts[0].fits(value)


class _Tuple(_Form):
    """An array of the fields. The last may be left out where they have defaults."""

    def read(self, message: Any) -> Any:
        found: list[Any] = []
        for part in self.parts:
            value = self._each(part, part.read, message)
            if value is not ABSENT:
                if len(found) < self.parts.index(part):
                    raise Unfit(f"{part.name} is set, and one before it is not")
                found.append(value)
        return found

    def write(self, message: Any, value: Any) -> None:
        if not isinstance(value, list) or len(value) > len(self.parts):
            raise Unfit(f"{type(value).__name__} is no list of at most {len(self.parts)}")
        for part, one in zip(self.parts, value, strict=False):
            self._each(part, part.write, message, one)

    def fits(self, value: Any) -> bool:
        least = sum(part.field.required for part in self.parts)
        if not isinstance(value, list) or not least <= len(value) <= len(self.parts):
            return False
        return all(part.fits(one) for part, one in zip(self.parts, value, strict=False) if part.is_single)


class _Null(_Form):
    """Nothing."""

    def read(self, message: Any) -> Any:
        return None

    def write(self, message: Any, value: Any) -> None:
        if value is not None:
            raise Unfit(f"{type(value).__name__} is not null")

    def fits(self, value: Any) -> bool:
        return value is None


_FORMS: dict[str, Callable[[Message], _Form]] = {
    "object": _Object,
    "union": _Union,
    "box": _Box,
    "tuple": _Tuple,
    "null": _Null,
}
