"""The media type that a ref's extension stands for."""

from __future__ import annotations

import functools
import mimetypes
import os
import re

from xooai.scheme import REMOTE, is_chain, scheme_of

__all__ = ["media_type_of"]

# Where Python's own table is silent, differs between versions, or says what nobody in the field says.
_MEDIA_TYPES = {
    "aac": "audio/aac",
    "avif": "image/avif",
    "bmp": "image/bmp",
    "flac": "audio/flac",
    "gz": "application/gzip",
    "heic": "image/heic",
    "heif": "image/heif",
    "jpg": "image/jpeg",
    "m4a": "audio/mp4",
    "md": "text/markdown",
    "mkv": "video/x-matroska",
    "mov": "video/quicktime",
    "mp3": "audio/mpeg",
    "mp4": "video/mp4",
    "oga": "audio/ogg",
    "ogg": "audio/ogg",
    "ogv": "video/ogg",
    "opus": "audio/ogg",
    "parquet": "application/vnd.apache.parquet",
    "rtf": "application/rtf",
    "wav": "audio/wav",
    "weba": "audio/webm",
    "webm": "video/webm",
    "webp": "image/webp",
    "yaml": "application/yaml",
    "yml": "application/yaml",
    "zst": "application/zstd",
}


def media_type_of(ref: str) -> str | None:
    """Return the media type that the extension stands for, None when it says nothing. The content is not looked at."""
    if ref.startswith("data:"):
        return ref[len("data:") :].partition(",")[0].partition(";")[0].lower() or "text/plain"
    name = ref
    if is_chain(ref):  # the first hop with a path names the file: zip://a.png::s3://b/c.zip, simplecache::s3://b/a.png
        name = next((hop for hop in ref.split("::") if "." in hop), "")
    if scheme_of(name) in REMOTE:  # elsewhere '?' and '#' stand in names, and there is no host
        name = re.split(r"[?#]", name.partition("://")[2], maxsplit=1)[0].partition("/")[2]
    extension = os.path.splitext(name.replace("\\", "/"))[1].lower()
    return _MEDIA_TYPES.get(extension[1:]) or _known_types().get(extension)


@functools.cache
def _known_types() -> dict[str, str]:
    """Python's built-in table alone: what /etc/mime.types says differs between machines."""
    return mimetypes.MimeTypes().types_map[True]
