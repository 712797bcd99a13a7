"""An example of what a JSON Schema describes, with small real documents in it."""

from __future__ import annotations

import struct
import zlib
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

__all__ = ["NoSample", "sample"]

Json = Any
_DEPTH = 16  # a required field may lead back to where it stands


class NoSample(Exception):
    """None could be found: a pattern, or limits that only a person can meet."""


def sample(schema: Json, definitions: Mapping[str, Json]) -> Json:
    """A value that fits. What the schema itself gives as example, default or choice comes first. Raises NoSample.

    Of the fields of a record those that are required, and those that take a document.
    """
    return _Sampler(definitions).value(schema, 0)


class _Sampler:
    def __init__(self, definitions: Mapping[str, Json]) -> None:
        self._definitions = definitions

    def value(self, schema: Json, depth: int) -> Json:
        if depth > _DEPTH:
            raise NoSample
        if not isinstance(schema, dict):
            return "anything"
        for found in self._given(schema):
            return found
        if "$ref" in schema:
            return self.value(self._definitions.get(schema["$ref"].rpartition("/")[2]), depth + 1)
        if "kind" in schema.get("properties", {}):
            return self._document(schema, depth)
        choices = schema.get("oneOf") or schema.get("anyOf")
        if choices:
            return self._first([{**_typed(schema), **choice} for choice in choices], depth)
        kind = schema.get("type")
        return self._of_type(kind if isinstance(kind, str) else next(iter(kind or [""])), schema, depth)

    def _given(self, schema: Json) -> Iterator[Json]:
        yield from schema.get("examples", ())
        if schema.get("default") is not None:
            yield schema["default"]
        if "const" in schema:
            yield schema["const"]
        yield from (choice for choice in schema.get("enum", ()) if choice is not None)

    def _first(self, choices: Sequence[Json], depth: int) -> Json:
        for choice in choices:
            if choice == {"type": "null"}:
                continue
            try:
                return self.value(choice, depth + 1)
            except NoSample:
                pass
        if {"type": "null"} in choices:
            return None
        raise NoSample

    def _of_type(self, kind: str, schema: Json, depth: int) -> Json:
        match kind:
            case "object":
                return self._object(schema, depth)
            case "array":
                return self._array(schema, depth)
            case "string":
                return _text(schema)
            case "integer" | "number":
                return _number(schema, kind)
        return {"boolean": True, "null": None, "": "anything"}[kind]

    def _object(self, schema: Json, depth: int) -> Json:
        properties = schema.get("properties", {})
        if properties:
            return {
                name: self.value(inner, depth + 1)
                for name, inner in properties.items()
                if self._stands(schema, name, inner)
            }
        values = schema.get("additionalProperties", next(iter(schema.get("patternProperties", {}).values()), None))
        if not isinstance(values, dict):
            return {}
        names = schema.get("propertyNames", {})
        key = "1" if "pattern" in names else str(self.value({"type": "string", **names}, depth + 1))
        try:
            return {key: self.value(values, depth + 1)}
        except NoSample:
            return {}

    def _stands(self, schema: Json, name: str, inner: Json) -> bool:
        return name in schema.get("required", ()) or inner.get("default") is not None or self._takes_document(inner)

    def _takes_document(self, schema: Json) -> bool:
        if "$ref" in schema:
            schema = self._definitions.get(schema["$ref"].rpartition("/")[2], {})
        choices = [*schema.get("anyOf", ()), *schema.get("oneOf", ())]
        return _is_document(schema) or any(self._takes_document(choice) for choice in choices)

    def _array(self, schema: Json, depth: int) -> Json:
        fixed = schema.get("prefixItems")
        if fixed:
            return [self.value(item, depth + 1) for item in fixed]
        least = schema.get("minItems", 0)
        try:
            items = [self.value(schema.get("items"), depth + 1)] * max(least, 1)
        except NoSample:
            items = []
        if len(items) < least or (schema.get("uniqueItems") and least > 1):
            raise NoSample
        return items[: schema.get("maxItems")]

    def _document(self, schema: Json, depth: int) -> Json:
        kind = schema["properties"]["kind"]
        if not _is_document(schema):
            return self._object(schema, depth)
        name = kind.get("const", "text")
        made = _CONTENTS.get(name)
        if made is not None:
            return {"kind": name, **made()}
        own = {
            field: self.value(inner, depth + 1)
            for field, inner in schema["properties"].items()
            if field in schema.get("required", ())
        }
        encoded = schema["properties"].get("value", {}).get("contentEncoding") == "base64"
        return {**own, "kind": name, "value": _base64(b"Hello") if encoded else "Hello"}


def _typed(schema: Json) -> Json:
    """What the choices of a schema have in common."""
    return {"type": schema["type"]} if isinstance(schema.get("type"), str) and schema["type"] != "object" else {}


def _is_document(schema: Json) -> bool:
    properties = schema.get("properties", {})
    kind = properties.get("kind", {})
    return ("const" in kind and "ref" in properties) or ("enum" in kind and "oneOf" in schema)


_FORMATS = {
    "date-time": "2026-01-31T12:00:00Z",
    "date": "2026-01-31",
    "time": "12:00:00Z",
    "duration": "PT1M30S",
    "uuid": "123e4567-e89b-12d3-a456-426614174000",  # of RFC 9562's own examples
    "uri": "https://example.com/",
    "email": "somebody@example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "decimal": "1.5",
    "regex": "^[a-z]+$",
    "path": "folder/file.txt",
}


def _text(schema: Json) -> str:
    least, most = schema.get("minLength", 0), schema.get("maxLength")
    if schema.get("contentEncoding") == "base64":
        return _base64(b"Hello"[:most].ljust(least, b"."))
    if schema.get("format") in _FORMATS:
        return _FORMATS[schema["format"]]
    if "pattern" in schema:
        raise NoSample
    return "text"[:most].ljust(least, ".")


def _number(schema: Json, kind: str) -> int | float:
    """The first of some simple numbers within the limits."""
    step = schema.get("multipleOf")
    ends = [schema[name] for name in ("minimum", "maximum") if abs(schema.get(name, 2**63)) < 2**62]
    above = [schema[name] + (step or 1) for name in ("exclusiveMinimum",) if name in schema]
    near = [schema[name] - (step or 1) for name in ("exclusiveMaximum",) if name in schema]
    simple = [step] if step else [1] if kind == "integer" else [0.5, 1.5]
    for number in (*simple, *ends, *above, *near):
        if _is_within(number, schema) and (kind == "number" or number == int(number)):
            return number if kind == "number" else int(number)
    raise NoSample


def _is_within(number: float, schema: Json) -> bool:
    step = schema.get("multipleOf")
    return (
        schema.get("minimum", number) <= number <= schema.get("maximum", number)
        and schema.get("exclusiveMinimum", number - 1) < number < schema.get("exclusiveMaximum", number + 1)
        and (not step or number % step == 0)
    )


# Contents: real ones, as small as a model can do something with


def _base64(data: bytes) -> str:
    return b64encode(data).decode("ascii")


def _png() -> Json:
    """A white picture (https://www.w3.org/TR/png/#5DataRep)."""
    side = 64

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = (b"\0" + b"\xff" * side) * side
    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    whole = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")
    return {"value": _base64(whole), "media_type": "image/png"}


def _riff(name: bytes, data: bytes, form: bytes = b"") -> bytes:
    return struct.pack("<4sI", name, len(form + data)) + form + data


def _wav() -> Json:
    """10 ms of silence (http://soundfile.sapp.org/doc/WaveFormat/)."""
    rate = 8000
    head = _riff(b"fmt ", struct.pack("<HHIIHH", 1, 1, rate, 2 * rate, 2, 16))
    whole = _riff(b"RIFF", head + _riff(b"data", bytes(2 * rate // 100)), b"WAVE")
    return {"value": _base64(whole), "media_type": "audio/wav"}


def _avi() -> Json:
    """One black picture, not compressed (https://learn.microsoft.com/windows/win32/directshow/avi-riff-file-reference)."""
    side, size = 8, 8 * 8 * 3
    main = struct.pack("<14I", 1_000_000, size, 0, 0, 1, 0, 1, size, side, side, 0, 0, 0, 0)
    stream = struct.pack("<4s4s10I4H", b"vids", b"DIB ", 0, 0, 0, 1, 1, 0, 1, size, 0, 0, 0, 0, side, side)
    bitmap = struct.pack("<3I2H6I", 40, side, side, 1, 24, 0, size, 0, 0, 0, 0)
    streams = _riff(b"LIST", _riff(b"strh", stream) + _riff(b"strf", bitmap), b"strl")
    head = _riff(b"LIST", _riff(b"avih", main) + streams, b"hdrl")
    whole = _riff(b"RIFF", head + _riff(b"LIST", _riff(b"00db", bytes(size)), b"movi"), b"AVI ")
    return {"value": _base64(whole), "media_type": "video/x-msvideo"}


_CONTENTS: Mapping[str, Callable[[], Json]] = {
    "text": lambda: {"value": "Hello"},
    "image": _png,
    "audio": _wav,
    "video": _avi,
    "file": lambda: {"value": _base64(b"Hello")},
    "tensor": lambda: {"dtype": "float32", "shape": [2], "value": _base64(struct.pack("<2f", 0.5, 1.5))},
}
