"""How values become frames: JSON and msgpack, with the same meaning."""

from __future__ import annotations

import json
import re
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
from pydantic import ValidationError
from pydantic_core import PydanticSerializationError, SchemaValidator, to_json

from xooai import nan, screen
from xooai.errors import InvalidArgument, Unimplemented
from xooai.facts import Facts
from xooai.lazy import lazy
from xooai.plain import plain
from xooai.schema import JsonValidator, Schema
from xooai.walk import check_integers, check_keys, check_sendable, keys_in

if TYPE_CHECKING:
    from xooai import native
else:
    native = lazy("xooai.native")

__all__ = ["CODECS", "JSON", "MSGPACK", "Codec", "codec_named", "codec_of", "invalid", "located", "read_json"]

MISTAKES = 100  # that an error lists: more than anybody reads, and a body can hold a million


class Codec(Protocol):
    """One way to write values. `media_type` is its name on the wire."""

    name: str
    media_type: str

    def encode(self, schema: Schema, value: Any) -> bytes:
        """Write a value. Raises InvalidArgument for what would not come back as it was."""

    def decode(self, schema: Schema, frame: bytes, trusted: bool = False) -> Any:
        """Read a value and validate it, screened unless it is `trusted`: this process wrote it. Raises InvalidArgument."""


def invalid(error: ValidationError) -> InvalidArgument:
    """Pydantic's verdict as ours: malformed when nothing could be read, else with the place of each of the first mistakes."""
    count = error.error_count()
    found = (
        _first(error)
        if count > MISTAKES
        else error.errors(include_url=False, include_context=False, include_input=False)
    )
    first = found[0]
    if first["type"] == "json_invalid" and not first["loc"]:
        return InvalidArgument(f"the body is not JSON: {first['msg'].removeprefix('Invalid JSON: ')}")
    where = ".".join(str(part) for part in first["loc"]) or "the body"
    more = f" (and {count - 1:,} more)" if count > 1 else ""
    mistakes = [{**mistake, "loc": list(mistake["loc"])} for mistake in found]
    return InvalidArgument(f"{where}: {first['msg']}{more}", errors=mistakes)


def located(error: InvalidArgument, *where: str | int) -> InvalidArgument:
    """What is wrong with a value, as said of the whole in which it stands at this place."""
    place = ".".join(map(str, where))
    mistakes = [{**mistake, "loc": [*where, *mistake["loc"]]} for mistake in error.errors]
    if mistakes and error.errors[0]["loc"]:
        return InvalidArgument(f"{place}.{error.message}", errors=mistakes)
    return InvalidArgument(f"{place}: {error.message.removeprefix('the body: ')}", errors=mistakes)


def _first(error: ValidationError) -> list[Any]:
    """The first mistakes of very many: pydantic gives all at once, as text five times as fast as it makes objects."""
    text = error.json(include_url=False, include_context=False, include_input=False)
    found, at = [], 1
    for _ in range(MISTAKES):
        mistake, end = _decoder.raw_decode(text, at)
        found.append(mistake)
        at = end + 1
    return found


_decoder = json.JSONDecoder()


_PREFIX = (  # as a text, which `re` compiles for the first value that cannot be sent
    r"^(Error serializing to JSON: )?(PydanticSerializationError: )?(Error calling function `_\w+`: ValueError: )?"
)


def _refused(error: Exception) -> InvalidArgument:
    return InvalidArgument(f"the value cannot be sent: {re.sub(_PREFIX, '', str(error))}")


_FAILURES = (PydanticSerializationError, UnicodeError, ValueError, TypeError, OverflowError, RecursionError)


_REPLACEMENT = "\ufffd".encode()


_write = msgspec.json.Encoder(enc_hook=plain).encode


def _look_at(facts: Facts, frame: bytes, value: Any) -> None:
    """Raise InvalidArgument for JSON that would not come back as it was."""
    if facts.free_keys and _REPLACEMENT in frame:
        check_keys(value)
    if len(frame) > nan.LIMIT and facts.floats and nan.too_many(frame):
        raise InvalidArgument(
            f"the value holds more than {nan.LIMIT:,} NaN or infinite numbers; send msgpack, or a Tensor"
        )
    if facts.deep or len(frame) > screen.NODE_LIMIT:
        screen.sent_json(frame)


class _Json:
    name = "json"
    media_type = "application/json"

    def encode(self, schema: Schema, value: Any) -> bytes:
        try:
            facts = schema.facts
            if facts.loose:
                check_sendable(value)
            for subclasses in schema.subclasses:
                if subclasses():
                    schema.classes.check(value)
                    break
            if facts.is_simple:
                frame = schema.serializer.to_json(value, by_alias=True, warnings=schema.warnings, fallback=plain)
                if len(frame) <= nan.LIMIT:  # then nothing of what follows can be
                    return frame
            elif facts.contents:
                return _write(schema.serializer.to_python(value, mode="python", by_alias=True, warnings=False))
            elif facts.plain_floats:  # a plain model would write NaN as null
                written = schema.serializer.to_python(
                    value, mode="json", by_alias=True, warnings=schema.warnings, fallback=plain
                )
                frame = to_json(written, inf_nan_mode="strings")
            else:
                frame = schema.serializer.to_json(value, by_alias=True, warnings=schema.warnings, fallback=plain)
            _look_at(facts, frame, value)
            return frame
        except InvalidArgument:
            raise
        except _FAILURES as error:
            raise _refused(error) from error

    def decode(self, schema: Schema, frame: bytes, trusted: bool = False) -> Any:
        bare, facts = frame, schema.facts
        if not trusted:
            # Most frames are small, and need no closer look. (`in` takes what it looks for for a number first.)
            if len(frame) >= screen.SHALLOW or frame.find(b"NaN") >= 0 or frame.find(b"Infinity") >= 0:
                bare = screen.without_contents(frame)
                screen.before_json(bare)
            if facts.deep:
                screen.infinite_json(frame, bare)
        try:
            value = read_json(schema.validator, frame, None if trusted else schema.finite)
        except ValidationError as error:
            raise invalid(error) from None
        if trusted:
            return value
        if facts.keys is None or bare.count(b":") != facts.keys:  # else each is there, and so none is twice
            screen.doubled_json(frame, bare, keys_in(value) if facts.countable else None)
        if facts.loose:
            check_integers(value)
        return value


def read_json(validator: SchemaValidator, frame: bytes, finite: JsonValidator | None = None) -> Any:
    """Validate JSON text for what it says: no number is read from a text or a boolean, no date from a number.

    `finite`, where it is given, takes no number for infinite; what is called so goes to `validator`. Raises ValidationError.
    """
    try:
        return (finite or validator).validate_json(frame, strict=True)
    except ValidationError as error:
        changed = nan.respelled(frame, error)
        if changed is None:
            raise
    return validator.validate_json(changed, strict=True)


class _Msgpack:
    name = "msgpack"
    media_type = "application/msgpack"

    def __init__(self) -> None:
        self._pack = msgspec.msgpack.Encoder(enc_hook=plain).encode
        self._unpack = msgspec.msgpack.Decoder().decode

    def encode(self, schema: Schema, value: Any) -> bytes:
        try:
            facts = schema.facts
            if facts.loose:
                check_sendable(value)
            for subclasses in schema.subclasses:
                if subclasses():
                    schema.classes.check(value)
                    break
            write = schema.serializer.to_python
            if facts.as_they_are:
                written = write(value, mode="python", by_alias=True, warnings=schema.warnings)
            else:
                written = write(value, mode="json", by_alias=True, warnings=schema.warnings, fallback=plain)
                if facts.bytes:
                    written = _with_bytes(written, write(value, mode="python", by_alias=True, warnings=False))
            frame = self._pack(written)
            if (facts.deep and len(frame) > screen.DEPTH_LIMIT) or len(frame) > screen.NODE_LIMIT:
                screen.sent(written)
            return frame
        except InvalidArgument:
            raise
        except _FAILURES as error:
            raise _refused(error) from error

    def decode(self, schema: Schema, frame: bytes, trusted: bool = False) -> Any:
        if not trusted:
            screen.before_msgpack(frame)
        try:
            value = self._unpack(frame)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:  # ValueError: a text that is not UTF-8
            raise InvalidArgument(f"the body is not msgpack: {error}") from None
        if not trusted:
            screen.msgpack(frame, value)
        try:
            return schema.native.validate_python(value)
        except ValidationError as error:
            return _once_more(schema, value, error)


def _once_more(schema: Schema, value: Any, error: ValidationError) -> Any:
    try:
        return native.again(schema.native, value, error)
    except ValidationError as last:
        raise invalid(last) from None


def _with_bytes(written: Any, native: Any) -> Any:
    """What JSON would write, with bytes left as they are: both were made from one value, in one order."""
    if isinstance(native, bytes | bytearray):
        return bytes(native)
    if isinstance(written, dict) and isinstance(native, dict) and len(written) == len(native):
        return {
            name: _with_bytes(one, other) for (name, one), other in zip(written.items(), native.values(), strict=True)
        }
    if (
        isinstance(written, list)
        and isinstance(native, list | tuple | set | frozenset | deque)
        and len(written) == len(native)
    ):
        return [_with_bytes(one, other) for one, other in zip(written, native, strict=True)]
    return written


JSON: Codec = _Json()
MSGPACK: Codec = _Msgpack()
CODECS = {codec.name: codec for codec in (JSON, MSGPACK)}
_BY_MEDIA_TYPE = {codec.media_type: codec for codec in CODECS.values()} | {
    "application/x-msgpack": MSGPACK,
    "application/vnd.msgpack": MSGPACK,
}


def codec_named(media_type: str) -> Codec | None:
    """The codec whose media type this is, as clients of ours write it."""
    return _BY_MEDIA_TYPE.get(media_type)


def codec_of(name: str) -> Codec:
    """The codec with this name or media type (parameters such as charset are passed over). Raises Unimplemented."""
    found = _BY_MEDIA_TYPE.get(name) or CODECS.get(name)
    if found is None:
        bare = name.partition(";")[0].strip().lower()
        found = _BY_MEDIA_TYPE.get(bare)
    if found is None:
        known = ", ".join(codec.media_type for codec in CODECS.values())
        raise Unimplemented(f"the codec {name[:80]!r} is not known; known are: {known}", details={"reason": "codec"})
    return found
