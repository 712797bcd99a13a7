"""What the kinds of documents have in common: contents that are bytes, and media types that go without saying."""

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, cast

from pydantic import Field, GetCoreSchemaHandler
from pydantic_core import CoreSchema
from pydantic_core import core_schema as cs

from xooai import base64_text
from xooai.doc import Doc, absent, as_base64

__all__ = ["OCTETS", "TEXT", "Content", "_Bytes", "is_assumed"]

_BASE64 = {"type": "string", "contentEncoding": "base64", "pattern": base64_text.pattern()}


def _describe_base64(schema: dict[str, Any]) -> None:
    schema.pop("anyOf", None)
    schema.update(_BASE64)


class _Base64:
    """Writes a field as base64 in JSON, as pydantic's PlainSerializer does, whose module takes a millisecond to load."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        write = cs.plain_serializer_function_ser_schema(as_base64, return_schema=cs.any_schema(), when_used="json")
        return cast(CoreSchema, {**handler(source), "serialization": write})


Content = Annotated[bytes | None, Field(exclude_if=absent, json_schema_extra=_describe_base64), _Base64]
"""Inline content: bytes, base64 in JSON."""


# What is assumed where nobody gave a media type, and left out of the wire form. Objects of their own, so that the same text
# given by a caller, which goes before the extension of a ref, is told from them.
TEXT = str(b"text/plain", "ascii")
OCTETS = str(b"application/octet-stream", "ascii")


def is_assumed(media_type: object) -> bool:
    return media_type is None or media_type is TEXT or media_type is OCTETS


class _Bytes(Doc):
    """A document whose content is bytes."""

    _contents: ClassVar[tuple[type, ...]] = (bytes,)

    value: Content = None

    if TYPE_CHECKING:

        def read(self) -> bytes: ...
        async def aread(self) -> bytes: ...

    @classmethod
    def encode(cls, value: Any) -> Any:
        if isinstance(value, str):  # validation would take it for base64, as it stands in JSON
            raise TypeError(
                f"the content of {cls.__name__} is bytes, a str was given; "
                "give bytes, such as b64decode(text) or text.encode(), or ref= for a path or a URL"
            )
        return bytes(value) if isinstance(value, bytearray | memoryview) else value

    @classmethod
    def decode(cls, data: bytes) -> bytes:
        return data
