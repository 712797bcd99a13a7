"""ComboDoc: a pydantic model whose fields may be documents."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler
from pydantic_core import CoreSchema

from xooai import forms, refusal
from xooai.doc import Doc
from xooai.walk import documents

__all__ = ["ComboDoc"]


class ComboDoc(BaseModel):
    """A pydantic model, with all that pydantic can do; its fields may be documents, nested to any depth.

    Bytes are base64 in JSON and raw in msgpack; NaN and infinities arrive as they are. Types that could not be read back
    (`datetime | str`) raise TypeError when the class is made.
    """

    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64", ser_json_inf_nan="strings")
    __xooai_wire__: ClassVar[bool] = True

    def iter_docs(self) -> Iterator[Doc]:
        """The documents in this one, at any depth, in the order of the fields."""
        return documents(self)

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            yield name, _shown(value)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        schema = handler(source)
        forms.settle(schema, handler.resolve_ref_schema, cls)
        return schema

    @classmethod
    def __pydantic_on_complete__(cls) -> None:
        refusal.refuse(cls.__pydantic_core_schema__, cls.__name__)


class _Bytes:
    """Bytes as a repr shows them: never the payload."""

    def __init__(self, size: int) -> None:
        self._size = size

    def __repr__(self) -> str:
        return f"<{self._size:,} bytes>"


def _shown(value: Any) -> Any:
    """A value for a repr, the bytes in it left out."""
    if isinstance(value, bytes | bytearray):
        return _Bytes(len(value))
    if type(value) in (list, tuple):
        return type(value)(map(_shown, value))
    return {key: _shown(inner) for key, inner in value.items()} if type(value) is dict else value
