"""Pictures as documents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from xooai import media
from xooai.doc import is_wire
from xooai.docs.content import _Bytes
from xooai.lazy import lazy

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image as Picture

    from xooai import ref as refs
else:
    refs = lazy("xooai.ref")

__all__ = ["Image"]


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
        """The decoded picture, upright (EXIF applied); the first one of several. Needs `xooai[media]`.

        What came from a peer is decoded in another process (`xooai.media.decode_in`). InvalidArgument when it does not decode,
        ResourceExhausted when it is larger than the limits.
        """
        return media.decoder(is_wire(self)).pil(self.read())

    def array(self) -> NDArray[np.uint8]:
        """uint8 of shape (height, width, 3), RGB. Needs `xooai[media]`; raises as `pil`."""
        return media.decoder(is_wire(self)).image_array(self.read())

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
