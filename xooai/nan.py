"""NaN and infinities in a peer's JSON: texts there, since JSON has no such numbers, and floats to us."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from pydantic import ValidationError

__all__ = ["LIMIT", "TEXTS", "too_many", "unquoted"]

TEXTS = ("NaN", "Infinity", "-Infinity")
"""How JSON holds them (as protobuf's JSON does: https://protobuf.dev/programming-guides/json/)."""

LIMIT = 100_000  # in one frame: finding them takes some microseconds each, and msgpack and Tensor need no finding

_QUOTED = tuple(f'"{text}"'.encode() for text in TEXTS)

# Numbers stay what they are, letter by letter: 1e16 must not become an integer.
_parse = msgspec.json.Decoder(float_hook=msgspec.Raw).decode
_write = msgspec.json.Encoder().encode

_Place = tuple[Any, Any]  # a list or an object, and where in it


def too_many(frame: bytes) -> bool:
    """Whether a frame holds more of them than are read, texts that look like them included."""
    return sum(frame.count(text) for text in _QUOTED) > LIMIT


def unquoted(frame: bytes, error: ValidationError) -> bytes | None:
    """The frame with bare NaN and infinities where `error` missed a float and found their texts; None where it found none.

    A strict validator takes no text for a number, and these bare.
    """
    if error.error_count() > LIMIT or not any(text in frame for text in _QUOTED):
        return None
    mistakes = error.errors(include_url=False, include_context=False)
    places = [mistake["loc"] for mistake in mistakes if mistake["type"] == "float_type" and _is_text(mistake["input"])]
    if not places:
        return None
    whole = [_parse(frame)]
    for place in places:
        for holder, key in _found(whole, 0, place):
            holder[key] = msgspec.Raw(holder[key])
    return _write(whole[0])


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value in TEXTS


def _found(holder: Any, key: Any, place: Sequence[int | str]) -> Iterator[_Place]:
    """Where in the frame an error's location may lead: it also names members of unions, which do not stand there."""
    value = holder[key]
    if not place:
        if _is_text(value):
            yield holder, key
        return
    part, rest = place[0], place[1:]
    if (isinstance(value, dict) and part in value) or (
        isinstance(value, list) and type(part) is int and part < len(value)
    ):
        yield from _found(value, part, rest)
    if isinstance(part, str):
        yield from _found(holder, key, rest)
