"""The program that decodes what came from a peer: `python -m xooai.media.worker`, with limits, at the other end of its stdin.

It ends when its stdin does, and so never outlives the process that started it, however that one ended.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import time
from collections.abc import Iterator
from io import FileIO
from math import ceil
from numbers import Rational
from typing import TYPE_CHECKING, Any

import msgspec

from xooai.errors import XooaiError
from xooai.media.exchange import Asked, Given, Limits, Look, Refusal, hear, kept, tell
from xooai.media.image import image_array, pil
from xooai.media.sound import audio, audio_rate
from xooai.media.undecodable import too_much
from xooai.media.video import frames
from xooai.optional import load

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

__all__ = ["main"]

_BAND = 4 * 1024 * 1024  # bytes of pixels that are packed at a time: a second copy of a large picture is never whole
_WRITTEN = 1024 * 1024 * 1024  # bytes of a file: above the largest sound, which has 512 MiB
_TEXT = 1000  # characters of an error: libraries quote what they read

Answer = tuple[Given, FileIO | None]


class Bench:
    """Where the work is done: one piece at a time, and a film that stays open from frame to frame."""

    def __init__(self) -> None:
        self._film: Iterator[Any] = iter(())
        self._reel: FileIO | None = None
        self._frame: FileIO | None = None

    def do(self, asked: Asked, file: FileIO | None) -> Answer:
        """The answer to a piece of work; one of our errors is an answer too. `file` is closed when it is not used any more."""
        try:
            if asked.work == "frame":
                return self._next()
            self._leave()
            if asked.work == "film":
                self._reel = file
                self._film = frames(_seekable(file), step=asked.step, user=asked.user)
                return self._next()
            with _seekable(file) if file is not None else contextlib.nullcontext():
                return _decoded(asked, file.readall() if file is not None else b"")
        except MemoryError:
            error: XooaiError = too_much("content")
        except XooaiError as exc:
            error = exc
        self._leave()
        return Given(refusal=Refusal(error.code, error.message[:_TEXT], error.details)), None

    def _next(self) -> Answer:
        for array in self._film:
            if self._frame is None:
                self._frame = kept([])
            # The same memory for each frame: the one before has been read, or nobody would ask for the next.
            self._frame.seek(0)
            self._frame.write(_bytes(array))
            self._frame.truncate()
            return Given(shape=array.shape), self._frame
        self._leave()
        return Given(), None

    def _leave(self) -> None:
        self._film = iter(())
        for file in (self._reel, self._frame):
            if file is not None:
                file.close()
        self._reel = self._frame = None


def _seekable(file: FileIO | None) -> FileIO:
    if file is None:
        raise ValueError("a piece of work came without its content")
    file.seek(0)
    return file


def _decoded(asked: Asked, data: bytes) -> Answer:
    if asked.work == "pil":
        image = pil(data, user=asked.user)
        return Given(look=_look(image)), kept(_bands(image))
    if asked.work == "array":
        array = image_array(data, user=asked.user)
        return Given(shape=array.shape), kept([_bytes(array)])
    if asked.work == "audio":
        samples, rate = audio(data, user=asked.user)
        return Given(shape=samples.shape, rate=rate), kept([_bytes(samples)])
    return (Given(rate=audio_rate(data, user=asked.user)) if asked.work == "rate" else Given()), None


def _bytes(array: NDArray[Any]) -> memoryview:
    """The numbers in a row; frames of some widths stand in memory with gaps between their lines."""
    whole = array if array.flags.c_contiguous else array.copy()
    return whole.data.cast("B") if whole.size else memoryview(b"")  # a view with a 0 in its shape cannot be cast


def _bands(image: Image) -> Iterator[bytes]:
    width, height = image.size
    rows = max(_BAND // max(width * 4, 1), 1)
    for top in range(0, height, rows):
        yield image.crop((0, top, width, min(top + rows, height))).tobytes()


def _look(image: Image) -> Look:
    palette = None
    if image.palette is not None and image.mode in ("P", "PA"):
        mode = "RGBA" if image.palette.mode == "RGBA" else "RGB"
        palette = (mode, bytes(image.im.getpalette(mode, mode)))
    info = {name: plain for name, value in image.info.items() if isinstance(name, str) for plain in _plain(value)}
    return Look(image.mode, image.size, image.format, info, palette)


def _plain(value: object) -> list[Any]:
    """The value as a message holds it; empty when none can."""
    try:
        made = [float(value) if isinstance(value, Rational) and not isinstance(value, int) else value]
        msgspec.msgpack.encode(made)
    except (TypeError, ValueError, OverflowError, ZeroDivisionError):
        return []
    return made


def main(limits: Limits) -> None:
    """Answer what comes over stdin until it ends."""
    _confine(limits)
    bench = Bench()
    with socket.socket(fileno=os.dup(0)) as end:
        tell(end, Given())  # it has started: from now on the content is what ends it
        while True:
            try:
                asked, file = hear(end, Asked)
            except EOFError:
                return
            # Of the process as a whole, so it moves on with each piece of work.
            _limit("RLIMIT_CPU", ceil(time.process_time()) + limits.cpu)
            given, content = bench.do(asked, file)
            tell(end, given, None if content is None else content.fileno())
            if asked.work not in ("film", "frame") and content is not None:
                content.close()


def _confine(limits: Limits) -> None:
    _limit("RLIMIT_AS", limits.memory)
    _limit("RLIMIT_FSIZE", _WRITTEN)
    _limit("RLIMIT_CORE", 0)  # a crash leaves no copy of what a peer sent
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")  # a machine without memory ends this process, and not the server
    with open(os.devnull, "w") as nowhere:  # what libraries say of a peer's content is nothing for a server's log
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)


def _limit(name: str, most: int) -> None:
    """Lower a limit of this process; where it is lower already, it stays."""
    resource = load("resource", "decoding")
    what = getattr(resource, name)
    _, hard = resource.getrlimit(what)
    with contextlib.suppress(ValueError, OSError):  # macOS takes no limit of addresses
        resource.setrlimit(what, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


if __name__ == "__main__":
    main(msgspec.json.decode(sys.argv[1], type=Limits))
