"""Moving pictures as documents."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from xooai import media
from xooai.doc import is_wire
from xooai.docs.content import _Bytes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Video"]


class Video(_Bytes, kind="video"):
    """Moving pictures in a container (MP4, WebM, ...)."""

    def frames(self) -> Iterator[NDArray[np.uint8]]:
        """The pictures in order, decoded one by one: uint8 of shape (height, width, 3), RGB. Needs `xooai[media]`.

        What came from a peer is decoded in another process (`xooai.media.decode_in`), which is taken up until the iterator
        ends or is closed, and has the whole film as a file; all others are read as far as frames are asked for.
        InvalidArgument when it does not decode, ResourceExhausted when it is larger than the limits.
        """
        decoder = media.decoder(is_wire(self))
        with self._open(is_whole=decoder.is_apart) as file:
            yield from decoder.frames(file)
