"""Decoding in another process: the same pictures, sound and frames as here, and what breaks a decoder breaks only that process.

What comes back is checked as what a peer sends is, for a decoder may have been taken over: sizes by the limits, contents
copied out of the shared memory before anybody looks at them.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from io import FileIO
from math import prod
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar, cast

from xooai.errors import InvalidArgument, PluginError, ResourceExhausted, XooaiError
from xooai.media import image, sound, video
from xooai.media.exchange import Asked, Given, Limits, Look, Refusal, kept
from xooai.media.pool import Ended, Pool, Worker
from xooai.media.undecodable import undecodable
from xooai.optional import load

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

__all__ = ["Apart", "shared"]

# Processes for pictures and sound: decoding takes a whole core. More than eight would be memory for bombs, not speed.
_WORKS = (2, 8)
# Films that are read at a time. Each has a process as long as it is read, of some 100 MB, so that nobody's film breaks another's.
_FILMS = 16
_CHUNK = 1024 * 1024  # bytes of a film that are copied at a time
_ERRORS: dict[int, type[XooaiError]] = {
    int(kind.code): kind for kind in (InvalidArgument, ResourceExhausted, PluginError)
}

T = TypeVar("T")


class Apart:
    """The decoders of `xooai.media`, each piece of work in a process of `works`, each film in one of `films` while it is read."""

    is_apart = True

    def __init__(self, limits: Limits, *, works: int, films: int) -> None:
        self.works = Pool(limits, most=works, kept=works)
        self.films = Pool(limits, most=films, kept=1)

    def close(self) -> None:
        """End all processes; the next piece of work starts others."""
        self.works.close()
        self.films.close()

    def pil(self, data: bytes, *, user: str = "Image.pil()") -> Image:
        """As `xooai.media.pil`: mode, size, pixels, palette, format and what `info` holds are the same."""
        module = load("PIL.Image", user)
        return self._once(Asked("pil", user), data, "image", lambda given, file: _picture(given.look, file, module))

    def image_array(self, data: bytes, *, user: str = "Image.array()") -> NDArray[np.uint8]:
        """As `xooai.media.image_array`."""
        numpy = load("numpy", user)
        limit = image.PIXELS * 3
        return self._once(
            Asked("array", user), data, "image", lambda given, file: _array(given, file, numpy.uint8, limit)
        )

    def audio(self, data: bytes, *, user: str = "Audio.array()") -> tuple[NDArray[np.float32], int]:
        """As `xooai.media.audio`."""
        numpy = load("numpy", user)

        def samples(given: Given, file: FileIO | None) -> tuple[NDArray[np.float32], int]:
            return _array(given, file, numpy.float32, sound.DECODED), _rate(given)

        return self._once(Asked("audio", user), data, "audio", samples)

    def audio_rate(self, data: bytes, *, user: str = "Audio.rate") -> int:
        """As `xooai.media.audio_rate`."""
        return self._once(Asked("rate", user), data, "audio", lambda given, file: _rate(given))

    def frames(
        self, source: bytes | BinaryIO, *, step: int = 1, user: str = "Video.frames()"
    ) -> Iterator[NDArray[np.uint8]]:
        """As `xooai.media.frames`. A process is taken up from the first frame to the last, or until the iterator is closed."""
        numpy = load("numpy", user)
        with ExitStack() as stack:
            content = stack.enter_context(_content(source))
            worker = stack.enter_context(self.films.lent())
            asked, file = Asked("film", user, step), cast("FileIO | None", content)
            is_open = True
            try:
                while True:
                    frame = _film(worker, asked, file, numpy)
                    asked, file = Asked("frame", user), None
                    if frame is None:
                        is_open = False
                        return
                    yield frame
            except XooaiError:
                is_open = False
                raise
            finally:
                if is_open and not worker.is_over():
                    _film(worker, Asked("end"), None, numpy)

    def _once(self, asked: Asked, data: bytes, what: str, made: Callable[[Given, FileIO | None], T]) -> T:
        with kept([data]) as content:
            try:
                with self.works.lent() as worker:
                    is_new = not worker.works
                    return _answer(worker, asked, content, what, made)
            except Ended as ended:
                if is_new or not ended.is_crash:
                    raise ended.error from None
            # What was decoded before may have left the process broken: this content is judged by a new one.
            try:
                with self.works.new() as worker:
                    return _answer(worker, asked, content, what, made)
            except Ended as ended:
                raise ended.error from None


shared = Apart(Limits(), works=min(max(os.cpu_count() or 1, _WORKS[0]), _WORKS[1]), films=_FILMS)
"""The one of this process."""


def _answer(
    worker: Worker, asked: Asked, content: FileIO | None, what: str, made: Callable[[Given, FileIO | None], T]
) -> T:
    given, file = worker.ask(asked, content, what)
    with file or ExitStack():
        if given.refusal is not None:
            raise _error(given.refusal)
        try:
            return made(given, file)
        except (ValueError, TypeError, LookupError, OverflowError, OSError) as exc:
            worker.close()
            raise Ended(undecodable(what, exc), is_crash=True) from exc


def _film(worker: Worker, asked: Asked, content: FileIO | None, numpy: Any) -> NDArray[np.uint8] | None:
    limit = video.PIXELS * 3

    def made(given: Given, file: FileIO | None) -> NDArray[np.uint8] | None:
        return None if given.shape is None else cast("NDArray[np.uint8]", _array(given, file, numpy.uint8, limit))

    try:
        return _answer(worker, asked, content, "video", made)
    except Ended as ended:
        raise ended.error from None


def _error(refusal: Refusal) -> XooaiError:
    return _ERRORS.get(refusal.code, InvalidArgument)(refusal.message, details=refusal.details)


def _content(source: bytes | BinaryIO) -> FileIO:
    """The film as a file that another process can have."""
    if isinstance(source, bytes):
        return kept([source])
    try:
        return FileIO(source.fileno(), "rb", closefd=False)
    except (OSError, io.UnsupportedOperation):
        source.seek(0)
        return kept(iter(lambda: source.read(_CHUNK), b""))


def _rate(given: Given) -> int:
    if given.rate is None:
        raise ValueError("the decoder gave no rate")
    return given.rate


def _array(given: Given, file: FileIO | None, dtype: Any, limit: int) -> NDArray[Any]:
    numpy = load("numpy", "decoding")
    shape = given.shape
    if shape is None or not 2 <= len(shape) <= 3 or min(shape) < 0:
        raise ValueError("the decoder gave no array")
    size = prod(shape) * numpy.dtype(dtype).itemsize
    if size > limit:
        raise ValueError(f"the decoder gave an array of {size:,} bytes; the limit is {limit:,}")
    array = numpy.empty(shape, dtype)
    _fill(array.data.cast("B") if size else memoryview(bytearray()), file)
    return cast("NDArray[Any]", array)


def _picture(look: Look | None, file: FileIO | None, module: Any) -> Image:
    if look is None or file is None:
        raise ValueError("the decoder gave no picture")
    width, height = look.size
    size = file.seek(0, io.SEEK_END)
    # 4 bytes a pixel are the most; rows of the mode "1" end at whole bytes.
    if min(look.size) < 1 or width * height > image.PIXELS or size > 4 * width * height + height:
        raise ValueError(f"the decoder gave {width:,} x {height:,} pixels of {size:,} bytes")
    pixels = bytearray(size)
    _fill(memoryview(pixels), file)
    picture = module.frombytes(look.mode, look.size, pixels)
    if look.palette is not None:
        mode, colours = look.palette
        picture.putpalette(colours, mode)
    picture.info = {name: _tuples(value) for name, value in look.info.items()}
    picture.format = look.format
    return cast("Image", picture)


def _tuples(value: Any) -> Any:
    """What was a tuple came as a list: `info` of Pillow has no lists."""
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def _fill(view: memoryview, file: FileIO | None) -> None:
    if file is None:
        raise ValueError("the decoder gave no content")
    file.seek(0)
    while view:
        count = file.readinto(view)
        if not count:
            raise ValueError("the decoder gave less than it said")
        view = view[count:]
