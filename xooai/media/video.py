"""Moving pictures: frames out of a file, one by one, by PyAV (FFmpeg)."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from xooai.errors import InvalidArgument, ResourceExhausted, XooaiError
from xooai.media.first_bytes import HEAD, sniff
from xooai.media.undecodable import too_much, undecodable
from xooai.optional import load

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["PIXELS", "frames"]

# Pixels of a frame: 8K (7,680 x 4,320), the largest in use. A decoder holds up to seventeen of them as references.
PIXELS = 7680 * 4320

# The container's first bytes choose FFmpeg's reader. Left to itself it would take a playlist (HLS, DASH, concat) for a film,
# and open the files and addresses that stand in it.
_READERS = {
    "video/mp4": "mov",
    "video/quicktime": "mov",
    "video/3gpp": "mov",
    "video/webm": "matroska",
    "video/x-matroska": "matroska",
    "video/x-msvideo": "avi",
    "video/ogg": "ogg",
}
# FFmpeg has hundreds of decoders; the ones for formats of the nineties are where its memory errors are found.
_DECODERS = frozenset(
    {
        "av1",
        "h263",
        "h264",
        "hevc",
        "libaom-av1",
        "libdav1d",
        "libvpx",
        "libvpx-vp9",
        "mjpeg",
        "mpeg1video",
        "mpeg2video",
    }
    | {"mpeg4", "png", "prores", "rawvideo", "theora", "vp8", "vp9"}
)
_OPTIONS = {"max_pixels": str(PIXELS)}


def _tolerant(av: Any) -> dict[str, str]:
    """What lets titles pass that are not UTF-8: nobody reads them. From PyAV 19 on they always do."""
    return {"metadata_errors": "ignore"} if int(av.__version__.partition(".")[0]) < 19 else {}


def frames(source: bytes | BinaryIO, *, step: int = 1, user: str = "Video.frames()") -> Iterator[NDArray[np.uint8]]:
    """Yield every `step`-th frame of the first video track as uint8 of shape (height, width, 3): RGB, upright.

    One frame is in memory at a time. A file is read from its beginning and left open. InvalidArgument when it is no MP4,
    QuickTime, WebM, Matroska, AVI or Ogg or does not decode, ResourceExhausted above `PIXELS`.
    """
    if step < 1:
        raise InvalidArgument(f"step is at least 1, not {step}")
    av, numpy = load("av", user), load("numpy", user)
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    reader = _reader(file)
    try:
        # No protocol is allowed, so that nothing beside `file` is opened, whatever stands in it.
        options = {**_OPTIONS, "protocol_whitelist": ""}
        with av.open(file, mode="r", format=reader, options=options, **_tolerant(av)) as container:
            for index, frame in enumerate(container.decode(_track(container))):
                if index % step == 0:
                    yield _picture(frame, numpy)
    except XooaiError:
        raise
    except MemoryError as exc:
        raise too_much("video") from exc
    except Exception as exc:  # av.FFmpegError in two dozen kinds; broken files give others
        why = (
            getattr(exc, "strerror", None) or str(exc) or type(exc).__name__
        )  # FFmpeg's own words, without the file's name
        raise undecodable("video", why) from exc


def _reader(file: BinaryIO) -> str:
    file.seek(0)
    media_type = sniff(file.read(HEAD))
    file.seek(0)
    if media_type not in _READERS:
        known = "MP4, QuickTime, WebM, Matroska, AVI, Ogg"
        raise undecodable("video", f"it is {media_type or 'of no known format'}; there are: {known}")
    return _READERS[media_type]


def _track(container: Any) -> Any:
    if not container.streams.video:
        raise InvalidArgument("the file holds no video track")
    track = container.streams.video[0]
    context = track.codec_context
    if context is None or context.name not in _DECODERS:
        name = "unknown to FFmpeg" if context is None else context.name
        raise undecodable("video", f"its codec is {name}; there are: {', '.join(sorted(_DECODERS))}")
    if not context.width or not context.height:  # what FFmpeg refuses while it looks for the size is left at 0
        raise undecodable("video", f"its frames have no size, or one above the limit of {PIXELS:,} pixels")
    _check_size(context.width, context.height)
    context.options = _OPTIONS  # a stream may grow on its way: then FFmpeg itself refuses
    return track


def _check_size(width: int, height: int) -> None:
    if width * height > PIXELS:
        raise ResourceExhausted(f"the video has {width:,} x {height:,} pixels, the limit is {PIXELS:,}", reason="size")


def _picture(frame: Any, numpy: Any) -> NDArray[np.uint8]:
    _check_size(frame.width, frame.height)
    array = frame.to_ndarray(format="rgb24")
    turns = round(frame.rotation / 90) % 4  # counterclockwise, as rot90's
    return cast("NDArray[np.uint8]", numpy.ascontiguousarray(numpy.rot90(array, turns)) if turns else array)
