"""Where media are decoded: what this process made or opened here, what came from a peer in another process."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING, BinaryIO, Literal, Protocol, cast, get_args

from xooai.errors import InvalidArgument
from xooai.lazy import lazy
from xooai.media import here

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

    from xooai.media import apart
else:
    apart = lazy("xooai.media.apart")

__all__ = ["SETTING", "Decoder", "Where", "close_decoders", "decode_in", "decoder"]

SETTING = "XOOAI_DECODE"
"""The environment variable that says where content of peers is decoded: `process` or `here`."""

Where = Literal["process", "here"]


class Decoder(Protocol):
    """What makes pictures, sound and frames of bytes."""

    is_apart: bool
    """Whether another process decodes."""

    def pil(self, data: bytes, *, user: str = ...) -> Image: ...
    def image_array(self, data: bytes, *, user: str = ...) -> NDArray[np.uint8]: ...
    def audio(self, data: bytes, *, user: str = ...) -> tuple[NDArray[np.float32], int]: ...
    def audio_rate(self, data: bytes, *, user: str = ...) -> int: ...
    def frames(self, source: bytes | BinaryIO, *, step: int = ..., user: str = ...) -> Iterator[NDArray[np.uint8]]: ...


class _Setting:
    """What was chosen, if anything was: it goes before the environment."""

    chosen: Where | None = None


_setting = _Setting()
_IS_POSSIBLE = hasattr(socket, "send_fds") and find_spec("resource") is not None  # not on Windows


def decode_in(where: Where | None) -> None:
    """Choose where this process decodes what peers send: in another `process`, or `here`; None leaves it to XOOAI_DECODE.

    Without any choice it is another process, except on Windows, where it is always here.
    """
    _setting.chosen = None if where is None else _checked(where, "decode_in()")


def decoder(is_wire: bool) -> Decoder:
    """The decoder for a content that came from a peer, or did not."""
    if not is_wire or not _IS_POSSIBLE:
        return here
    where = _setting.chosen or _checked(os.environ.get(SETTING) or "process", SETTING)
    return here if where == "here" else apart.shared


def close_decoders() -> None:
    """End the processes that decode, which wait for more; the next content of a peer starts others. Done at exit as well."""
    if "xooai.media.apart" in sys.modules:
        apart.shared.close()


def _checked(where: str, what: str) -> Where:
    known = get_args(Where)
    if where not in known:
        raise InvalidArgument(f"{what} is {where!r}; it is one of: {', '.join(known)}")
    return cast("Where", where)
