"""A .proto file as text, in the syntax of proto3 (https://protobuf.dev/reference/protobuf/proto3-spec/)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from xooai.driver import Shape
from xooai.proto import Enum, Field, File, Message, Method

__all__ = ["text"]

_SAYS = "Field numbers are the order of declaration: add at the end, and those who have an older file read on."


def text(file: File) -> str:
    """The file, as protoc and people read it."""
    path = file.package.replace(".", "/")
    go = path if "/" in path else f"{path}/{file.service.lower()}"  # protoc-gen-go wants one, with a slash in it
    head = ["// Written by xooai.", f"// {_SAYS}", 'syntax = "proto3";', "", f"package {file.package};", ""]
    lines = [*head, f'option go_package = "{go}";', "", *_service(file)]
    for message in file.messages:
        lines += ["", *_message(message)]
    for enum in file.enums:
        lines += ["", *_enum(enum)]
    return "\n".join(lines) + "\n"


def _service(file: File) -> Iterator[str]:
    yield f"service {file.service} {{"
    for index, method in enumerate(file.methods):
        if index:
            yield ""
        yield from _comments(method.comment, "  ")
        yield f"  {_rpc(method, file)};"
    yield "}"


def _rpc(method: Method, file: File) -> str:
    methods = {one.name for one in file.methods}
    request, reply = (
        # Within a service, a method hides a message of its name.
        f"{'stream ' if method.shape & side else ''}{f'.{file.package}.' if name in methods else ''}{name}"
        for side, name in ((Shape.CLIENT, method.request), (Shape.SERVER, method.reply))
    )
    return f"rpc {method.name}({request}) returns ({reply})"


def _message(message: Message) -> Iterator[str]:
    yield from _comments(message.comment, "")
    if not message.fields:
        yield f"message {message.name} {{}}"
        return
    yield f"message {message.name} {{"
    if message.form == "union":
        yield "  oneof value {"
        yield from _fields(message.fields, "    ")
        yield "  }"
    else:
        yield from _fields(message.fields, "  ")
    yield "}"


def _fields(fields: Sequence[Field], indent: str) -> Iterator[str]:
    for field in fields:
        yield from _comments(field.comment, indent)
        kind = f"map<string, {field.type}>" if field.label == "map" else f"{field.label} {field.type}".strip()
        yield f"{indent}{kind} {field.name} = {field.number};"


def _enum(enum: Enum) -> Iterator[str]:
    yield f"enum {enum.name} {{"
    yield f"  {enum.unset} = 0;"
    for value in enum.values:
        yield f"  {value.name} = {value.number};"
    yield "}"


def _comments(text: str, indent: str) -> list[str]:
    return [f"{indent}// {line}".rstrip() for line in text.strip().splitlines()]
