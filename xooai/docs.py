"""The kinds of documents that come with xooai."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import Field, PlainSerializer, model_validator
from pydantic_core import PydanticCustomError

from xooai import base64_text, media, tensor
from xooai import ref as refs
from xooai.doc import Absent, Doc, absent, as_base64, is_wire
from xooai.errors import InvalidArgument

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image as Picture

__all__ = ["Audio", "File", "Image", "Tensor", "Text", "Video"]

_BASE64 = {"type": "string", "contentEncoding": "base64", "pattern": base64_text.pattern()}


def _describe_base64(schema: dict[str, Any]) -> None:
    schema.pop("anyOf", None)
    schema.update(_BASE64)


Content = Annotated[
    bytes | None,
    Field(exclude_if=absent, json_schema_extra=_describe_base64),
    PlainSerializer(as_base64, when_used="json"),
]
"""Inline content: bytes, base64 in JSON."""


# What is assumed where nobody gave a media type, and left out of the wire form. Objects of their own, so that the same text
# given by a caller, which goes before the extension of a ref, is told from them.
_TEXT = str(b"text/plain", "ascii")
_OCTETS = str(b"application/octet-stream", "ascii")


def _is_assumed(media_type: object) -> bool:
    return media_type is None or media_type is _TEXT or media_type is _OCTETS


class Text(Doc):
    """Text, read as `str`. A file's bytes are UTF-8."""

    value: str | None = Absent
    media_type: str | None = Field(default=_TEXT, exclude_if=_is_assumed)

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


class _Bytes(Doc):
    """A document whose content is bytes."""

    value: Content = None

    if TYPE_CHECKING:

        def read(self) -> bytes: ...
        async def aread(self) -> bytes: ...

    @classmethod
    def encode(cls, value: Any) -> Any:
        return bytes(value) if isinstance(value, bytearray | memoryview) else value

    @classmethod
    def decode(cls, data: bytes) -> bytes:
        return data


class Image(_Bytes, kind="image"):
    """A picture: encoded bytes (PNG, JPEG, WebP, ...). A PIL image or an array given as `value` is kept as PNG."""

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            ref: str | None = None,
            value: Picture | NDArray[Any] | bytes | bytearray | memoryview | None = None,
            media_type: str | None = None,
            signature: str | None = None,
            size: int | None = None,
        ) -> None: ...

    @classmethod
    def encode(cls, value: Any) -> Any:
        return media.encode_image(value) if media.is_picture(value) else super().encode(value)

    def pil(self) -> Picture:
        """The decoded picture, upright (EXIF applied). Needs `xooai[media]`; InvalidArgument when it does not decode."""
        return media.pil(self.read())

    def array(self) -> NDArray[np.uint8]:
        """uint8 of shape (height, width, 3), RGB. Needs `xooai[media]`."""
        return media.image_array(self.read())

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        """What a notebook shows: the picture itself, where it is inline or in a local file."""
        bundle: dict[str, Any] = {"text/plain": repr(self)}
        content = self.value
        if content is None and not is_wire(self) and refs.local_path(self.ref or "") is not None:
            content = self.path().read_bytes()
        # By the content, not by `media_type`: a peer may call HTML or SVG what a notebook would then run.
        media_type = media.sniff(content or b"")
        if media_type is not None and media_type.startswith("image/"):
            bundle[media_type] = content
        return bundle


class Audio(_Bytes, kind="audio"):
    """Sound: encoded bytes (WAV, FLAC, Ogg, MP3). `(array, rate)` given as `value` is kept as WAV."""

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            ref: str | None = None,
            value: tuple[NDArray[Any], int] | bytes | bytearray | memoryview | None = None,
            media_type: str | None = None,
            signature: str | None = None,
            size: int | None = None,
        ) -> None: ...

    @classmethod
    def encode(cls, value: Any) -> Any:
        if isinstance(value, tuple) and len(value) == 2:
            return media.encode_audio(*value)
        return super().encode(value)

    def array(self) -> NDArray[np.float32]:
        """float32 in [-1, 1], shape (frames, channels), at `rate` Hz. Needs `xooai[media]`."""
        return media.audio(self.read())[0]

    @property
    def rate(self) -> int:
        """Frames a second, in Hz. Needs `xooai[media]`."""
        return media.audio_rate(self.read())


class Video(_Bytes, kind="video"):
    """Moving pictures in a container (MP4, WebM, ...)."""

    def frames(self) -> Iterator[NDArray[np.uint8]]:
        """The pictures in order, decoded one by one: uint8 of shape (height, width, 3), RGB. Needs `xooai[media]`."""
        with self.open() as file:
            yield from media.frames(file)


class File(_Bytes, kind="file"):
    """Any other content, as bytes."""


class Tensor(_Bytes, kind="tensor"):
    """Numbers of one type in an array: `dtype`, `shape` and raw little-endian data in C order.

    `Tensor(value=array)` takes both from a numpy array. Object arrays are refused: nothing is pickled.
    """

    media_type: str | None = Field(default=_OCTETS, exclude_if=_is_assumed)
    dtype: Annotated[str, Field(json_schema_extra={"enum": list(tensor.DTYPES)})]
    shape: tuple[Annotated[int, Field(ge=0, le=2**63 - 1)], ...]

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            ref: str | None = None,
            value: Any = None,
            dtype: str = "",
            shape: tuple[int, ...] = (),
            media_type: str | None = None,
            signature: str | None = None,
            size: int | None = None,
        ) -> None: ...

    def __init__(self, **fields: Any) -> None:  # type: ignore[no-redef]
        if tensor.is_array(fields.get("value")):
            dtype, shape, data = tensor.pack(fields["value"])
            fields = {"dtype": dtype, "shape": shape, **fields, "value": data}
        super().__init__(**fields)

    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    @model_validator(mode="after")
    def _fits(self) -> Self:
        try:
            tensor.check(self.dtype, self.shape, None if self.value is None else len(self.value))
        except ValueError as error:
            raise PydanticCustomError("tensor", "{reason}", {"reason": str(error)}) from None
        return self

    def array(self) -> NDArray[Any]:
        """A read-only numpy array of `dtype` and `shape`."""
        return tensor.unpack(self.dtype, self.shape, self.read())
