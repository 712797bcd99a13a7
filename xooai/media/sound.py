"""Sound: bytes to float32 samples and back, by soundfile (libsndfile)."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from xooai.errors import InvalidArgument, XooaiError, too_large
from xooai.media.first_bytes import sniff
from xooai.media.undecodable import too_much, undecodable
from xooai.optional import load
from xooai.tensor import is_array

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["DECODED", "audio", "audio_rate", "encode_audio"]

# Bytes of decoded float32: 25 minutes of stereo at 44.1 kHz, 2.3 hours of speech at 16 kHz. MP3 and Opus shrink silence by
# more than a thousand, so the size of the file says nothing.
DECODED = 512 * 1024 * 1024

# What is decoded: the formats in use, not the two dozen historical ones that libsndfile would try as well.
_FORMATS = {"audio/wav": "WAV", "audio/flac": "FLAC", "audio/ogg": "Ogg", "audio/mpeg": "MP3"}
_SUBTYPES = {"float32": "FLOAT", "float64": "DOUBLE", "int16": "PCM_16", "int32": "PCM_32"}
_CHANNELS = 64  # more than any recording has; beyond it the axes are taken to be swapped


def audio(data: bytes, *, user: str = "Audio.array()") -> tuple[NDArray[np.float32], int]:
    """Return float32 in [-1, 1] of shape (frames, channels), and the frames per second.

    InvalidArgument when it is no WAV, FLAC, Ogg (Vorbis, Opus) or MP3 or does not decode, ResourceExhausted when it would
    have more than `DECODED` bytes.
    """
    load("soundfile", user)
    load("numpy", user)  # soundfile itself asks for it only when it reads
    with _opened(data, user) as file:
        size = file.frames * file.channels * 4
        if size > DECODED:
            raise too_large(size, DECODED, "the decoded audio")
        return cast("NDArray[np.float32]", file.read(dtype="float32", always_2d=True)), int(file.samplerate)


def audio_rate(data: bytes, *, user: str = "Audio.rate") -> int:
    """Return the frames per second, from the header alone. Raises as `audio`."""
    with _opened(data, user) as file:
        return int(file.samplerate)


@contextmanager
def _opened(data: bytes, user: str) -> Iterator[Any]:
    soundfile = load("soundfile", user)
    media_type = sniff(data)
    if media_type not in _FORMATS:
        known = ", ".join(_FORMATS.values())
        raise undecodable("audio", f"it is {media_type or 'of no known format'}; there are: {known}")
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            yield file
    except XooaiError:
        raise
    except MemoryError as exc:
        raise too_much("audio") from exc
    except Exception as exc:  # LibsndfileError is a RuntimeError; broken files give others
        raise undecodable("audio", str(exc) or type(exc).__name__) from exc


def encode_audio(array: object, rate: int, *, user: str = "Audio(value=...)") -> bytes:
    """Return samples of shape (frames,) or (frames, channels) as WAV, bit by bit: float32, float64, int16 or int32."""
    soundfile = load("soundfile", user)
    if not is_array(array):
        raise InvalidArgument(f"sound is bytes or an array, not {type(array).__name__}")
    samples = load("numpy", user).asarray(array)
    shape = "x".join(str(length) for length in samples.shape)
    if samples.dtype.name not in _SUBTYPES:
        raise InvalidArgument(f"sound is {', '.join(_SUBTYPES)}, not {samples.dtype}")
    if samples.ndim not in (1, 2) or (samples.ndim == 2 and not 0 < samples.shape[1] <= _CHANNELS):
        raise InvalidArgument(f"sound is (frames,) or (frames, channels) with up to {_CHANNELS} channels, not {shape}")
    if isinstance(rate, bool) or not isinstance(rate, int) or rate < 1:
        raise InvalidArgument(f"the rate is a whole number of frames per second, at least 1, not {rate!r}")
    file = io.BytesIO()
    try:
        soundfile.write(file, samples, rate, format="WAV", subtype=_SUBTYPES[samples.dtype.name])
    except Exception as exc:  # a rate or a size that the format cannot say
        raise InvalidArgument(f"the sound cannot be written as WAV: {exc or type(exc).__name__}") from exc
    return file.getvalue()
