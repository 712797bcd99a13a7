"""What a peer's frame may be before and after it is parsed: depth, nodes, doubled keys, constants.

The fast parsers are silent about a doubled key. Counting in C decides nearly every frame; only otherwise is it read once
more, slowly and exactly.
"""

from __future__ import annotations

import json
import re
from collections import Counter, deque
from collections.abc import Callable
from math import isinf
from typing import Any, NoReturn

import msgspec

from xooai.errors import InvalidArgument
from xooai.walk import INT_MAX, INT_MIN

__all__ = [
    "DEPTH_LIMIT",
    "NODE_LIMIT",
    "SHALLOW",
    "before_json",
    "before_msgpack",
    "doubled_json",
    "msgpack",
    "sent",
    "sent_json",
    "without_contents",
]

DEPTH_LIMIT = 64  # deeper than any model that a person wrote; far from the interpreter's own limit
SHALLOW = 2 * DEPTH_LIMIT  # bytes of JSON below which it cannot be too deep: what is opened is closed again
NODE_LIMIT = 1_000_000  # values in one frame: some 100 MiB of Python objects
_LARGE = 65_536  # bytes from which passes that copy or look at each byte are avoided
_LONG = 1024  # bytes of a string that is left out
_QUOTED = 512  # strings of a large frame that are looked at: a document has five
_BACKSLASH = 0x5C
_CONSTANTS = (b"NaN", b"Infinity")
_LOOK_ALIKES = 1000  # places such as "NaN" in base64, after which reading once more is cheaper than looking on


def without_contents(frame: bytes) -> bytes:
    """A large frame without what stands in its long strings, such as a picture's base64: one pass of memchr, no copy of it.

    The same frame where it is small, or has so many strings that looking for them costs more than it spares.
    """
    if len(frame) < _LARGE:
        return frame
    kept: list[bytes] = []
    done = end = 0
    for _ in range(_QUOTED):
        start = frame.find(b'"', end)
        if start < 0:
            kept.append(frame[done:])
            return b"".join(kept)
        end = frame.find(b'"', start + 1) + 1
        if end == 0 or frame[end - 2] == _BACKSLASH:  # cut off, or an escape, which takes a closer look
            return frame
        if end - start > _LONG:
            kept.append(frame[done : start + 1])
            done = end - 1
    return frame


def before_json(frame: bytes) -> None:
    """Raise InvalidArgument for JSON text that is too deep, has too many values, or NaN and the like bare.

    `frame` may be without its contents.
    """
    if len(frame) >= SHALLOW:
        opened = frame.count(b"{") + frame.count(b"[")
        if opened > DEPTH_LIMIT or len(frame) > NODE_LIMIT:
            _count(frame)
    for word in _CONSTANTS:
        if frame.find(word) >= 0 and _may_stand_bare(
            frame, word
        ):  # `in` first takes it for a number, three times as slow
            _read(frame, constant=_constant)


def infinite_json(frame: bytes, bare: bytes) -> None:
    """Raise InvalidArgument for a number that a parser would take for infinite; for frames that no type holds to be finite."""
    if _HUGE.search(bare):
        _read(frame, number=_float)


_HUGE = re.compile(rb"[eE]\+?[0-9]{3}|[0-9]{309}")  # the largest float has 309 digits


def _float(text: str) -> float:
    value = float(text)
    if isinf(value):
        raise InvalidArgument(f"the number {text[:40]} is larger than a float holds")
    return value


def _may_stand_bare(frame: bytes, word: bytes) -> bool:
    """Whether a constant may be outside of strings: in base64 no such byte stands before it, and a large picture holds dozens."""
    at = -1
    for _ in range(_LOOK_ALIKES):
        at = frame.find(word, at + 1)
        if at < 0:
            return False
        if at == 0 or frame[at - 1] in b"[,:- \t\r\n":
            return True
    return True


def _count(frame: bytes) -> None:
    """Depth and values of JSON text."""
    if b"\\" in frame:
        frame = frame.replace(b"\\\\", b"").replace(b'\\"', b"")
    if frame.count(b'"') > 4 * NODE_LIMIT:  # keys and values
        raise _too_many()
    bare = _outside_strings(frame)
    if bare.count(b",") + bare.count(b"{") + bare.count(b"[") > NODE_LIMIT:
        raise _too_many()
    depth = 0
    for found in re.finditer(rb"[\[{]|[\]}]", bare):
        depth += 1 if found[0] in b"[{" else -1
        if depth > DEPTH_LIMIT:
            raise _too_deep()
        if depth < 0:
            return  # is no JSON, as the parser will say


def _outside_strings(frame: bytes) -> bytes:
    """JSON text without its strings, none of which holds a quote; part by part, since the pieces of a whole take much memory."""
    kept: list[bytes] = []
    quotes = 0
    for start in range(0, len(frame), _LARGE):
        pieces = frame[start : start + _LARGE].split(b'"')
        kept.append(b"".join(pieces[quotes % 2 :: 2]))
        quotes += len(pieces) - 1
    return b"".join(kept)


def _too_many(what: str = "the body") -> InvalidArgument:
    return InvalidArgument(f"{what} holds more than {NODE_LIMIT:,} values", details={"limit": "values"})


def _too_deep(what: str = "the body") -> InvalidArgument:
    return InvalidArgument(f"{what} is nested more than {DEPTH_LIMIT} levels deep", details={"limit": "depth"})


def doubled_json(frame: bytes, bare: bytes, keys: int | None) -> None:
    """Raise InvalidArgument when a key stands twice in one object.

    `bare` is the frame without its contents; `keys` how many were parsed, None where that cannot be told.
    """
    if keys is None:
        _exact(frame)
        return
    if bare.count(b":") != keys:
        _exact(frame)


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        [(twice, _)] = Counter(name for name, _ in pairs).most_common(1)
        raise InvalidArgument(f"the key {twice[:80]!r} stands twice in one object")
    return found


def _constant(name: str) -> NoReturn:
    raise InvalidArgument(f'{name} is not JSON; write it as the string "{name}"')


def _exact(frame: bytes) -> None:
    _read(frame, pairs=_pairs)


def _read(
    frame: bytes,
    pairs: Callable[[list[tuple[str, Any]]], Any] | None = None,
    constant: Callable[[str], NoReturn] | None = None,
    number: Callable[[str], float] | None = None,
) -> None:
    try:
        json.loads(frame, object_pairs_hook=pairs, parse_constant=constant, parse_float=number)
    except InvalidArgument:
        raise
    except (ValueError, RecursionError) as error:  # ValueError: among others an integer of thousands of digits
        raise InvalidArgument(f"the body is not JSON: {error}") from None


def before_msgpack(frame: bytes) -> None:
    """Raise InvalidArgument for a large frame with too many values, before they are made, or with doubled keys."""
    if len(frame) >= _LARGE:
        _scan(frame)


def msgpack(frame: bytes, value: Any) -> None:
    """Raise InvalidArgument for what may not stand in a msgpack frame, `value` being what was parsed from it."""
    _plain(value)
    # msgspec writes the shortest form, but for floats of 4 bytes (0xca), which become 8: where there are none, what it writes
    # is as long as the frame only when no key was dropped. Otherwise look.
    if len(frame) < _LARGE and (b"\xca" in frame or len(msgspec.msgpack.encode(value)) != len(frame)):
        _scan(frame)


def sent_json(frame: bytes) -> None:
    """Raise InvalidArgument for JSON text of ours that a peer would refuse as too deep, or for too many values."""
    bare = without_contents(frame)
    if bare.count(b"{") + bare.count(b"[") > DEPTH_LIMIT or len(bare) > NODE_LIMIT:
        sent(msgspec.json.decode(bare))


def sent(value: Any) -> None:
    """Raise InvalidArgument for a value that a peer would refuse as too deep, or for too many values.

    It is what an encoder is given, so all that holds others in it is a dict or a collection of Python's.
    """
    seen = depth = 0
    level = [value]
    while level:
        seen += len(level)
        if seen > NODE_LIMIT:
            raise _too_many("the value")
        below: list[Any] = []
        containers = 0
        for item in level:
            if isinstance(item, dict):
                containers += 1
                below += item.values()
            elif isinstance(item, list | tuple | set | frozenset | deque):
                containers += 1
                below += item
        depth += containers > 0
        if depth > DEPTH_LIMIT:
            raise _too_deep("the value")
        level = below


def _plain(value: Any) -> None:
    """Depth, values, types and integers of what was parsed."""
    seen = depth = 0
    level = [value]
    while level:
        below: list[Any] = []
        containers = 0
        for item in level:
            kind = type(item)
            if kind is dict:
                containers += 1
                below += item.values()
                for key in item:
                    if type(key) is not str:
                        _check_key(key)
            elif kind is list:
                containers += 1
                below += item
            elif kind is int:
                _check_integer(item)
            elif kind not in _SCALARS:
                raise _extension()
        seen += len(level)
        depth += containers > 0
        if seen > NODE_LIMIT:
            raise _too_many()
        if depth > DEPTH_LIMIT:
            raise _too_deep()
        level = below


def _check_key(key: object) -> None:
    if type(key) is not int:
        raise InvalidArgument(f"a key of a msgpack map is {type(key).__name__}; it may be a string or an integer")
    _check_integer(key)


def _check_integer(value: int) -> None:
    if not INT_MIN <= value <= INT_MAX:
        raise InvalidArgument("an integer beyond 64 bits, signed, was given")


def _extension() -> InvalidArgument:
    return InvalidArgument("msgpack extension types are not taken; write times as ISO 8601 strings")


_SCALARS = frozenset({str, bytes, float, bool, type(None)})
# Sizes of what follows the first byte of a msgpack value (https://github.com/msgpack/msgpack/blob/master/spec.md).
_FIXED = {
    0xC0: 0,
    0xC2: 0,
    0xC3: 0,
    0xCA: 4,
    0xCB: 8,
    0xCC: 1,
    0xCD: 2,
    0xCE: 4,
    0xCF: 8,
    0xD0: 1,
    0xD1: 2,
    0xD2: 4,
    0xD3: 8,
}
_SIZED = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}
_COUNTED = {0xDC: 2, 0xDD: 4, 0xDE: 2, 0xDF: 4}


def _scan(frame: bytes) -> None:
    """Look for doubled keys and too many values, making none. What is no msgpack is left for the parser to say."""
    at = seen = 0
    keys: set[str | int] | None = None  # those of the open map so far; None in an array
    left = 1  # values still to come in what is open
    around: list[tuple[set[str | int] | None, int]] = []
    while at < len(frame) and (left or around):
        if not left:
            keys, left = around.pop()
            continue
        start = at
        at, inside, is_map = _step(frame, at)
        if keys is not None and left % 2 == 0:
            _add_key(keys, frame[start:at])
        left -= 1
        if not inside:
            continue
        seen += inside
        if seen > NODE_LIMIT:
            raise _too_many()
        if not is_map and _are_floats(frame, at, inside):
            at += 9 * inside
            continue
        around.append((keys, left))
        keys, left = (set(), 2 * inside) if is_map else (None, inside)
        if len(around) > DEPTH_LIMIT:
            raise _too_deep()


def _are_floats(frame: bytes, at: int, count: int) -> bool:
    """Whether the next `count` values are floats of 8 bytes: an embedding is looked through at once."""
    return count <= (len(frame) - at) // 9 and frame[at : at + 9 * count : 9] == b"\xcb" * count


def _add_key(keys: set[str | int], written: bytes) -> None:
    """Keys are the same by what they say, not by how: 1 has five forms, and every text four."""
    try:
        key = msgspec.msgpack.decode(written)
    except (msgspec.DecodeError, ValueError):
        return  # for the parser, or `_plain`, to say
    if type(key) is str or type(key) is int:
        if key in keys:
            raise InvalidArgument(f"the key {str(key)[:80]!r} stands twice in one msgpack map")
        keys.add(key)


def _step(frame: bytes, at: int) -> tuple[int, int, bool]:
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
    if first not in _COUNTED:
        if first == 0xC1:  # is used by nothing, as the parser will say
            return len(frame), 0, False
        raise _extension()
    width = _COUNTED[first]
    return at + width, int.from_bytes(frame[at : at + width], "big"), first >= 0xDE
