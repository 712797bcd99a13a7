"""The media type that the first bytes of a content tell.

A table of our own: the core has to stay small, and needs two dozen formats with one sure answer each. Of the libraries,
`filetype` has had no release since 2022; the present line of `puremagic` needs Python 3.12 and guesses among thousands.
"""

from __future__ import annotations

__all__ = ["HEAD", "sniff"]

HEAD = 256  # bytes that are enough: the brands of an MP4 and the document type of a Matroska file come within them

_STARTS = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"II*\0", "image/tiff"),
    (b"MM\0*", "image/tiff"),
    (b"II+\0", "image/tiff"),  # BigTIFF
    (b"MM\0+", "image/tiff"),
    (b"fLaC", "audio/flac"),
    (b"ID3", "audio/mpeg"),
    (b"%PDF-", "application/pdf"),
)
_RIFF = {b"WEBP": "image/webp", b"WAVE": "audio/wav", b"AVI ": "video/x-msvideo"}
# Brands of ISO base media files: ISO 14496-12, the registry at https://mp4ra.org/registered-types/brands
_BRANDS = {
    b"avif": "image/avif",
    b"avis": "image/avif",
    b"heic": "image/heic",
    b"heix": "image/heic",
    b"heim": "image/heic",
    b"heis": "image/heic",
    b"M4A ": "audio/mp4",
    b"M4B ": "audio/mp4",
    b"qt  ": "video/quicktime",
    b"M4V ": "video/mp4",
    b"isom": "video/mp4",
    b"iso2": "video/mp4",
    b"iso4": "video/mp4",
    b"iso5": "video/mp4",
    b"iso6": "video/mp4",
    b"mp41": "video/mp4",
    b"mp42": "video/mp4",
    b"avc1": "video/mp4",
    b"dash": "video/mp4",
    b"MSNV": "video/mp4",
    b"3gp4": "video/3gpp",
    b"3gp5": "video/3gpp",
    b"mif1": "image/heif",
}
_BMP_HEADERS = frozenset({12, 40, 52, 56, 64, 108, 124})  # sizes of the header that follows, by version of the format


def sniff(data: bytes | memoryview) -> str | None:
    """Return the media type of `data`, of which the first `HEAD` bytes are looked at; None when they tell none."""
    head = bytes(data[:HEAD])
    for start, media_type in _STARTS:
        if head.startswith(start):
            return media_type
    if head[:4] in (b"RIFF", b"RF64"):
        return _RIFF.get(head[8:12])
    if head[:4] == b"OggS":
        return "video/ogg" if b"\x80theora" in head else "audio/ogg"
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return _matroska(head)
    if head[4:8] == b"ftyp":
        return _iso_media(head)
    if head[:2] == b"BM":
        return "image/bmp" if int.from_bytes(head[14:18], "little") in _BMP_HEADERS else None
    return _mpeg_audio(head)


def _matroska(head: bytes) -> str | None:
    if b"\x42\x82\x84webm" in head:  # element DocType, length 4
        return "video/webm"
    return "video/x-matroska" if b"\x42\x82\x88matroska" in head else None


def _iso_media(head: bytes) -> str | None:
    """By the major brand, else by the first known one of the compatible brands; mif1 tells less than those beside it."""
    end = min(int.from_bytes(head[:4], "big"), len(head))
    brands = [head[8:12], *(head[at : at + 4] for at in range(16, end, 4))]
    known = [_BRANDS[brand] for brand in brands if brand in _BRANDS]
    if known[:1] == ["image/heif"]:
        known = [media_type for media_type in known if media_type in ("image/avif", "image/heic")] or known
    return known[0] if known else None


def _mpeg_audio(head: bytes) -> str | None:
    """A frame header of MPEG audio or AAC (ADTS) that uses none of the reserved values: ISO 11172-3, 2.4.2.3."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer = head[1] >> 3 & 3, head[1] >> 1 & 3
    if layer == 3:  # layer I is dead, and FF FE begins every UTF-16 text
        return None
    if layer == 0:  # ADTS has twelve bits of sync, and layer 0
        return "audio/aac" if head[1] & 0xF0 == 0xF0 and head[2] >> 2 & 15 < 13 else None
    bitrate, rate = head[2] >> 4, head[2] >> 2 & 3
    return "audio/mpeg" if version != 1 and bitrate not in (0, 15) and rate != 3 else None
