"""Which form a reply takes: what the caller accepts against what a reply can be."""

from __future__ import annotations

from functools import lru_cache

import msgspec

from xooai.codec import JSON, MSGPACK, Codec
from xooai.doc import Doc
from xooai.media_ranges import media_ranges

__all__ = ["Form", "form_of"]

_OWN = {
    "application/json": JSON,
    "application/msgpack": MSGPACK,
    "application/x-msgpack": MSGPACK,
    "application/vnd.msgpack": MSGPACK,
}
_MEDIA = ("image/", "audio/", "video/", "text/plain", "application/octet-stream")


class Form(msgspec.Struct, frozen=True):
    """The form of a reply: a `codec`, unless the reply is one document whose media type is among `raw`, which goes as it is."""

    codec: Codec
    raw: tuple[str, ...] = ()

    def takes(self, doc: Doc) -> bool:
        """Whether this document goes as it is: its inline content is of a wanted type."""
        media_type = doc.media_type or "application/octet-stream"
        return doc.value is not None and media_type.startswith(self.raw)


@lru_cache(maxsize=256)  # pairs of headers: as many as clients have, and a peer that invents them only makes us parse
def form_of(codec: str, accept: str) -> Form:
    """The form for a request of media type `codec` with this Accept header (RFC 9110, 12.5.1). Never refuses: JSON is for all."""
    own = _OWN.get(codec.partition(";")[0].strip().lower(), JSON)
    if not accept or accept == "*/*":
        return Form(own)
    ranges = sorted(media_ranges(accept), key=lambda pair: -pair[1])
    for media_type, quality in ranges:
        if quality <= 0:
            continue
        if media_type in _OWN:
            return Form(_OWN[media_type])
        if media_type in ("*/*", "application/*"):
            return Form(own)
        if media_type.startswith(_MEDIA):
            raw = tuple(name.removesuffix("*") for name, wanted in ranges if wanted > 0 and name.startswith(_MEDIA))
            return Form(next((_OWN[name] for name, wanted in ranges if wanted > 0 and name in _OWN), JSON), raw)
    return Form(JSON)
