"""Text as a document."""

from typing import TYPE_CHECKING, Any

from pydantic import Field

from xooai.doc import Absent, Doc
from xooai.docs.content import TEXT, is_assumed
from xooai.errors import InvalidArgument

__all__ = ["Text"]


class Text(Doc):
    """Text, read as `str`. A file's bytes are UTF-8."""

    value: str | None = Absent
    media_type: str | None = Field(default=TEXT, exclude_if=is_assumed)

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            ref: str | None = None,
            value: str | None = None,
            media_type: str | None = None,
            signature: str | None = None,
            size: int | None = None,
        ) -> None: ...

        def read(self) -> str: ...
        async def aread(self) -> str: ...

    @classmethod
    def encode(cls, value: Any) -> Any:
        return value

    @classmethod
    def decode(cls, data: bytes) -> str:
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            raise InvalidArgument(
                f"the text is not UTF-8: byte {error.start} does not fit; File keeps bytes as they are"
            ) from error
