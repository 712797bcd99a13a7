"""What the .proto file of an executor holds, and what each part of it stands for in the frames of a call.

Field numbers are the order of declaration, from 1: of a class's fields, a method's parameters, a union's members, an
enum's values. So what is added at the end keeps all others as they are; what is removed or moved does not.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

__all__ = ["EXTRA", "Enum", "EnumValue", "Field", "File", "Form", "Message", "Method", "is_scalar"]

EXTRA = 2**29 - 1
"""The number of the field for what an open object holds beside its own: the largest, which no declared field reaches."""

_SCALARS = frozenset({"bool", "bytes", "double", "int64", "string"})

Form = Literal["object", "union", "box", "tuple", "null"]
"""What a message is in a frame: an object; the value of the one member that is set; the value of its field `value`; an
array of its fields; or null."""


class Field(msgspec.Struct, frozen=True, omit_defaults=True):
    """A field of a message. `type` is a scalar's name, or that of a message or enum of the file; a map's keys are strings.

    `key` is its name in a frame's object, which always holds it if `required`. Where it `is_nullable`, unset means null.
    """

    name: str
    number: int
    type: str
    label: Literal["", "optional", "repeated", "map"] = ""
    key: str = ""
    required: bool = False
    is_nullable: bool = False
    comment: str = ""


class Message(msgspec.Struct, frozen=True, omit_defaults=True):
    """A message. `constants` are in its frame's object and in no field of it; `extra` is the field, if any, for what else
    the object holds. A union that `is_nullable` is null where no member is set.
    """

    name: str
    form: Form
    fields: tuple[Field, ...] = ()
    constants: dict[str, Any] = {}
    extra: str = ""
    is_nullable: bool = False
    comment: str = ""


class EnumValue(msgspec.Struct, frozen=True):
    """One of an enum's values: its name and number in protobuf, and what it is in a frame."""

    name: str
    number: int
    value: Any


class Enum(msgspec.Struct, frozen=True, omit_defaults=True):
    """An enum. `unset` is the name of 0, which stands for no value."""

    name: str
    unset: str
    values: tuple[EnumValue, ...]
    comment: str = ""


class Method(msgspec.Struct, frozen=True, omit_defaults=True):
    """A method of the service: the endpoint at `path`, of this shape (a number of `xooai.driver.Shape`).

    `stream` is the field of the request with an item, where the requests stream. The other fields are the parameters:
    the first message has them.
    """

    name: str
    path: str
    shape: int
    request: str
    reply: str
    stream: str = ""
    comment: str = ""


class File(msgspec.Struct, frozen=True, omit_defaults=True):
    """The file of one executor."""

    package: str
    service: str
    methods: tuple[Method, ...]
    messages: tuple[Message, ...]
    enums: tuple[Enum, ...] = ()


def is_scalar(type: str) -> bool:
    return type in _SCALARS
