"""Numbers as a peer's JSON may spell them: NaN and infinities as texts, since it has no such numbers, 1.0 for an integer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from math import copysign
from typing import Any

import msgspec
from pydantic import ValidationError

__all__ = ["LIMIT", "TEXTS", "respelled", "respelled_value", "too_many"]

TEXTS = ("NaN", "Infinity", "-Infinity")
"""How JSON holds them (as protobuf's JSON does: https://protobuf.dev/programming-guides/json/)."""

LIMIT = 100_000  # in one frame: finding them takes some microseconds each, and msgpack and Tensor need no finding

_MOST = 2.0**63  # integers have 64 bits, so 1e999999 is not written out

_QUOTED = tuple(f'"{text}"'.encode() for text in TEXTS)

# Numbers stay what they are, letter by letter: 1e16 must not become an integer.
_parse = msgspec.json.Decoder(float_hook=msgspec.Raw).decode
_write = msgspec.json.Encoder().encode

_Place = tuple[Any, Any]  # a list or an object, and where in it


def too_many(frame: bytes) -> bool:
    """Whether a frame holds more of them than are read, texts that look like them included."""
    return sum(frame.count(text) for text in _QUOTED) > LIMIT


def respelled(frame: bytes, error: ValidationError) -> bytes | None:
    """The frame with its numbers as a strict validator takes them, where `error` missed some; None where it found none.

    Such a validator takes no text for a number, and NaN bare; nor 1.0 for an integer, which are the same in JSON.
    """
    missed, signed = _missed(error)
    if not missed:
        return None
    whole = [_parse(frame)]
    for mistake in missed:
        given = mistake["input"]
        for holder, key in _found(whole, 0, mistake["loc"]):
            if _stands_for(holder[key], given):
                holder[key] = msgspec.Raw(given if isinstance(given, str) else _whole(holder[key], signed))
    return _write(whole[0])


def respelled_value(value: Any, error: ValidationError) -> list[Any] | None:
    """The same for a parsed value, which is changed, in a list of its own."""
    missed, signed = _missed(error)
    if not missed:
        return None
    whole = [value]
    for mistake in missed:
        given = mistake["input"]
        for holder, key in _found(whole, 0, mistake["loc"]):
            found = holder[key]
            if type(found) is type(given) and found == given:
                is_minus_zero = signed and found == 0 and copysign(1, given) < 0
                holder[key] = float(given) if isinstance(given, str) or is_minus_zero else int(given)
    return whole


def _missed(error: ValidationError) -> tuple[list[Any], bool]:
    """Which mistakes miss a number that was given, and whether some number may be a float."""
    if error.error_count() > LIMIT:
        return [], False
    mistakes = error.errors(include_url=False, include_context=False)
    if any(mistake["type"] == "finite_number" for mistake in mistakes):  # 1e999, which no spelling makes right
        return [], False
    missed = [mistake for mistake in mistakes if _is_meant(mistake["type"], mistake["input"])]
    return missed, any(mistake["type"] == "float_type" for mistake in mistakes)


def _is_meant(mistake: str, given: object) -> bool:
    """Whether a number was given where one was missed."""
    if mistake == "float_type":
        return isinstance(given, str) and given in TEXTS
    return mistake == "int_type" and isinstance(given, float) and given.is_integer() and abs(given) <= _MOST


def _stands_for(found: object, given: str | float) -> bool:
    return float(bytes(found)) == given if isinstance(found, msgspec.Raw) else found == given


def _whole(number: msgspec.Raw, is_signed: bool) -> str:
    """The integer, digit by digit: a float would round it. Where a float may be meant after all, -0.0 stays as it is."""
    found = Decimal(bytes(number).decode())
    is_integer = found == int(found) and not (is_signed and found.is_signed() and not found)
    return str(int(found)) if is_integer else str(found)


def _found(holder: Any, key: Any, place: Sequence[int | str]) -> Iterator[_Place]:
    """Where in the frame an error's location may lead: it also names members of unions, which do not stand there."""
    value = holder[key]
    if not place:
        yield holder, key
        return
    part, rest = place[0], place[1:]
    if (isinstance(value, dict) and part in value) or (
        isinstance(value, list) and type(part) is int and part < len(value)
    ):
        yield from _found(value, part, rest)
    if isinstance(part, str):
        yield from _found(holder, key, rest)
