"""Moving pictures as documents."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from xooai import media
from xooai.docs.content import _Bytes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Video"]


class Video(_Bytes, kind="video"):
    """Moving pictures in a container (MP4, WebM, ...)."""

    def frames(self) -> Iterator[NDArray[np.uint8]]:
        """The pictures in order, decoded one by one: uint8 of shape (height, width, 3), RGB. Needs `xooai[media]`."""
        with self.open() as file:
            yield from media.frames(file)
