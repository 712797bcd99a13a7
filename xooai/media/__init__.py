"""Pictures, sound and moving pictures out of bytes and back, decoded on demand only, with libraries that are optional.

Each is loaded when something of it is first asked for (PEP 562).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xooai.media.decoding import SETTING, Decoder, close_decoders, decode_in, decoder
    from xooai.media.first_bytes import HEAD, sniff
    from xooai.media.image import encode_image, image_array, is_picture, pil
    from xooai.media.sound import audio, audio_rate, encode_audio
    from xooai.media.video import frames

_HOMES = {
    "decoding": ("SETTING", "Decoder", "close_decoders", "decode_in", "decoder"),
    "first_bytes": ("HEAD", "sniff"),
    "image": ("encode_image", "image_array", "is_picture", "pil"),
    "sound": ("audio", "audio_rate", "encode_audio"),
    "video": ("frames",),
}
_HOME = {name: f"xooai.media.{module}" for module, names in _HOMES.items() for name in names}

__all__ = [
    "HEAD",
    "SETTING",
    "Decoder",
    "audio",
    "audio_rate",
    "close_decoders",
    "decode_in",
    "decoder",
    "encode_audio",
    "encode_image",
    "frames",
    "image_array",
    "is_picture",
    "pil",
    "sniff",
]


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'xooai.media' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value
