"""Pictures, sound and moving pictures out of bytes and back, decoded on demand only, with libraries that are optional."""

from xooai.media.first_bytes import HEAD, sniff
from xooai.media.image import encode_image, image_array, is_picture, pil
from xooai.media.sound import audio, audio_rate, encode_audio
from xooai.media.video import frames

__all__ = [
    "HEAD",
    "audio",
    "audio_rate",
    "encode_audio",
    "encode_image",
    "frames",
    "image_array",
    "is_picture",
    "pil",
    "sniff",
]
