"""Descriptors and message classes of .proto files, made at run time: no protoc, no generated code."""

from __future__ import annotations

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message as ProtobufMessage
from google.protobuf.message_factory import GetMessageClass

from xooai.driver import Shape
from xooai.proto import Enum, Field, File, Message, is_scalar

__all__ = ["added", "classes"]

_FIELD = FieldDescriptorProto
_SCALARS = {
    "bool": _FIELD.TYPE_BOOL,
    "bytes": _FIELD.TYPE_BYTES,
    "double": _FIELD.TYPE_DOUBLE,
    "int64": _FIELD.TYPE_INT64,
    "string": _FIELD.TYPE_STRING,
}


def added(file: File, pool: DescriptorPool) -> str:
    """Add a file to the pool; return its name there, as its package says it."""
    made = _Descriptors(file).made
    pool.Add(made)
    return made.name


def classes(file: File, pool: DescriptorPool) -> dict[str, type[ProtobufMessage]]:
    """The classes of a file's messages, by their names in it."""
    return {
        message.name: GetMessageClass(pool.FindMessageTypeByName(f"{file.package}.{message.name}"))
        for message in file.messages
    }


class _Descriptors:
    """One file as protobuf describes it."""

    def __init__(self, file: File) -> None:
        self._package = file.package
        self._enums = {enum.name for enum in file.enums}
        self.made = FileDescriptorProto(
            name=f"{file.package.replace('.', '/')}.proto", package=file.package, syntax="proto3"
        )
        for message in file.messages:
            self._message(message)
        for enum in file.enums:
            self._enum(enum)
        self._service(file)

    def _service(self, file: File) -> None:
        service = self.made.service.add(name=file.service)
        for method in file.methods:
            service.method.add(
                name=method.name,
                input_type=self._full(method.request),
                output_type=self._full(method.reply),
                client_streaming=bool(method.shape & Shape.CLIENT),
                server_streaming=bool(method.shape & Shape.SERVER),
            )

    def _full(self, name: str) -> str:
        return f".{self._package}.{name}"

    def _enum(self, enum: Enum) -> None:
        made = self.made.enum_type.add(name=enum.name)
        made.value.add(name=enum.unset, number=0)
        for value in enum.values:
            made.value.add(name=value.name, number=value.number)

    def _message(self, message: Message) -> None:
        made = self.made.message_type.add(name=message.name)
        if message.form == "union":
            made.oneof_decl.add(name="value")
        for field in message.fields:
            if field.label == "map":
                self._map(made, field)
                continue
            found = made.field.add(name=field.name, number=field.number, label=_FIELD.LABEL_OPTIONAL)
            self._type(found, field.type)
            if message.form == "union":
                found.oneof_index = 0
            elif field.label == "repeated":
                found.label = _FIELD.LABEL_REPEATED
            elif field.label == "optional":  # as protoc writes it, a oneof of its own
                found.proto3_optional = True
                found.oneof_index = len(made.oneof_decl)
                made.oneof_decl.add(name=f"_{field.name}")

    def _map(self, message: DescriptorProto, field: Field) -> None:
        name = "".join(part[:1].upper() + part[1:] for part in field.name.split("_")) + "Entry"
        entry = message.nested_type.add(name=name)
        entry.options.map_entry = True
        entry.field.add(name="key", number=1, label=_FIELD.LABEL_OPTIONAL, type=_FIELD.TYPE_STRING)
        self._type(entry.field.add(name="value", number=2, label=_FIELD.LABEL_OPTIONAL), field.type)
        message.field.add(
            name=field.name,
            number=field.number,
            label=_FIELD.LABEL_REPEATED,
            type=_FIELD.TYPE_MESSAGE,
            type_name=f"{self._full(message.name)}.{name}",
        )

    def _type(self, found: FieldDescriptorProto, type: str) -> None:
        if is_scalar(type):
            found.type = _SCALARS[type]
        else:
            found.type = _FIELD.TYPE_ENUM if type in self._enums else _FIELD.TYPE_MESSAGE
            found.type_name = self._full(type)
