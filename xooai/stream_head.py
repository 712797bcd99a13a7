"""How the head of a call that streams goes as an HTTP request: which media types its bodies have."""

from __future__ import annotations

import msgspec

from xooai.driver import Head, Shape
from xooai.errors import InvalidArgument
from xooai.http import FRAMES

__all__ = ["Codecs", "as_sent"]

Codecs = dict[str, str]
"""The media types of frames that a reply may have, and the codec of what is in these."""


def as_sent(head: Head) -> tuple[Head, Codecs]:
    """The head as it is sent, and what its reply may be: no frames at all where one message answers.

    Raises InvalidArgument where no codec that is named can go in frames.
    """
    codec, accept, replies = head.codec, head.accept or head.codec, Codecs()
    if head.shape & Shape.SERVER:
        accept, replies = _framed(accept)
    if head.shape & Shape.CLIENT:
        codec, _ = _framed(codec)
    return msgspec.structs.replace(head, codec=codec, accept=accept), replies


def _framed(wanted: str) -> tuple[str, Codecs]:
    """The media types of frames for those of messages; what does not go in frames is left out."""
    found, parts = Codecs(), []
    for part in wanted.split(","):
        codec, semicolon, parameters = part.strip().partition(";")
        codec = codec.strip().lower()
        if codec in FRAMES:
            found[FRAMES[codec]] = codec
            parts.append(FRAMES[codec] + semicolon + parameters)
    if not parts:
        raise InvalidArgument(
            f"the codec of a call that streams is {wanted!r}; over HTTP it takes {' or '.join(FRAMES)}"
        )
    return ", ".join(parts), found
