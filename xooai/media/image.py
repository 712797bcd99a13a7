"""Pictures: bytes to a PIL image or an array and back, by Pillow, with the formats and sizes that are safe to decode."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from xooai.errors import InvalidArgument, ResourceExhausted, XooaiError, too_large
from xooai.media.first_bytes import sniff
from xooai.media.undecodable import too_much, undecodable
from xooai.optional import load
from xooai.tensor import is_array

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

__all__ = ["METADATA", "PIXELS", "encode_image", "image_array", "is_picture", "pil"]

# Pixels of a picture: 8,192 x 8,192, above any camera's, and 256 MiB decoded as RGBA. A file of a few KiB can announce more
# than any memory holds.
PIXELS = 64 * 1024 * 1024

# Bytes of what a picture carries beside its pixels: ICC profiles have up to 4 MiB, EXIF in a JPEG 64 KiB.
METADATA = 16 * 1024 * 1024

# What is decoded. Not EPS, PSD, FITS, PDF and the rest of Pillow's fifty: one starts a program, and the others are hardly ever
# used but in attacks.
_PLUGINS = {
    "image/png": ("PNG", "PIL.PngImagePlugin"),
    "image/jpeg": ("JPEG", "PIL.JpegImagePlugin"),
    "image/webp": ("WEBP", "PIL.WebPImagePlugin"),
    "image/gif": ("GIF", "PIL.GifImagePlugin"),
    "image/bmp": ("BMP", "PIL.BmpImagePlugin"),
    "image/tiff": ("TIFF", "PIL.TiffImagePlugin"),
    "image/avif": ("AVIF", "PIL.AvifImagePlugin"),
}
_TIFF_TILE = (322, 323)  # tags TileWidth and TileLength
_CHANNELS = (1, 3, 4)
_PNG_LEVEL = 1  # zlib's fastest: four times the speed of the default for a tenth more bytes
_KEPT_AS = {
    "CMYK": "RGB",
    "YCbCr": "RGB",
    "HSV": "RGB",
    "LAB": "RGB",
    "RGBX": "RGB",
    "RGBa": "RGBA",
    "PA": "RGBA",
    "La": "LA",
}
_DEEP = frozenset({"I", "F"})  # 32 bits, without a range of their own


def pil(data: bytes, *, user: str = "Image.pil()") -> Image:
    """Return the picture, loaded and upright (its EXIF orientation applied); the first one where there are several.

    InvalidArgument when it is no PNG, JPEG, WebP, GIF, BMP, TIFF or AVIF or does not decode, ResourceExhausted above
    `PIXELS` or `METADATA`, found in the header before anything is decoded.
    """
    module, ops = load("PIL.Image", user), load("PIL.ImageOps", user)
    media_type = sniff(data)
    if media_type not in _PLUGINS:
        known = ", ".join(name for name, _ in _PLUGINS.values())
        raise undecodable("image", f"it is {media_type or 'of no known format'}; there are: {known}")
    name, plugin = _PLUGINS[media_type]
    load(plugin, user)  # so that Pillow does not import its fifty to find this one
    with _translated(module):
        image = cast("Image", module.open(io.BytesIO(data), formats=(name,)))
        _check_size(image)
        _check_metadata(image)
        image.load()
        _check_metadata(image)  # a PNG may have more of it behind its pixels
        _turn(image, ops)
    return image


def image_array(data: bytes, *, user: str = "Image.array()") -> NDArray[np.uint8]:
    """Return uint8 of shape (height, width, 3): RGB, upright; an alpha channel is dropped, 16 bits are cut to 8."""
    numpy = load("numpy", user)
    image = pil(data, user=user)
    if image.mode.startswith("I;16"):
        grey = (numpy.asarray(image) >> 8).astype(numpy.uint8)
        return cast("NDArray[np.uint8]", numpy.repeat(grey[:, :, None], 3, axis=2))
    if image.mode in _DEEP:
        raise InvalidArgument(
            f"a picture of mode {image.mode!r} has no range of its own; take pil() and scale it to 0..255"
        )
    with _translated(load("PIL.Image", user)):
        if isinstance(image.info.get("transparency"), bytes):  # Pillow warns of each that goes to RGB at once
            image = image.convert("RGBA")
        return cast(
            "NDArray[np.uint8]", numpy.array(image.convert("RGB"))
        )  # a copy: an array that cannot be written is a trap


def is_picture(value: object) -> bool:
    """Say whether `value` is a PIL image or an array, which `encode_image` takes. Imports neither library."""
    module = sys.modules.get("PIL.Image")  # whoever has such an image has imported it
    return is_array(value) or (module is not None and isinstance(value, module.Image))


def encode_image(value: object, *, user: str = "Image(value=...)") -> bytes:
    """Return a PIL image or an array as PNG: uint8 of shape (h, w), (h, w, 1), (h, w, 3) or (h, w, 4), or bool of (h, w).

    A PIL image keeps its pixels (16 bits too) and its look: a pending EXIF orientation is applied. InvalidArgument otherwise.
    """
    module = load("PIL.Image", user)
    image = cast("Image", value if isinstance(value, module.Image) else _from_array(module, value, user))
    if image.mode in _DEEP:
        raise InvalidArgument(
            f"a picture of mode {image.mode!r} cannot be PNG; scale it to 0..255 and convert it to 'L'"
        )
    with _translated(module, _unkept):
        _check_size(image)
        upright = image.copy()
        _turn(upright, load("PIL.ImageOps", user))
        mode = _KEPT_AS.get(upright.mode, upright.mode)
        file = io.BytesIO()
        (upright if mode == upright.mode else upright.convert(mode)).save(file, "PNG", compress_level=_PNG_LEVEL)
    return file.getvalue()


def _from_array(module: Any, value: object, user: str) -> Image:
    if not is_array(value):
        raise InvalidArgument(f"a picture is bytes, a PIL image or an array, not {type(value).__name__}")
    numpy = load("numpy", user)
    array = numpy.asarray(value)
    shape = "x".join(str(length) for length in array.shape)
    if array.dtype.kind == "f":
        raise InvalidArgument(
            f"a picture is uint8, not {array.dtype}; if it is in 0..1: (array * 255).round().astype('uint8')"
        )
    if array.dtype != numpy.uint8 and not (array.dtype == bool and array.ndim == 2):
        raise InvalidArgument(f"a picture is uint8, or bool of (height, width), not {array.dtype} of {shape}")
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in _CHANNELS) or array.size == 0:
        raise InvalidArgument(f"a picture is (height, width) or (height, width, 3 or 4), none of them 0, not {shape}")
    return cast("Image", module.fromarray(array[:, :, 0] if array.ndim == 3 and array.shape[2] == 1 else array))


def _check_size(image: Image) -> None:
    width, height = image.size
    tile = [int(size) for tag in _TIFF_TILE if (size := getattr(image, "tag_v2", {}).get(tag))]
    if len(tile) == 2:  # one tile is decoded as a whole, however small the picture is
        width, height = max(width, tile[0]), max(height, tile[1])
    if width * height > PIXELS:
        raise ResourceExhausted(f"the image has {width:,} x {height:,} pixels, the limit is {PIXELS:,}", reason="size")


def _check_metadata(image: Image) -> None:
    size = sum(len(value) for value in image.info.values() if isinstance(value, bytes | str))
    if size > METADATA:
        raise too_large(size, METADATA, "the image's metadata (ICC profile, EXIF, XMP, texts)")


def _turn(image: Image, ops: Any) -> None:
    """Apply the EXIF orientation, in place; EXIF that cannot be read says nothing, as in every viewer."""
    try:
        ops.exif_transpose(image, in_place=True)
    except (ValueError, TypeError, KeyError, IndexError, SyntaxError, OSError, OverflowError):
        return


def _unkept(what: str, why: object) -> InvalidArgument:
    return InvalidArgument(f"the {what} cannot be kept as PNG: {why}")


@contextmanager
def _translated(module: Any, refused: Callable[[str, object], InvalidArgument] = undecodable) -> Iterator[None]:
    """Pillow raises whatever a broken file makes it stumble over: ValueError, SyntaxError, struct.error, zlib.error, ..."""
    try:
        yield
    except XooaiError:
        raise
    except MemoryError as exc:
        raise too_much("image") from exc
    except (module.DecompressionBombError, module.DecompressionBombWarning) as exc:
        pixels = re.search(r"\((\d+) pixels\)", str(exc))
        given = f"has {int(pixels[1]):,} pixels" if pixels else "is too large"
        raise ResourceExhausted(f"the image {given}, the limit is {PIXELS:,}", reason="size") from exc
    except Exception as exc:
        raise refused("image", str(exc) or type(exc).__name__) from exc
