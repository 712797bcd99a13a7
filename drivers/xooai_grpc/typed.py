"""Endpoints as protobuf has them: the messages of their methods as the frames that a site understands, and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet

from xooai.driver import Shape
from xooai.errors import InvalidArgument
from xooai.proto import File, Method
from xooai_grpc import bounds
from xooai_grpc.descriptors import classes
from xooai_grpc.forms import forms
from xooai_grpc.kinds import ABSENT, Unfit
from xooai_grpc.parts import Form

__all__ = ["FRAMES", "TypedMessage", "TypedMethod", "messages_of"]

FRAMES = "application/msgpack"
"""What a protobuf call's frames are in, on their way to the site: bytes and numbers as they are."""

_pack: Callable[[Any], bytes] = msgspec.msgpack.Encoder().encode
_unpack: Callable[[bytes], Any] = msgspec.msgpack.Decoder().decode


class TypedMessage:
    """One message: its bytes as a value, and a value as its bytes."""

    def __init__(self, name: str, made: type[Message], form: Form, plans: bounds.Plans) -> None:
        self.name = name
        self.form = form
        self._class = made
        self._plan = plans[name]
        self._surely = plans.surely

    def parsed(self, content: bytes, is_closed: bool = False) -> Message:
        """The message. Unknown fields are passed over, except by one that `is_closed`. Raises InvalidArgument."""
        try:
            bounds.check(content, self._plan, self._surely)
            message = self._class.FromString(content)
        except DecodeError:
            raise self.refusal(Unfit("it cannot be parsed, or nests more than 100 messages")) from None
        except Unfit as error:
            raise self.refusal(error) from None
        if is_closed and len(unknown := UnknownFieldSet(message)):
            raise self.refusal(Unfit(f"it has no field {unknown[0].field_number}; is the client's .proto file newer?"))
        return message

    def read(self, message: Message) -> Any:
        """The value. Raises InvalidArgument."""
        try:
            return self.form.read(message)
        except Unfit as error:
            raise self.refusal(error) from None

    def write(self, value: Any) -> bytes:
        """Raises Unfit for a value that the message cannot hold."""
        message = self._class()
        self.form.write(message, value)
        return message.SerializeToString()

    def refusal(self, error: Unfit) -> InvalidArgument:
        return InvalidArgument(f"what was sent is no protobuf message {self.name}: {error}")


class TypedMethod:
    """One endpoint: its method's messages as a site's frames."""

    def __init__(self, file: File, method: Method, messages: Mapping[str, TypedMessage]) -> None:
        self.path = method.path
        self.shape = Shape(method.shape)
        self.full_path = f"/{file.package}.{file.service}/{method.name}"
        self._request = messages[method.request]
        self._reply = messages[method.reply]
        self._stream = next((part for part in self._request.form.parts if part.name == method.stream), None)
        self.has_parameters = len(self._request.form.parts) > (self._stream is not None)

    def opening(self, message: bytes) -> bytes:
        """The frame of the arguments. Raises InvalidArgument."""
        return _pack(self._request.read(self._request.parsed(message, is_closed=True)))

    def first(self, message: bytes) -> tuple[bytes, bytes | None]:
        """The frames of the first message of a stream: the arguments, and an item where it has one."""
        parsed = self._request.parsed(message, is_closed=True)
        return _pack(self._request.read(parsed)), self._item(parsed)

    def item(self, message: bytes) -> bytes:
        """The frame of an item, which has a message of its own. Raises InvalidArgument."""
        assert self._stream is not None
        parsed = self._request.parsed(message, is_closed=True)
        others = [field.name for field, _ in parsed.ListFields() if field.name != self._stream.name]
        if others:
            raise self._request.refusal(Unfit(f"{others[0]} is a parameter, which the first message of the stream has"))
        found = self._item(parsed)
        if found is None:
            raise self._request.refusal(Unfit(f"{self._stream.name} is not set, the item of the stream"))
        return found

    def _item(self, parsed: Message) -> bytes | None:
        assert self._stream is not None
        try:
            found = self._stream.read(parsed)
        except Unfit as error:
            error.where = f"{self._stream.name}.{error.where}".rstrip(".")
            raise self._request.refusal(error) from None
        return None if found is ABSENT else _pack(found)

    def answer(self, frame: bytes) -> bytes:
        """The message of a reply. Raises Unfit."""
        return self._reply.write(_unpack(frame))


def messages_of(file: File, pool: DescriptorPool) -> dict[str, TypedMessage]:
    """The messages of a file that the pool has, by their names in it."""
    made, read, plans = classes(file, pool), forms(file), bounds.Plans(file)
    return {name: TypedMessage(name, made[name], read[name], plans) for name in made}
