"""Files of pictures, sound and film that tests make, sound ones and ones broken on purpose."""

from __future__ import annotations

import importlib
import io
import struct
import zlib
from types import ModuleType
from typing import Any

from hypothesis import strategies as st


def box(brand: bytes, *compatible: bytes) -> bytes:
    content = b"ftyp" + brand + bytes(4) + b"".join(compatible)
    return struct.pack(">I", len(content) + 4) + content + b"\0\0\0\x08moov"


def saved(image: Any, name: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, name, **options)
    return file.getvalue()


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(width: int, height: int, pixels: bytes = b"", *more: bytes) -> bytes:
    """A grey PNG that announces `width` and `height`, whatever `pixels` holds."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(more) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


def tiff(tile_width: int, tile_height: int) -> bytes:
    """A grey TIFF of 10 x 10 pixels in one tile of any size, deflated."""
    packer = zlib.compressobj(9)
    tile = b"".join([packer.compress(bytes(tile_width)) for _ in range(tile_height)]) + packer.flush()
    tags = {
        256: 10,
        257: 10,
        258: 8,
        259: 8,
        262: 1,
        277: 1,
        322: tile_width,
        323: tile_height,
        324: 134,
        325: len(tile),
    }
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + tile


def tone(numpy: ModuleType, channels: int = 2, rate: int = 16_000) -> Any:
    time = numpy.arange(rate // 4) / rate
    return numpy.stack(
        [0.5 * numpy.sin(440 * (channel + 1) * 2 * numpy.pi * time) for channel in range(channels)], axis=1
    )


def film(av: ModuleType, container: str, codec: str, size: tuple[int, int] = (64, 48), count: int = 5) -> bytes:
    """`count` frames, each brighter than the one before, with a white corner at the top left."""
    numpy = importlib.import_module("numpy")
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        track = output.add_stream(codec, rate=10)
        track.width, track.height = size
        track.pix_fmt = {"mjpeg": "yuvj420p", "png": "rgb24"}.get(codec, "yuv420p")
        for index in range(count):
            array = numpy.full((size[1], size[0], 3), 40 * index % 256, dtype=numpy.uint8)
            array[: size[1] // 3, : size[0] // 3] = 255
            output.mux(track.encode(av.VideoFrame.from_ndarray(array, format="rgb24")))
        output.mux(track.encode())
    return file.getvalue()


def free(size: int) -> bytes:
    """Room in an MP4 that nothing stands in: what is behind the film makes it large."""
    return size.to_bytes(4, "big") + b"free" + bytes(size - 8)


def broken(good: bytes, data: st.DataObject) -> bytes:
    changed = bytearray(good)
    for _ in range(data.draw(st.integers(1, 8))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    return bytes(changed[: data.draw(st.integers(len(changed) // 2, len(changed)))])
