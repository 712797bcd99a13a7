"""Sound as documents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from xooai import media
from xooai.doc import is_wire
from xooai.docs.content import _Bytes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Audio"]


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
        """float32 in [-1, 1], shape (frames, channels), at `rate` Hz. Needs `xooai[media]`.

        What came from a peer is decoded in another process (`xooai.media.decode_in`). InvalidArgument when it does not decode,
        ResourceExhausted when it is larger than the limits.
        """
        return media.decoder(is_wire(self)).audio(self.read())[0]

    @property
    def rate(self) -> int:
        """Frames a second, in Hz. Needs `xooai[media]`."""
        return media.decoder(is_wire(self)).audio_rate(self.read())
