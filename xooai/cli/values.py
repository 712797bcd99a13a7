"""What a text on the command line stands for, by the annotation of what it is given to.

`@FILE` is what a file holds (`@-`: standard input), `@@` begins a text that begins with `@`; a bare string is a `Text`
or a `str`; all else is JSON where it parses, and a string where it does not.
"""

from __future__ import annotations

import sys
import typing
from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import CoreConfig, SchemaValidator, from_json, to_json

from xooai import optional
from xooai import ref as refs
from xooai.cli.type_names import members, shown
from xooai.doc import Doc, kinds
from xooai.docs import Tensor, Text
from xooai.driver import MESSAGE_LIMIT
from xooai.errors import InvalidArgument, too_large
from xooai.media import sniff

__all__ = ["reader", "value_of"]

_LISTS = (list, set, frozenset)
_PREVIEW = 40  # characters of a text that an error shows


def value_of(annotation: Any, texts: Sequence[str], name: str) -> Any:
    """The value that `texts` stand for: several for a list, else one. Raises InvalidArgument naming `name`.

    A document in a local file is left where it is: it is read when it is sent.
    """
    items = [typing.get_args(one) for one in members(annotation) if typing.get_origin(one) in _LISTS]
    if items and (len(texts) > 1 or not _is_whole(texts[0], items[0][0])):
        found = [_Target(items[0][0], name).read(text) for text in texts]
        return _Target(annotation, name).checked(found)
    if len(texts) > 1:
        raise InvalidArgument(f"{name} is given {len(texts)} times, and takes one {shown(annotation)}")
    return _Target(annotation, name).read(texts[0])


def reader(annotation: Any, name: str) -> Callable[[bytes], Any]:
    """What makes values of JSON. It raises InvalidArgument naming `name`."""
    target = _Target(annotation, name)
    target.hint = ""  # who wrote it wrote JSON
    return target.read_json


def _is_whole(text: str, item: Any) -> bool:
    """Whether one text is a whole list, written as JSON or in a file of JSON, rather than its only item."""
    if text.startswith("@"):
        return not _documents(item)
    return _is_json(text) and isinstance(from_json(text), list)


def _is_json(text: str) -> bool:
    try:
        from_json(text)
    except ValueError:
        return False
    return True


def _documents(annotation: Any) -> list[type[Doc]]:
    return [one for one in members(annotation) if isinstance(one, type) and issubclass(one, Doc)]


class _Target:
    """What a text is given to: its annotation, compiled, and its name for errors."""

    def __init__(self, annotation: Any, name: str) -> None:
        self._annotation = annotation
        self._name = name
        self._members = members(annotation)
        self._documents = _documents(annotation)
        self.hint = f"; write {name}=@FILE" if self._documents else ""
        # Bytes in JSON are base64, as everywhere on the wire.
        self._validator = SchemaValidator(TypeAdapter(annotation).core_schema, CoreConfig(val_json_bytes="base64"))

    def read(self, text: str) -> Any:
        if text.startswith("@") and not text.startswith("@@"):
            return self._from_source(text[1:])
        text = text[1:] if text.startswith("@@") else text
        for kind in self._documents:
            if issubclass(kind, Text):
                return kind(value=text)
        return self._read_text(text)

    def _read_text(self, text: str) -> Any:
        return self.read_json(to_json(text)) if self._members == (str,) else self._guessed(text)

    def checked(self, value: Any) -> Any:
        try:
            return self._validator.validate_python(value)
        except ValidationError as error:
            raise self._refused(error) from None

    def read_json(self, text: bytes) -> Any:
        try:
            return self._validator.validate_json(text)
        except ValidationError as error:
            raise self._refused(error) from None

    def _guessed(self, text: str) -> Any:
        """JSON where it parses and fits, else the string."""
        mistakes = []
        for written in (text.encode(), to_json(text)):
            try:
                return self._validator.validate_json(written)
            except ValidationError as error:
                mistakes.append(error)
        was_meant_as_json = _is_json(text) or text.lstrip().startswith(("{", "["))
        raise self._refused(mistakes[0 if was_meant_as_json else 1])

    def _refused(self, error: ValidationError) -> InvalidArgument:
        """The first mistake, without what was given: it may be a secret."""
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in (self._name, *first["loc"]))
        takes = "" if first["loc"] else f" takes {shown(self._annotation)}"
        return InvalidArgument(f"{where}{takes}: {first['msg']}{self.hint}")

    def _from_source(self, source: str) -> Any:
        if self._documents:
            return self._document(source)
        content = _content(source)
        if bytes in self._members:
            return content
        try:
            text = content.decode().removesuffix("\n")  # as shells do: a token in a file ends with its line
        except UnicodeDecodeError as error:
            where = f"{self._name}: {source!r} is not UTF-8 (byte {error.start})"
            raise InvalidArgument(f"{where}; it takes {shown(self._annotation)}") from None
        return self._read_text(text)

    def _document(self, source: str) -> Doc:
        content = _content(source) if source == "-" else None
        kind = self._kind(refs.media_type_of(source) if content is None else sniff(content))
        if issubclass(kind, Tensor):
            return _tensor(source, content, self._name)
        if content is None:
            return kind(ref=source)
        return kind(value=kind.decode(content))

    def _kind(self, media_type: str | None) -> type[Doc]:
        """The kind of document that content of this type is, of those that may be given."""
        if len(self._documents) == 1 and self._documents[0] is not Doc:
            return self._documents[0]
        known = kinds()
        found = known.get((media_type or "").partition("/")[0], known["file"])
        if not issubclass(found, tuple(self._documents)):
            given = f"{media_type or 'content of an unknown type'} is {found.__name__}"
            raise InvalidArgument(f"{self._name} takes {shown(self._annotation)}, and {given}")
        return found


def _content(source: str) -> bytes:
    if source != "-":
        return refs.read_ref(source, MESSAGE_LIMIT)
    content = sys.stdin.buffer.read(MESSAGE_LIMIT + 1)
    if len(content) > MESSAGE_LIMIT:
        raise too_large(None, MESSAGE_LIMIT, "standard input")
    return content


def _tensor(source: str, content: bytes | None, name: str) -> Tensor:
    """A tensor from numpy's own file format."""
    numpy = optional.load("numpy", f"{name}=@{source}")
    try:
        return Tensor(value=numpy.load(BytesIO(_content(source) if content is None else content), allow_pickle=False))
    except (ValueError, EOFError) as error:
        raise InvalidArgument(f"{name}: {source!r} is no .npy file of numbers: {error}") from None
