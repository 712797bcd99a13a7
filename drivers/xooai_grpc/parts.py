"""The fields of messages: what each reads from a message for a frame's value, and writes into one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, Protocol

import msgspec

from xooai.proto import Field
from xooai_grpc.kinds import ABSENT, Kind, Unfit

__all__ = ["Form", "Part", "part_of"]


class Form(Protocol):
    """A message as a value."""

    parts: list[Part]

    def read(self, message: Any) -> Any:
        """The value. Raises Unfit."""

    def write(self, message: Any, value: Any) -> None:
        """Fill an empty message. Raises Unfit."""

    def fits(self, value: Any) -> bool:
        """Whether a value can be this message, of those that a union's members are made of: a look at the outside of it."""


class Part(ABC):
    """A field. `read` gives ABSENT where the frame is to say nothing of it."""

    is_single = False  # one scalar or enum

    def __init__(self, field: Field) -> None:
        self.field = field
        self.name = field.name
        self._unset = None if field.is_nullable and field.required else ABSENT

    @abstractmethod
    def read(self, message: Any) -> Any:
        """The field's value."""

    @abstractmethod
    def write(self, message: Any, value: Any) -> None:
        """Set the field."""

    @abstractmethod
    def fits(self, value: Any) -> bool:
        """Whether a value can be in this field; of several messages, the first is looked at."""


class _Single(Part):
    """One scalar or enum."""

    is_single = True

    def __init__(self, field: Field, kind: Kind, is_tracked: bool) -> None:
        super().__init__(field)
        self._kind = kind
        self._is_tracked = is_tracked

    def read(self, message: Any) -> Any:
        if self._is_tracked and not message.HasField(self.name):
            return self._unset
        return self._kind.take(getattr(message, self.name))

    def write(self, message: Any, value: Any) -> None:
        if value is None and self.field.is_nullable:
            return
        setattr(message, self.name, self._kind.give(value))

    def fits(self, value: Any) -> bool:
        return self._kind.fits(value) or (value is None and self.field.is_nullable)


class _Message(Part):
    """One message."""

    def __init__(self, field: Field, form: Form) -> None:
        super().__init__(field)
        self._form = form

    def read(self, message: Any) -> Any:
        return self._form.read(getattr(message, self.name)) if message.HasField(self.name) else self._unset

    def write(self, message: Any, value: Any) -> None:
        if value is None and self.field.is_nullable:
            return
        inner = getattr(message, self.name)
        inner.SetInParent()
        self._form.write(inner, value)

    def fits(self, value: Any) -> bool:
        return self._form.fits(value) or (value is None and self.field.is_nullable)


class _List(Part):
    """Several scalars or enums."""

    def __init__(self, field: Field, kind: Kind) -> None:
        super().__init__(field)
        self._kind = kind

    def read(self, message: Any) -> Any:
        return self._kind.take_all(getattr(message, self.name))

    def write(self, message: Any, value: Any) -> None:
        getattr(message, self.name).extend(self._kind.give_all(_listed(value)))

    def fits(self, value: Any) -> bool:
        return isinstance(value, list) and self._kind.fit(value)


class _MessageList(Part):
    """Several messages."""

    def __init__(self, field: Field, form: Form) -> None:
        super().__init__(field)
        self._form = form

    def read(self, message: Any) -> Any:
        return [self._form.read(one) for one in getattr(message, self.name)]

    def write(self, message: Any, value: Any) -> None:
        add = getattr(message, self.name).add
        for one in _listed(value):
            self._form.write(add(), one)

    def fits(self, value: Any) -> bool:
        return isinstance(value, list) and all(map(self._form.fits, value[:1]))


class _Map(Part):
    """Scalars or enums by name."""

    def __init__(self, field: Field, kind: Kind) -> None:
        super().__init__(field)
        self._kind = kind

    def read(self, message: Any) -> Any:
        found = getattr(message, self.name)
        return dict(zip(found, self._kind.take_all(found.values()), strict=True))

    def write(self, message: Any, value: Any) -> None:
        named = dict(_named(value))
        getattr(message, self.name).update(zip(named, self._kind.give_all(named.values()), strict=True))

    def fits(self, value: Any) -> bool:
        return isinstance(value, dict) and self._kind.fit(value.values())


class _MessageMap(Part):
    """Messages by name."""

    def __init__(self, field: Field, form: Form) -> None:
        super().__init__(field)
        self._form = form

    def read(self, message: Any) -> Any:
        return {name: self._form.read(one) for name, one in getattr(message, self.name).items()}

    def write(self, message: Any, value: Any) -> None:
        found = getattr(message, self.name)
        for name, one in _named(value):
            self._form.write(found[name], one)

    def fits(self, value: Any) -> bool:
        return isinstance(value, dict) and all(map(self._form.fits, list(value.values())[:1]))


def part_of(field: Field, kind: Kind | None, form: Form | None, is_in_union: bool) -> Part:
    """The field of what is either a `kind` or the message of a `form`."""
    if kind is not None:
        if field.label == "repeated":
            return _List(field, kind)
        if field.label == "map":
            return _Map(field, kind)
        return _Single(field, kind, is_in_union or field.label == "optional")
    assert form is not None
    if field.label == "repeated":
        return _MessageList(field, form)
    return _MessageMap(field, form) if field.label == "map" else _Message(field, form)


def _listed(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise Unfit(f"{type(value).__name__} is no list")
    return value


def _named(value: Any) -> Iterable[tuple[str, Any]]:
    """What an object holds, by its names: what is no text in msgpack is the text that JSON writes."""
    if not isinstance(value, dict):
        raise Unfit(f"{type(value).__name__} is no object")
    for name, one in value.items():
        yield name if isinstance(name, str) else msgspec.json.encode(name).decode().strip('"'), one
