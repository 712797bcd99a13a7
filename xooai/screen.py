"""What a peer's frame may be before and after it is parsed: depth, nodes, doubled keys, constants (promises T14, T15).

The fast parsers are silent about a doubled key. Counting in C decides nearly every frame; only otherwise is it read once
more, slowly and exactly.
"""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

import msgspec

from xooai.errors import InvalidArgument
from xooai.walk import INT_MAX, INT_MIN

__all__ = ["DEPTH_LIMIT", "NODE_LIMIT", "before_json", "doubled_json", "msgpack"]

DEPTH_LIMIT = 64  # deeper than any model that a person wrote; far from the interpreter's own limit
NODE_LIMIT = 1_000_000  # values in one frame: some 100 MiB of Python objects
_LARGE = 65_536  # bytes from which passes that copy or look at each byte are avoided
_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)


def _few(frame: bytes, byte: bytes, most: int) -> bool:
    """Whether `byte` occurs at most `most` times. bytes.find is 10 times as fast as bytes.count where it is rare."""
    at = -1
    for _ in range(most + 1):
        at = frame.find(byte, at + 1)
        if at < 0:
            return True
    return False


def before_json(frame: bytes) -> None:
    """Raise InvalidArgument for JSON text that is too deep, has too many values, or NaN and the like bare."""
    if len(frame) < 2 * DEPTH_LIMIT:
        shallow = True  # what is opened is closed again
    elif len(frame) < _LARGE:
        opened = frame.count(b"{") + frame.count(b"[")
        shallow = opened <= DEPTH_LIMIT  # and with fewer bytes than NODE_LIMIT there are fewer values
    else:
        shallow = _few(frame, b"{", DEPTH_LIMIT // 2) and _few(frame, b"[", DEPTH_LIMIT // 2) and _few(frame, b",", DEPTH_LIMIT)
    if not shallow:
        _count(_STRINGS.sub(b"", frame))
    if b"NaN" in frame or b"Infinity" in frame:
        _exact(frame)


def _count(bare: bytes) -> None:
    """Depth and values of JSON text whose strings are taken out."""
    if bare.count(b",") + bare.count(b"{") + bare.count(b"[") > NODE_LIMIT:
        raise InvalidArgument(f"the body holds more than {NODE_LIMIT:,} values")
    depth = 0
    for found in re.finditer(rb"[\[{]|[\]}]", bare):
        depth += 1 if found[0] in b"[{" else -1
        if depth > DEPTH_LIMIT:
            raise _too_deep()


def _too_deep() -> InvalidArgument:
    return InvalidArgument(f"the body is nested more than {DEPTH_LIMIT} levels deep")


def doubled_json(frame: bytes, keys: int) -> None:
    """Raise InvalidArgument when a key stands twice in one object; `keys` is how many were parsed from the frame."""
    colons = frame.count(b":") if len(frame) < _LARGE else keys if _few(frame, b":", keys) else -1
    if colons != keys:
        _exact(frame)


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidArgument(f"the key {twice[:80]!r} stands twice in one object")
    return found


def _constant(name: str) -> NoReturn:
    raise InvalidArgument(f'{name} is not JSON; write it as the string "{name}"')


def _exact(frame: bytes) -> None:
    try:
        json.loads(frame, object_pairs_hook=_pairs, parse_constant=_constant)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise InvalidArgument(f"the body is not JSON: {error}") from None


def msgpack(frame: bytes, value: Any) -> None:
    """Raise InvalidArgument for what may not stand in a msgpack frame, `value` being what was parsed from it."""
    _plain(value)
    # What msgspec writes is the shortest form: as long as the frame only when no key was dropped. Otherwise look.
    if len(frame) >= _LARGE or len(msgspec.msgpack.encode(value)) != len(frame):
        _scan(memoryview(frame))


def _plain(value: Any) -> None:
    """Depth, values, types and integers of what was parsed."""
    seen = 0
    level = [value]
    for _ in range(DEPTH_LIMIT + 1):
        below: list[Any] = []
        for item in level:
            kind = type(item)
            if kind is dict:
                for key in item:
                    if type(key) is not str and type(key) is not int:
                        raise InvalidArgument(f"a key of a msgpack map is {type(key).__name__}; it may be a string or an integer")
                below += item.values()
            elif kind is list:
                below += item
            elif kind is int:
                if not INT_MIN <= item <= INT_MAX:
                    raise InvalidArgument("an integer beyond 64 bits, signed, was given")
            elif kind not in _SCALARS:
                raise InvalidArgument("msgpack extension types are not taken; write times as ISO 8601 strings")
        seen += len(level)
        if seen > NODE_LIMIT:
            raise InvalidArgument(f"the body holds more than {NODE_LIMIT:,} values")
        if not below:
            return
        level = below
    raise _too_deep()


_SCALARS = frozenset({str, bytes, float, bool, type(None)})
# Sizes of what follows the first byte of a msgpack value (https://github.com/msgpack/msgpack/blob/master/spec.md).
_FIXED = {0xC0: 0, 0xC2: 0, 0xC3: 0, 0xCA: 4, 0xCB: 8, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8}
_SIZED = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}
_COUNTED = {0xDC: 2, 0xDD: 4, 0xDE: 2, 0xDF: 4}


def _scan(frame: memoryview) -> None:
    """Look for doubled keys in a msgpack frame that was parsed without error."""
    at = 0
    open_maps: list[tuple[set[bytes] | None, int]] = [(None, 1)]  # keys so far (None in an array), values still to come
    while open_maps:
        keys, left = open_maps.pop()
        if left == 0:
            continue
        open_maps.append((keys, left - 1))
        start = at
        at, inside, is_map = _step(frame, at)
        if keys is not None and left % 2 == 0:
            key = bytes(frame[start:at])
            if key in keys:
                raise InvalidArgument("a key stands twice in one msgpack map")
            keys.add(key)
        if inside:
            open_maps.append((set(), 2 * inside) if is_map else (None, inside))


def _step(frame: memoryview, at: int) -> tuple[int, int, bool]:
    """Where the value at `at` ends (its head, for a container), how many entries it holds, whether it is a map."""
    first = frame[at]
    at += 1
    if first < 0x80 or first >= 0xE0:
        return at, 0, False
    if first < 0x90:
        return at, first & 0x0F, True
    if first < 0xA0:
        return at, first & 0x0F, False
    if first < 0xC0:
        return at + (first & 0x1F), 0, False
    if first in _FIXED:
        return at + _FIXED[first], 0, False
    if first in _SIZED:
        width = _SIZED[first]
        return at + width + int.from_bytes(frame[at : at + width], "big"), 0, False
    width = _COUNTED[first]
    return at + width, int.from_bytes(frame[at : at + width], "big"), first >= 0xDE
