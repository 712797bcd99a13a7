"""Decoding in this process, by the libraries themselves."""

from xooai.media.image import image_array, pil
from xooai.media.sound import audio, audio_rate
from xooai.media.video import frames

__all__ = ["audio", "audio_rate", "frames", "image_array", "is_apart", "pil"]

is_apart = False
